"""Searching a stream by a preset: scales, turns, tiles, second looks.

CenterFace answers weakly where a face is small, turned or dark, and weakly, elsewhere,
where there is none. What tells the two apart is a second look: the place is cut out,
enlarged and turned upright, and many such cut-outs are searched as one mosaic for
the price of a fraction of the frame. So even faces of half the size that the network
was made for are found, and few textures pass for faces. Where a track is known to be,
a weak answer is believed at once (Zhang et al., "ByteTrack: Multi-Object Tracking by
Associating Every Detection Box", ECCV 2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from deid_ros.detector.boxes import containment, iou, make_detections, merge_enclosing
from deid_ros.detector.centerface import CenterFace
from deid_ros.detector.interfaces import DEFAULT_THRESHOLD, Detector
from deid_ros.detector.mesh import FaceMesh, crop_square
from deid_ros.detector.presets import PRESETS
from deid_ros.detector.registry import create_detector, known_names
from deid_ros.detector.runtime import check_frame, shrink
from deid_ros.errors import DetectorError
from deid_ros.faces import DETECTION

__all__ = ["Searcher", "create_searcher"]

_SIDE = 640           # px: longest side of an image that a back end is shown
_TILE = 640           # px, longest side of a tile
_OVERLAP = 96         # px that neighbouring tiles share
# Of a score, where the frame was turned.
_FROM_THE_SIDE = 0.98
_MOST = 3840          # px: frames are enlarged to no longer side
# A cell of the mosaic, the long side of a face in it, how far from its middle.
_CELL, _FACE, _NEAR = 64, 30.0, 0.55
_SAME = 0.35          # IoU above which two passes saw the same face
_KNOWN = 0.3          # IoU with a track that makes a weak answer the track's
# Of those refused, the strongest from this part of the threshold are shown to the face
# mesh, which knows turned faces better; its belief from which they are faces.
_MESHES, _MESH_WEAK, _MESH_SURE = 4, 0.3, 0.8
_FORGET = 5           # frames for which a place that was no face is left alone


class Searcher:
    """Back ends that search a stream as a preset says; a ``Detector`` with a memory.

    Args:
        names: back ends, keys of ``DETECTORS``; those of the preset join them.
        preset: a key of ``PRESETS``.
        threshold: least score, 0..1; None: 0.3.

    Raises:
        DetectorError: an unknown back end or preset, or a threshold out of range.
        ModelError: a model or package of a back end is missing.
    """

    def __init__(self, names: str | Sequence[str], *, preset: str = "balanced",
                 threshold: float | None = None) -> None:
        if preset not in PRESETS:
            raise DetectorError(f"There is no preset called '{preset}'; choose one of "
                                f"{', '.join(PRESETS)}.")
        names = known_names(names)
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise DetectorError(f"The detector's threshold must lie in 0..1, got {threshold}.")
        self.preset = PRESETS[preset]
        self.threshold = DEFAULT_THRESHOLD if threshold is None else float(threshold)
        self.name = "+".join(names)
        self._main: CenterFace | None = None
        self._mesh: FaceMesh | None = None
        if "centerface" in names:
            self._main = CenterFace(threshold=self.preset.weak * self.threshold, max_side=_MOST,
                                    precision=self.preset.precision,
                                    num_threads=self.preset.threads)
            names = [name for name in names if name != "centerface"]
        self._others: list[Detector] = [
            create_detector(name, threshold=self.threshold)
            for name in dict.fromkeys([*names, *self.preset.beside])]
        # The runtimes get their memory now, and not when the first frame waits.
        self.reset(turn=0)
        self.detect(np.zeros((480, 640, 3), np.uint8))
        self.reset()

    @property
    def light(self) -> bool:
        """Whether the last frame was one of those that cost least, so that there is time."""
        return self._turn > 0 and self.preset.light(self._turn - 1)

    def reset(self, *, turn: int | None = None) -> None:
        """Another stream begins, at the frame ``turn`` of the preset's cycle.

        By default with the passes of a first frame: it may be a picture, which no second
        frame follows.
        """
        self._turn = -1 if turn is None else turn
        self._refused: list[tuple[int, np.ndarray]] = []   # until which frame, box

    def detect(self, frame: np.ndarray, *, known: np.ndarray | None = None) -> np.ndarray:
        """Find the faces of the next frame.

        Args:
            frame: BGR uint8 (H, W, 3) of any size.
            known: (N, 4) boxes where faces are expected, as tracks predict them.

        Returns:
            Rows of ``faces.DETECTION`` by descending score.

        Raises:
            FrameError: ``frame`` is not such an array.
        """
        check_frame(frame)
        found = [detector.detect(frame) for detector in self._others]
        if self._main is not None:
            rows = np.concatenate([self._search(frame, *step) for step in self._passes(frame)])
            rows = _strongest(rows)
            sure = rows["score"] >= self.threshold
            weak = rows[~sure]
            held = _held(weak["box"], rows["box"][sure], known)
            found += [rows[sure], weak[held], self._look_again(frame, weak[~held], rows[sure])]
        self._turn += 1
        self._refused = [(until, box) for until, box in self._refused if until > self._turn]
        return merge_enclosing(np.concatenate(found))

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

    def _search(self, frame: np.ndarray, scale: float, turn: int,
                part: tuple[int, int, int, int]) -> np.ndarray:
        """CenterFace on a part of the frame, scaled and turned; boxes in px of the frame."""
        image = frame[part[0]:part[1], part[2]:part[3]]
        height, width = image.shape[:2]
        if scale != 1.0:
            size = max(round(width * scale), 1), max(round(height * scale), 1)
            image = (shrink(image, size) if scale < 1
                     else cv2.resize(image, size, interpolation=cv2.INTER_CUBIC))
        ratio = np.array([width / image.shape[1], height / image.shape[0]] * 2, np.float32)
        assert self._main is not None
        found = self._main.detect(np.ascontiguousarray(np.rot90(image, -turn)))
        if turn:
            found = _unturn(found, turn, image.shape)
            # An upright face seen from the side is found as surely, and not so well placed.
            found["score"] *= _FROM_THE_SIDE
        found["box"] *= ratio
        found["box"][:, :2] += (part[2], part[0])
        return found

    def _look_again(self, frame: np.ndarray, weak: np.ndarray, sure: np.ndarray) -> np.ndarray:
        """Those of the weak answers that are faces when seen enlarged and upright."""
        if len(weak) and len(sure):
            weak = weak[containment(weak["box"], sure["box"]).max(axis=1) < 0.6]
        if len(weak) and self._refused:
            before = np.array([box for _, box in self._refused])
            weak = weak[iou(weak["box"], before).max(axis=1) < 0.5]
        weak = weak[:self.preset.looks]
        if not len(weak):
            return weak
        columns = math.ceil(math.sqrt(len(weak)))
        mosaic = np.zeros((math.ceil(len(weak) / columns) * _CELL, columns * _CELL, 3), np.uint8)
        squares, corners = [], []
        for i, row in enumerate(weak):
            box = row["box"].astype(np.float64)
            square = np.array([*(box[:2] + box[2:] / 2), box[2:].max() * _CELL / _FACE,
                               row["angle"]])
            y, x = (_CELL * v for v in divmod(i, columns))
            mosaic[y:y + _CELL, x:x + _CELL] = crop_square(frame, square, _CELL)
            squares.append(square)
            corners.append((x, y))
        assert self._main is not None
        seen = self._main.detect(mosaic)
        seen = seen[seen["score"] >= self.threshold]
        middle = seen["box"][:, :2] + seen["box"][:, 2:] / 2
        out, meshes = [], 0
        for row, square, corner in zip(weak, squares, corners, strict=True):
            offset = middle - np.array(corner) - _CELL / 2
            near = np.flatnonzero(np.hypot(*offset.T) < _NEAR * _FACE)
            if len(near):
                out.append(_back(seen[near[0]], offset[near[0]], square))
            elif (row["score"] >= _MESH_WEAK * self.threshold and meshes < _MESHES
                  and self._confirmed(frame, row)):
                row["score"] = self.threshold
                out.append(row)
            else:
                meshes += row["score"] >= _MESH_WEAK * self.threshold
                self._refused.append((self._turn + _FORGET, row["box"].copy()))
        return np.array(out, DETECTION)

    def _confirmed(self, frame: np.ndarray, row: np.ndarray) -> bool:
        """Whether the face mesh sees a face where a row of ``DETECTION`` says."""
        if self._mesh is None:
            self._mesh = FaceMesh()
        mesh, belief = self._mesh.locate(frame, row[None])
        low, high = mesh[0, :, :2].min(axis=0), mesh[0, :, :2].max(axis=0)
        return bool(belief[0] >= _MESH_SURE
                    and iou(np.concatenate([low, high - low]), row["box"])[0, 0] > _SAME)


def create_searcher(names: str | Sequence[str], *, preset: str | None,
                    threshold: float | None = None) -> Detector:
    """The detector of ``preset``, or, without one, of ``create_detector``."""
    if preset is None:
        return create_detector(names, threshold=threshold)
    return Searcher(names, preset=preset, threshold=threshold)


def _held(weak: np.ndarray, sure: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """bool (N,): which weak boxes are a track's own face, less clear than before.

    Of a track that was clearly seen, none: an answer half beside it, from a turned pass,
    would become another face.
    """
    if known is None or not len(known) or not len(weak):
        return np.zeros(len(weak), bool)
    overlap = iou(weak, known)
    if len(sure):
        overlap[:, iou(known, sure).max(axis=1) > _KNOWN] = 0.0
    return overlap.max(axis=1) > _KNOWN


def _back(row: np.ndarray, offset: np.ndarray, square: np.ndarray) -> np.ndarray:
    """A face of the mosaic, ``offset`` (2,) from its cell's middle, in the frame."""
    row = row.copy()
    cx, cy, side, angle = square
    scale, turn = side / _CELL, np.radians(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    middle = scale * np.array([[cos, -sin], [sin, cos]]) @ offset + (cx, cy)
    w, h = row["box"][2:] * scale
    # What encloses an upright face, an ellipse, encloses it turned as well.
    extent = np.array([np.hypot(w * cos, h * sin), np.hypot(w * sin, h * cos)])
    row["box"] = np.concatenate([middle - extent / 2, extent])
    row["angle"] = (row["angle"] + angle + 180.0) % 360.0 - 180.0
    return row


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
    return make_detections(np.stack(box, axis=1), found["score"], angles)


def _strongest(rows: np.ndarray) -> np.ndarray:
    """Of the answers of several passes for one face the strongest, by descending score."""
    rows = rows[np.argsort(-rows["score"], kind="stable")]
    same = iou(rows["box"], rows["box"]) > _SAME
    keep = np.ones(len(rows), bool)
    for i in range(len(rows)):
        if keep[i]:
            keep[i + 1:] &= ~same[i, i + 1:]
    return rows[keep]


def _tiles(height: int, width: int, scale: float) -> list[tuple[int, int, int, int]]:
    """Overlapping parts y0, y1, x0, x1 of a frame, at most a tile large when scaled."""
    return [(*rows, *columns) for rows in _spans(height, scale)
            for columns in _spans(width, scale)]


def _spans(length: int, scale: float) -> list[tuple[int, int]]:
    side, shared = _TILE / scale, _OVERLAP / scale
    if length <= side:
        return [(0, length)]
    count = math.ceil((length - shared) / (side - shared))
    return [(int(start), min(math.ceil(start + side), length))
            for start in np.linspace(0, length - side, count)]
