"""From tracks to the rows that every later stage works with, and the chips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deid_ros.detector.boxes import unite
from deid_ros.detector.chips import cut_chips, prepare_chips
from deid_ros.detector.mesh import mesh_box
from deid_ros.detector.tracker import Track
from deid_ros.errors import DetectorError
from deid_ros.faces import empty_faces
from deid_ros.geometry import MESH_TO_IBUG68, fit_pose, measure_expression

__all__ = ["COVERS", "FaceTable", "MeshTrust"]

#: What a covered box holds.
COVERS = ("face", "head")
# A head around the box of its face's mesh: left, above, right, below, in parts of it.
_HEAD = np.array([0.22, 0.42, 0.22, 0.12])
_SLACK = 1.0             # px on every side


@dataclass(frozen=True, slots=True)
class MeshTrust:
    """When a mesh is used, and when a face may carry a surrogate.

    Harder to gain than to lose, and neither at once: a face on the edge of it must not
    flicker between surrogate and flat cover.
    """

    usable: float = 0.3      # belief above which the points are used,
    gained: float = 0.7      # above which they may carry a surrogate,
    kept: float = 0.4        # and above which they go on doing so
    again: int = 2           # good meshes in a row after which it is trusted again
    grace: int = 4           # poor meshes in a row after which it is no longer
    most_yaw: float = 80.0   # degrees: beyond, half of the mesh is guesswork
    small: float = 0.85      # part of the least size below which a face is too small again


@dataclass(frozen=True, slots=True)
class _ChipRule:
    """A better chip is cut when the first was poor, and no more often than this."""

    most: int = 3
    poor: float = 60.0       # px of a frontal face
    better: float = 1.8      # times


_TRUST, _CHIPS = MeshTrust(), _ChipRule()


class FaceTable:
    """Makes rows of ``FACE``.

    Args:
        margin, cover, min_surrogate_px, extractor: as for ``FaceFinder``.

    Raises:
        DetectorError: an unknown ``cover`` or ``extractor``.
    """

    def __init__(self, *, margin: float, cover: str, min_surrogate_px: int,
                 extractor: str) -> None:
        prepare_chips(extractor)
        if cover not in COVERS:
            raise DetectorError(f"A face cannot be covered as '{cover}'; choose one of "
                                f"{', '.join(COVERS)}.")
        self.margin, self.cover, self.min_surrogate_px = margin, cover, min_surrogate_px
        self._extractor = extractor

    def rows(self, frame: np.ndarray, tracks: list[Track], raw: dict[int, np.ndarray]
             ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ``FACE`` for tracks, and the chips they point to.

        Args:
            frame: BGR uint8 (H, W, 3).
            tracks: whose trust is judged anew.
            raw: track id -> the box (4,) that the detector saw in this frame.
        """
        faces = empty_faces(len(tracks))
        cut: list[Track] = []
        for face, track in zip(faces, tracks, strict=True):
            box = self._fill(face, track, raw.get(track.id))
            _place(face, box, frame.shape)
            clear = track.trusted and track.confidence >= _TRUST.kept
            if clear and self._wants_chip(face, track):
                face["chip"] = len(cut)
                cut.append(track)
        meshes = np.array([track.mesh for track in cut]).reshape(-1, 468, 3)
        chips = cut_chips(frame, np.array([track.box for track in cut]), meshes, self._extractor)
        return faces, chips

    def _fill(self, face: np.ndarray, track: Track, raw: np.ndarray | None) -> np.ndarray:
        """Fill one row of ``FACE``; its box to be covered (4,), not yet clipped."""
        face["track_id"], face["score"] = track.id, track.score
        face["carried"] = track.missed > 0
        boxes = [track.box] if raw is None else [track.box, raw]
        if track.confidence >= _TRUST.usable or track.trusted:
            # Smoothing must not uncover a moving face: both meshes are covered.
            boxes += [mesh_box(track.mesh), mesh_box(track.steady)]
        box = unite(np.array(boxes))
        if self.cover == "head":
            box = box + np.concatenate([-_HEAD[:2], _HEAD[:2] + _HEAD[2:]]) * np.tile(box[2:], 2)
        more = self.margin * box[2:] + _SLACK
        grown = np.concatenate([box[:2] - more, box[2:] + 2 * more])
        if track.steady is None:
            # No mesh ever: a frontal pose of the box's size, for outlines only.
            center = track.box[:2] + track.box[2:] / 2
            face["scale"], face["center"] = track.box[2:].max() / 1.8, center
            face["roll"] = track.angle
            self._judge(track, good=False, poor=True, lost=True)
            return grown
        pose = fit_pose(track.steady)
        face["yaw"], face["pitch"], face["roll"] = pose.yaw, pose.pitch, pose.roll
        face["scale"], face["center"] = pose.scale, pose.center
        face["expression"] = measure_expression(track.steady, pose)
        face["landmarks"] = track.steady[MESH_TO_IBUG68, :2].reshape(-1)
        large = mesh_box(track.mesh)[2:].max() / self.min_surrogate_px
        sane = abs(pose.yaw) <= _TRUST.most_yaw and bool(np.isfinite(face["landmarks"]).all())
        self._judge(track, good=sane and large >= 1.0 and track.confidence >= _TRUST.gained,
                    poor=large < _TRUST.small or track.confidence < _TRUST.kept, lost=not sane)
        face["trusted"] = track.trusted
        return grown

    @staticmethod
    def _judge(track: Track, *, good: bool, poor: bool, lost: bool) -> None:
        """Whether a face may carry a surrogate now.

        What is seen for the first time is judged by this one frame: it may be a picture.
        """
        track.good = track.good + 1 if good else 0
        track.poor = track.poor + 1 if poor else 0
        if track.trusted:
            track.trusted = not lost and track.poor <= _TRUST.grace
        else:
            track.trusted = good and (track.age == 0 or track.good >= _TRUST.again)
        track.age += 1

    @staticmethod
    def _wants_chip(face: np.ndarray, track: Track) -> bool:
        """Whether to cut a chip: the first, or a much better one after a poor one."""
        turn = np.cos(np.radians(face["yaw"])) * np.cos(np.radians(face["pitch"]))
        quality = float(mesh_box(track.mesh)[2:].max() * turn ** 2)
        if track.chips and (track.chips >= _CHIPS.most or track.chip_quality > _CHIPS.poor
                            or quality < _CHIPS.better * track.chip_quality):
            return False
        track.chips += 1
        track.chip_quality = quality
        return True


def _place(face: np.ndarray, box: np.ndarray, shape: tuple[int, ...]) -> None:
    """Write a box as whole pixels that cover it, at most one frame beyond the frame."""
    limit = np.array([shape[1], shape[0]], np.float64)
    low = np.clip(np.floor(np.nan_to_num(box[:2])), -limit, limit)
    high = np.clip(np.ceil(np.nan_to_num(box[:2] + box[2:])), low, 2 * limit)
    face["x_offset"], face["y_offset"] = low
    face["width"], face["height"] = np.maximum(high - low, 1)
