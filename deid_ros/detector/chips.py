"""Chips: the aligned square crops that an extractor takes.

A chip is the similarity that lays five points of a face (the corners of both
eyes and the base of the nose) onto their places in the mean face. For dlib's
extractor the points come from dlib's own five-point predictor, which it was
trained with: chips of the same photograph at other scales and places then give
descriptors 0.05 apart, with the mesh's points 0.08. The predictor (Kazemi and
Sullivan, "One Millisecond Face Alignment with an Ensemble of Regression Trees",
CVPR 2014) wants an upright face in a well placed box, so it is shown the face in
the mesh's upright square: turned by 45 degrees, that leaves descriptors 0.04
apart instead of 0.11.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from deid_ros.detector.mesh import crop_square, mesh_squares
from deid_ros.detector.runtime import import_dlib
from deid_ros.errors import DetectorError
from deid_ros.geometry import reference_mesh
from deid_ros.resources import model_path

__all__ = ["CHIP_SIZES", "cut_chips", "prepare_chips"]

#: Side of each extractor's chip in px.
CHIP_SIZES = {"dlib_resnet": 150, "vggface": 224, "trained": 112}

# dlib's mean face of five points and the same points of the mesh: the eye on the
# right of the image outside and inside, the eye on the left, base of the nose.
_MEAN_FIVE = np.array([[0.8595674595992, 0.2134981538014], [0.6460604764104, 0.2289674387677],
                       [0.1205750620789, 0.2137274526848], [0.3340850613712, 0.2290642403242],
                       [0.4901123135679, 0.6277975316475]])
_MESH_FIVE = (263, 362, 33, 133, 2)
# Room around the mean face, in parts of it, on every side.
_PADDING = {"dlib_resnet": 0.25, "vggface": 0.35, "trained": 0.25}
_UPRIGHT = 256        # px, side of the square that the predictor sees
# The box of dlib's face detector within the mesh's box: middle from the top,
# side in parts of the long side.
_RECT_MIDDLE, _RECT_SIDE = 0.55, 0.93


def prepare_chips(extractor: str) -> None:
    """Load what cutting chips for ``extractor`` needs, so that no frame waits for it.

    Raises:
        DetectorError: no chips are known for ``extractor``.
        ModelError: a model file or dlib is missing.
    """
    if extractor not in CHIP_SIZES:
        raise DetectorError(f"No chips are known for the extractor '{extractor}'; choose one of "
                            f"{', '.join(CHIP_SIZES)}.")
    if extractor == "dlib_resnet":
        _predictor()


def cut_chips(frame: np.ndarray, boxes: np.ndarray, meshes: np.ndarray,
              extractor: str) -> np.ndarray:
    """Cut the chips of N faces.

    Args:
        frame: BGR uint8 (H, W, 3).
        boxes: (N, 4) x, y, width, height in px; used where a mesh is all zero.
        meshes: float (N, 468, 2 or 3) px.
        extractor: a key of ``CHIP_SIZES``.

    Returns:
        BGR uint8 (N, S, S, 3); black beyond the frame.

    Raises:
        DetectorError: no chips are known for ``extractor``.
        ModelError: a model file or dlib is missing.
    """
    prepare_chips(extractor)
    size, padding = CHIP_SIZES[extractor], _PADDING[extractor]
    target = (_MEAN_FIVE + padding) / (1 + 2 * padding) * size
    chips = np.zeros((len(meshes), size, size, 3), np.uint8)
    for i, (box, mesh) in enumerate(zip(np.reshape(boxes, (-1, 4)), meshes, strict=True)):
        points = np.asarray(mesh, np.float64)[:, :2]
        if not points.any():
            five = _mean_points(box)
        elif extractor == "dlib_resnet":
            five = _predict_points(frame, points)
        else:
            five = points[list(_MESH_FIVE)]
        chips[i] = crop_square(frame, _square(five, target, size), size)
    return chips


@functools.cache
def _predictor() -> Any:
    return import_dlib().shape_predictor(str(model_path("dlib_five_points")))


def _mean_points(box: np.ndarray) -> np.ndarray:
    """Where the five points (5, 2) of an upright, frontal face in a box (4,) should be."""
    mean = reference_mesh()[:, :2].astype(np.float64)
    low = mean.min(axis=0)
    places = (mean[list(_MESH_FIVE)] - low) / (mean.max(axis=0) - low)
    return np.asarray(box[:2], np.float64) + places * np.asarray(box[2:], np.float64)


def _predict_points(frame: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """dlib's five points (5, 2) in px of the frame, found in the mesh's upright square."""
    dlib = import_dlib()
    cx, cy, side, angle = (float(value) for value in mesh_squares(mesh[None])[0])
    scale = side / _UPRIGHT
    upright = crop_square(frame, np.array([cx, cy, side, angle]), _UPRIGHT)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    back = np.array([[cos, sin], [-sin, cos]])            # rows times this: crop to frame
    within = (mesh - (cx, cy)) @ back.T / scale + _UPRIGHT / 2
    low, high = within.min(axis=0), within.max(axis=0)
    half = _RECT_SIDE * (high - low).max() / 2
    x, y = (low[0] + high[0]) / 2, low[1] + _RECT_MIDDLE * (high[1] - low[1])
    shape = _predictor()(np.ascontiguousarray(upright[:, :, ::-1]), dlib.rectangle(
        *(int(round(value)) for value in (x - half, y - half, x + half, y + half))))
    points = np.array([(p.x + 0.5, p.y + 0.5) for p in shape.parts()], np.float64)
    return (points - _UPRIGHT / 2) * scale @ back + (cx, cy)


def _square(points: np.ndarray, target: np.ndarray, size: int) -> np.ndarray:
    """The frame's square cx, cy, side, angle whose crop lays ``points`` on ``target``.

    Both (5, 2); the similarity of least squares, in complex numbers.
    """
    z = points[:, 0] + 1j * points[:, 1]
    t = target[:, 0] + 1j * target[:, 1]
    t_mean, z_mean = t.mean(), z.mean()
    turn = np.vdot(t - t_mean, z - z_mean) / np.vdot(t - t_mean, t - t_mean)
    center = z_mean + turn * (complex(size, size) / 2 - t_mean)
    return np.array([center.real, center.imag, abs(turn) * size, np.degrees(np.angle(turn))])
