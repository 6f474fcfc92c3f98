"""What the back ends share: checking frames, shrinking them, fitting boxes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from deid_ros.errors import FrameError, ModelError

__all__ = ["check_frame", "fit_box", "import_dlib", "shrink"]


def check_frame(frame: Any) -> np.ndarray:
    """The frame itself, if it is what every detector takes.

    Raises:
        FrameError: not a uint8 array (H, W, 3) with H, W >= 1.
    """
    if (not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3
            or frame.shape[2] != 3 or 0 in frame.shape):
        got = (f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray)
               else type(frame).__name__)
        raise FrameError("A frame must be a BGR uint8 array (H, W, 3) of at least one pixel, "
                         f"got {got}; convert the image first.")
    return frame


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image uint8 (H, W, 3) at a smaller ``size`` (width, height).

    Halved as often as it goes, then sampled bilinearly: OpenCV averages in one uneven
    step five times slower, and networks see no difference.
    """
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1]:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        image = cv2.resize(image[:2 * height, :2 * width], (width, height),
                           interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def import_dlib() -> Any:
    """The module dlib, imported where it is needed.

    Raises:
        ModelError: it is not installed.
    """
    try:
        import dlib
    except ImportError as error:
        raise ModelError(f"dlib cannot be imported ({error}); bring it with: "
                         "pip install dlib-bin") from None
    return dlib


def fit_box(boxes: np.ndarray, angles: np.ndarray | float,
            fit: tuple[float, float, float, float]) -> np.ndarray:
    """Bring one back end's boxes to the box that all of them answer with.

    Args:
        boxes: (N, 4) x, y, width, height as the network was trained.
        angles: (N,) in-plane rotation of the faces, degrees clockwise, or 0.
        fit: shift right and down in parts of the box's width and height, in the
            axes of the upright face; factors of width and height.

    Returns:
        float64 (N, 4).
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    right, down, wide, high = fit
    turn = np.radians(np.broadcast_to(angles, len(boxes)))
    shift = np.stack([right * np.cos(turn) - down * np.sin(turn),
                      right * np.sin(turn) + down * np.cos(turn)], axis=-1)
    center = boxes[:, :2] + boxes[:, 2:] * (0.5 + shift)
    extent = boxes[:, 2:] * (wide, high)
    return np.concatenate([center - extent / 2, extent], axis=1)
