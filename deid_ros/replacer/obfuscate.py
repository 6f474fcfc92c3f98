"""Cover a face without putting another in its place.

What remains of the face is a handful of numbers, whatever its size: one colour
(``solid``) or a few blocks (``pixelate``, ``blur``).
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["OBFUSCATIONS", "cover_region", "obfuscate"]

#: The obfuscations by name, the safest last.
OBFUSCATIONS = ("blur", "pixelate", "solid")

# The ellipse in a box misses its corners; grown by this it holds a turned face too.
_GROWTH = 1.12
# Blocks across the longer side of the covered region: recognisers need about twice
# as many pixels between the eyes alone.
_BLOCKS = 6
# A block is at least this large, so that a small face is not left as it was.
_LEAST_BLOCK = 4


def cover_region(box: np.ndarray, hull: np.ndarray | None,
                 shape: tuple[int, int]) -> tuple[int, int, np.ndarray]:
    """The pixels that hide a face: the grown ellipse of its box and its hull.

    Args:
        box: x, y, width, height (px); may reach beyond the frame.
        hull: float32 (n, 2) convex outline (px) where it is trusted, else None.
        shape: height and width of the frame.

    Returns:
        x, y (px) of the top left pixel and the mask uint8 (h, w), 255 where
        covered; (0, 0) pixels large if the region lies outside the frame.
    """
    x, y, w, h = (float(v) for v in box)
    axes = np.maximum([w, h], 1.0) / 2 * _GROWTH + 1.0
    centre = np.array([x + w / 2 - 0.5, y + h / 2 - 0.5])
    low, high = centre - axes, centre + axes
    if hull is not None:
        low, high = np.minimum(low, hull.min(0)), np.maximum(high, hull.max(0))
    limit = np.array([shape[1], shape[0]])
    x0, y0 = np.clip(np.floor(low) - 1, 0, limit).astype(int)
    x1, y1 = np.clip(np.ceil(high) + 2, 0, limit).astype(int)
    if x1 <= x0 or y1 <= y0:
        return int(x0), int(y0), np.zeros((0, 0), np.uint8)
    dx = (np.arange(x0, x1) - centre[0]) / axes[0]
    dy = (np.arange(y0, y1) - centre[1]) / axes[1]
    mask = ((dx * dx)[None] + (dy * dy)[:, None] <= 1.0).astype(np.uint8) * 255
    if hull is not None:
        fill_polygon(mask, hull - (x0, y0), 255)
    return int(x0), int(y0), mask


def fill_polygon(mask: np.ndarray, points: np.ndarray, value: float,
                 line: int = 2) -> None:
    """Fill a convex polygon (n, 2), with its outline drawn ``line`` pixels wide."""
    outline = np.clip(np.round(points), -30000, 30000).astype(np.int32)
    cv2.fillConvexPoly(mask, outline, value)
    cv2.polylines(mask, [outline], True, value, line)


def obfuscate(image: np.ndarray, how: str, mask: np.ndarray) -> np.ndarray:
    """A covered version of a cut-out; only what ``mask`` marks is to be used.

    Args:
        image: BGR uint8 (h, w, 3), the surroundings of a face; not modified.
        how: one of ``OBFUSCATIONS``.
        mask: uint8 (h, w), 255 on the face.

    Returns:
        uint8 (h, w, 3).
    """
    height, width = mask.shape
    if how == "solid":
        colour = cv2.mean(image, mask)[:3]
        return np.broadcast_to(np.round(colour).astype(np.uint8), image.shape).copy()
    block = max(max(height, width) / _BLOCKS, _LEAST_BLOCK)
    across, down = max(1, round(width / block)), max(1, round(height / block))
    small = cv2.resize(image, (across, down), interpolation=cv2.INTER_AREA)
    if how == "pixelate":
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    small = cv2.GaussianBlur(small, (3, 3), 0.6, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
