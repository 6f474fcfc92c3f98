"""The same face through time: motion, association, carrying.

A track is predicted with its velocity, matched to the frame's detections on overlap and
distance, the best pair first, and updated with an alpha-beta filter. A face that the
detector misses is carried on where it is predicted, in a box that grows, for a number of
frames: a detector blinks, a face does not disappear.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from deid_ros.detector.boxes import iou
from deid_ros.detector.smoothing import MeshSmoother

__all__ = ["Track", "Tracker"]

# Weights of a new measurement on place, size and velocity.
_PLACE, _SIZE, _VELOCITY = 0.85, 0.6, 0.45
# Per frame carried: growth of the box, what is kept of the velocity. Its sides grow by this
# factor at most: twice the area.
_GROWTH, _FADE, _LARGEST = 0.03, 0.92, 2 ** 0.5
# A detection belongs to a track if they overlap by this much, or if its middle
# lies within this part of the track's size (more, the longer it was missed).
_MIN_IOU, _REACH, _REACH_MISSED = 0.15, 0.6, 0.12
_MAX_RATIO = 2.2      # of two sizes of the same face
_MESH_CARRY = 4       # a face only the mesh sees is carried this many times longer


@dataclass(slots=True)
class Track:
    """One face through time. Boxes are float64 x, y, width, height (px)."""

    id: int
    box: np.ndarray
    score: float
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))   # px per frame
    hits: int = 1
    missed: int = 0          # frames since the detector saw it
    lost: int = 0            # frames since detector or mesh saw it
    sure: bool = False       # seen beyond doubt once
    spoken: int = 0          # frames that spoke for it, see evidence.py
    doubted: int = 0         # frames since one did
    size: np.ndarray | None = None        # (2,), of its box when it was last seen
    mesh: np.ndarray | None = None        # latest raw mesh, or moved with the track
    steady: np.ndarray | None = None      # the same, smoothed
    square: np.ndarray | None = None      # (4,), in which the mesh network saw it
    confidence: float = 0.0
    posed: bool = False      # its mesh is the mean one, as the detector says it lies
    trusted: bool = False
    good: int = 0            # meshes in a row that could carry a surrogate
    poor: int = 0            # and that should not
    age: int = 0             # frames for which it was judged
    angle: float = 0.0
    smoother: MeshSmoother = field(default_factory=MeshSmoother)
    chips: int = 0           # how many were cut
    chip_quality: float = 0.0
    detail: np.ndarray | None = None      # what the fine mesh adds (468, 3), model units
    detail_age: int = 0      # frames since it was looked at

    @property
    def center(self) -> np.ndarray:
        return self.box[:2] + self.box[2:] / 2

    def move(self, shift: np.ndarray) -> None:
        """Move everything that is known of the face by ``shift`` (2,) px."""
        self.box[:2] += shift
        self.shift_mesh(shift)

    def shift_mesh(self, shift: np.ndarray) -> None:
        """Move only the mesh, raw and smoothed, by ``shift`` (2,) px."""
        if self.mesh is not None:
            self.mesh[:, :2] += shift
            self.steady[:, :2] += shift
            self.smoother.shift(float(shift[0]), float(shift[1]))

    def correct(self, box: np.ndarray, frames: float) -> None:
        """Blend a measured box (4,) into the prediction, ``frames`` after the last."""
        center = box[:2] + box[2:] / 2
        rest = center - self.center
        gain = 1.0 if self.hits == 1 and not self.lost else _VELOCITY
        self.velocity = self.velocity + gain * rest / max(frames * (1 + self.lost), 0.25)
        size = self.box[2:] + _SIZE * (box[2:] - self.box[2:])
        center = self.center + _PLACE * rest
        self.box = np.concatenate([center - size / 2, size])

    def steer(self, velocity: np.ndarray, rest: np.ndarray, frames: float) -> None:
        """Take the motion from ``rest`` (2,) px by which a prediction with ``velocity`` failed."""
        self.velocity = velocity + _VELOCITY * rest / max(frames, 0.25)

    def grow(self, frames: float) -> None:
        """Widen the box of a carried face: the less is known, the more is covered."""
        if not self.lost:
            self.size = self.box[2:].copy()
        growth = _GROWTH * frames * self.box[2:] + 0.15 * np.abs(self.velocity) * frames
        growth = np.minimum(growth, _LARGEST * self.size - self.box[2:])
        self.box = np.concatenate([self.box[:2] - growth / 2, self.box[2:] + growth])
        self.velocity = self.velocity * _FADE ** frames


class Tracker:
    """All faces of one stream.

    Args:
        carry_frames: frames for which a face that nothing sees stays covered.
    """

    def __init__(self, *, carry_frames: int) -> None:
        self.carry_frames = carry_frames
        self.tracks: list[Track] = []
        self._next = 1

    def predict(self, frames: float) -> None:
        """Move every track to where it should be ``frames`` frames later."""
        for track in self.tracks:
            track.move(track.velocity * frames)

    def match(self, boxes: np.ndarray, *, taken: np.ndarray | None = None,
              overlap: float | None = None) -> np.ndarray:
        """The index of the track of each box, int (N,); -1 for a new face.

        ``taken``: indices of tracks that have their box. ``overlap``: the IoU that a box must
        have with its track; by default less is enough, or nearness.
        """
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        result = np.full(len(boxes), -1)
        if not len(boxes) or not self.tracks:
            return result
        known = np.array([track.box for track in self.tracks])
        missed = np.array([track.missed for track in self.tracks])
        overlaps = iou(boxes, known)
        middle = (boxes[:, None, :2] + boxes[:, None, 2:] / 2) - (
            known[None, :, :2] + known[None, :, 2:] / 2)
        size = np.sqrt(np.maximum(known[:, 2:].prod(axis=1), 1.0))
        distance = np.hypot(middle[..., 0], middle[..., 1]) / size
        ratio = np.sqrt(np.maximum(boxes[:, 2:].prod(axis=1), 1.0))[:, None] / size
        reach = np.minimum(_REACH + _REACH_MISSED * missed, 1.5)
        near = ((overlaps > _MIN_IOU) | (distance < reach)) if overlap is None else (
            overlaps > overlap)
        fits = near & (np.maximum(ratio, 1 / ratio) < _MAX_RATIO)
        if taken is not None:
            fits[:, taken] = False
        cost = np.where(fits, 1.0 - overlaps + 0.5 * distance + 0.01 * np.minimum(missed, 20),
                        np.inf)
        while np.isfinite(cost).any():      # the best pair first
            row, column = np.unravel_index(cost.argmin(), cost.shape)
            result[row] = column
            cost[row], cost[:, column] = np.inf, np.inf
        return result

    def add(self, box: np.ndarray, score: float) -> Track:
        """Begin a track with an id that was never used before."""
        track = self.glimpse(box, score)
        self.tracks.append(track)
        return track

    def glimpse(self, box: np.ndarray, score: float) -> Track:
        """What is seen in this frame only: an id of its own, and nothing that goes on."""
        self._next += 1
        return Track(self._next - 1, np.array(box, np.float64), float(score))

    def hit(self, track: Track, box: np.ndarray, score: float, frames: float) -> None:
        """The detector saw the track's face in ``box`` (4,)."""
        track.correct(np.asarray(box, np.float64), frames)
        track.score = float(score)
        track.hits += 1
        track.missed = track.lost = 0

    def miss(self, track: Track, frames: float, box: np.ndarray | None = None) -> None:
        """The detector missed it; ``box`` (4,) where the mesh sees it all the same."""
        track.missed += 1
        if box is not None:
            track.correct(np.asarray(box, np.float64), frames)
            track.lost = 0
        else:
            track.grow(frames)
            track.lost += 1

    def expire(self, shape: tuple[int, ...]) -> None:
        """End what was carried long enough or lies outside a frame of ``shape`` (H, W, ...)."""
        height, width = shape[:2]
        self.tracks = [
            t for t in self.tracks
            if t.lost <= self.carry_frames and t.missed <= _MESH_CARRY * self.carry_frames
            and not (t.missed and (t.box[0] >= width or t.box[1] >= height
                                   or (t.box[:2] + t.box[2:] <= 0).any()))]

    def end(self, tracks: list[Track]) -> None:
        """End these tracks; their ids are not used again."""
        gone = {track.id for track in tracks}
        self.tracks = [track for track in self.tracks if track.id not in gone]

    def reset(self) -> None:
        """Forget every track; ids go on."""
        self.tracks = []
