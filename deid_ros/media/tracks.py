"""The tracks of pictures of a video: the times of frames, and frames in the order of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np

__all__ = ["Times", "Tracks", "track_name"]

_ANEW = 5       # frames by which time goes backwards where recordings were joined

#: Pixels, time in units of the track, and the frame as it was decoded.
_Head = tuple[np.ndarray, int, av.VideoFrame]


class Tracks:
    """The frames of several ``VideoReader`` objects, merged by their times.

    Attributes:
        heads: of each reader the frame that comes next, None where there is none.
    """

    def __init__(self, readers: Sequence[Any]) -> None:
        self._readers = readers
        self._iterators: list[Iterator[_Head]] = [iter(reader) for reader in readers]
        self.heads: list[_Head | None] = [next(each, None) for each in self._iterators]

    def __iter__(self) -> Iterator[tuple[int, _Head]]:
        """(number of the reader, frame)."""
        while True:
            times = [(head[1] * self._readers[number].time_base, number)
                     for number, head in enumerate(self.heads) if head is not None]
            if not times:
                return
            number = min(times)[1]
            head = self.heads[number]
            assert head is not None
            yield number, head
            self.heads[number] = next(self._iterators[number], None)


def track_name(number: int, count: int) -> str | None:
    """What the frames of a track are called in the evidence; the only one has no name."""
    return f"track {number + 1}" if count > 1 else None


class Times:
    """The time of each frame, where a container gives wrong ones or none.

    As FFmpeg's own best effort: of presentation and decoding stamps those that
    went backwards less often. AVI, for one, has no presentation stamps. Where recordings
    were joined and time begins anew, it goes on from the last frame.
    """

    def __init__(self, step: int) -> None:
        self._step, self._last, self._offset = step, None, 0
        self._pts, self._dts, self._bad_pts, self._bad_dts = -(1 << 62), -(1 << 62), 0, 0

    def next(self, frame: av.VideoFrame) -> int:
        """The time of the next frame, in units of its stream."""
        pts, dts = frame.pts, frame.dts
        if dts is not None:
            self._bad_dts += dts <= self._dts
            self._dts = dts
        if pts is not None:
            self._bad_pts += pts <= self._pts
            self._pts = pts
        chosen = pts if pts is not None and (dts is None or self._bad_pts <= self._bad_dts) else dts
        if self._offset and chosen is not None and chosen > self._last:
            self._offset = 0    # one wrong stamp, and no other recording
        if chosen is not None:
            chosen += self._offset
        if self._last is not None:
            if chosen is not None and chosen < self._last - _ANEW * self._step:
                self._offset += self._last + self._step - chosen
                chosen = self._last + self._step
            chosen = self._last + self._step if chosen is None else max(chosen, self._last + 1)
        self._last = chosen or 0
        return self._last
