"""A face recogniser of the user's own as an attacker: any ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deid_ros.errors import EvaluationError
from deid_ros.evaluation.alignment import ARCFACE, aligned, five_points
from deid_ros.evaluation.views import View
from deid_ros.resources import onnx_runtime

__all__ = ["OnnxRecogniser"]


class OnnxRecogniser:
    """One picture in, one feature vector out; cosine distance.

    The convention is that of ArcFace and its descendants: the face aligned at five
    points, RGB, levels mapped to -1..1, one picture (1, 3, S, S) or (1, S, S, 3).

    Args:
        path: the file; the attacker's name is the file's without its ending.

    Raises:
        EvaluationError: the file cannot be read or takes something else.
    """

    threshold = None

    def __init__(self, path: Path) -> None:
        onnxruntime = onnx_runtime()
        self.name, self.title = path.stem.replace(".", "_"), f"recogniser {path.name}"
        if not path.is_file():
            raise EvaluationError(f"There is no recogniser {path}; check the path.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            words = " ".join(str(error).split())[:160]
            raise EvaluationError(f"{path} cannot be loaded as an ONNX model ({words}); "
                                  "export it anew.") from None
        taken = self._session.get_inputs()
        shape = taken[0].shape if taken else []
        sides = [n if isinstance(n, int) else None for n in shape]
        self._first = len(sides) == 4 and sides[1] == 3
        last = len(sides) == 4 and sides[3] == 3
        square = (sides[2:4] if self._first else sides[1:3]) if self._first or last else [0, 1]
        if len(taken) != 1 or square[0] != square[1]:
            raise EvaluationError(f"{path} takes {[(i.name, i.shape) for i in taken]}; expected "
                                  "one input of shape (1, 3, S, S) or (1, S, S, 3).")
        self._input, self._side = taken[0].name, square[0] or 112

    def describe(self, frame: np.ndarray, view: View) -> np.ndarray:
        """See ``Attacker.describe``: (D,), of length 1."""
        target = ARCFACE * (self._side / 112)
        chip = aligned(frame, five_points(view.landmarks), target, (self._side, self._side))
        values = (chip[None, :, :, ::-1].astype(np.float32) - 127.5) / 127.5
        if self._first:
            values = values.transpose(0, 3, 1, 2)
        [feature, *_] = self._session.run(None, {self._input: np.ascontiguousarray(values)})
        row = np.asarray(feature, np.float64).ravel()
        return row / max(float(np.linalg.norm(row)), 1e-12)

    def distances(self, probes: np.ndarray, against: np.ndarray, *,
                  known: np.ndarray) -> np.ndarray:
        """See ``Attacker.distances``: 1 - cosine; equal features are at exactly 0."""
        from deid_ros.evaluation.recognition import euclidean

        return euclidean(probes, against) ** 2 / 2
