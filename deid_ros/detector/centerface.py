"""CenterFace on ONNX Runtime: the default detector.

Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point",
Scientific Programming, 2020. The network paints a map, at a quarter of the
image's resolution, of how likely each place is the middle of a face, and beside
it the face's size, the middle's fraction of a cell, and five landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from deid_ros.detector.boxes import make_detections, suppress
from deid_ros.detector.interfaces import DEFAULT_THRESHOLD
from deid_ros.detector.runtime import check_frame, fit_box
from deid_ros.faces import DETECTION
from deid_ros.inference import free_input_size, onnx_providers, onnx_session
from deid_ros.resources import model_path

__all__ = ["CenterFace", "PRECISIONS"]

#: How exactly the network computes: the published one, or its weights and activations in
#: eight bits (``training.eight_bits``), which takes half the time on a CPU.
PRECISIONS = {"float": "centerface", "int8": "centerface_int8"}

_CELL = 4            # pixels per cell of the answer
_MULTIPLE = 32       # the network's input is a multiple of this
_OVERLAP = 0.3       # IoU above which two faces are one
# Degrees of yaw for a nose that lies one distance of the eyes beside their middle: against
# the mesh on 142 frames of film, 0.95 correlated at 65 px and 0.81 at 16 px.
_YAW = 110.0
# From the network's box to the common one: see fit_box.
_FIT = (-0.02, 0.042, 1.03, 0.86)


class CenterFace:
    """The back end ``centerface``.

    Args:
        threshold: least score, 0..1.
        max_side: frames with a longer side are scaled down to it (px); time
            grows with its square, the smallest face found with its inverse
            (about 10 px of the scaled frame).
        num_threads: of one inference.
        providers: ONNX Runtime execution providers in order of preference;
            None: CUDA where the installed runtime has it, else the CPU.
        precision: one of ``PRECISIONS``; a GPU always gets ``float``.

    Raises:
        ModelError: the model file is missing or altered.
    """

    name = "centerface"

    def __init__(self, *, threshold: float = DEFAULT_THRESHOLD, max_side: int = 640,
                 num_threads: int = 2, providers: Sequence[str] | None = None,
                 precision: str = "float") -> None:
        self.threshold = threshold
        self.max_side = max(int(max_side), _MULTIPLE)
        providers = onnx_providers(providers)
        if providers[0] != "CPUExecutionProvider":
            precision = "float"
        model = model_path(PRECISIONS[precision]).read_bytes()
        if precision == "float":
            model = free_input_size(model)
        self._session: Any = onnx_session(model, num_threads=num_threads, providers=providers)
        self._input = self._session.get_inputs()[0].name

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """See ``Detector.detect``; ``angle`` and ``yaw`` come from eyes and nose."""
        check_frame(frame)
        image, scale = self._scaled(frame)
        blob = _blob(image)
        heat, size, offset, marks = self._session.run(None, {self._input: blob})
        if heat.max() < self.threshold:
            return np.zeros(0, DETECTION)   # as most frames without a face
        boxes, scores, points = _decode(heat[0, 0], size[0], offset[0], marks[0], self.threshold)
        keep = [group[0] for group in suppress(boxes, scores, limit=_OVERLAP)]
        left, right, nose = points[keep].transpose(1, 0, 2)
        across = right - left
        angles = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
        # How far the nose lies beside the middle of the eyes, in distances of the eyes.
        beside = ((nose - (left + right) / 2) * across).sum(1) / np.maximum(
            (across ** 2).sum(1), 1e-6)
        yaws = np.clip(_YAW * beside, -90.0, 90.0)
        return make_detections(fit_box(boxes[keep] / scale, angles, _FIT), scores[keep], angles,
                               yaws)

    def _scaled(self, frame: np.ndarray) -> tuple[np.ndarray, float]:
        """The frame within ``max_side``, and its scale."""
        height, width = frame.shape[:2]
        scale = min(1.0, self.max_side / max(height, width))
        if scale < 1.0:
            width, height = max(round(width * scale), 1), max(round(height * scale), 1)
            frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        return frame, scale


def _blob(image: np.ndarray) -> np.ndarray:
    """What the network takes: RGB, 0..255, float32 (1, 3, h, w), sides multiples of 32.

    Filled with black, which keeps the proportions, and most frames keep every pixel as it is.
    """
    height, width = image.shape[:2]
    blob = np.empty((1, 3, height + -height % _MULTIPLE, width + -width % _MULTIPLE), np.float32)
    for plane, channel in zip(blob[0], reversed(cv2.split(image)), strict=True):
        plane[:height, :width] = channel
    blob[..., height:, :] = 0.0
    blob[..., width:] = 0.0
    return blob


def _decode(heat: np.ndarray, size: np.ndarray, offset: np.ndarray, marks: np.ndarray,
            threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (N, 4), scores (N,), two eyes and the nose (N, 3, 2), in pixels of the input.

    ``heat`` (h, w); ``size`` log height and width, ``offset`` row and column, both
    (2, h, w); ``marks`` (10, h, w): row and column of five points within the box.
    """
    # Only the top of each hill can win the suppression: a 3x3 maximum filter
    # leaves a handful of candidates however low the threshold.
    peaks = (heat >= threshold) & (heat >= cv2.dilate(heat, np.ones((3, 3), np.uint8)))
    row, column = np.nonzero(peaks)
    extent = np.exp(np.clip(size[:, row, column], -4.0, 7.0)) * _CELL      # height, width
    center = (np.stack([row, column]) + offset[:, row, column] + 0.5) * _CELL
    corner = center - extent / 2
    boxes = np.stack([corner[1], corner[0], extent[1], extent[0]], axis=-1)
    points = marks[:6, row, column].reshape(3, 2, -1)                    # point, (row, column)
    points = np.stack([corner[1] + points[:, 1] * extent[1],
                       corner[0] + points[:, 0] * extent[0]], axis=-1)   # point, N, (x, y)
    return boxes, heat[row, column], points.transpose(1, 0, 2)
