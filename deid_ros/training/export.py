"""OFFLINE: a trained Keras network as the ONNX file that the live path runs.

The conversion reads a graph of TensorFlow. A network that was trained with JAX is
loaded by a second process there (``python -m deid_ros.training.export``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import TrainingError
from deid_ros.resources import onnx_runtime

__all__ = ["export_generator"]


def export_generator(model: Any, path: Path, *, tolerance: float = 0.02) -> None:
    """Write ``path`` and check that ONNX Runtime computes what Keras does.

    Args:
        model: a Keras network: ``generator.network.build_generator`` or an extractor.
        path: the ``.onnx`` file; it is written beside and renamed when checked.
        tolerance: largest difference allowed in an output of -1..1.

    Raises:
        TrainingError: the exported network differs from the trained one, or TensorFlow
            cannot convert it.
    """
    onnxruntime = onnx_runtime()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / path.name
        rng = np.random.default_rng(0)
        inputs = [rng.normal(0, 0.1, (2, *spec.shape[1:])).astype(np.float32)
                  for spec in model.inputs]
        expected = np.asarray(model(inputs if len(inputs) > 1 else inputs[0], training=False))
        _convert(model, draft)
        _shrink(draft)
        session = onnxruntime.InferenceSession(str(draft), providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
        answer = session.run(None, dict(zip(names, inputs)))[0]
        gap = float(np.abs(answer - expected).max())
        if gap > tolerance:
            raise TrainingError(f"The exported {path.name} differs from the trained network by "
                                f"{gap:.3f}, at most {tolerance} is allowed; it was not kept.")
        os.replace(draft, path)


def _convert(model: Any, path: Path) -> None:
    """Write ``path``; with Keras on TensorFlow here, or else in another process."""
    import keras

    if keras.backend.backend() == "tensorflow":
        model.export(str(path), format="onnx", verbose=False)
        return
    kept = path.with_suffix(".keras")
    model.save(kept)
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(kept), str(path)], capture_output=True, text=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow",
             "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        raise TrainingError(f"{path.name} could not be written ({last}); TensorFlow and tf2onnx "
                            "convert the network: pip install 'deid_ros[train]'.")


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


if __name__ == "__main__":
    import keras

    import deid_ros.generator.network  # noqa: F401  its layers

    network = keras.models.load_model(sys.argv[1], compile=False)
    # Keras exports what has been called once.
    zeros = [np.zeros((1, *spec.shape[1:]), np.float32) for spec in network.inputs]
    network(zeros if len(zeros) > 1 else zeros[0])
    _convert(network, Path(sys.argv[2]))
