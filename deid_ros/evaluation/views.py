"""What the measuring instruments see in one picture.

The original's face says where to look; every output is looked at in the same way
and, where no detector finds its face, at the place of the original's. An attacker
knows where a blurred face was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deid_ros.errors import EvaluationError
from deid_ros.evaluation.alignment import five_points
from deid_ros.evaluation.dlib_face import DlibFace, landmark_file, rectangle_of
from deid_ros.evaluation.utility import best_overlap
from deid_ros.faces import DETECTION
from deid_ros.geometry import MESH_TO_IBUG68, Pose, fit_pose

__all__ = ["LANDMARKS", "RETENTION", "Observer", "View"]

#: The detectors that must still find a face, each at its own usual threshold.
RETENTION = ("dlib_hog", "centerface")

#: Which 68 points are compared: dlib's predictor, or the subset of the face mesh.
LANDMARKS = ("dlib68", "mesh")

# The detectors' scores are mapped so that 0.5 is the usual threshold; the pipeline
# covers faces from lower ones, here that would flatter the output.
_THRESHOLD = 0.5

# A face in the output is the original's if the boxes share this part (IoU).
_SAME = 0.4


@dataclass(frozen=True, slots=True)
class View:
    """One face in one picture, or the place where it was.

    ``size``       height, width of the picture (px).
    ``box``        float (4,), the face's box, of the first detector that found it.
    ``places``     detector name -> its own box of this face, None: not found.
    ``boxes``      float (n, 4), every face in the picture, of any detector.
    ``rectangle``  float (4,), where dlib's predictors are applied.
    ``mesh``       float32 (468, 3) px.
    ``pose``       of the mesh.
    ``landmarks``  float (68, 2) px, iBUG order, of the predictor in use.
    ``scored``     detector name -> float (n, 5), its boxes and their scores.
    ``five``       float (5, 2) px, where recognisers align: eyes, nose, corners of the mouth
                   of the mesh; those of the original where no detector finds the output's face.
    """

    size: tuple[int, int]
    box: np.ndarray
    places: dict[str, np.ndarray | None]
    boxes: np.ndarray
    rectangle: np.ndarray
    mesh: np.ndarray
    pose: Pose
    landmarks: np.ndarray
    scored: dict[str, np.ndarray] = field(default_factory=dict)
    five: np.ndarray = field(default_factory=lambda: np.zeros((5, 2)))

    @property
    def angles(self) -> np.ndarray:
        """Yaw, pitch and roll in degrees: float (3,)."""
        return np.array([self.pose.yaw, self.pose.pitch, self.pose.roll])


class Observer:
    """The instruments, loaded once.

    Args:
        detectors: names of ``detector.DETECTORS`` whose retention is measured.
        landmarks: one of ``LANDMARKS``; None: dlib's where the user has its file.

    Raises:
        EvaluationError: dlib's landmarks are asked for and not there.
        ModelError: a model file is missing.
    """

    def __init__(self, *, detectors: Sequence[str] = RETENTION,
                 landmarks: str | None = None) -> None:
        from deid_ros.detector.mesh import FaceMesh
        from deid_ros.detector.registry import create_detector

        file = landmark_file()
        if landmarks not in (None, *LANDMARKS):
            raise EvaluationError(f"There are no landmarks called '{landmarks}'; choose one of "
                                  f"{', '.join(LANDMARKS)}.")
        if landmarks == "dlib68" and file is None:
            raise EvaluationError(
                "dlib's 68-point predictor is not installed; use the mesh's landmarks, or bring "
                "it (for non-commercial use only) with: pip install face-recognition-models")
        self.landmarks = landmarks or ("dlib68" if file else "mesh")
        self.detectors: dict[str, Any] = {
            name: create_detector([name], threshold=_THRESHOLD) for name in detectors}
        self.dlib = DlibFace(landmarks=file if self.landmarks == "dlib68" else None)
        self._mesh = FaceMesh()

    def look(self, frame: np.ndarray, *, at: View | None = None) -> View | None:
        """See the face of a picture.

        Args:
            frame: BGR uint8 (H, W, 3).
            at: the view of the original, when this is its output.

        Returns:
            None where an original shows no face; an output always has a view.
        """
        rows = {name: detector.detect(frame) for name, detector in self.detectors.items()}
        boxes = {name: row["box"].astype(np.float64) for name, row in rows.items()}
        every = np.concatenate([np.zeros((0, 4)), *boxes.values()])
        target = at.box if at is not None else _largest(every)
        if target is None:
            return None
        places = {name: _place(found, None if at is None else at.places.get(name), target)
                  for name, found in boxes.items()}
        seen = [place for place in places.values() if place is not None]
        box = seen[0] if seen else np.asarray(target, np.float64)
        detection = np.zeros(1, DETECTION)
        detection["box"], detection["score"] = box, 1.0
        meshes, _ = self._mesh.locate(frame, detection)
        pose = fit_pose(meshes[0])
        place = box if at is None else at.box
        rectangle = self.dlib.rectangle(frame, place)
        if rectangle is None:
            rectangle = rectangle_of(pose) if at is None else at.rectangle
        if self.landmarks == "dlib68":
            points = self.dlib.landmarks(frame, rectangle)
        else:
            points = meshes[0][MESH_TO_IBUG68, :2].astype(np.float64)
        five = five_points(meshes[0][MESH_TO_IBUG68, :2])
        if at is not None and not seen:
            five = at.five
        return View(five=five, size=frame.shape[:2], box=box, places=places, boxes=every,
                    rectangle=rectangle, mesh=meshes[0], pose=pose, landmarks=points,
                    scored={name: np.column_stack([row["box"], row["score"]])
                            for name, row in rows.items()})


def _place(boxes: np.ndarray, own: np.ndarray | None, target: np.ndarray) -> np.ndarray | None:
    """One detector's box (4,) of the face at ``target``, None where it found none.

    ``own`` is where the same detector found the original; boxes of different
    detectors differ more than those of one, so against another's less is asked.
    """
    row, shared = best_overlap(target if own is None else own, boxes)
    return boxes[row] if shared >= (_SAME / 2 if own is None else _SAME) else None


def _largest(boxes: np.ndarray) -> np.ndarray | None:
    """The largest of boxes (N, 4), None without any."""
    return boxes[boxes[:, 2:].prod(axis=1).argmax()] if len(boxes) else None
