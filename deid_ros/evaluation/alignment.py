"""Aligned pictures of a face, as recognisers other than dlib's want them."""

from __future__ import annotations

import numpy as np

__all__ = ["ARCFACE", "aligned", "five_points", "similarity"]

#: Where a 112 px picture has eyes, tip of the nose and corners of the mouth, by
#: the convention of ArcFace (Deng et al., CVPR 2019) and most that came after.
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366],
                    [41.5493, 92.3655], [70.7299, 92.2041]])


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Eyes, tip of the nose and corners of the mouth of 68 points (68, 2): (5, 2)."""
    points = np.asarray(landmarks, np.float64)
    return np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30],
                     points[48], points[54]])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The turn, scale and shift that brings points (n, 2) nearest to others: (2, 3).

    Least squares; points that all lie in one place give a shift alone.
    """
    a, b = (np.asarray(points, np.float64) @ (1, 1j) for points in (source, target))
    from_middle = a - a.mean()
    size = (abs(from_middle) ** 2).sum()
    turn = (from_middle.conj() * (b - b.mean())).sum() / size if size > 1e-9 else 1.0 + 0j
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def aligned(frame: np.ndarray, points: np.ndarray, target: np.ndarray,
            size: tuple[int, int]) -> np.ndarray:
    """The picture in which ``points`` (n, 2) come to lie at ``target`` (n, 2).

    Args:
        frame: uint8 (H, W, 3).
        size: width, height of the result (px).

    Returns:
        uint8 (height, width, 3); the frame's edge goes on where it ends.
    """
    import cv2

    points = np.asarray(points, np.float64)
    scale = float(np.hypot(*similarity(points, target)[:, 0]))
    if scale < 1 and min(frame.shape[:2]) * scale > 8:
        # A warp takes single pixels: what is to become smaller is averaged first.
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        ratio = np.array(small.shape[1::-1]) / frame.shape[1::-1]
        frame, points = small, (points + 0.5) * ratio - 0.5
    return cv2.warpAffine(frame, similarity(points, target), size, flags=cv2.INTER_LINEAR,
                          borderMode=cv2.BORDER_REPLICATE)
