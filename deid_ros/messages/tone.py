"""16-bit values as the detector is to see them, the same for bags, live topics and pictures.

Cameras fill 10 to 14 of 16 bits, and single pixels are stuck at the highest value. The
window is therefore taken from percentiles. Where a few values, as a stuck column or a
lamp, still make that window much wider than most of the picture needs, half of the
curve follows how often each value occurs: neither the many dark pixels nor a few bright
ones then lose their contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Tone", "tone_of"]

_ENDS = (0.001, 0.999)      # share of the values below the window's ends
_MOST = (0.25, 0.75)      # what half of the values lie between
_WIDE = 12.0                # a window this many times wider than that has outliers
_LEAST = 255                # least width of a window: noise is not made a picture
_STEP = 3                   # every third row and column; odd, so that Bayer colours mix


@dataclass(frozen=True, slots=True)
class Tone:
    """A rising curve from 16 to 8 bits and back.

    ``curve`` uint8 (65536,): the shown level of each value. ``levels`` uint16 (256,):
    the value of each shown level.
    """

    curve: np.ndarray
    levels: np.ndarray

    def shown(self, values: np.ndarray) -> np.ndarray:
        """uint16 of any shape and byte order as uint8."""
        return self.curve[values.astype(np.uint16, copy=False)]

    def stored(self, shown: np.ndarray) -> np.ndarray:
        """uint8 as shown, back as uint16."""
        return self.levels[shown]


def tone_of(values: np.ndarray) -> Tone:
    """The curve for a picture.

    Args:
        values: uint16 (H, W) or (H, W, C), of any byte order.
    """
    step = _STEP if min(values.shape[:2]) >= 16 * _STEP else 1
    sample = values[::step, ::step].astype(np.uint16, copy=False)
    share = np.cumsum(np.bincount(sample.reshape(-1), minlength=65536)) / max(sample.size, 1)
    low, high = (int(np.searchsorted(share, end)) for end in _ENDS)
    most = np.subtract(*np.searchsorted(share, _MOST[::-1])).clip(_LEAST)
    wide = high - low > _WIDE * most
    high = max(high, low + _LEAST)
    level = np.clip((np.arange(65536) - low) / (high - low), 0.0, 1.0)
    if wide:
        level = (level + share) / 2
    curve = np.rint(255 * level)
    return Tone(curve.astype(np.uint8),
                np.searchsorted(level, np.arange(256) / 255).clip(0, 65535).astype(np.uint16))
