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

__all__ = ["TEXTURE_SIDE", "render", "texel_weights", "unwrap"]

#: Side of a texture in texels.
TEXTURE_SIDE = 256

# Subpixel bits of OpenCV's polygon filling.
_SHIFT = 4


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
    # Only the part of the patch that the face fills is worth any work.
    low = np.clip(np.floor(points[:, :2].min(0)), 0, size).astype(int)
    high = np.clip(np.ceil(points[:, :2].max(0)) + 1, 0, size).astype(int)
    width, height = high - low
    if width < 1 or height < 1:
        return out
    model = geometry.mesh_model()
    triangles = model["triangles"]
    corners = points[triangles]
    flat = corners[:, :, :2] - low
    edge_a, edge_b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    area = edge_a[:, 0] * edge_b[:, 1] - edge_a[:, 1] * edge_b[:, 0]
    keep = np.flatnonzero(area > 1e-3)
    order = keep[np.argsort(-corners[keep, :, 2].mean(1), kind="stable")]
    index = np.full((height, width), -1, np.int32)
    fixed = np.round(flat * (1 << _SHIFT)).astype(np.int32)
    for k in order:
        cv2.fillConvexPoly(index, fixed[k], int(k), cv2.LINE_8, _SHIFT)
    # The affine map of each triangle from the image to the texture: solve its edges.
    uv = model["uv"][triangles].astype(np.float64) * texture.shape[0] - 0.5
    safe = np.where(area > 1e-3, area, 1.0)[:, None]
    du, dv = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    across = (du * edge_b[:, 1:2] - dv * edge_a[:, 1:2]) / safe
    down = (dv * edge_a[:, 0:1] - du * edge_b[:, 0:1]) / safe
    start = uv[:, 0] - across * flat[:, 0, :1] - down * flat[:, 0, 1:]
    # A polygon's rim reaches half a pixel beyond it; on a triangle seen edge-on that
    # would be far away in the texture, hence the limits.
    table = np.hstack([across, down, start, uv.min(1), uv.max(1)]).astype(np.float32)
    ys, xs = np.nonzero(index >= 0)
    maps = table[index[ys, xs]]
    where = np.zeros((height, width, 2), np.float32)
    spot = maps[:, 0:2] * xs[:, None] + maps[:, 2:4] * ys[:, None] + maps[:, 4:6]
    where[ys, xs] = np.clip(spot, maps[:, 6:8], maps[:, 8:10])
    block = out[low[1]:high[1], low[0]:high[0]]
    block[..., :-1] = cv2.remap(texture, where, None, cv2.INTER_CUBIC,
                                borderMode=cv2.BORDER_REPLICATE)
    block[..., -1] = (index >= 0) * 255
    block[..., :-1][index < 0] = 0
    return out
