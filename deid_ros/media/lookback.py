"""Covering backwards: a face that appears is covered in the frames before, too.

Detectors find a face some frames after it could be seen. Where frames can still be
changed they wait, as many as a missed face is carried forwards, and leave with what
was found later: as far back as the detector saw something there, however weakly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from deid_ros.errors import DeidError
from deid_ros.faces import CHIP_NONE, boxes_of
from deid_ros.geometry import iou
from deid_ros.pipeline import Pipeline, Processed

__all__ = ["LookBack", "backwards"]

_GROWTH = 0.03          # of the box, per frame back, as for a face carried forwards
_SPEED_FRAMES = 4       # from so many frames of a new track its speed is known
_FASTEST = 0.25         # of its size a frame: what is more is a jump, not a motion
_MEMORY = 400e6         # bytes of waiting frames at most,
_DECODED = 1.5          # of which each is so much with the numbers it was decoded to
_FURTHEST = 12          # frames back: beyond, where a face was is anybody's guess
_UNSEEN = 3             # frames in a row in which nothing hints at the face: it was not there
_HINT = 0.2             # IoU of a hint with where the face should have been
_SEARCHED = 2           # frames that are searched, or wait for it, while others are covered


@dataclass(slots=True)
class _Waiting:
    frame: np.ndarray
    stamp_ns: int
    token: Any
    search: Future | None = None
    found: Any = None
    error: DeidError | None = None
    detector_ms: float = 0.0


@dataclass(slots=True)
class _New:
    """A new track: the frames in which it and its scene began, and its first rows.

    ``sure``: it was seen beyond doubt, so that it was no glimpse of something else.
    """

    index: int
    scene: int
    sure: bool = False
    rows: list[np.ndarray] = field(default_factory=list)


class LookBack:
    """Frames go in, and come out covered some frames later.

    Args:
        pipeline: what covers them.
        frames: how many before its first a face is covered in, 12 at most; fewer where
            frames are very large. A few more wait, until a new face's speed is known. With 0
            each comes out at once.
        searcher: searches frame after frame while those before are covered, so that two
            cores are busy; of one thread, since streams share stages. Two more frames
            wait then. What comes out is the same.
    """

    def __init__(self, pipeline: Pipeline, *, frames: int,
                 searcher: Executor | None = None) -> None:
        self._pipeline, self._frames = pipeline, min(max(int(frames), 0), _FURTHEST)
        self._searcher = searcher
        self._noted = 0                       # index of the first frame not known to be searched
        self._waiting: deque[_Waiting] = deque()
        self._first = 0                       # index of the frame that waits longest
        self._highest = 0                     # track; ids only rise
        self._new: dict[int, _New] = {}       # track -> where it began
        self._cut = 0                         # index of the scene's first frame

    def push(self, frame: np.ndarray, *, stamp_ns: int, token: Any
             ) -> Iterator[tuple[Any, Processed | DeidError]]:
        """Take the next frame; give those that have waited long enough.

        Yields:
            The token given with a frame, and the frame covered, or the error for
            which it must be withheld.
        """
        waiting = _Waiting(frame, stamp_ns, token)
        self._waiting.append(waiting)
        if self._searcher is not None:
            waiting.search = self._searcher.submit(self._search, waiting)
        wanted = self._frames + _SPEED_FRAMES - 1 if self._frames else 0
        room = min(wanted, int(_MEMORY // max(_DECODED * frame.nbytes, 1)))
        beyond = 0 if self._searcher is None else _SEARCHED
        self._settle(len(self._waiting) - beyond)
        while len(self._waiting) > room + beyond:
            yield self._leave()

    def _search(self, waiting: _Waiting) -> None:
        try:
            waiting.found, waiting.detector_ms = self._pipeline.find(
                waiting.frame, stamp_ns=waiting.stamp_ns)
        except DeidError as error:
            waiting.error = error

    def _settle(self, count: int) -> None:
        """Have the first ``count`` of the waiting frames searched, and note what was found."""
        while self._noted < self._first + count:
            waiting = self._waiting[self._noted - self._first]
            if waiting.search is None:
                self._search(waiting)
            else:
                waiting.search.result()
            if waiting.error is None:
                self._note(waiting.found, self._noted)
            self._noted += 1

    def release(self) -> Iterator[tuple[Any, Processed | DeidError]]:
        """The frame that waits longest, now, with what was found so far."""
        if self._waiting:
            self._settle(len(self._waiting))
            yield self._leave()

    def flush(self) -> Iterator[tuple[Any, Processed | DeidError]]:
        """The frames that still wait, when there are no more."""
        self._settle(len(self._waiting))
        while self._waiting:
            yield self._leave()

    def _note(self, found: Any, index: int) -> None:
        if found.cut:
            self._cut = index
        for row in found.faces:
            track = int(row["track_id"])
            # A scene that begins with a face shows it in no frame before.
            if track > self._highest and index > self._cut:
                self._new[track] = _New(index, self._cut)
            new = self._new.get(track)
            if new is not None:
                new.sure |= track not in getattr(found, "doubtful", ())
                if len(new.rows) < _SPEED_FRAMES:
                    new.rows.append(row.copy())
        self._highest = max(self._highest, int(found.faces["track_id"].max(initial=0)))

    def _leave(self) -> tuple[Any, Processed | DeidError]:
        waiting, index = self._waiting.popleft(), self._first
        self._first += 1
        self._new = {track: new for track, new in self._new.items() if new.index > index}
        if waiting.error is not None:
            return waiting.token, waiting.error
        found = waiting.found
        ahead = [new for new in self._new.values() if new.sure
                 and new.scene <= index and new.index - index <= self._frames
                 and self._was_there(new, waiting)]
        if ahead:
            earlier = np.array([backwards(new.rows, new.index - index) for new in ahead])
            earlier = earlier[_visible(earlier, waiting.frame.shape)]
            found = replace(found, faces=np.concatenate([found.faces, earlier]))
        try:
            return waiting.token, self._pipeline.cover(
                waiting.frame, found, stamp_ns=waiting.stamp_ns, detector_ms=waiting.detector_ms)
        except DeidError as error:
            return waiting.token, error

    def _was_there(self, new: _New, leaving: _Waiting) -> bool:
        """Whether the detector saw something of a new face on the way back to this frame."""
        unseen = 0
        before = [leaving, *self._waiting][:new.index - self._first + 1]
        for frames, waiting in enumerate(reversed(before), start=1):
            hints = getattr(waiting.found, "hints", None)
            if hints is None:
                continue
            place = boxes_of(backwards(new.rows, frames)[None])
            unseen = 0 if (iou(hints, place) > _HINT).any() else unseen + 1
            if unseen > _UNSEEN:
                return False
        return True


def backwards(rows: list[np.ndarray], frames: int) -> np.ndarray:
    """One row of ``FACE`` for where a face was, ``frames`` before the first of ``rows``.

    Args:
        rows: the first rows of a track, one a frame; at least one.
    """
    row = rows[0].copy()
    boxes = np.concatenate([boxes_of(each[None]) for each in rows]).astype(np.float64)
    middles, size = boxes[:, :2] + boxes[:, 2:] / 2, boxes[0, 2:]
    speed = np.zeros(2)
    if len(rows) > 1:
        speed = np.median(np.diff(middles, axis=0), axis=0)
        speed = np.clip(speed, -_FASTEST * size, _FASTEST * size)
    size = size * (1 + _GROWTH * frames) + 0.3 * frames * np.abs(speed)
    low = middles[0] - frames * speed - size / 2
    row["x_offset"], row["y_offset"] = np.floor(low)
    row["width"], row["height"] = np.ceil(low + size) - np.floor(low)
    row["carried"], row["trusted"], row["chip"] = 1, 0, CHIP_NONE
    return row


def _visible(faces: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    box = boxes_of(faces)
    return ((box[:, 0] < shape[1]) & (box[:, 1] < shape[0])
            & (box[:, 0] + box[:, 2] > 0) & (box[:, 1] + box[:, 3] > 0))
