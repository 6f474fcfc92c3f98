"""Smooth surfaces through scattered samples, on small grids.

The gradient-domain step of the replacer needs the membrane that continues the
colours along a face's border across its inside: it is smooth, so a grid of some
eighty cells holds it, whatever the size of the face.
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["interpolate", "local_mean"]


def interpolate(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fill a grid smoothly from the cells that have a weight.

    The pull-push pyramid of Gortler et al., "The Lumigraph", SIGGRAPH 1996: an
    approximation of the Laplace membrane of Pérez et al., "Poisson image
    editing", SIGGRAPH 2003, in time linear in the number of cells.

    Args:
        values: float32 (h, w, 3); ignored where the weight is zero.
        weights: float32 (h, w), 0 (unknown) to 1 (given).

    Returns:
        float32 (h, w, 3); zero everywhere if no cell has a weight.
    """
    height, width = weights.shape
    level = np.empty((height, width, 4), np.float32)
    np.multiply(values, weights[..., None], out=level[..., :3])
    level[..., 3] = weights
    pyramid = [level]
    while max(level.shape[:2]) > 1:
        # Twice the weight per level: sparse samples along a line become solid.
        level = cv2.pyrDown(level)
        level *= np.minimum(2.0, 1.0 / np.maximum(level[..., 3:], 1e-6))
        pyramid.append(level)
    filled = pyramid[-1] / np.maximum(pyramid[-1][..., 3:], 1e-6)
    for level in reversed(pyramid[:-1]):
        up = cv2.pyrUp(filled, dstsize=(level.shape[1], level.shape[0]))
        up *= 1.0 - level[..., 3:]
        filled = level + up
    return np.ascontiguousarray(filled[..., :3])


def local_mean(values: np.ndarray, weights: np.ndarray,
               radius: int) -> tuple[np.ndarray, np.ndarray]:
    """The weighted mean of the cells nearby.

    Args:
        values: float32 (h, w, 3).
        weights: float32 (h, w), 0 to 1.
        radius: in cells.

    Returns:
        float32 (h, w, 3), the means, and float32 (h, w), the mean weight.
    """
    kernel = (2 * radius + 1, 2 * radius + 1)
    border = cv2.BORDER_CONSTANT
    total = cv2.blur(values * weights[..., None], kernel, borderType=border)
    weight = cv2.blur(weights, kernel, borderType=border)
    return total / np.maximum(weight, 1e-6)[..., None], weight
