"""BlazeFace, full range: a single-shot detector that takes two milliseconds.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile
GPUs", CVPR Workshop on Computer Vision for Augmented and Virtual Reality, 2019;
MediaPipe's full-range model, run with LiteRT. It sees the frame at 192 px, so a
face narrower than about a twentieth of the frame's long side escapes it.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from deid_ros.detector.boxes import make_detections, suppress
from deid_ros.detector.interfaces import DEFAULT_THRESHOLD
from deid_ros.detector.runtime import check_frame, fit_box, shrink
from deid_ros.inference import tflite_interpreter

__all__ = ["BlazeFace"]

_SIZE = 192
_STRIDE = 4           # one anchor in the middle of every 4x4 pixels
_OVERLAP = 0.3
_FIT = (0.0, 0.0, 0.87, 1.0)


def _anchors() -> np.ndarray:
    """Centres of the anchors in pixels of the input, float32 (2304, 2), x and y."""
    line = (np.arange(_SIZE // _STRIDE, dtype=np.float32) + 0.5) * _STRIDE
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


class BlazeFace:
    """The back end ``ssd``.

    Args:
        threshold: least score, 0..1.
        num_threads: of one inference.

    Raises:
        ModelError: the model file is missing or altered.
    """

    name = "ssd"

    def __init__(self, *, threshold: float = DEFAULT_THRESHOLD, num_threads: int = 1) -> None:
        self.threshold = threshold
        self._net: Any = tflite_interpreter("blazeface_full_range", num_threads=num_threads)
        self._input = self._net.get_input_details()[0]["index"]
        # Per anchor the boxes have sixteen numbers, the scores one.
        outputs = {int(tensor["shape"][-1]): tensor["index"]
                   for tensor in self._net.get_output_details()}
        self._boxes, self._scores = outputs[16], outputs[1]
        self._anchors = _anchors()

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """See ``Detector.detect``; ``angle`` comes from the two eyes."""
        check_frame(frame)
        tensor, scale, left, top = _letterbox(frame)
        self._net.set_tensor(self._input, tensor[None])
        self._net.invoke()
        logits = np.clip(self._net.get_tensor(self._scores).reshape(-1), -60.0, 60.0)
        scores = 1.0 / (1.0 + np.exp(-logits))
        found = np.flatnonzero(scores >= self.threshold)
        scores = scores[found]
        # Centre, size, then six points: right and left eye first.
        if not len(found):
            return make_detections(np.zeros((0, 4)), scores)
        raw = self._net.get_tensor(self._boxes).reshape(-1, 8, 2)[found]
        center, extent = raw[:, 0] + self._anchors[found], raw[:, 1]
        eyes = raw[:, 2:4] + self._anchors[found, None]
        values = np.concatenate([center - extent / 2, extent, eyes.reshape(-1, 4)], axis=1)
        # Neighbouring anchors see the same face; their mean by score is steadier
        # than the best of them.
        groups = suppress(values[:, :4], scores, limit=_OVERLAP)
        mean = np.array([np.average(values[group], axis=0, weights=scores[group])
                         for group in groups]).reshape(-1, 8)
        best = np.array([scores[group[0]] for group in groups])
        boxes = np.concatenate([mean[:, :2] - (left, top), mean[:, 2:4]], axis=1) / scale
        across = mean[:, 6:8] - mean[:, 4:6]
        angles = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
        return make_detections(fit_box(boxes, angles, _FIT), best, angles)


def _letterbox(frame: np.ndarray) -> tuple[np.ndarray, float, int, int]:
    """The frame as RGB in -1..1 (192, 192, 3) in the middle of black; scale, left, top."""
    height, width = frame.shape[:2]
    scale = _SIZE / max(height, width)
    w, h = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.cvtColor(shrink(frame, (w, h)), cv2.COLOR_BGR2RGB)
    left, top = (_SIZE - w) // 2, (_SIZE - h) // 2
    tensor = np.full((_SIZE, _SIZE, 3), -1.0, np.float32)
    tensor[top:top + h, left:left + w] = small * np.float32(1 / 127.5) - np.float32(1)
    return tensor, scale, left, top
