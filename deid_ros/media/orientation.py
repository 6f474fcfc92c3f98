"""Which way up a video is shown: the display matrix of its container."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.sidedata.sidedata import SideDataContainer

__all__ = ["DisplayTurn"]


# a, b, c, d of quarter turns, anticlockwise.
_QUARTERS = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))


def _matrix(frame: Any) -> tuple[int, ...]:
    """a, b, c, d of the display matrix; where it is all zero, it says nothing."""
    try:
        # A frame that is asked for it keeps it, and is kept by it: memory would fill with
        # frames that nobody needs, until Python looks for such cycles.
        entries = list(SideDataContainer(frame))
    except ValueError:   # a kind that PyAV has no name for; it still knows the turn
        return _QUARTERS[round(frame.rotation / 90) % 4]
    for entry in entries:
        if entry.type.name == "DISPLAYMATRIX":
            numbers = np.frombuffer(bytes(entry), np.int32)[[0, 1, 3, 4]].astype(np.int64)
            if numbers.any():
                return tuple(int(number) for number in numbers)
    return _QUARTERS[0]


class DisplayTurn:
    """Turns and mirrors frames as players do (ISO/IEC 14496-12, 6.2.2).

    Args:
        frame: a decoded frame, whose side data has the matrix, if there is one.

    Attributes:
        swapped: whether width and height change places.
    """

    def __init__(self, frame: Any) -> None:
        a, b, c, d = _matrix(frame)
        self.swapped = abs(b) + abs(c) > abs(a) + abs(d)
        # A point (x, y) is shown at (a x + c y, b x + d y).
        self._across, self._down = (c < 0, b < 0) if self.swapped else (a < 0, d < 0)

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) as it is shown, contiguous."""
        if self.swapped:
            pixels = pixels.swapaxes(0, 1)
        if self._across:
            pixels = pixels[:, ::-1]
        if self._down:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)
