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
    model = geometry.mesh_model()
    triangles = model["triangles"]
    flat = points[triangles][:, :, :2]
    edge_a, edge_b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    area = edge_a[:, 0] * edge_b[:, 1] - edge_a[:, 1] * edge_b[:, 0]
    keep = np.flatnonzero(area > 1e-3)
    order = keep[np.argsort(-points[triangles[keep], 2].mean(1), kind="stable")]
    index = np.full((size, size), -1, np.int32)
    fixed = np.round(flat * (1 << _SHIFT)).astype(np.int32)
    for k in order:
        cv2.fillConvexPoly(index, fixed[k], int(k), cv2.LINE_8, _SHIFT)
    # The affine map of each triangle from the image to the texture.
    uv = model["uv"][triangles].astype(np.float64) * texture.shape[0] - 0.5
    inverse = np.zeros((len(triangles), 2, 3))
    safe = np.where(np.abs(area) > 1e-6, area, 1.0)
    du, dv = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    # d(texture)/d(image): solve the two edges of the triangle.
    inverse[:, :, 0] = (du * edge_b[:, 1:2] - dv * edge_a[:, 1:2]) / safe[:, None]
    inverse[:, :, 1] = (dv * edge_a[:, 0:1] - du * edge_b[:, 0:1]) / safe[:, None]
    inverse[:, :, 2] = uv[:, 0] - np.einsum("tij,tj->ti", inverse[:, :, :2], flat[:, 0])
    ys, xs = np.nonzero(index >= 0)
    maps = inverse[index[ys, xs]].astype(np.float32)
    where = np.zeros((size, size, 2), np.float32)
    where[ys, xs] = maps[:, :, 0] * xs[:, None] + maps[:, :, 1] * ys[:, None] + maps[:, :, 2]
    out = cv2.remap(texture, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    mask = ((index >= 0) * 255).astype(np.uint8)
    return np.dstack([out * (mask[..., None] > 0), mask])
