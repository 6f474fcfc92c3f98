"""The tracks of pictures of a video, one frame after another, in the order of their times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np

__all__ = ["Tracks", "track_name"]

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
