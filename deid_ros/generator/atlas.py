"""Between images and the pose-free texture of a face.

``unwrap`` takes a photograph and its mesh to the texture; ``render`` takes a texture
and a shape to an image. Both are one ``cv2.remap``: the first with a map that is the
same for every face, the second with one drawn triangle by triangle.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from deid_ros import geometry

__all__ = ["TEXTURE_SIDE", "draw_map", "fitting_side", "render", "sample", "texel_weights",
           "unwrap"]

#: Side of a texture in texels.
TEXTURE_SIDE = 384

# Sides that textures are shrunk to, each at most a half larger than the one before.
_SIDES = (36, 48, 72, 96, 144, 192, 288, TEXTURE_SIDE)

# Texels per model unit, as a part of the texture's side.
_TEXELS = 0.41


@functools.cache
def texel_weights(side: int = TEXTURE_SIDE) -> tuple[np.ndarray, np.ndarray]:
    """For every texel its triangle's corners and barycentric weights.

    Returns:
        int16 (side, side, 3), all 0 outside the face, and float32 (side, side, 3),
        all 0 outside the face.
    """
    model = geometry.mesh_model()
    uv = model["uv"].astype(np.float64) * side - 0.5
    corners = np.zeros((side, side, 3), np.int16)
    weights = np.zeros((side, side, 3), np.float32)
    for triangle in model["triangles"]:
        points = uv[triangle]
        low = np.maximum(np.floor(points.min(0)).astype(int), 0)
        high = np.minimum(np.ceil(points.max(0)).astype(int) + 1, side)
        xs, ys = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
        matrix = np.vstack([points.T, np.ones(3)])
        if abs(np.linalg.det(matrix)) < 1e-9:
            continue
        bary = np.linalg.solve(matrix, np.stack([xs.ravel(), ys.ravel(), np.ones(xs.size)]))
        inside = (bary >= -1e-6).all(0).reshape(xs.shape)
        block = (slice(low[1], high[1]), slice(low[0], high[0]))
        corners[block][inside] = triangle
        weights[block][inside] = bary.T.reshape(*xs.shape, 3)[inside]
    return corners, weights


def unwrap(frame: np.ndarray, mesh: np.ndarray, side: int = TEXTURE_SIDE) -> np.ndarray:
    """The texture of a face: BGR uint8 (side, side, 3), black outside the face.

    Args:
        frame: BGR uint8 (H, W, 3).
        mesh: float (468, 3) in pixels.
    """
    corners, weights = texel_weights(side)
    points = geometry.with_skirt(np.asarray(mesh, np.float64))[:, :2]
    where = np.einsum("hwkc,hwk->hwc", points[corners], weights).astype(np.float32)
    out = cv2.remap(frame, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    out[weights.sum(-1) < 0.5] = 0
    return out


def render(texture: np.ndarray, points: np.ndarray, size: int) -> np.ndarray:
    """Draw a textured face, nearest triangle in front, back-facing ones left out.

    Args:
        texture: uint8 (side, side, c).
        points: float (504, 3): mesh and skirt in pixels of the result, z away.
        size: side of the result in pixels.

    Returns:
        uint8 (size, size, c + 1): the last channel is 255 where the face is.
    """
    out = np.zeros((size, size, texture.shape[2] + 1), np.uint8)
    left, top, where, inside = draw_map(points, size, texture.shape[0])
    if where.size:
        height, width = inside.shape
        block = out[top:top + height, left:left + width]
        block[..., :-1] = sample(texture, where, inside)
        block[..., -1] = inside
    return out


def fitting_side(scale: float) -> int:
    """The side to shrink a texture to for a face drawn at ``scale`` (pixels per model unit).

    The smallest of a few that has at least about a texel a pixel; with many more, far
    faces would glitter.
    """
    return next((side for side in _SIDES if side * _TEXELS >= 1.1 * scale), TEXTURE_SIDE)


def sample(texture: np.ndarray, where: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A texture as ``draw_map`` says: uint8 (h, w, c), 0 where the face is not."""
    drawn = cv2.remap(texture, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return cv2.bitwise_and(drawn, drawn, mask=inside)


def draw_map(points: np.ndarray, size: int,
             side: int = TEXTURE_SIDE) -> tuple[int, int, np.ndarray, np.ndarray]:
    """For every pixel of a drawn face, the place in the texture that it shows.

    Args:
        points: float (504, 3): mesh and skirt in pixels of the result, z away.
        size: side of the result in pixels.
        side: of the texture in texels.

    Returns:
        left and top of the part of the result that the face fills; float32 (h, w, 2),
        x and y in texels; uint8 (h, w), 255 where the face is.
    """
    low = np.clip(np.floor(points[:, :2].min(0)), 0, size).astype(int)
    high = np.clip(np.ceil(points[:, :2].max(0)) + 1, 0, size).astype(int)
    left, top = (int(v) for v in low)
    width, height = (max(int(v), 0) for v in high - low)
    if not (width and height):
        return left, top, np.zeros((0, 0, 2), np.float32), np.zeros((0, 0), np.uint8)
    triangles, uv, spread = _triangles(side)
    corners = points[triangles]
    flat = corners[:, :, :2] - low
    edge_a, edge_b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    area = edge_a[:, 0] * edge_b[:, 1] - edge_a[:, 1] * edge_b[:, 0]
    keep = np.flatnonzero(area > 1e-3)
    depth = corners[keep, 0, 2] + corners[keep, 1, 2] + corners[keep, 2, 2]
    order = keep[np.argsort(-depth, kind="stable")]
    # Where no triangle is drawn stands the number of one that does not exist.
    nothing = len(triangles)
    index = np.full((height, width), nothing, np.intp)
    _fill(index, flat[order], order)
    # The affine map of each triangle from the image to the texture: solve its edges.
    safe = np.where(area > 1e-3, area, 1.0)[:, None]
    du, dv = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    across = (du * edge_b[:, 1:2] - dv * edge_a[:, 1:2]) / safe
    down = (dv * edge_a[:, 0:1] - du * edge_b[:, 0:1]) / safe
    start = uv[:, 0] - across * flat[:, 0, :1] - down * flat[:, 0, 1:]
    # A polygon's rim reaches half a pixel beyond it; on a triangle seen edge-on that
    # would be far away in the texture, hence the limits.
    table = np.zeros((5, 2, nothing + 1), np.float32)
    for row, values in zip(table, (across, down, start, *spread), strict=True):
        row[:, :-1] = values.T
    xs = np.arange(width, dtype=np.float32)
    ys = np.arange(height, dtype=np.float32)[:, None]
    planes, part = [], np.empty((height, width), np.float32)
    for coordinate in range(2):
        # One number a time: each row of the table stays in the processor's cache.
        plane = table[0, coordinate].take(index, mode="clip")
        plane *= xs
        table[1, coordinate].take(index, out=part, mode="clip")
        part *= ys
        plane += part
        plane += table[2, coordinate].take(index, out=part, mode="clip")
        np.maximum(plane, table[3, coordinate].take(index, out=part, mode="clip"), out=plane)
        np.minimum(plane, table[4, coordinate].take(index, out=part, mode="clip"), out=plane)
        planes.append(plane)
    return left, top, cv2.merge(planes), np.where(index == nothing, np.uint8(0), np.uint8(255))


def _fill(index: np.ndarray, corners: np.ndarray, numbers: np.ndarray) -> None:
    """Write the number of each triangle into its pixels, the last on top.

    All of them at once, row by row of each: a thousand calls to a library, most for a
    dozen pixels, take twice as long, and other threads wait at each of them.

    Args:
        index: int (h, w), changed in place.
        corners: float (t, 3, 2), px.
        numbers: int (t,).
    """
    height, width = index.shape
    count = len(corners)
    downwards = (np.argsort(corners[..., 1], axis=1) + 3 * np.arange(count)[:, None]).T
    xs, ys = (corners[..., axis].take(downwards) for axis in range(2))
    first = np.maximum(np.ceil(ys[0] - 0.5), 0).astype(np.intp)
    which, row = _runs(np.minimum(np.floor(ys[2] + 0.5), height - 1).astype(np.intp) - first + 1,
                       first)
    # On one side lies the edge from top to bottom, on the other first one, then another.
    rise = np.stack([ys[2] - ys[0], ys[1] - ys[0], ys[2] - ys[1]])
    slope = np.stack([xs[2] - xs[0], xs[1] - xs[0], xs[2] - xs[1]]) / np.where(rise > 0, rise, 1)
    start = (xs[[0, 0, 1]] - slope * ys[[0, 0, 1]]).ravel()
    slope = slope.ravel()
    inner = np.clip(row, ys[0].take(which), ys[2].take(which))
    other = which + np.where(inner < ys[1].take(which), count, 2 * count)
    one = slope.take(which) * inner + start.take(which)
    other = slope.take(other) * inner + start.take(other)
    # As lines are drawn around polygons, so that none is left between two of them.
    begin = np.maximum(np.ceil(np.minimum(one, other) - 0.5), 0).astype(np.intp)
    end = np.minimum(np.floor(np.maximum(one, other) + 0.5), width - 1).astype(np.intp)
    span, pixel = _runs(end - begin + 1, row * width + begin)
    index.reshape(-1)[pixel] = numbers.take(which).take(span)


def _runs(lengths: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of rising numbers one after another: of each number its run, and itself."""
    lengths = np.maximum(lengths, 0)
    ends = np.cumsum(lengths)
    which = np.repeat(np.arange(len(lengths)), lengths)
    return which, np.arange(len(which)) + (first - ends + lengths).take(which)


@functools.cache
def _triangles(side: int) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The corners (t, 3) of the triangles, their places (t, 3, 2) in the texture, and the
    least and the largest of these (t, 2)."""
    model = geometry.mesh_model()
    triangles = model["triangles"].astype(np.intp)
    uv = model["uv"][triangles].astype(np.float64) * side - 0.5
    return triangles, uv, (uv.min(1), uv.max(1))
