"""Viola-Jones cascades of OpenCV: the detector of the paper's time.

Viola and Jones, "Rapid Object Detection using a Boosted Cascade of Simple
Features", CVPR 2001; OpenCV's trained cascades for frontal faces (alt2) and for
profiles, the latter run on the mirrored frame too.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from deid_ros.detector.boxes import make_detections, suppress
from deid_ros.detector.interfaces import DEFAULT_THRESHOLD
from deid_ros.detector.runtime import check_frame, fit_box
from deid_ros.errors import ModelError

__all__ = ["ViolaJones"]

# Ratio of one size looked for to the next, and the sum that the cascade's last
# stage must reach: the score is by how much a face passed it.
_FRONTAL_SEARCH, _PROFILE_SEARCH = (1.15, 53.76), (1.2, -1.27)
_FRONTAL, _PROFILE = "haarcascade_frontalface_alt2.xml", "haarcascade_profileface.xml"
_FIT = (0.0, 0.075, 0.86, 0.98)
_FIT_PROFILE = (0.0, 0.075, 0.86, 0.98)


class ViolaJones:
    """The back end ``viola_jones``.

    Args:
        threshold: least score, 0..1.
        max_side: frames with a longer side are scaled down to it (px).
        min_size: smallest face looked for, px of the scaled frame (the cascades'
            own window is 20 px).

    Every hit has a score of at least 0.5: a threshold below changes nothing.

    Raises:
        ModelError: OpenCV has no cascade classifier or its files are not there.
    """

    name = "viola_jones"

    def __init__(self, *, threshold: float = DEFAULT_THRESHOLD, max_side: int = 480,
                 min_size: int = 20) -> None:
        self.threshold = threshold
        self.max_side = max_side
        self.min_size = max(int(min_size), 20)
        self._frontal, self._profile = _cascade(_FRONTAL), _cascade(_PROFILE)

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """See ``Detector.detect``; ``angle`` is always 0."""
        check_frame(frame)
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        scale = min(1.0, self.max_side / max(grey.shape))
        if scale < 1.0:
            size = tuple(max(round(side * scale), 1) for side in grey.shape[::-1])
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        if min(grey.shape) < self.min_size:
            return make_detections(np.zeros((0, 4)), np.zeros(0))
        # No equalising: the features are divided by each window's variance as it is.
        frontal, frontal_scores = self._search(self._frontal, grey, *_FRONTAL_SEARCH)
        facing_left, left_scores = self._search(self._profile, grey, *_PROFILE_SEARCH)
        facing_right, right_scores = self._search(self._profile, cv2.flip(grey, 1),
                                                  *_PROFILE_SEARCH)
        facing_right[:, 0] = grey.shape[1] - facing_right[:, 0] - facing_right[:, 2]
        boxes = np.concatenate([fit_box(frontal, 0.0, _FIT),
                                fit_box(facing_left, 0.0, _FIT_PROFILE),
                                fit_box(facing_right, 0.0, _FIT_PROFILE)])
        # A frontal hit is the better placed one wherever both cascades fire.
        scores = np.concatenate([frontal_scores, left_scores, right_scores])
        rank = scores + np.repeat([1.0, 0.0], [len(frontal), len(boxes) - len(frontal)])
        keep = [group[0] for group in suppress(boxes, rank, limit=0.3)]
        keep = [i for i in keep if scores[i] >= self.threshold]
        return make_detections(boxes[keep] / scale, scores[keep])

    def _search(self, cascade: cv2.CascadeClassifier, grey: np.ndarray, step: float,
                stage: float) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) and scores (N,) of one cascade."""
        boxes, _, sums = cascade.detectMultiScale3(
            grey, scaleFactor=step, minNeighbors=3, minSize=(self.min_size, self.min_size),
            outputRejectLevels=True)
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        margin = np.asarray(sums, np.float64).reshape(-1) - stage
        return boxes, 1.0 / (1.0 + np.exp(-margin))


def _cascade(file: str) -> cv2.CascadeClassifier:
    if not hasattr(cv2, "CascadeClassifier"):
        raise ModelError(f"OpenCV {cv2.__version__} has no cascade classifier, which the detector "
                         "'viola_jones' needs; bring it with: pip install "
                         "'opencv-python-headless<5'")
    folders = [Path(cv2.data.haarcascades)] if hasattr(cv2, "data") else []
    folders += [Path("/usr/share/opencv4/haarcascades"),
                Path("/usr/local/share/opencv4/haarcascades")]
    for folder in folders:
        if (folder / file).is_file():
            cascade = cv2.CascadeClassifier(str(folder / file))
            if not cascade.empty():
                return cascade
    raise ModelError(f"The cascade {file} was not found in {', '.join(map(str, folders))}; bring "
                     "it with: pip install 'opencv-python-headless<5' (or apt install opencv-data)")
