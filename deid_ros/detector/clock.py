"""How much time lies between two frames, and whether the scene was cut."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

__all__ = ["CutDetector", "FrameClock"]


class FrameClock:
    """Frames and seconds since the previous frame, from stamps that may be useless.

    Stamps may be all zero, repeat, or jump back when a bag loops: such a step
    counts as one frame of the usual length.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._steps: deque[int] = deque(maxlen=15)   # ns

    def step(self, stamp_ns: int) -> tuple[float, float]:
        """``(frames, seconds)`` since the previous call; 0.25 to 5 frames."""
        last, self._last = self._last, int(stamp_ns)
        difference = 0 if last is None else self._last - last
        if difference > 0:
            self._steps.append(difference)
        period = float(np.median(self._steps)) if self._steps else 1e9 / 30.0
        frames = min(max(difference / period, 0.25), 5.0) if difference > 0 else 1.0
        return frames, frames * min(period, 1e9) / 1e9


class CutDetector:
    """Notices that a frame shows another scene than the one before.

    Compares grey thumbnails of 32x24 by correlation, which neither a lamp
    switched on nor a slow pan brings down.

    Args:
        limit: correlation below which the scene is another one.
    """

    def __init__(self, *, limit: float = 0.4) -> None:
        self.limit = limit
        self._thumbnail: np.ndarray | None = None
        self._shape: tuple[int, ...] = ()

    def changed(self, frame: np.ndarray) -> bool:
        """Whether ``frame`` (BGR uint8) begins another scene; False for the first one."""
        # Every so many pixels, picked, then averaged: exact enough and free.
        step = max(min(frame.shape[:2]) // 96, 1)
        picked = cv2.resize(frame, (-(-frame.shape[1] // step), -(-frame.shape[0] // step)),
                            interpolation=cv2.INTER_NEAREST)
        grey = cv2.cvtColor(picked, cv2.COLOR_BGR2GRAY)
        small = cv2.resize(grey, (32, 24), interpolation=cv2.INTER_AREA).astype(np.float32)
        small -= small.mean()
        before, shape = self._thumbnail, self._shape
        self._thumbnail, self._shape = small, frame.shape[:2]
        if before is None:
            return False
        if shape != frame.shape[:2]:
            return True
        energy = float(np.sqrt((small ** 2).sum() * (before ** 2).sum()))
        # Two flat frames (a covered lens) are the same scene: less than two grey
        # levels of variation say nothing.
        if energy < 4.0 * small.size:
            return max(float(np.abs(small).max()), float(np.abs(before).max())) > 20.0
        return float((small * before).sum()) / energy < self.limit
