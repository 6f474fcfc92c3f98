"""OFFLINE: the geometry that all faces share, written to ``models/face_mesh.npz``.

The face mesh has one topology, so a face is a shape (468 points) and a texture in
pose-free coordinates. This module makes what is the same for everybody from the
meshes of a set of portraits: the mean shape, its mirror symmetry, the directions
in which expressions move it, a skirt of points around it, and the atlas (triangles
and texture coordinates).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import Delaunay

from deid_ros import geometry
from deid_ros.faces import EXPRESSION

__all__ = ["build_face_mesh"]

# How far the skirt reaches beyond the mesh, as a part of the distance from the
# middle of the face: to the hairline above, over the edge of the jaw elsewhere.
_SKIRT_TOP, _SKIRT_SIDE, _SKIRT_CHIN = 0.16, 0.09, 0.07

_UPPER_LIDS = ((246, 161, 160, 159, 158, 157, 173), (466, 388, 387, 386, 385, 384, 398))
_LOWER_LIDS = ((7, 163, 144, 145, 153, 154, 155), (249, 390, 373, 374, 380, 381, 382))
_CORNERS = ((33, 133), (263, 362))
_BROWS = ((70, 63, 105, 66, 107, 46, 53, 52, 65, 55),
          (300, 293, 334, 296, 336, 276, 283, 282, 295, 285))


def _similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``source`` (n, 3) moved onto ``target`` by the best similarity (Umeyama 1991)."""
    a, b = source.mean(0), target.mean(0)
    u, s, vt = np.linalg.svd((target - b).T @ (source - a))
    flip = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = (s * flip).sum() / ((source - a) ** 2).sum()
    return scale * (source - a) @ ((u * flip) @ vt).T + b


def mean_shape(meshes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric mean of meshes (n, 468, 3) and its mirror map.

    Generalised Procrustes analysis (Gower 1975), then the mean with its own mirror
    image. Frontal is the mean pose of the portraits; unit: outer eye corners.

    Returns:
        float64 (468, 3) and int (468,): the index of each point's mirror image.
    """
    mean = meshes[0] - meshes[0].mean(0)
    for _ in range(6):
        mean = np.mean([_similarity(m, mean) for m in meshes], axis=0)
        mean = (mean - mean.mean(0)) / np.linalg.norm(mean[263] - mean[33])
    mirrored = mean * [-1, 1, 1]
    pairs = np.arange(len(mean))
    for _ in range(6):
        cost = ((mean[:, None] - mirrored[None]) ** 2).sum(-1)
        pairs = linear_sum_assignment(cost)[1]
        mirrored = _similarity(mirrored[pairs], mean)[np.argsort(pairs)]
    mean = (mean + mirrored[pairs]) / 2
    across = ((mean - mean[pairs]) * np.sign((mean - mean[pairs])[:, :1])).sum(0)
    x = across / np.linalg.norm(across)
    y = np.array([0.0, 1.0, 0.0]) - x * x[1]
    y /= np.linalg.norm(y)
    mean = (mean - mean.mean(0)) @ np.stack([x, y, np.cross(x, y)]).T
    mean = (mean + mean[pairs] * [-1, 1, 1]) / 2
    return mean / np.linalg.norm(mean[263] - mean[33]), pairs


def _bump(distance: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-0.5 * (distance / width) ** 2)


def expression_directions(shapes: np.ndarray, reference: np.ndarray,
                          mirror: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How a unit of each number of ``EXPRESSION`` moves the mesh.

    The mouth's directions are regressed on the portraits (people smile and speak
    differently at equal distance of identity) and confined to the lower face; lids
    and brows are moved by hand-made fields, since portraits hardly close their eyes.

    Args:
        shapes: frontalised meshes (n, 468, 3) in model units.

    Returns:
        float64 (7, 468, 3) and the mean expression (7,).
    """
    both = np.concatenate([shapes, shapes[:, mirror] * [-1, 1, 1]])
    numbers = np.array([geometry.measure_expression(s) for s in both], np.float64)
    mean = numbers.mean(0)
    x, y = numbers[:, :3] - mean[:3], (both - both.mean(0)).reshape(len(both), -1)
    ridge = np.diag(x.var(0)) * len(x) * 0.02
    fields = np.zeros((len(EXPRESSION), 468, 3))
    fields[:3] = np.linalg.solve(x.T @ x + ridge, x.T @ y).reshape(3, 468, 3)
    nose = reference[2, 1]
    chin = reference[152, 1]
    lower = np.clip((reference[:, 1] - nose + 0.12) / (0.35 * (chin - nose)), 0, 1)
    fields[:3] *= (lower ** 2 * (3 - 2 * lower))[:, None]
    # The jaw opens as a whole; widening and smiling stay around the mouth.
    lips = reference[[61, 291, 13, 14]].mean(0)
    around = _bump(np.linalg.norm((reference - lips)[:, :2] * [0.8, 1.0], axis=1), 0.28)
    fields[1:3] *= around[:, None]
    for k, (upper, lower_lid) in enumerate(zip(_UPPER_LIDS, _LOWER_LIDS)):
        outer, inner = (reference[c] for c in _CORNERS[k])
        centre = (outer + inner) / 2
        half = abs(outer[0] - inner[0]) / 2
        across = np.clip(1 - ((reference[:, 0] - centre[0]) / (1.15 * half)) ** 2, 0, 1)
        top, bottom = reference[list(upper), 1].mean(), reference[list(lower_lid), 1].mean()
        above = _bump(np.minimum(reference[:, 1] - top, 0), 0.06) * (reference[:, 1] < centre[1])
        below = _bump(np.maximum(reference[:, 1] - bottom, 0), 0.05)
        below *= reference[:, 1] >= centre[1]
        fields[3 + k, :, 1] = across * (-0.85 * above + 0.15 * below)
        brow = reference[list(_BROWS[k])]
        near = _bump((reference[:, 1] - brow[:, 1].mean()), 0.10)
        side = np.clip(1.4 - np.abs(reference[:, 0] - brow[:, 0].mean()) / 0.32, 0, 1)
        fields[5 + k, :, 1] = -near * np.minimum(side, 1)
    step = 0.02
    jacobian = np.array([
        (geometry.measure_expression(reference + step * f)
         - geometry.measure_expression(reference - step * f)) / (2 * step) for f in fields])
    # Mix the fields so that each changes its own number alone, by exactly one.
    return np.tensordot(np.linalg.inv(jacobian), fields, 1), mean


def skirt_weights(reference: np.ndarray) -> np.ndarray:
    """How far each point of ``OVAL`` is pushed outwards: float64 (36,)."""
    outline = reference[geometry.OVAL]
    down = (outline[:, 1] - outline[:, 1].min()) / np.ptp(outline[:, 1])
    return np.interp(down, [0, 0.25, 0.45, 0.8, 1.0],
                     [_SKIRT_TOP, 0.13, _SKIRT_SIDE, _SKIRT_SIDE, _SKIRT_CHIN])


def atlas(opened: np.ndarray, skirt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates (n, 2) in 0..1 and triangles (t, 3) of mesh and skirt.

    A cylinder's unrolling gives the sides of the face their room; the mouth is
    opened, so that teeth and lips have texels of their own.
    """
    points = geometry.with_skirt(opened, skirt)
    axis = 0.75
    angle = np.arctan2(points[:, 0], axis - points[:, 2])
    flat = np.stack([angle * (axis + 0.25), points[:, 1]], axis=1)
    low, high = flat.min(0), flat.max(0)
    uv = (flat - (low + high) / 2) / ((high - low) * 1.03) + 0.5
    triangles = Delaunay(uv).simplices
    a, b, c = (uv[triangles[:, i]] for i in range(3))
    area = np.cross(np.c_[b - a, np.zeros(len(a))], np.c_[c - a, np.zeros(len(a))])[:, 2]
    triangles = np.where((area > 0)[:, None], triangles, triangles[:, [0, 2, 1]])
    return uv, triangles[np.abs(area) > 1e-7]


def build_face_mesh(meshes: np.ndarray, path: Path) -> None:
    """Write ``models/face_mesh.npz`` from meshes (n, 468, 3) of frontal portraits (px)."""
    reference, mirror = mean_shape(meshes.astype(np.float64))
    angles = np.mean([[p.yaw, p.pitch, p.roll] for p in
                      (geometry.fit_pose(m, reference) for m in meshes)], axis=0)
    # Frontal is how people look into a camera, not how the model's depth leans.
    reference = reference @ geometry.rotation(0, angles[1], 0).T
    reference -= reference.mean(0)
    shapes = np.array([geometry.frontalise(m, geometry.fit_pose(m, reference), reference)
                       for m in meshes])
    fields, mean = expression_directions(shapes, reference, mirror)
    weights = skirt_weights(reference)
    wide = mean.copy()
    wide[0] = 0.22
    opened = reference + np.tensordot(wide - geometry.measure_expression(reference), fields, 1)
    uv, triangles = atlas(opened, weights)
    np.savez_compressed(path, reference=reference.astype(np.float32),
                        mirror=mirror.astype(np.int16), fields=fields.astype(np.float32),
                        expression=mean.astype(np.float32), skirt=weights.astype(np.float32),
                        uv=uv.astype(np.float32), triangles=triangles.astype(np.int16))
