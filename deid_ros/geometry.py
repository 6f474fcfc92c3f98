"""Alignment, head pose, expression, overlap of boxes: pure functions on arrays.

The model frame of a face: x to the right of the image, y down, z away from the
camera; the unit is the distance between the outer eye corners of the mean face;
the origin is the middle of the mean face's mesh. A camera sees it in weak
perspective: ``pixel = scale * (R @ point)[:2] + center``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from deid_ros.faces import EXPRESSION
from deid_ros.resources import share_path

__all__ = [
    "CALM", "MAX_PATCH", "MESH_TO_IBUG68", "OVAL", "Pose", "apply_expression", "containment",
    "face_hull", "fit_pose",
    "frontalise", "iou", "measure_expression", "mesh_model", "patch_sizes", "patch_squares",
    "project", "reference_mesh", "rotation", "with_skirt",
]

#: The expression of somebody calm (``faces.EXPRESSION``): the mean of those who smile
#: least among the invented portraits of the gallery. The mean portrait smiles.
CALM = np.array([0.001, 0.589, 0.0, 0.079, 0.079, 0.222, 0.225], np.float32)

#: Longest side of a surrogate patch in pixels; larger faces are scaled up.
MAX_PATCH = 512

#: A patch's side in model units: room for the wide mask at any head pose.
PATCH_UNITS = 3.0

#: The 68 points of the iBUG order (300-W annotation scheme: jaw 17, brows 10,
#: nose 9, eyes 12, lips 20) as indices into the 468 points of the face mesh.
MESH_TO_IBUG68 = np.array([
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
])

#: The outline of the mesh, clockwise in the image from the top of the forehead.
OVAL = np.array([
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400,
    377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67,
    109,
])

# The part of it above the ears; below runs the jaw of the iBUG order.
_FOREHEAD = np.array([162, 21, 54, 103, 67, 109, 10, 338, 297, 332, 284, 251, 389])

# Points that hardly move with the expression: they carry the pose.
_RIGID = np.array([
    10, 338, 109, 297, 67, 332, 103, 284, 54, 251, 21, 389, 162, 356, 127, 454, 234,
    168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 33, 133, 362, 263, 123, 352, 116, 345, 151, 9,
])

_EYES = ((33, 133, ((159, 145), (158, 153), (160, 144))),
         (362, 263, ((386, 374), (385, 380), (387, 373))))
_BROWS = ((70, 63, 105, 66, 107), (336, 296, 334, 293, 300))


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a head is: angles in degrees, scale in px per model unit, center in px."""

    yaw: float
    pitch: float
    roll: float
    scale: float
    center: tuple[float, float]


@functools.cache
def mesh_model() -> dict[str, np.ndarray]:
    """What all faces share, read-only (``training.face_mesh`` makes it).

    ``reference`` float32 (468, 3), the mean face in model units; ``mirror`` int16
    (468,), each point's mirror image; ``fields`` float32 (7, 468, 3), what a unit of
    each number of ``EXPRESSION`` moves, and ``expression`` float32 (7,), their mean;
    ``skirt`` float32 (36,), see ``with_skirt``; ``uv`` float32 (504, 2) in 0..1 and
    ``triangles`` int16 (t, 3) of mesh and skirt.
    """
    with np.load(share_path("models", "face_mesh.npz"), allow_pickle=False) as file:
        model = {name: file[name] for name in file.files}
    for array in model.values():
        array.setflags(write=False)
    return model


def reference_mesh() -> np.ndarray:
    """The mean face: float32 (468, 3) in model units, upright and symmetric."""
    return mesh_model()["reference"]


def with_skirt(points: np.ndarray, skirt: np.ndarray | None = None) -> np.ndarray:
    """A mesh (468, 3) and a ring of 36 points outside its outline: (504, 3).

    Each point of ``OVAL`` is pushed away from the middle of the face by its part of
    ``skirt`` and a little back, as the head curves away there.
    """
    skirt = mesh_model()["skirt"] if skirt is None else skirt
    outline = points[OVAL]
    outward = (outline - outline.mean(0)) * skirt[:, None]
    ring = outline + outward
    ring[:, 2] += 0.9 * np.linalg.norm(outward[:, :2], axis=1)
    return np.concatenate([points, ring])


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The rotation matrix (3, 3), float64, of a head pose in degrees.

    Positive yaw turns the face to the right of the image, positive pitch lifts
    it, positive roll tilts it clockwise. All zero is the frontal face.
    """
    y, p, r = np.radians([yaw, pitch, roll])
    turn = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    lift = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    tilt = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return tilt @ lift @ turn


def _angles(matrix: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of ``rotation``'s matrix (3, 3)."""
    # tilt @ lift @ turn: the last row is free of roll, the second column of yaw.
    pitch = np.arcsin(np.clip(-matrix[2, 1], -1, 1))
    yaw = np.arctan2(matrix[2, 0], matrix[2, 2])
    roll = np.arctan2(-matrix[0, 1], matrix[1, 1])
    return tuple(float(a) for a in np.degrees([yaw, pitch, roll]))


def fit_pose(mesh: np.ndarray, reference: np.ndarray | None = None) -> Pose:
    """The similarity that takes the reference face onto a mesh, by least squares.

    Args:
        mesh: float (468, 3), pixels, z in the same unit.
        reference: float (468, 3) in model units; the mean face by default.

    Umeyama, "Least-squares estimation of transformation parameters between two
    point patterns", PAMI 1991, on the points that the expression hardly moves.
    """
    reference = reference_mesh() if reference is None else reference
    source, target = reference[_RIGID].astype(np.float64), mesh[_RIGID].astype(np.float64)
    source_mean, target_mean = source.mean(0), target.mean(0)
    source, target = source - source_mean, target - target_mean
    u, s, vt = np.linalg.svd(target.T @ source)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    matrix = (u * flip) @ vt
    scale = float((s * flip).sum() / max((source ** 2).sum(), 1e-12))
    center = target_mean - scale * matrix @ source_mean
    return Pose(*_angles(matrix), scale=scale, center=(float(center[0]), float(center[1])))


def project(points: np.ndarray, pose: Pose) -> np.ndarray:
    """Model points (n, 3) to the image: (n, 3), x and y in px, z in px (depth)."""
    out = pose.scale * points @ rotation(pose.yaw, pose.pitch, pose.roll).T
    out[:, :2] += pose.center
    return out


def frontalise(mesh: np.ndarray, pose: Pose,
               reference: np.ndarray | None = None) -> np.ndarray:
    """A mesh (468, 3) in pixels back to the model frame: position and pose removed.

    The depth of the result has zero mean difference to the reference's depth.
    """
    reference = reference_mesh() if reference is None else reference
    centred = np.asarray(mesh, np.float64).copy()
    centred[:, :2] -= pose.center
    out = centred @ rotation(pose.yaw, pose.pitch, pose.roll) / max(pose.scale, 1e-6)
    out[:, 2] += reference[_RIGID, 2].mean() - out[_RIGID, 2].mean()
    return out


def measure_expression(mesh: np.ndarray, pose: Pose | None = None) -> np.ndarray:
    """The expression of a mesh as the float32 numbers of ``faces.EXPRESSION``.

    Args:
        mesh: float (468, 3); in pixels with its ``pose``, or without a pose a mesh
            in the model frame.
    """
    m = np.asarray(mesh, np.float64) if pose is None else frontalise(mesh, pose)
    unit = max(float(np.linalg.norm(m[263] - m[33])), 1e-6)
    # One product for all heights: this runs several times per face and frame.
    heights = _HEIGHTS @ m[:, 1]
    width = float(np.linalg.norm(m[291] - m[61]))
    return (np.concatenate([heights[:1], [width], heights[1:]]) / unit).astype(np.float32)


def _height_weights() -> np.ndarray:
    """What each number but the mouth's width takes of each point's y: (6, 468)."""
    rows = np.zeros((len(EXPRESSION) - 1, 468))
    rows[0, [14, 13]] = 1, -1
    rows[1, [13, 14, 61, 291]] = 0.5, 0.5, -0.5, -0.5
    for side, ((inner, outer, pairs), brow) in enumerate(zip(_EYES, _BROWS)):
        for upper, lower in pairs:
            rows[2 + side, [lower, upper]] = 1 / len(pairs), -1 / len(pairs)
        rows[4 + side, [inner, outer]] = 0.5
        rows[4 + side, list(brow)] = -1 / len(brow)
    return rows


_HEIGHTS = _height_weights()


def apply_expression(shape: np.ndarray, expression: np.ndarray) -> np.ndarray:
    """A shape (468, 3) in model units moved until its expression is the one asked for.

    Args:
        expression: the numbers of ``faces.EXPRESSION``; openings below zero are zero.
    """
    fields = mesh_model()["fields"]
    wanted = np.asarray(expression, np.float64).copy()
    wanted[[0, 3, 4]] = np.maximum(wanted[[0, 3, 4]], 0)
    shape = np.asarray(shape, np.float64)
    for _ in range(2):  # the second round mends what is not linear
        gap = wanted - measure_expression(shape)
        shape = shape + np.tensordot(gap, fields, 1)
    return shape


def patch_squares(faces: np.ndarray) -> np.ndarray:
    """The axis-aligned square of the frame that each face's surrogate patch fills.

    Args:
        faces: N rows of ``FACE``.

    Returns:
        int32 (N, 3): left, top and side in pixels; it may reach beyond the frame.
    """
    # Even the far corner of a nonsense pose must not make a giant patch.
    side = np.clip(np.nan_to_num(PATCH_UNITS * faces["scale"]), 4, 16384)
    center = np.clip(np.nan_to_num(faces["center"]), -1e6, 1e6)
    corner = np.floor(center - side[:, None] / 2)
    return np.column_stack([corner, np.ceil(side)]).astype(np.int32).reshape(-1, 3)


def patch_sizes(squares: np.ndarray) -> np.ndarray:
    """The side in pixels, int32 (N,), at which each patch is rendered."""
    return np.minimum(squares[:, 2], MAX_PATCH).astype(np.int32)


def face_hull(face: np.ndarray) -> np.ndarray:
    """The outline of one face in the frame: float32 (n, 2) px, convex, clockwise.

    It holds the landmarks, jaw and all, and above the ears the mean face's outline at
    this face's pose, so the forehead up to the top of the mesh lies inside.
    """
    import cv2  # here, for those who need the arithmetic alone

    pose = Pose(float(face["yaw"]), float(face["pitch"]), float(face["roll"]),
                float(face["scale"]), tuple(float(c) for c in face["center"]))
    outline = project(reference_mesh()[_FOREHEAD], pose)[:, :2]
    points = np.vstack([face["landmarks"].reshape(68, 2), outline]).astype(np.float32)
    return cv2.convexHull(points)[:, 0]


def _intersection(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Areas (N, M) shared by each pair, (N, 1) of the first and (1, M) of the second."""
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    shared = np.clip(high - low, 0.0, None).prod(axis=-1)
    return shared, a[:, 2:].prod(axis=1)[:, None], b[:, 2:].prod(axis=1)[None]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair, float64 (N, M)."""
    shared, area_a, area_b = _intersection(a, b)
    return shared / np.maximum(area_a + area_b - shared, 1e-9)


def containment(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The part of the smaller box that lies in the other, float64 (N, M)."""
    shared, area_a, area_b = _intersection(a, b)
    return shared / np.maximum(np.minimum(area_a, area_b), 1e-9)
