"""Put one surrogate in the place of one face.

Everything smooth (colour, light, membrane, feather, fill) is computed on a grid of
at most ``GRID`` cells a side and enlarged; only the surrogate's own pixels keep
full resolution, and they are never sampled twice.
"""

from __future__ import annotations

import cv2
import numpy as np

from deid_ros.errors import ReplacerError
from deid_ros.replacer.camera_fit import fit_camera
from deid_ros.replacer.colour import eye_cells, fit_colour, skin_cells
from deid_ros.replacer.gate import skin_gate
from deid_ros.replacer.membrane import interpolate, local_mean
from deid_ros.replacer.obfuscate import fill_polygon
from deid_ros.replacer.outline import Outline

__all__ = ["BLENDS", "compose"]

#: ``gaussian``: a weighted mask; ``inplace``: the gradient domain.
BLENDS = ("gaussian", "inplace")

#: Cells along the longer side of a face's surroundings.
GRID = 64

_PAD = 0.20         # surroundings that are looked at, as a part of the face's size
_FEATHER = 0.035    # width of the outer band of the mask, as a part of the face's size
_EDGE = 30.0        # levels: a larger step along the border is an edge, not skin
_ANCHOR = 0.30      # weight that holds the middle of the face at its matched colour
_RIM = 0.015        # softness of the hull's border, as a part of the face's size
_TONE = 0.8         # cells; how far hair over the rim of a face is smoothed
_COVERED = 0.5      # least part of the hull that a surrogate must fill

_CROSS = np.ones((3, 3), np.uint8)


def compose(canvas: np.ndarray, patch: np.ndarray, square: np.ndarray, hull: np.ndarray,
            landmarks: np.ndarray, *, blend: str, written: np.ndarray,
            bend: float) -> None:
    """Blend a surrogate into ``canvas`` so that nothing of the face's hull is left.

    Args:
        canvas: BGR uint8 (H, W, 3); changed in place, as the last step.
        patch: RGBA uint8 (p, p, 4), the surrogate; alpha is the mask.
        square: left, top and side (px) of the part of the frame it covers.
        hull: float32 (n, 2), outline of the source's face (px), convex.
        landmarks: float32 (68, 2) of the source's face (px).
        blend: one of ``BLENDS``.
        written: uint8 (H, W), set to 255 where ``canvas`` was changed.
        bend: 0..1, how far the surroundings are bent to the surrogate's jaw; 0 where
            they hold another face, of which nothing may be moved.

    Raises:
        ReplacerError: the surrogate does not fit the face; ``canvas`` is as before.
    """
    (x0, y0, x1, y1), touched = _window(canvas.shape, patch, square, hull)
    source = canvas[y0:y1, x0:x1]
    colour, alpha = _surrogate(patch, square, x0, y0, x1, y1)
    height, width = alpha.shape
    scale = min(1.0, GRID / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    ratio = np.array([size[0] / width, size[1] / height], np.float32)

    colour_g = _shrink_drawn(colour, alpha, size)
    alpha_g = _shrink(alpha, size).astype(np.float32) / 255
    points = (landmarks - (x0, y0) + 0.5) * ratio - 0.5
    fill, moved = _fill(hull - (x0, y0), alpha.shape), None
    if bend > 0:
        outline = Outline(alpha_g, points, strength=bend)
        shift = outline.backward(alpha_g.shape)
        # What covers the face moves with its pixels, not with its outline: wherever one
        # of them comes to lie, it is covered.
        source, fill, moved = _bent(source, fill, shift, ratio)
        touched = _with(touched, cv2.boundingRect(fill))
        points = outline.forward(points).astype(np.float32)
        cells = outline.forward((hull - (x0, y0) + 0.5) * ratio - 0.5)
        hull = cv2.convexHull(((cells + 0.5) / ratio - 0.5 + (x0, y0)).astype(np.float32))[:, 0]
    source_g = _shrink(source, size)
    hull_g = np.zeros(alpha_g.shape, np.uint8)
    outline = (hull - (x0, y0) + 0.5) * ratio - 0.5
    fill_polygon(hull_g, outline, 1)
    inside = hull_g > 0
    if not inside.any() or alpha_g[inside].mean() < _COVERED:
        raise ReplacerError("the surrogate leaves most of the face uncovered")

    skin = skin_cells(points, hull_g)
    gate_g, likely = skin_gate(source_g, skin, outline, points)
    skin = skin * likely
    opaque = cv2.erode((alpha_g > 0.97).astype(np.uint8), _CROSS)
    fit = fit_colour(source_g, colour_g, skin, skin * opaque, eye_cells(points, skin.shape))
    factor_g = fit.factor(colour_g)
    source_g, matched_g = source_g.astype(np.float32), fit.apply(colour_g, factor_g)
    offset_g, smooth_g = _border(source_g, matched_g, alpha_g, hull_g, likely)

    if not (np.isfinite(fit.matrix).all() and np.isfinite(offset_g).all()):
        raise ReplacerError("the colours of the surrogate cannot be fitted")

    # Hair over the rim stays, but as a tone without detail: nothing raw is left.
    tone = cv2.GaussianBlur(source_g, (0, 0), _TONE)
    smooth_g = tone + gate_g[..., None] * (smooth_g - tone)

    # From here on at full resolution, and only where something changes.
    def full(grid: np.ndarray) -> np.ndarray:
        return cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)[touched]

    result = fit.apply(colour[touched], full(factor_g))
    if blend == "inplace":
        cv2.add(result, full(offset_g), dst=result)
    weight = np.minimum(alpha[touched].astype(np.float32) * (1 / 255), full(_feather(alpha_g)))
    weight = weight * weight * (3 - 2 * weight) * full(gate_g)
    fill = fill[touched].astype(np.float32) * (1 / 255)
    seen = source[touched].astype(np.float32)
    under = cv2.blendLinear(full(smooth_g), seen, fill, 1 - fill)
    pixels = fit_camera(cv2.blendLinear(result, under, weight, 1 - weight), seen, weight)
    changed = cv2.compare(cv2.max(weight, fill), 0, cv2.CMP_GT)
    target, mask = canvas[y0:y1, x0:x1], written[y0:y1, x0:x1]
    if moved is not None:
        cv2.copyTo(source, moved, target)
        mask |= moved
    cv2.copyTo(cv2.add(pixels, 0, dtype=cv2.CV_8U), changed, target[touched])
    mask[touched] |= changed


def _bent(source: np.ndarray, fill: np.ndarray, shift: np.ndarray,
          ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A window and its fill moved by ``shift`` (cells, of the grid), and uint8 (h, w), 255
    where they moved."""
    height, width = fill.shape
    xs, ys = cv2.split(cv2.resize(shift / ratio, (width, height), interpolation=cv2.INTER_LINEAR))
    moved = cv2.compare(xs, 0, cv2.CMP_NE) | cv2.compare(ys, 0, cv2.CMP_NE)
    xs += np.arange(width, dtype=np.float32)
    ys += np.arange(height, dtype=np.float32)[:, None]
    bent, bent_fill = source.copy(), fill.copy()
    x, y, width, height = cv2.boundingRect(moved)
    if width:
        # What does not move is sampled at whole pixels, which leaves it as it is.
        part = slice(y, y + height), slice(x, x + width)
        bent[part] = cv2.remap(source, xs[part], ys[part], cv2.INTER_CUBIC,
                               borderMode=cv2.BORDER_REPLICATE)
        bent_fill[part] = cv2.remap(fill, xs[part], ys[part], cv2.INTER_LINEAR,
                                    borderMode=cv2.BORDER_REPLICATE)
    return bent, bent_fill, moved


def _with(touched: tuple[slice, slice], box: tuple[int, int, int, int]) -> tuple[slice, slice]:
    """The rows and columns that hold a box x, y, width, height too."""
    rows, columns = touched
    x, y, w, h = box
    return (slice(min(rows.start, y), max(rows.stop, y + h)),
            slice(min(columns.start, x), max(columns.stop, x + w)))


def _shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Average an image over the cells of a grid of ``size`` (w, h)."""
    # OpenCV halves several times faster than it averages in one uneven step.
    while image.shape[1] >= 3 * size[0] and image.shape[0] >= 3 * size[1]:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        image = cv2.resize(image[:2 * height, :2 * width], (width, height),
                           interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _shrink_drawn(colour: np.ndarray, alpha: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Average BGR uint8 (h, w, 3) over cells as ``_shrink``, of its drawn pixels alone.

    Else the cells along an edge would be darker than what is drawn there, and be lit up
    as if they were a shadow. A cell in which nothing is drawn is as those around it.
    """
    drawn = cv2.compare(alpha, 0, cv2.CMP_GT)
    part = _shrink(drawn, size).astype(np.float32)
    mean = _shrink(cv2.copyTo(colour, drawn), size).astype(np.float32)
    around, parts = cv2.blur(mean, (3, 3)), cv2.blur(part, (3, 3))
    own = part > 64
    share = np.where(own, part, parts)[..., None]
    mean = np.where(own[..., None], mean, around)
    return np.clip(mean * (255 / np.maximum(share, 1)), 0, 255).astype(np.uint8)


def _window(shape: tuple[int, ...], patch: np.ndarray, square: np.ndarray,
            hull: np.ndarray) -> tuple[tuple[int, int, int, int], tuple[slice, slice]]:
    """The part of the frame x0, y0, x1, y1 that holds mask, hull and surroundings, and
    the rows and columns of that part which hold mask and hull."""
    left, top, side = (int(v) for v in square)
    px, py, pw, ph = cv2.boundingRect(cv2.extractChannel(patch, 3))
    if not pw:
        raise ReplacerError("there is no surrogate")
    scale = side / patch.shape[0]
    low = np.minimum(hull.min(0), [left + px * scale, top + py * scale])
    high = np.maximum(hull.max(0), [left + (px + pw) * scale, top + (py + ph) * scale])
    size = (high - low).max()
    limit = np.array([shape[1], shape[0]])
    (x0, y0, x1, y1), (ax, ay, bx, by) = (
        [int(v) for edge in (np.floor(low - pad), np.ceil(high + pad))
         for v in np.clip(edge, 0, limit)]
        for pad in (3 + _PAD * size, 3 + 2 * _RIM * size))
    if bx <= ax or by <= ay:
        raise ReplacerError("the face lies outside the frame")
    return (x0, y0, x1, y1), (slice(ay - y0, by - y0), slice(ax - x0, bx - x0))


def _surrogate(patch: np.ndarray, square: np.ndarray, x0: int, y0: int, x1: int,
               y1: int) -> tuple[np.ndarray, np.ndarray]:
    """The surrogate's BGR uint8 (h, w, 3) and alpha uint8 (h, w) in a window."""
    left, top, side = (int(v) for v in square)
    size = patch.shape[0]
    width, height = x1 - x0, y1 - y0
    if side == size:
        window = np.zeros((height, width, 4), np.uint8)
        ax, ay, bx, by = (max(x0, left), max(y0, top), min(x1, left + side), min(y1, top + side))
        if bx > ax and by > ay:
            window[ay - y0:by - y0, ax - x0:bx - x0] = patch[ay - top:by - top, ax - left:bx - left]
    else:
        scale = size / side
        matrix = np.array([[scale, 0, (x0 - left + 0.5) * scale - 0.5],
                           [0, scale, (y0 - top + 0.5) * scale - 0.5]])
        window = cv2.warpAffine(patch, matrix, (width, height),
                                flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                                borderMode=cv2.BORDER_CONSTANT)
    return cv2.cvtColor(window, cv2.COLOR_RGBA2BGR), cv2.extractChannel(window, 3)


def _feather(alpha: np.ndarray) -> np.ndarray:
    """A weight that rises from 0 at the mask's border to 1 inside: float32 (h, w).

    A mask that is already soft over a band as wide is left as it is.
    """
    support = (alpha > 0.02).astype(np.uint8)
    width = max(1.0, _FEATHER * max(alpha.shape))
    # The border of the grid is the border of the frame: nothing fades there.
    padded = cv2.copyMakeBorder(support, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.clip(distance / width, 0.0, 1.0).astype(np.float32)


def _fill(hull: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """uint8 (h, w): 255 in the hull (n, 2), falling to 0 just outside of it."""
    radius = max(1, round(_RIM * max(shape)))
    grown = np.zeros(shape, np.uint8)
    fill_polygon(grown, hull, 255, 2 * radius)
    # The blur reaches inwards, diagonally too, no farther than the polygon was grown.
    side = 2 * int(0.7 * radius) + 1
    return cv2.blur(grown, (side, side), borderType=cv2.BORDER_REPLICATE)


def _border(source: np.ndarray, matched: np.ndarray, alpha: np.ndarray,
            hull: np.ndarray, likely: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What happens along the border of a surrogate.

    The Dirichlet values of Pérez et al. 2003 are the differences along the border.
    Here each is a mean over a few cells, the source's from outside of mask and
    hull alone, so that no feature of the source can enter; and a difference too
    large to be skin against skin (hair, collar, background) counts for little.

    Args:
        source, matched: BGR float32 (h, w, 3), the frame and the surrogate.
        alpha: float32 (h, w), 0..1.
        hull: uint8 (h, w), 1 in the source's face.
        likely: float32 (h, w), how like the source's skin each cell is.

    Returns:
        Two float32 (h, w, 3), in levels: what to add to the surrogate so that no
        step is left along its border; and the skin that is seen in the source's
        hull where the surrogate does not reach.
    """
    outside = 1 - cv2.dilate((alpha > 0.004).astype(np.uint8) | hull, _CROSS)
    outside = outside.astype(np.float32) * likely
    around, weight_out = local_mean(source, outside, 3)
    border, weight_in = local_mean(matched, (alpha > 0.5).astype(np.float32), 3)
    step = around - border
    step[weight_out <= 0] = 0
    blue, green, red = cv2.split(np.abs(step))
    likely_skin = np.exp(-(cv2.max(cv2.max(blue, green), red) / _EDGE) ** 2)
    weight = np.minimum(np.minimum(weight_out, weight_in) * 4, 1.0) * likely_skin
    middle = cv2.erode((alpha > 0.97).astype(np.uint8), np.ones((9, 9), np.uint8))
    weight = np.maximum(weight, _ANCHOR * middle)
    offset = interpolate(step, weight)

    opaque = alpha > 0.9
    values = np.where(opaque[..., None], matched + offset, source)
    smooth = interpolate(values, np.maximum(opaque, outside * likely_skin * (weight_in > 0)))
    return offset, smooth
