"""dlib's recogniser as an attacker uses it: find the face, align it, describe it.

The procedure is the same for originals and outputs and independent of the
pipeline's own alignment: dlib's HOG detector around the place where the original
shows a face, dlib's 5-point predictor, a 150 px chip, the 128-D descriptor (King,
"High quality face recognition with deep metric learning", 2017; its author calls
two descriptors the same person below a distance of 0.6).
"""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.evaluation.utility import best_overlap
from deid_ros.geometry import Pose
from deid_ros.resources import MODELS_VARIABLE, model_path

__all__ = ["DlibFace", "landmark_file", "rectangle_of"]

#: dlib's 68-point predictor. Its training data (300-W) forbid commercial use, so
#: it is used for measuring only, and only where the user has it.
LANDMARK_FILE = "shape_predictor_68_face_landmarks.dat"

# The HOG detector's square on a mesh: its centre is the model's origin, its side
# this many model units (median over portraits; spread 0.1).
_SIDE = 1.67

# The neighbourhood that is searched, in sides of the face's box around its centre,
# and the pixels to which the box is brought; the detector's window is 80.
_AROUND, _FACE = 2.4, 160


def landmark_file() -> Path | None:
    """The path of dlib's 68-point predictor, None where the user does not have it."""
    folders = [Path(os.environ[MODELS_VARIABLE])] if os.environ.get(MODELS_VARIABLE) else []
    spec = importlib.util.find_spec("face_recognition_models")
    if spec and spec.submodule_search_locations:
        folders += [Path(folder) / "models" for folder in spec.submodule_search_locations]
    return next((f / LANDMARK_FILE for f in folders if (f / LANDMARK_FILE).is_file()), None)


def rectangle_of(pose: Pose) -> np.ndarray:
    """Where dlib's detector would put a face of this pose: float (4,) x, y, w, h (px)."""
    side = _SIDE * pose.scale
    return np.array([pose.center[0] - side / 2, pose.center[1] - side / 2, side, side])


@functools.cache
def _load(kind: str, path: str) -> Any:
    """A predictor or network of dlib; a hundred megabytes are read once a process."""
    from deid_ros.detector.runtime import import_dlib

    return getattr(import_dlib(), kind)(path)


class DlibFace:
    """Detector, 5-point predictor and descriptor; the 68-point predictor on request.

    Raises:
        ModelError: dlib or a model file is missing.
    """

    def __init__(self, *, landmarks: Path | None = None) -> None:
        from deid_ros.detector.runtime import import_dlib

        self._dlib: Any = import_dlib()
        self._find = self._dlib.get_frontal_face_detector()
        self._five = _load("shape_predictor", str(model_path("dlib_five_points")))
        self._describe = _load("face_recognition_model_v1", str(model_path("dlib_resnet")))
        self._many = _load("shape_predictor", str(landmarks)) if landmarks else None

    def rectangle(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """dlib's rectangle of the face at ``box``: float (4,) px, None where it finds none.

        Args:
            frame: BGR uint8 (H, W, 3).
            box: (4,) of the face in the original.

        The search is confined to the box's neighbourhood and brings it to one size,
        so that small and large faces are attacked alike.
        """
        import cv2

        x, y, w, h = (float(v) for v in box)
        reach = _AROUND * max(w, h) / 2
        x0, y0 = max(int(x + w / 2 - reach), 0), max(int(y + h / 2 - reach), 0)
        part = frame[y0:max(int(y + h / 2 + reach), 0), x0:max(int(x + w / 2 + reach), 0)]
        if not part.size:
            return None
        scale = _FACE / max(w, h, 1.0)
        size = tuple(max(round(side * scale), 1) for side in part.shape[1::-1])
        grey = cv2.resize(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), size,
                          interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        boxes = np.array([(r.left(), r.top(), r.width(), r.height())
                          for r in self._find(grey, 0)], np.float64).reshape(-1, 4)
        boxes = boxes / scale + [x0, y0, 0, 0]
        row, shared = best_overlap(np.asarray(box), boxes)
        return boxes[row] if shared >= 0.3 else None

    def descriptor(self, frame: np.ndarray, rectangle: np.ndarray) -> np.ndarray:
        """The descriptor of the face in a rectangle: float64 (128,), length about 1.44."""
        image = np.ascontiguousarray(frame[:, :, ::-1])
        shape = self._five(image, self._rectangle(rectangle))
        chip = self._dlib.get_face_chip(image, shape, size=150, padding=0.25)
        return np.asarray(self._describe.compute_face_descriptor(chip), np.float64)

    def landmarks(self, frame: np.ndarray, rectangle: np.ndarray) -> np.ndarray:
        """68 points in the iBUG order: float64 (68, 2) px."""
        if self._many is None:
            raise ValueError("DlibFace: made without the 68-point predictor.")
        shape = self._many(np.ascontiguousarray(frame[:, :, ::-1]), self._rectangle(rectangle))
        return np.array([(p.x, p.y) for p in shape.parts()], np.float64)

    def _rectangle(self, box: np.ndarray) -> Any:
        left, top, width, height = (int(round(float(v))) for v in box)
        return self._dlib.rectangle(left, top, left + max(width, 1) - 1,
                                    top + max(height, 1) - 1)
