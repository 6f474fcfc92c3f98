"""Bending the surroundings of a face to the outline of its surrogate.

A mask ends at the jaw, and the jaw itself then stays the source's: a recogniser that
saw nothing but landmarks found 8 of 88 people by it. So neck, collar and background
next to the jaw are moved in or out by a few pixels until they meet the surrogate's
jaw; the movement is largest at the outline and dies away with the distance.
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["REACH", "Outline"]

#: The bend ends at this part of the outline's radius outside of it.
REACH = 0.35

_ANGLES = 96                  # directions in which the outline is known
_NARROWEST, _WIDEST = 0.82, 1.22   # of the source's radius that the surrogate's may be
_SMOOTH = 3.0                 # directions over which the ratio is smoothed
_OPAQUE = 0.97                # of the alpha that is still face
_STILL = 0.02                 # cells: less is no movement


class Outline:
    """The movement for one face, in cells of the grid of ``compose``.

    Args:
        alpha: float32 (h, w), 0..1, the surrogate's mask.
        landmarks: float32 (68, 2), the source's.
        strength: 0..1, how much of the way is gone.
    """

    def __init__(self, alpha: np.ndarray, landmarks: np.ndarray, *, strength: float = 1.0) -> None:
        jaw = landmarks[:17].astype(np.float64)
        self._middle = landmarks[27:31].mean(0).astype(np.float64)
        angles = (np.arange(_ANGLES) + 0.5) / _ANGLES * 2 * np.pi
        source = _jaw_radius(jaw - self._middle, angles)
        target = _mask_radius(alpha, self._middle, angles)
        known = (source > 0) & (target > 0)
        ratio = np.where(known, target / np.maximum(source, 1e-6), 1.0)
        ratio = 1 + strength * (np.clip(ratio, _NARROWEST, _WIDEST) - 1)
        # Above the ears the outline is hair; the bend fades out on the way there.
        kernel = np.exp(-0.5 * (np.arange(-9, 10) / _SMOOTH) ** 2)
        around = np.concatenate([ratio[-9:], ratio, ratio[:9]])
        self._ratio = np.convolve(around, kernel / kernel.sum(), "valid")
        self._source = np.where(known, source, np.where(target > 0, target, 1.0))
        self._angles = angles

    def _at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Offsets from the middle, their length, and outline and ratio in their direction."""
        dx, dy = x - self._middle[0], y - self._middle[1]
        length = np.sqrt(dx * dx + dy * dy)
        place = (np.arctan2(dy, dx) * (_ANGLES / (2 * np.pi)) - 0.5) % _ANGLES
        below = place.astype(np.intp)
        part = place - below
        source, ratio = (
            around.take(below) + part * steps.take(below)
            for around, steps in ((np.append(table, table[:1]), np.diff(table, append=table[:2]))
                                  for table in (self._source, self._ratio)))
        return dx, dy, length, source, ratio

    def forward(self, points: np.ndarray) -> np.ndarray:
        """Where points (n, 2) of the source are moved to."""
        x, y = np.asarray(points, np.float64).T
        dx, dy, length, inner, ratio = self._at(x, y)
        moved, outer = inner * ratio, inner * np.maximum(ratio, 1) * (1 + REACH)
        beyond = moved + (length - inner) * (outer - moved) / (outer - inner)
        new = np.where(length <= inner, length * ratio, np.where(length < outer, beyond, length))
        farther = new / np.maximum(length, 1e-9)
        return self._middle + np.stack([dx * farther, dy * farther], axis=-1)

    def backward(self, shape: tuple[int, int]) -> np.ndarray:
        """For every cell (h, w), how far away what is moved there was: float32 (h, w, 2)."""
        dx, dy, length, inner, ratio = self._at(np.arange(shape[1])[None],
                                                np.arange(shape[0])[:, None])
        moved, outer = inner * ratio, inner * np.maximum(ratio, 1) * (1 + REACH)
        beyond = inner + (length - moved) * (outer - inner) / (outer - moved)
        old = np.where(length <= moved, length / ratio, np.where(length < outer, beyond, length))
        farther = old / np.maximum(length, 1e-9) - 1
        shift = cv2.merge([(dx * farther).astype(np.float32), (dy * farther).astype(np.float32)])
        shift[(np.abs(shift[..., 0]) < _STILL) & (np.abs(shift[..., 1]) < _STILL)] = 0
        return shift


def _jaw_radius(jaw: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """The distance (a,) of the jaw's line (17, 2) in each direction; 0 where it is not."""
    rays = np.array([np.cos(angles), np.sin(angles)])
    x, y = jaw[:-1].T[..., None]
    across, down = np.diff(jaw, axis=0).T[..., None]
    cross = rays[0] * down - rays[1] * across            # (16, a)
    cross[np.abs(cross) < 1e-9] = 1e-9
    along = (x * down - y * across) / cross
    part = (x * rays[1] - y * rays[0]) / cross
    hit = (part >= 0) & (part <= 1) & (along > 0)
    return np.where(hit, along, 0).max(axis=0)


def _mask_radius(alpha: np.ndarray, middle: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """How far the face reaches in each direction (a,), in cells; 0 where it is not."""
    reach = int(np.hypot(*alpha.shape)) + 1
    steps = np.arange(0, reach, 0.5, dtype=np.float32)
    xs = (middle[0] + np.cos(angles)[:, None] * steps).astype(np.float32)
    ys = (middle[1] + np.sin(angles)[:, None] * steps).astype(np.float32)
    along = cv2.remap(alpha, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    inside = along > _OPAQUE
    last = steps[inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)]
    return np.where(inside.any(axis=1), last, 0).astype(np.float64)
