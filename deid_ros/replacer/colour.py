"""Give a surrogate the colours and the light of the face it replaces.

Only quantities of low order pass from the source: a mean colour, a contrast, and
a light that changes over the face like a polynomial of second degree. None of
them can carry the features of the source.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["ColourFit", "eye_cells", "fit_colour", "skin_cells"]

#: Weights of blue, green, red in the luminance (ITU-R BT.601).
_LUMA = np.array([0.114, 0.587, 0.299], np.float32)

# To luminance, blue less luminance, red less luminance.
_OPPONENT = np.stack([_LUMA, np.array([1, 0, 0], np.float32) - _LUMA,
                      np.array([0, 0, 1], np.float32) - _LUMA], axis=1)
_NARROW = np.array([16.0, 8.0, 8.0], np.float32)  # least spread of skin in these, levels

# Limits of what the source may do to the surrogate.
_CONTRAST = (0.7, 1.1)
_COLOURFUL = (0.3, 0.8)  # as strong as in the surrogate, orange skin turns green in places
_SHADE = 0.35       # this part of the skin's level and less is no skin but a feature
_DEPTH = (0.6, 1.6) # of the features' distance from the skin, besides its level
_SHADING = 24.0     # levels; what is farther from the skin's level keeps its contrast
_GRADIENT = 0.5     # natural logarithm of the largest change of light over the face
_DARK = 8.0         # levels added before taking ratios: noise in shadows is no light


@dataclass(frozen=True, slots=True)
class ColourFit:
    """How to recolour a surrogate: by tone, by tint, by light.

    ``tone`` float32 (256,), a factor for each level of luminance; ``matrix`` float32
    (3, 3) for [b, g, r]; ``light`` float32 (h, w), a factor on the fit's grid.
    """

    tone: np.ndarray
    matrix: np.ndarray
    light: np.ndarray

    def factor(self, image: np.ndarray) -> np.ndarray:
        """What each cell's brightness is multiplied by: float32 (h, w).

        It belongs to the cells, not to the pixels: pores and freckles, much smaller,
        keep the contrast that they have in the surrogate, as in local tone mapping
        (Durand and Dorsey, "Fast bilateral filtering for the display of high-dynamic-
        range images", 2002), where a curve of each pixel's own would make blotches.

        Args:
            image: BGR uint8 (h, w, 3), the surrogate on the fit's grid.
        """
        return cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), self.tone) * self.light

    def apply(self, image: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Recolour BGR uint8 (h', w', 3): float32 (h', w', 3).

        Args:
            factor: float32 (h', w'), ``factor`` at the image's resolution.
        """
        result = cv2.transform(image.astype(np.float32), self.matrix)
        # Three equal channels: OpenCV multiplies them faster than numpy broadcasts.
        return cv2.multiply(result, cv2.merge([factor] * 3), dst=result)


def skin_cells(landmarks: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Where a face shows skin rather than eyes, brows, lips or a beard.

    Args:
        landmarks: float32 (68, 2) in the iBUG order, in cells of the grid.
        inside: uint8 (h, w), 1 in the face's hull.

    Returns:
        float32 (h, w): 1 on cheeks, nose and forehead, less on the chin, else 0.
    """
    weight = inside.astype(np.float32)
    size = float(np.linalg.norm(landmarks[45] - landmarks[36]))
    thick = max(1, round(0.16 * size))
    # A beard tells about hair, not about skin: the lower face counts little.
    jaw = np.concatenate([landmarks[3:14], landmarks[[33]]])
    _draw(weight, jaw, 0.25, 1)
    for part in (slice(36, 42), slice(42, 48), slice(17, 22), slice(22, 27), slice(48, 60)):
        _draw(weight, landmarks[part], 0.0, thick)
    return weight * inside


def _draw(image: np.ndarray, points: np.ndarray, value: float, thick: int) -> None:
    hull = cv2.convexHull(np.clip(np.round(points), -9999, 9999).astype(np.int32))
    cv2.fillConvexPoly(image, hull, value)
    if thick > 1:
        cv2.polylines(image, [hull], True, value, thick)


def eye_cells(landmarks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """bool (h, w): the band of eyes and brows, where a face is darkest."""
    band = np.zeros(shape, np.uint8)
    _draw(band, np.concatenate([landmarks[17:27], landmarks[36:48]]), 1, 1)
    return band > 0


def fit_colour(source: np.ndarray, surrogate: np.ndarray, source_skin: np.ndarray,
               surrogate_skin: np.ndarray, eyes: np.ndarray) -> ColourFit:
    """The recolouring that makes a surrogate's skin look like the source's.

    Mean and spread as in Reinhard et al., "Color transfer between images", 2001,
    with robust weights and a tone curve that leaves features and highlights their
    place; then a smooth field of light, the polynomial of second degree that
    explains the ratio of the two luminances.

    Args:
        source, surrogate: BGR uint8 (h, w, 3), on one grid.
        source_skin, surrogate_skin: float32 (h, w), 0..1.
        eyes: bool (h, w), the band of eyes and brows.
    """
    source_f = source.astype(np.float32)
    weight_s = _robust(source_f, source_skin)
    weight_p = _robust(surrogate, surrogate_skin)
    mean_s, spread_s = _moments(source_f, weight_s)
    mean_p, spread_p = _moments(surrogate.astype(np.float32), weight_p)
    flat = np.ones(source_skin.shape, np.float32)
    if weight_s.sum() < 1 or weight_p.sum() < 1:
        return ColourFit(np.ones(256, np.float32), np.eye(3, dtype=np.float32), flat)
    luma_s, luma_p = float(mean_s @ _LUMA), float(mean_p @ _LUMA)
    contrast = (spread_s / (luma_s + _DARK)) / max(spread_p / (luma_p + _DARK), 1e-3)
    contrast = _within(contrast, *_CONTRAST)
    darkest = None
    if np.count_nonzero(eyes) >= 12:
        darkest = tuple(_quantile(image[eyes] @ _LUMA, 0.04) for image in (surrogate, source_f))
    tone = _tone(luma_p, luma_s, contrast, min(1.5 * spread_p, _SHADING), darkest)
    # Skin has the same tint in light and shade, the source's. What deviates from it
    # in the surrogate (lips, eyes, shine) deviates as much less, or more, as the
    # source's skin is less, or more, coloured: else pale skin would get blue shine.
    tint_s, tint_p = (mean / max(float(mean @ _LUMA), 1.0) - 1 for mean in (mean_s, mean_p))
    colourful = np.linalg.norm(tint_s) / max(float(np.linalg.norm(tint_p)), 1e-3)
    colourful = _within(float(colourful), *_COLOURFUL)
    own = np.eye(3) - np.outer(np.ones(3), _LUMA)
    matrix = colourful * own + np.outer(1 + tint_s - colourful * tint_p, _LUMA)
    # In a picture without colours the surrogate has none either.
    colour = min(float(np.linalg.norm(mean_s - luma_s)) / (luma_s + _DARK) / 0.05, 1.0)
    matrix = (colour * matrix + (1 - colour) * (_LUMA @ matrix)).astype(np.float32)

    plain = ColourFit(tone, matrix, flat)
    balanced = plain.apply(surrogate, plain.factor(surrogate))
    ratio = np.log(source_f @ _LUMA + _DARK)
    ratio -= np.log(np.maximum(balanced @ _LUMA, 0) + _DARK)
    light = np.exp(_light(ratio, weight_s * weight_p, source_skin > 0))
    return ColourFit(tone, matrix, light)


def _within(value: float, low: float, high: float) -> float:
    # Of a single number numpy's clip takes twenty times as long.
    return min(max(value, low), high)


def _tone(before: float, after: float, contrast: float, width: float,
          darkest: tuple[float, float] | None) -> np.ndarray:
    """Factors float32 (256,) that take one level of luminance to another.

    Within ``width`` levels of the skin its contrast is changed; features keep the
    distance from the skin that they have in the source (less in haze, more in hard
    light), and what is much lighter than skin does not burn out.

    Args:
        before, after: the skin's level in the surrogate and in the source.
        darkest: the level of the darkest features in both, where it is known.
    """
    before, after = (_within(level, 8.0, 247.0) for level in (before, after))
    gain = after / before
    dark = _SHADE * before
    # Darker skin keeps its features apart by a power curve, lighter by leaving them.
    shade = (255 * (dark / 255) ** (np.log(after / 255) / np.log(before / 255)) if gain < 1
             else dark * np.sqrt(gain))
    slope = (after - shade) / (before - dark)
    if darkest is not None:
        depth = max(after - darkest[1], 1.0) / max(before - darkest[0], 1.0)
        slope *= _within(depth / slope, *_DEPTH)
        shade = max(after - slope * (before - dark), 0.0)
    width = min(width, 0.6 * (before - dark), 0.6 * (255 - before))
    rise = (255 - after) / (255 - before)
    knots = [(0, max(shade - slope * dark, 0.0)), (dark, shade),
             (before - width, after - contrast * slope * width),
             (before, after), (before + width, after + contrast * min(rise, slope) * width),
             (255, 255)]
    x, y = np.array(knots).T
    table = np.interp(np.arange(-8, 264), x, np.maximum.accumulate(y))
    table = np.convolve(table, np.full(17, 1 / 17), "valid")
    levels = np.arange(256)
    # Near black a ratio says nothing.
    return ((table + 4 * gain) / (levels + 4)).astype(np.float32)


def _robust(image: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """``skin`` (h, w) without the cells whose colour is unlike the others'."""
    chosen = skin > 0
    if np.count_nonzero(chosen) < 4:
        return np.zeros_like(skin)
    values = image[chosen].astype(np.float32) @ _OPPONENT
    off = np.abs(values - median(values))
    off /= np.maximum(3.0 * median(off), _NARROW)
    off *= off
    weights = np.zeros_like(skin)
    weights[chosen] = np.exp(-0.5 * (off[:, 0] + off[:, 1] + off[:, 2])) * skin[chosen]
    return weights


def median(values: np.ndarray) -> np.ndarray:
    """The medians of three columns (n, 3), as numpy's, but for small n in a third of the time."""
    middle = (len(values) - 1) // 2, len(values) // 2
    ordered = np.partition(np.ascontiguousarray(values.T), middle, axis=1)
    return (ordered[:, middle[0]] + ordered[:, middle[1]]) / 2


def _quantile(values: np.ndarray, part: float) -> float:
    """The quantile of numbers (n,), as numpy's, but for small n in a tenth of the time."""
    place = part * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    ordered = np.partition(values, (below, above))
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


def _moments(image: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Weighted mean BGR float32 (3,) and spread of the luminance, in levels."""
    chosen = weights > 1e-3
    pixels, weight = image[chosen], weights[chosen]
    weight = weight / max(float(weight.sum()), 1e-6)
    mean = weight @ pixels
    return mean, float(np.sqrt(weight @ (pixels @ _LUMA - mean @ _LUMA) ** 2))


def _light(ratio: np.ndarray, weights: np.ndarray, face: np.ndarray) -> np.ndarray:
    """The low-order part of ``ratio`` (h, w): ridge regression, robustly reweighted."""
    height, width = ratio.shape
    if np.count_nonzero(weights > 0.05) < 24:
        return np.zeros_like(ratio)
    rows, columns = np.nonzero(face)
    cx, cy = columns.mean(), rows.mean()
    half = max(int(columns.max() - columns.min()), int(rows[-1] - rows[0]), 1) / 2
    basis = np.empty((6, height, width))
    one, x, y, xx, xy, yy = basis
    one[:], x[:] = 1, (np.arange(width) - cx) / half
    y[:] = ((np.arange(height) - cy) / half)[:, None]
    np.multiply(x, x, out=xx), np.multiply(x, y, out=xy), np.multiply(y, y, out=yy)
    terms, values, weight = basis[:, rows, columns], ratio[rows, columns], weights[rows, columns]
    # The less trusted a term, the more it is held near zero.
    ridge = np.diag([1e-4, 0.02, 0.02, 0.06, 0.06, 0.06])
    coefficients = np.zeros(6)
    robust = weight
    for _ in range(3):
        total = max(float(robust.sum()), 1e-6)
        weighted = terms * robust
        coefficients = np.linalg.solve(weighted @ terms.T / total + ridge,
                                       weighted @ values / total)
        residual = np.abs(values - coefficients @ terms)
        robust = weight * np.minimum(1.0, 0.12 / np.maximum(residual, 1e-6))
    # Beyond the skin a polynomial of second degree runs away.
    light = (coefficients @ basis.reshape(6, -1)).reshape(height, width)
    return np.clip(light, -_GRADIENT, _GRADIENT).astype(np.float32)
