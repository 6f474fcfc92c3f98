"""Steadying the mesh through time without making it late.

Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter
for Noisy Input in Interactive Systems", CHI 2012: a low-pass filter whose
cut-off rises with the speed of the signal, so that a still face does not
tremble and a moving one is not left behind.
"""

from __future__ import annotations

import numpy as np

__all__ = ["MeshSmoother", "OneEuro"]


def _weight(cutoff: np.ndarray | float, seconds: float) -> np.ndarray | float:
    """Weight of the new sample in a first-order low-pass of ``cutoff`` Hz."""
    r = 2.0 * np.pi * cutoff * seconds
    return r / (r + 1.0)


class OneEuro:
    """The filter for arrays of any fixed shape, each element by itself.

    Args:
        min_cutoff: Hz, for a still signal.
        beta: Hz per unit of speed (signal's unit per second).
        speed_cutoff: Hz, of the low-pass on the speed.
    """

    def __init__(self, *, min_cutoff: float, beta: float, speed_cutoff: float = 2.0) -> None:
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self._value: np.ndarray | None = None
        self._speed: np.ndarray | float = 0.0

    def __call__(self, value: np.ndarray, seconds: float) -> np.ndarray:
        """The smoothed value, ``seconds`` (> 0) after the previous one."""
        value = np.asarray(value, np.float64)
        if self._value is None:
            self._value = value
            return value
        self._speed += _weight(self.speed_cutoff, seconds) * (
            (value - self._value) / seconds - self._speed)
        cutoff = self.min_cutoff + self.beta * np.abs(self._speed)
        self._value = self._value + _weight(cutoff, seconds) * (value - self._value)
        return self._value


class MeshSmoother:
    """Steadies one face's mesh (468, 3): its place, its size and its form apart.

    The place follows fast, in units of the face's size; the form, where pose and
    expression show, is smoothed after place and size are taken out, so that a
    walk through the image neither blurs it nor stiffens it.
    """

    def __init__(self) -> None:
        self._center = OneEuro(min_cutoff=3.0, beta=25.0)
        self._size = OneEuro(min_cutoff=1.5, beta=15.0)
        self._form = OneEuro(min_cutoff=2.5, beta=12.0)
        self._unit = 1.0

    def __call__(self, mesh: np.ndarray, seconds: float) -> np.ndarray:
        """The steadied mesh, float32 (468, 3) px, ``seconds`` after the previous one."""
        center = mesh.mean(axis=0, dtype=np.float64)
        form = mesh - center
        size = max(float(np.sqrt((form[:, :2] ** 2).sum(axis=1).mean())), 1e-3)
        form /= size
        seconds = max(seconds, 1e-3)
        # Positions are filtered in face sizes of about now: the same trembling
        # and the same walk then look the same near and far. The unit changes
        # slowly, and a change rescales what the filter remembers.
        if self._center._value is None:
            self._unit = size
        ratio = self._unit / size
        if not 0.9 < ratio < 1.1:
            self._rescale(ratio)
            self._unit = size
        center = self._center(center / self._unit, seconds) * self._unit
        size = float(np.exp(self._size(np.log(size), seconds)))
        form = self._form(form, seconds)
        return (form * size + center).astype(np.float32)

    def _rescale(self, ratio: float) -> None:
        self._center._value = self._center._value * ratio
        self._center._speed = self._center._speed * ratio

    def shift(self, dx: float, dy: float) -> None:
        """Move what is remembered, when the face was carried by its motion."""
        if self._center._value is not None:
            self._center._value = self._center._value + np.array([dx, dy, 0.0]) / self._unit
