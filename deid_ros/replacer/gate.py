"""Where a surrogate may show: over skin, and over all that makes a face.

The rim of a face is often not skin at all: hair falls over temples and cheeks, a
hat or a collar cuts the outline. Painting skin over it looks like a mask held
before the head. So the features and the middle of the face are covered whatever
their colour, and the rim where it has the colour of the face's skin.
"""

from __future__ import annotations

import cv2
import numpy as np

from deid_ros.replacer.colour import median

__all__ = ["skin_gate"]

#: The part of the way from the middle of the face to its outline up to which it is always
#: covered, and the part where, over hair, nothing of the surrogate is left: in between it
#: fades, as skin does under the first strands.
_ALWAYS, _NOTHING = 0.8, 1.0

_STEPS = 6
_SHRUNK = np.linspace(_NOTHING, _ALWAYS, _STEPS + 1)[1:]
# Luminance, blue less luminance, red less luminance; least spread of each in levels.
_OPPONENT = np.array([[0.114, 0.886, -0.114], [0.587, -0.587, -0.587],
                      [0.299, -0.299, 0.701]], np.float32)
_NARROW = np.array([14.0, 5.0, 5.0], np.float32)
# Squared distances (in spreads) that are surely and that are no longer skin.
_SURE, _NEVER = 9.0, 20.0


def skin_gate(source: np.ndarray, skin: np.ndarray, hull: np.ndarray,
              landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of the surrogate may show in each cell, and how like skin each is.

    Args:
        source: BGR uint8 (h, w, 3), the frame around the face on the grid.
        skin: float32 (h, w), where cheeks, nose and forehead are.
        hull: float32 (n, 2), the outline of the face in cells, convex.
        landmarks: float32 (68, 2) in cells.

    Returns:
        Two float32 (h, w), 0..1.
    """
    shape = source.shape[:2]
    fading = _fading(hull, shape)
    # No feature is ever left, however near the outline the head's turn puts it.
    features = np.zeros(shape, np.uint8)
    inner = cv2.convexHull(np.round(landmarks[17:]).astype(np.int32))
    cv2.fillConvexPoly(features, inner, 1)
    size = max(1, round(0.10 * float(np.linalg.norm(landmarks[45] - landmarks[36]))))
    features = cv2.dilate(features, np.ones((2 * size + 1,) * 2, np.uint8))
    soft = cv2.GaussianBlur(np.maximum(fading, features).astype(np.float32), (0, 0), 1.2)
    surely = np.maximum(soft, features)
    values = source.astype(np.float32) @ _OPPONENT
    # The outline may hold hair; between eyes and mouth there is skin for certain.
    centre = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(centre, np.round(landmarks[[36, 45, 54, 48]]).astype(np.int32), 1)
    sample = values[(skin > 0.5) & (centre > 0)]
    if len(sample) < 12:
        return np.ones(shape, np.float32), np.ones(shape, np.float32)
    middle = median(sample)
    spread = np.maximum(2.2 * median(np.abs(sample - middle)), _NARROW)
    apart = (values - middle) / spread
    apart *= apart
    far = apart[..., 0] + apart[..., 1] + apart[..., 2]
    likely = np.clip((_NEVER - far) / (_NEVER - _SURE), 0, 1)
    likely = cv2.GaussianBlur(cv2.medianBlur(np.uint8(255 * likely), 3), (0, 0), 0.8)
    likely = likely.astype(np.float32) / 255
    return np.maximum(surely, likely), likely


def _fading(hull: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """float32 (h, w): from 0 at an outline (n, 2) in steps to 1 within, towards its middle."""
    middle = (hull.min(0) + hull.max(0)) / 2
    out = np.zeros(shape, np.uint8)
    # Each step lies within those before.
    for number, step in enumerate(_SHRUNK, start=1):
        points = np.round(middle + step * (hull - middle)).astype(np.int32)
        cv2.fillConvexPoly(out, cv2.convexHull(points), number)
    return out.astype(np.float32) / _STEPS
