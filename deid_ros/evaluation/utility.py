"""What an anonymised picture is still good for: pure functions on arrays.

Landmarks are float (68, 2) in pixels in the iBUG order; boxes are x, y, width,
height in pixels; images are uint8 (H, W, 3) BGR. Where a face has no counterpart
in the output, the values say so in the worst way: infinite errors, zero sharpness.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "best_overlap", "eye_distance", "eye_opening", "face_region", "grow_boxes",
    "jitter", "landmark_error", "mouth_opening", "outside_change", "outside_likeness", "overlaps",
    "pose_difference", "sharpness", "sharpness_ratio", "shape_points",
]

#: Pairs of (upper, lower) points of the iBUG order whose gap is an opening.
_MOUTH = ((61, 67), (62, 66), (63, 65))
_EYES = ((37, 41), (38, 40), (43, 47), (44, 46))
_OUTER_EYES = (36, 45)

#: Jaw, brows and nose: what is left of a face without the points that eyelids
#: and mouth move.
shape_points = np.arange(0, 36)


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box (4,) with boxes (N, 4): float (N,)."""
    a = np.asarray(box, np.float64)
    b = np.asarray(boxes, np.float64).reshape(-1, 4)
    low = np.maximum(a[:2], b[:, :2])
    high = np.minimum(a[:2] + a[2:], b[:, :2] + b[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    union = a[2:].prod() + b[:, 2:].prod(axis=1) - common
    return common / np.maximum(union, 1e-9)


def best_overlap(box: np.ndarray, boxes: np.ndarray) -> tuple[int, float]:
    """The row of ``boxes`` (N, 4) that overlaps ``box`` most, and how much; (-1, 0.0)
    where there are none."""
    shared = overlaps(box, boxes)
    if not len(shared):
        return -1, 0.0
    row = int(shared.argmax())
    return row, float(shared[row])


def eye_distance(landmarks: np.ndarray) -> float:
    """The distance between the outer eye corners (px)."""
    left, right = (np.asarray(landmarks, np.float64)[i] for i in _OUTER_EYES)
    return float(np.linalg.norm(right - left))


def landmark_error(original: np.ndarray, output: np.ndarray | None) -> float:
    """Mean distance of 68 points to the original's, in the original's eye distances.

    Infinite where there is no output.
    """
    if output is None:
        return float("inf")
    distance = np.linalg.norm(np.asarray(output, np.float64) - original, axis=1).mean()
    return float(distance / max(eye_distance(original), 1e-6))


def _gap(landmarks: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> float:
    points = np.asarray(landmarks, np.float64)
    gaps = [np.linalg.norm(points[lower] - points[upper]) for upper, lower in pairs]
    return float(np.mean(gaps) / max(eye_distance(points), 1e-6))


def mouth_opening(landmarks: np.ndarray) -> float:
    """The gap between the inner lips in eye distances."""
    return _gap(landmarks, _MOUTH)


def eye_opening(landmarks: np.ndarray) -> float:
    """The gap between the eyelids in eye distances, mean of both eyes."""
    return _gap(landmarks, _EYES)


def pose_difference(original: np.ndarray, output: np.ndarray | None) -> np.ndarray:
    """Absolute difference of yaw, pitch and roll, (3,) each, degrees in 0..180.

    Infinite where there is no output.
    """
    if output is None:
        return np.full(3, np.inf)
    turn = (np.asarray(output, np.float64) - original + 180) % 360 - 180
    return np.abs(turn)


def face_region(landmarks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The hull of the landmarks (jaw to brows): bool (H, W).

    Args:
        size: height, width of the frame (px).
    """
    import cv2

    mask = np.zeros(size, np.uint8)
    hull = cv2.convexHull(np.asarray(landmarks, np.float32))[:, 0]
    cv2.fillConvexPoly(mask, np.clip(np.rint(hull), -1e5, 1e5).astype(np.int32), 1)
    return mask.astype(bool)


def sharpness(frame: np.ndarray, region: np.ndarray) -> float:
    """Variance of the Laplacian of the grey levels inside a region (levels squared).

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """
    import cv2

    if not region.any():
        return float("nan")
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F)[region].var())


def sharpness_ratio(original: np.ndarray, output: np.ndarray | None,
                    region: np.ndarray) -> float:
    """The output's sharpness in a region as a part of the original's; 0 without output.

    NaN where the original is flat there or the region is empty.
    """
    before = sharpness(original, region)
    if np.isnan(before) or before <= 0:
        return float("nan")
    return 0.0 if output is None else sharpness(output, region) / before


def grow_boxes(boxes: np.ndarray, part: float) -> np.ndarray:
    """Boxes (N, 4) grown by ``part`` of their width and height on every side."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    out = boxes.copy()
    out[:, :2] -= part * boxes[:, 2:]
    out[:, 2:] *= 1 + 2 * part
    return out


def _outside(size: tuple[int, int], boxes: np.ndarray | None,
             mask: np.ndarray | None) -> np.ndarray:
    """Where neither a box nor the mask lies: bool (H, W)."""
    outside = np.ones(size, bool)
    if mask is not None:
        outside &= np.asarray(mask) == 0
    for x, y, w, h in np.asarray([] if boxes is None else boxes, np.float64).reshape(-1, 4):
        rows = slice(max(int(np.floor(y)), 0), max(int(np.ceil(y + h)), 0))
        columns = slice(max(int(np.floor(x)), 0), max(int(np.ceil(x + w)), 0))
        outside[rows, columns] = False
    return outside


def outside_likeness(original: np.ndarray, output: np.ndarray | None, *,
                     boxes: np.ndarray | None = None, mask: np.ndarray | None = None) -> float:
    """Structural similarity of grey levels where no face was, 1 is unchanged.

    Wang et al., "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP, 2004, Gaussian window of 1.5 px. What is covered is left out
    of the mean, and is made alike first, so that it does not leak through the windows.

    Args:
        original, output, boxes, mask: as for ``outside_change``; no output is 0.

    Returns:
        NaN where everything is covered.
    """
    import cv2

    outside = _outside(original.shape[:2], boxes, mask)
    if not outside.any():
        return float("nan")
    if output is None:
        return 0.0
    same = np.where(outside[:, :, None], output, original)
    a, b = (cv2.cvtColor(i, cv2.COLOR_BGR2GRAY).astype(np.float64) for i in (original, same))

    def smooth(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (11, 11), 1.5)

    middle_a, middle_b = smooth(a), smooth(b)
    both = smooth(a * b) - middle_a * middle_b
    spread = smooth(a * a) - middle_a ** 2 + smooth(b * b) - middle_b ** 2
    light, contrast = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = ((2 * middle_a * middle_b + light) * (2 * both + contrast)
                / ((middle_a ** 2 + middle_b ** 2 + light) * (spread + contrast)))
    return float(likeness[outside].mean())


def jitter(track: np.ndarray) -> float:
    """How restless points are over time: median length of their second difference.

    Straight, even motion is 0; a point that jumps 1 px to and fro is 4 px.

    Args:
        track: float (T, n, 2), px or eye distances; frames of NaN are left out.

    Returns:
        In the unit of ``track``; NaN where no three frames follow one another.
    """
    track = np.asarray(track, np.float64)
    if len(track) < 3:
        return float("nan")
    second = np.linalg.norm(track[2:] - 2 * track[1:-1] + track[:-2], axis=2).mean(axis=1)
    return float(np.nanmedian(second)) if np.isfinite(second).any() else float("nan")


def outside_change(original: np.ndarray, output: np.ndarray | None, *,
                   boxes: np.ndarray | None = None,
                   mask: np.ndarray | None = None) -> tuple[float, float]:
    """How much a picture differs where no face was.

    Args:
        original, output: uint8 (H, W, 3) of one size; no output counts as all changed.
        boxes: (N, 4), covered boxes, and/or
        mask: (H, W), not 0 where covered.

    Returns:
        The share of pixels outside that differ in any channel, and the mean absolute
        difference outside (levels of 255). NaN where everything is covered.
    """
    outside = _outside(original.shape[:2], boxes, mask)
    if not outside.any():
        return float("nan"), float("nan")
    if output is None:
        return 1.0, 255.0
    difference = np.abs(original.astype(np.int16) - output)[outside]
    return float((difference > 0).any(axis=1).mean()), float(difference.mean())
