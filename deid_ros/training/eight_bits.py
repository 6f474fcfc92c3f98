"""OFFLINE: CenterFace in eight bits, at half the time of the published network.

Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, after training: weights by channel in
seven of the eight bits, so that processors without VNNI cannot overflow where others do
not and all come to the same answers; activations in eight, their ranges from scenes like
those of ``deid bench recall``. What sees the picture and what says where the faces are
stays as it is: there integers gain least time and cost most exactness.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deid_ros.errors import TrainingError
from deid_ros.resources import onnx_runtime

__all__ = ["eight_bits"]

_OPSET = 13           # the first whose quantised weights have a scale for each channel
_FIRST, _LAST = 2, 9   # nodes that stay as they are


def eight_bits(model: bytes, path: Path, images: Sequence[np.ndarray]) -> None:
    """Write the quantised network to ``path``.

    Args:
        model: the bytes of an ONNX file whose input has a free size.
        images: BGR uint8 (H, W, 3), from which the ranges of activations come.

    Raises:
        TrainingError: the package onnx is missing, or there is no image.
    """
    if not len(images):
        raise TrainingError("There is no image to measure activations on; give at least one.")
    try:
        import onnx
        from onnx import version_converter
    except ImportError as error:
        raise TrainingError(f"Quantising needs the package onnx ({error}); bring it with: "
                            "pip install 'deid_ros[train]'") from None
    onnxruntime = onnx_runtime()
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory() as folder:
        newer, simple = Path(folder) / "newer.onnx", Path(folder) / "simple.onnx"
        onnx.save(version_converter.convert_version(onnx.load_from_string(model), _OPSET), newer)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(simple)
        session = onnxruntime.InferenceSession(str(newer), options,
                                               providers=["CPUExecutionProvider"])
        graph = onnx.load(simple)
        for number, node in enumerate(graph.graph.node):
            node.name = f"n{number}"
        onnx.save(graph, simple)
        names = [node.name for node in graph.graph.node]
        quantization.quantize_static(
            simple, path, _Images(session.get_inputs()[0].name, images),
            quant_format=quantization.QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            nodes_to_exclude=[*names[:_FIRST], *names[-_LAST:]])


class _Images:
    """What ONNX Runtime calls a calibration data reader."""

    def __init__(self, name: str, images: Sequence[np.ndarray]) -> None:
        self._name, self._images = name, iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        import cv2

        image = next(self._images, None)
        return None if image is None else {self._name: cv2.dnn.blobFromImage(image, swapRB=True)}
