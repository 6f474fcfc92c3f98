"""Chips: the aligned square crops that an extractor takes.

The similarity that lays five points of the face (the corners of both eyes and
the base of the nose) onto their places in the mean face, as dlib's extractor was
trained with; the points are those of the mesh.
"""

from __future__ import annotations

import cv2
import numpy as np

from deid_ros.detector.mesh import crop_square
from deid_ros.errors import DetectorError

__all__ = ["CHIP_SIZES", "cut_chips"]

#: Side of each extractor's chip in px.
CHIP_SIZES = {"dlib_resnet": 150, "vggface": 224}

# The mean face of dlib's five points and the same points of the mesh: eye on the
# right of the image outside and inside, eye on the left, base of the nose.
_MEAN_FIVE = np.array([[0.8595674595992, 0.2134981538014], [0.6460604764104, 0.2289674387677],
                       [0.1205750620789, 0.2137274526848], [0.3340850613712, 0.2290642403242],
                       [0.4901123135679, 0.6277975316475]])
_MESH_FIVE = (263, 362, 33, 133, 2)
# Room around the mean face, as a part of it, on every side.
_PADDING = {"dlib_resnet": 0.25, "vggface": 0.6}


def cut_chips(frame: np.ndarray, boxes: np.ndarray, meshes: np.ndarray,
              extractor: str) -> np.ndarray:
    """Cut the chips of N faces.

    Args:
        frame: BGR uint8 (H, W, 3).
        boxes: (N, 4) x, y, width, height in px.
        meshes: float (N, 468, 2 or 3) px.
        extractor: a key of ``CHIP_SIZES``.

    Returns:
        BGR uint8 (N, S, S, 3); black beyond the frame.

    Raises:
        DetectorError: no chips are known for ``extractor``.
    """
    if extractor not in CHIP_SIZES:
        raise DetectorError(f"No chips are known for the extractor '{extractor}'; choose one of "
                            f"{', '.join(CHIP_SIZES)}.")
    size, padding = CHIP_SIZES[extractor], _PADDING[extractor]
    chips = np.zeros((len(meshes), size, size, 3), np.uint8)
    target = (_MEAN_FIVE + padding) / (1 + 2 * padding) * size
    for i, mesh in enumerate(meshes):
        chips[i] = crop_square(frame, _square(mesh[list(_MESH_FIVE), :2], target, size), size)
    return chips


def _square(points: np.ndarray, target: np.ndarray, size: int) -> np.ndarray:
    """The frame's square cx, cy, side, angle whose crop lays ``points`` on ``target``.

    Both (5, 2); the similarity of least squares, in complex numbers.
    """
    z = points[:, 0].astype(np.float64) + 1j * points[:, 1]
    t = target[:, 0] + 1j * target[:, 1]
    t_mean, z_mean = t.mean(), z.mean()
    turn = np.vdot(t - t_mean, z - z_mean) / np.vdot(t - t_mean, t - t_mean)
    center = z_mean + turn * (complex(size, size) / 2 - t_mean)
    return np.array([center.real, center.imag, abs(turn) * size, np.degrees(np.angle(turn))])
