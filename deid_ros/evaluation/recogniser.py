"""A face recogniser from a file as an attacker: ONNX, or OpenVINO's IR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import EvaluationError
from deid_ros.evaluation.alignment import aligned
from deid_ros.evaluation.recipe import Recipe, recipe_of
from deid_ros.evaluation.views import View
from deid_ros.resources import onnx_runtime

__all__ = ["SUFFIXES", "Recogniser", "is_recogniser"]

SUFFIXES = (".onnx", ".xml")

#: Takes float32 (1, ...), gives the feature vector.
_Network = Callable[[np.ndarray], np.ndarray]
_Shape = Sequence[Any]


def is_recogniser(name: str) -> bool:
    """Whether an attacker's name is a recogniser's file, or a folder that may hold one."""
    return name.lower().endswith(SUFFIXES) or "/" in name


class Recogniser:
    """One picture in, one feature vector out; cosine distance.

    The face is aligned by five points of the face mesh. What else the network wants
    stands in its ``Recipe``.

    Args:
        path: an ``.onnx`` or ``.xml`` file, or a folder with one of them.

    Raises:
        EvaluationError: it cannot be read, takes something else, or needs a library.
    """

    threshold = None
    recogniser = True

    def __init__(self, path: Path) -> None:
        path = _file(path)
        self.recipe: Recipe = recipe_of(path)
        self.name = self.recipe.name or path.stem.replace(".", "_")
        self.title = f"recogniser {path.name}"
        self.independent, self.note = self.recipe.independent, self.recipe.note
        load = _openvino if path.suffix.lower() == ".xml" else _onnx
        self._run, shape = load(path)
        sides = [n if isinstance(n, int) and n > 0 else None for n in shape]
        self._first = len(sides) == 4 and sides[1] == 3
        if not self._first and not (len(sides) == 4 and sides[3] == 3):
            raise EvaluationError(f"{path} takes {list(shape)}; expected one input of shape "
                                  "(1, 3, H, W) or (1, H, W, 3).")
        height, width = sides[2:4] if self._first else sides[1:3]
        self.size = self.recipe.size or (width or 112, height or 112)
        if (width or self.size[0], height or self.size[1]) != self.size:
            raise EvaluationError(f"{path} takes pictures of {width}x{height}, and its recipe "
                                  f"says size {self.size[0]}x{self.size[1]}; correct the recipe.")

    def describe(self, frame: np.ndarray, view: View) -> np.ndarray:
        """See ``Attacker.describe``: (D,), of length 1."""
        chip = aligned(frame, view.five, np.asarray(self.recipe.points) * self.size, self.size)
        values = self.recipe.prepare(chip)[None]
        if self._first:
            values = values.transpose(0, 3, 1, 2)
        row = np.asarray(self._run(np.ascontiguousarray(values)), np.float64).ravel()
        return row / max(float(np.linalg.norm(row)), 1e-12)

    def distances(self, probes: np.ndarray, against: np.ndarray, *,
                  known: np.ndarray) -> np.ndarray:
        """See ``Attacker.distances``: 1 - cosine; equal features are at exactly 0."""
        from deid_ros.evaluation.recognition import euclidean

        return euclidean(probes, against) ** 2 / 2


def _file(path: Path) -> Path:
    if path.is_dir():
        found = [file for file in sorted(path.iterdir()) if file.suffix.lower() in SUFFIXES]
        if len(found) != 1:
            raise EvaluationError(f"{path} holds {len(found)} files ending in .onnx or .xml; name "
                                  "the recogniser's file.")
        return found[0]
    if not path.is_file():
        raise EvaluationError(f"There is no recogniser {path}; check the path.")
    return path


def _refused(path: Path, kind: str, error: Exception) -> EvaluationError:
    words = " ".join(str(error).split())[:160]
    return EvaluationError(f"{path} cannot be loaded as {kind} ({words}); export it anew.")


def _onnx(path: Path) -> tuple[_Network, _Shape]:
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options,
                                               providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _refused(path, "an ONNX model", error) from None
    taken = session.get_inputs()
    if len(taken) != 1:
        return lambda values: values, [one.shape for one in taken]
    name = taken[0].name
    return lambda values: session.run(None, {name: values})[0], taken[0].shape


def _openvino(path: Path) -> tuple[_Network, _Shape]:
    try:
        import openvino
    except ImportError:
        raise EvaluationError(f"{path} needs OpenVINO; install it with: pip install "
                              "openvino") from None
    try:
        core: Any = openvino.Core()
        model = core.read_model(str(path))
        compiled = core.compile_model(model, "CPU")
    except Exception as error:
        raise _refused(path, "an OpenVINO model", error) from None
    shape = [one.get_length() if one.is_static else None for one in
             model.inputs[0].partial_shape] if len(model.inputs) == 1 else []
    return lambda values: compiled(values)[0], shape
