"""The 468-point face mesh: where each part of a found face is.

The networks are MediaPipe's, run with LiteRT: the quick one (Kartynnik et al.,
"Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", CVPR
Workshop on Computer Vision for Augmented and Virtual Reality, 2019), and the fine
one, which looks at lips and eyes apart (Grishchenko et al., "Attention Mesh:
High-fidelity Face Mesh Prediction in Real-time", the same workshop, 2020) and costs
four times as much. Both want an
upright square around the face that is half as large again as the face; how well
that square sits decides how well the points do. A detector's box is a poor
guide to it, the mesh itself a good one: so the square is drawn a second time
around the first answer wherever the two squares differ.
"""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np

from deid_ros.faces import DETECTION
from deid_ros.geometry import CALM, Pose, apply_expression, project, reference_mesh
from deid_ros.inference import tflite_interpreter

__all__ = ["MESHES", "MESH_POINTS", "FaceMesh", "crop_square", "mesh_box", "mesh_squares",
           "posed_mesh", "squares_differ"]

MESH_POINTS = 468

#: The networks, by the name of their model file in ``models/models.yaml``.
MESHES = {"quick": "face_mesh", "fine": "face_landmarker"}

_ROI_SCALE = 1.5      # side of the square divided by the face's long side
_EYE_CORNERS = (33, 263)   # outer corners: left, right in the image
_LOOKS = 3                 # at most; nearly always one or two
# A square that moved, grew or turned by less than this gives the same points.
_SHIFT, _GROWTH, _TURN = 0.04, 1.06, 4.0


class FaceMesh:
    """A face mesh network.

    Args:
        kind: one of ``MESHES``.
        num_threads: threads of one inference; one is fastest for a model this
            small on a busy machine.

    Raises:
        ModelError: the model file is missing or altered.
    """

    def __init__(self, *, kind: str = "quick", num_threads: int = 1) -> None:
        self._net: Any = tflite_interpreter(MESHES[kind], num_threads=num_threads)
        entry = self._net.get_input_details()[0]
        self._input, self._size = entry["index"], int(entry["shape"][1])
        # The points have most numbers, the face's score is the first that has one.
        outputs = sorted(self._net.get_output_details(),
                         key=lambda tensor: int(np.prod(tensor["shape"])))
        self._score, self._points = (tensor["index"] for tensor in (outputs[0], outputs[-1]))
        self._net.invoke()      # once, so that the first face does not wait for it

    def locate(self, frame: np.ndarray, detections: np.ndarray, *,
               squares: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Find the mesh of each detected face.

        Args:
            frame: BGR uint8 (H, W, 3).
            detections: N rows of ``faces.DETECTION``; ``box`` may reach beyond
                the frame, ``angle`` (degrees, clockwise in the image) turns the
                square that the network sees.
            squares: where known from the frame before, ``mesh_squares`` (N, 4) to
                start from; a row with NaN begins with its detection. Spares the
                second look at most faces.

        Returns:
            ``(meshes, confidence)``: float32 (N, 468, 3), x and y in pixels of
            the frame, z in the same scale, negative towards the camera, zero
            near the head's centre of mass; and float32 (N,) in 0..1, the
            network's belief that there is a face in the square.
        """
        count = len(detections)
        meshes = np.zeros((count, MESH_POINTS, 3), np.float32)
        confidence = np.zeros(count, np.float32)
        if not count:
            return meshes, confidence
        seen = detection_squares(detections)
        if squares is not None:
            known = np.isfinite(squares).all(axis=1)
            seen[known] = squares[known]
        for i in range(count):
            meshes[i], confidence[i] = self._run(frame, seen[i])
            for _ in range(_LOOKS - 1):
                square = mesh_squares(meshes[i:i + 1])
                if not squares_differ(seen[i:i + 1], square)[0]:
                    break
                mesh, score = self._run(frame, square[0])
                # A second square that lost the face (it drifted off) is not kept.
                if score < 0.5 * confidence[i]:
                    break
                meshes[i], confidence[i], seen[i] = mesh, score, square[0]
        return meshes, confidence

    def _run(self, frame: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, float]:
        """Points (468, 3) in frame pixels and score for one square cx, cy, side, angle."""
        crop = crop_square(frame, square, self._size)
        tensor = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB).astype(np.float32)
        tensor *= 1.0 / 255.0
        self._net.set_tensor(self._input, tensor[None])
        self._net.invoke()
        # The fine network's last ten points are the irises.
        points = self._net.get_tensor(self._points).reshape(-1, 3)[:MESH_POINTS]
        logit = float(self._net.get_tensor(self._score).reshape(-1)[0])
        cx, cy, side, angle = (float(value) for value in square)
        scale = side / self._size
        cos, sin = np.cos(np.radians(angle)) * scale, np.sin(np.radians(angle)) * scale
        x, y = points[:, 0] - self._size / 2, points[:, 1] - self._size / 2
        mesh = np.stack([cx + cos * x - sin * y, cy + sin * x + cos * y,
                         points[:, 2] * scale], axis=-1)
        return mesh, 1.0 / (1.0 + np.exp(-np.clip(logit, -60.0, 60.0)))


def detection_squares(detections: np.ndarray) -> np.ndarray:
    """The squares that the network is to see for N rows of ``DETECTION``.

    Returns:
        float32 (N, 4): centre x, centre y, side (px), angle (degrees clockwise).
    """
    detections = np.asarray(detections, DETECTION)
    box = np.nan_to_num(detections["box"])
    side = np.maximum(box[:, 2:].max(axis=1), 2.0) * _ROI_SCALE
    return np.column_stack([box[:, :2] + box[:, 2:] / 2, side,
                            np.nan_to_num(detections["angle"])]).astype(np.float32)


def mesh_squares(meshes: np.ndarray) -> np.ndarray:
    """The squares around N meshes (N, 468, 2 or 3), turned as the eyes are.

    Returns:
        float32 (N, 4): centre x, centre y, side (px), angle (degrees clockwise).
    """
    points = np.asarray(meshes, np.float32)[..., :2]
    eyes = points[:, _EYE_CORNERS[1]] - points[:, _EYE_CORNERS[0]]
    angle = np.arctan2(eyes[:, 1], eyes[:, 0])
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    # Bounding box in axes that are turned with the face, its centre turned back.
    u = cos * points[..., 0] + sin * points[..., 1]
    v = -sin * points[..., 0] + cos * points[..., 1]
    u0, u1, v0, v1 = u.min(1), u.max(1), v.min(1), v.max(1)
    cu, cv = (u0 + u1) / 2, (v0 + v1) / 2
    cos, sin = cos[:, 0], sin[:, 0]
    side = np.maximum(np.maximum(u1 - u0, v1 - v0), 2.0) * _ROI_SCALE
    return np.column_stack([cos * cu - sin * cv, sin * cu + cos * cv, side,
                            np.degrees(angle)]).astype(np.float32)


def mesh_box(mesh: np.ndarray) -> np.ndarray:
    """The box (4,) around a mesh (468, 2 or 3)."""
    low = mesh[:, :2].min(axis=0)
    return np.concatenate([low, mesh[:, :2].max(axis=0) - low])


@functools.cache
def _calm_mesh() -> np.ndarray:
    return apply_expression(reference_mesh(), CALM)


def posed_mesh(row: np.ndarray) -> np.ndarray:
    """The mean face, calm, as a row of ``DETECTION`` says: float32 (468, 3) px.

    For faces that are too small for the networks: at their size, place and pose are all
    that is seen.
    """
    pose = Pose(float(row["yaw"]), 0.0, float(row["angle"]), 1.0, (0.0, 0.0))
    mesh = project(_calm_mesh(), pose)
    have, want = mesh_box(mesh), row["box"].astype(np.float64)
    mesh *= np.sqrt(want[2:].prod() / have[2:].prod())
    mesh[:, :2] += want[:2] + want[2:] / 2 - (mesh[:, :2].min(0) + mesh[:, :2].max(0)) / 2
    return mesh.astype(np.float32)


def squares_differ(first: np.ndarray, second: np.ndarray, *, part: float = 1.0) -> np.ndarray:
    """bool (N,): whether two sets of squares (N, 4) would show the network something else.

    ``part`` of the usual tolerance.
    """
    shift = np.hypot(*(second[:, :2] - first[:, :2]).T) / first[:, 2]
    growth = second[:, 2] / first[:, 2]
    turn = np.abs((second[:, 3] - first[:, 3] + 180.0) % 360.0 - 180.0)
    return ((shift > part * _SHIFT) | (np.abs(np.log(growth)) > part * np.log(_GROWTH))
            | (turn > part * _TURN))


def crop_square(frame: np.ndarray, square: np.ndarray, size: int) -> np.ndarray:
    """Sample a turned square of a frame; black beyond the frame.

    Args:
        frame: uint8 (H, W, 3).
        square: centre x, centre y, side (px), angle (degrees clockwise).
        size: side of the result in px.

    Returns:
        uint8 (size, size, 3), in the frame's colour order.
    """
    cx, cy, side, angle = (float(value) for value in square)
    # Shrinking by more than two with bilinear samples skips pixels, and points
    # jitter: average whole blocks of the square's surroundings first.
    factor = int(side / size)
    if factor >= 2:
        half = side * 0.7072 + 2 * factor
        x0, y0 = max(int(cx - half), 0), max(int(cy - half), 0)
        x1, y1 = min(int(cx + half) + 1, frame.shape[1]), min(int(cy + half) + 1, frame.shape[0])
        x1, y1 = x1 - (x1 - x0) % factor, y1 - (y1 - y0) % factor
        if x1 > x0 and y1 > y0:
            frame = cv2.resize(frame[y0:y1, x0:x1], ((x1 - x0) // factor, (y1 - y0) // factor),
                               interpolation=cv2.INTER_AREA)
            # Centre of block 0 is at (factor - 1) / 2 of the cut region.
            cx, cy = ((value - start - (factor - 1) / 2) / factor
                      for value, start in ((cx, x0), (cy, y0)))
            side /= factor
    scale = side / size
    cos, sin = np.cos(np.radians(angle)) * scale, np.sin(np.radians(angle)) * scale
    # Pixel i of the crop has its centre at i + 0.5 of the network's coordinates.
    offset = 0.5 - size / 2
    matrix = np.array([[cos, -sin, cx + (cos - sin) * offset],
                       [sin, cos, cy + (sin + cos) * offset]])
    return cv2.warpAffine(frame, matrix, (size, size),
                          flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                          borderMode=cv2.BORDER_CONSTANT)
