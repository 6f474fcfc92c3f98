"""OFFLINE: a trained Keras network as the ONNX file that the live path runs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from deid_ros.errors import TrainingError

__all__ = ["export_generator"]


def export_generator(model: object, path: Path, *, tolerance: float = 0.02) -> None:
    """Write ``path`` and check that ONNX Runtime computes what Keras does.

    Args:
        model: a Keras network: ``generator.network.build_generator`` or an extractor.
        path: the ``.onnx`` file; it is written beside and renamed when checked.
        tolerance: largest difference allowed in an output of -1..1.

    Raises:
        TrainingError: the exported network differs from the trained one.
    """
    import onnxruntime

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / path.name
        rng = np.random.default_rng(0)
        inputs = [rng.normal(0, 0.1, (2, *spec.shape[1:])).astype(np.float32)
                  for spec in model.inputs]
        expected = np.asarray(model(inputs if len(inputs) > 1 else inputs[0], training=False))
        model.export(str(draft), format="onnx", verbose=False)
        _shrink(draft)
        session = onnxruntime.InferenceSession(str(draft), providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
        answer = session.run(None, dict(zip(names, inputs)))[0]
        gap = float(np.abs(answer - expected).max())
        if gap > tolerance:
            raise TrainingError(f"The exported {path.name} differs from the trained network by "
                                f"{gap:.3f}, at most {tolerance} is allowed; it was not kept.")
        os.replace(draft, path)


def _shrink(path: Path) -> None:
    """Store the kernel of the linear texture as int8 with a step per component.

    That is how the face space keeps it, so nothing is lost, and the file is three
    times smaller; ONNX Runtime unfolds it when it loads the network.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(path))
    graph = model.graph
    largest = max(graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    kernel = numpy_helper.to_array(largest)
    step = np.abs(kernel).max(axis=1, keepdims=True).astype(np.float32) / 127
    name = largest.name
    graph.initializer.remove(largest)
    graph.initializer.extend([
        numpy_helper.from_array(np.round(kernel / step).astype(np.int8), f"{name}_int8"),
        numpy_helper.from_array(step, f"{name}_step")])
    for node in (helper.make_node("Mul", [f"{name}_wide", f"{name}_step"], [name]),
                 helper.make_node("Cast", [f"{name}_int8"], [f"{name}_wide"],
                                  to=onnx.TensorProto.FLOAT)):
        graph.node.insert(0, node)
    onnx.save(model, str(path))
