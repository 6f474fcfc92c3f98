"""dlib's frontal face detector: histograms of oriented gradients.

Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR
2005, with the max-margin training of King, "Max-Margin Object Detection", 2015.
It finds nearly frontal faces from 80 px up, 40 px with ``upsample`` 1.
"""

from __future__ import annotations

import cv2
import numpy as np

from deid_ros.detector.boxes import make_detections
from deid_ros.detector.interfaces import DEFAULT_THRESHOLD
from deid_ros.detector.runtime import check_frame, fit_box, import_dlib

__all__ = ["DlibHog"]

_FIT = (0.0, -0.04, 0.94, 1.075)
# score = 1 / (1 + exp(-_ZERO - 2 margin)): the detector's own margin of 0 is 0.3.
_ZERO = float(np.log(0.3 / 0.7))
_WINDOW = 80          # px, the detector's own


class DlibHog:
    """The back end ``dlib_hog``.

    Args:
        threshold: least score, 0..1; the detector's own limit is 0.3.
        max_side: frames with a longer side are scaled down to it (px).
        upsample: how often the frame is doubled before the search; each time
            halves the smallest face found and quadruples the time.

    Raises:
        ModelError: dlib is not installed.
    """

    name = "dlib_hog"

    def __init__(self, *, threshold: float = DEFAULT_THRESHOLD, max_side: int = 640,
                 upsample: int = 0) -> None:
        self.threshold = threshold
        self.max_side = max_side
        self.upsample = upsample
        self._detector = import_dlib().get_frontal_face_detector()

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """See ``Detector.detect``; ``angle`` is always 0."""
        check_frame(frame)
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        scale = min(1.0, self.max_side / max(grey.shape))
        if scale < 1.0:
            size = tuple(max(round(side * scale), 1) for side in grey.shape[::-1])
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        if min(grey.shape) << self.upsample < _WINDOW // 2:
            return make_detections(np.zeros((0, 4)), np.zeros(0))
        p = min(max(self.threshold, 1e-3), 1 - 1e-3)
        rectangles, margins, _ = self._detector.run(grey, self.upsample,
                                                    float((np.log(p / (1 - p)) - _ZERO) / 2))
        boxes = np.array([(r.left(), r.top(), r.width(), r.height()) for r in rectangles],
                         np.float64).reshape(-1, 4)
        scores = 1.0 / (1.0 + np.exp(-_ZERO - 2.0 * np.asarray(margins, np.float64).reshape(-1)))
        return make_detections(fit_box(boxes / scale, 0.0, _FIT), scores)
