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
    weights = np.asarray(weights, np.float32)
    level = cv2.merge([*(cv2.multiply(plane, weights) for plane in cv2.split(values)), weights])
    pyramid = [level]
    while max(level.shape[:2]) > 1:
        # Twice the weight per level: sparse samples along a line become solid.
        level = cv2.pyrDown(level)
        level = _times(level, np.minimum(2.0, 1.0 / np.maximum(level[..., 3], 1e-6)))
        pyramid.append(level)
    filled = pyramid[-1] / np.maximum(pyramid[-1][..., 3:], 1e-6)
    for level in reversed(pyramid[:-1]):
        up = cv2.pyrUp(filled, dstsize=(level.shape[1], level.shape[0]))
        filled = cv2.add(level, _times(up, 1.0 - level[..., 3]))
    return cv2.merge(cv2.split(filled)[:3])


def _times(image: np.ndarray, factor: np.ndarray) -> np.ndarray:
    # OpenCV multiplies equal channels faster than numpy broadcasts.
    return cv2.multiply(image, cv2.merge([factor] * image.shape[2]))


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
    total = cv2.blur(_times(values, weights), kernel, borderType=border)
    weight = cv2.blur(weights, kernel, borderType=border)
    return cv2.divide(total, cv2.merge([cv2.max(weight, 1e-6)] * 3)), weight
