"""Searching a stream: back ends, and the passes of a preset.

The searcher says what might be a face, weak answers included; ``evidence`` says what is
believed of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from deid_ros.detector.boxes import iou, make_detections, merge_enclosing
from deid_ros.detector.centerface import CenterFace
from deid_ros.detector.evidence import RULE, EvidenceRule
from deid_ros.detector.interfaces import DEFAULT_THRESHOLD, Detector
from deid_ros.detector.presets import PLAIN, PRESETS
from deid_ros.detector.registry import check_threshold, create_detector, known_names
from deid_ros.detector.runtime import check_frame, shrink
from deid_ros.errors import DetectorError

__all__ = ["Searcher"]

_SIDE = 640           # px: longest side of an image that a back end is shown
_TILE = 640           # px, longest side of a tile
_OVERLAP = 96         # px that neighbouring tiles share
_MOST = 3840          # px: frames are enlarged to no longer side
_MOST_ASKED = max(preset.asked for preset in PRESETS.values())
_EDGE = 0.1           # of its size: nearer to a tile's border a face is cut off
_SAME = 0.35          # IoU above which two passes saw the same face


class Searcher:
    """Back ends that search a stream as a preset says; a ``Detector`` with a memory.

    Args:
        backends: keys of ``DETECTORS``, or ``Detector`` objects; what any of them finds is
            found.
        preset: a key of ``PRESETS``; None: one plain pass a frame.
        threshold: least score of a face, 0..1; None: 0.3.
        rule: how much weaker than a face answers of ``search`` may be.

    Raises:
        DetectorError: an unknown back end or preset, or a threshold out of range.
        ModelError: a model or package of a back end is missing.
    """

    def __init__(self, backends: str | Detector | Sequence[str | Detector], *,
                 preset: str | None = "balanced", threshold: float | None = None,
                 rule: EvidenceRule = RULE) -> None:
        if preset is not None and preset not in PRESETS:
            raise DetectorError(f"There is no preset called '{preset}'; choose one of "
                                f"{', '.join(PRESETS)}.")
        check_threshold(threshold)
        if isinstance(backends, (str, Detector)):
            backends = [backends]
        given = [backend for backend in backends if not isinstance(backend, str)]
        names = [backend for backend in backends if isinstance(backend, str)]
        names = known_names(names) if names or not given else []
        self.preset = PLAIN if preset is None else PRESETS[preset]
        self.threshold = DEFAULT_THRESHOLD if threshold is None else float(threshold)
        self.name = "+".join([*names, *(backend.name for backend in given)])
        self._passing: CenterFace | None = None
        if "centerface" in names:
            self._passing = CenterFace(threshold=rule.follow_part * self.threshold, max_side=_MOST,
                                       precision=self.preset.precision,
                                       num_threads=self.preset.threads)
        self._others = given + [create_detector(name, threshold=self.threshold)
                                for name in names if name != "centerface"]
        # The runtimes get their memory now, and not when the first frame waits.
        self.reset(turn=0)
        self.search(np.zeros((480, 640, 3), np.uint8))
        self.reset()

    @property
    def asked(self) -> int:
        """Places of the last frame at most that the mesh is to be asked about."""
        return self.preset.asked if self._turn else _MOST_ASKED

    def reset(self, *, turn: int | None = None) -> None:
        """Another stream begins, at the frame ``turn`` of the preset's cycle.

        By default with the passes of a first frame: it may be a picture, which no second
        frame follows.
        """
        self._turn = -1 if turn is None else turn

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """See ``Detector.detect``: the next frame's rows that reach the threshold."""
        found = self.search(frame)
        return found[found["score"] >= self.threshold]

    def search(self, frame: np.ndarray) -> np.ndarray:
        """What might be a face in the next frame, weak answers included.

        Args:
            frame: BGR uint8 (H, W, 3) of any size.

        Returns:
            Rows of ``faces.DETECTION`` by descending score.

        Raises:
            FrameError: ``frame`` is not such an array.
        """
        check_frame(frame)
        found = [detector.detect(frame) for detector in self._others]
        if self._passing is not None:
            found.append(_strongest(np.concatenate(
                [self._pass(frame, *step) for step in self._passes(frame)])))
        self._turn += 1
        return found[0] if len(found) == 1 else merge_enclosing(np.concatenate(found))

    def _passes(self, frame: np.ndarray) -> list[tuple[float, int, tuple[int, int, int, int]]]:
        """This frame's passes: scale, quarter turns, and the part y0, y1, x0, x1 seen."""
        height, width = frame.shape[:2]
        whole, fit = (0, height, 0, width), _SIDE / max(height, width)
        cycle, steps = self.preset.cycle, []
        now = cycle[max(self._turn, 0) % len(cycle)]
        if self._turn < 0 and self.preset.first:
            now = self.preset.first
        for step in now:
            if step.tiled:
                scale = min(step.scale, max(_MOST / max(height, width), min(fit, 1.0)))
                steps += [(scale, step.turn, part) for part in _tiles(height, width, scale)]
            else:
                steps.append((min(step.scale * fit, 1.0), step.turn, whole))
        if self.preset.tiles and fit < 1.0:
            tiles = _tiles(height, width, 1.0)
            count = len(tiles) if self._turn < 0 else min(self.preset.tiles, len(tiles))
            first = self._turn * self.preset.tiles
            steps += [(1.0, 0, tiles[(first + i) % len(tiles)]) for i in range(count)]
        return list(dict.fromkeys(steps))

    def _pass(self, frame: np.ndarray, scale: float, turn: int,
              part: tuple[int, int, int, int]) -> np.ndarray:
        """CenterFace on a part of the frame, scaled and turned; boxes in px of the frame."""
        image = frame[part[0]:part[1], part[2]:part[3]]
        height, width = image.shape[:2]
        if scale != 1.0:
            size = max(round(width * scale), 1), max(round(height * scale), 1)
            image = (shrink(image, size) if scale < 1
                     else cv2.resize(image, size, interpolation=cv2.INTER_CUBIC))
        ratio = np.array([width / image.shape[1], height / image.shape[0]] * 2, np.float32)
        assert self._passing is not None
        found = self._passing.detect(np.ascontiguousarray(np.rot90(image, -turn)))
        if turn:
            found = _unturn(found, turn, image.shape)
        found["turned"] = turn
        found["box"] *= ratio
        found["box"][:, :2] += (part[2], part[0])
        return found[~_cut_off(found["box"], part, frame.shape)]


def _unturn(found: np.ndarray, turn: int, shape: tuple[int, ...]) -> np.ndarray:
    """Faces of a picture turned clockwise by quarter turns, in the one it was (H, W)."""
    height, width = shape[:2]
    x, y, w, h = (found["box"][:, i].copy() for i in range(4))
    if turn == 1:      # row r, column c went to row c, column H - 1 - r
        box = (y, height - x - w, h, w)
    elif turn == 2:
        box = (width - x - w, height - y - h, w, h)
    else:
        box = (width - y - h, x, h, w)
    angles = (found["angle"] - 90.0 * turn + 180.0) % 360.0 - 180.0
    return make_detections(np.stack(box, axis=1), found["score"], angles, found["yaw"])


def _strongest(rows: np.ndarray) -> np.ndarray:
    """Of the answers of several passes for one face the best, by descending score.

    The best is strong, and from a pass that saw the face upright: that places it well.
    """
    upright = np.cos(np.radians(rows["angle"] + 90.0 * rows["turned"])).clip(0.0, 1.0)
    rows = rows[np.argsort(-rows["score"] * upright, kind="stable")]
    same = iou(rows["box"], rows["box"]) > _SAME
    keep = np.ones(len(rows), bool)
    for i in range(len(rows)):
        if keep[i]:
            keep[i + 1:] &= ~same[i, i + 1:]
    rows = rows[keep]
    return rows[np.argsort(-rows["score"], kind="stable")]


def _tiles(height: int, width: int, scale: float) -> list[tuple[int, int, int, int]]:
    """Overlapping parts y0, y1, x0, x1 of a frame, at most a tile large when scaled."""
    return [(*rows, *columns) for rows in _spans(height, scale)
            for columns in _spans(width, scale)]


def _cut_off(boxes: np.ndarray, part: tuple[int, int, int, int], shape: tuple[int, ...]
             ) -> np.ndarray:
    """bool (N,): boxes that reach a border which a part has and its frame has not.

    Half a face looks like a face of its own. The whole one is seen in the next tile, or, if
    larger than what tiles share, by a pass over the whole frame.
    """
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    edge = _EDGE * boxes[:, 2:]
    inner = np.array([part[2] > 0, part[0] > 0]), np.array([part[3] < shape[1], part[1] < shape[0]])
    return ((inner[0] & (low - edge < (part[2], part[0])))
            | (inner[1] & (high + edge > (part[3], part[1])))).any(axis=1)


def _spans(length: int, scale: float) -> list[tuple[int, int]]:
    side, shared = _TILE / scale, _OVERLAP / scale
    if length <= side:
        return [(0, length)]
    count = math.ceil((length - shared) / (side - shared))
    return [(int(start), min(math.ceil(start + side), length))
            for start in np.linspace(0, length - side, count)]
