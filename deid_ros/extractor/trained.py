"""Extractors that ``deid train extractor`` made, run with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deid_ros.errors import ExtractorError
from deid_ros.extractor.interfaces import check_chips, unit_rows
from deid_ros.resources import onnx_runtime

__all__ = ["TrainedExtractor"]

#: Chips computed at once: bounds the memory.
BATCH = 32


class TrainedExtractor:
    """Embeddings of 112 px chips by a network of the user's own.

    Args:
        weights: the ``.onnx`` file that the training wrote.
        num_threads: threads of one inference.

    Raises:
        ExtractorError: no file is given, or it is no such network.
    """

    name = "trained"
    chip_size = 112

    def __init__(self, *, weights: str | Path | None = None, num_threads: int = 2) -> None:
        if not weights:
            raise ExtractorError("The extractor 'trained' needs the .onnx file that 'deid train "
                                 "extractor' wrote; name it with the parameter extractor_weights.")
        onnxruntime = onnx_runtime()
        path = Path(weights).expanduser()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=onnxruntime.get_available_providers())
        except Exception as error:  # ONNX Runtime has no common base class
            problem = " ".join(str(error).split())
            raise ExtractorError(f"The extractor {path} cannot be loaded ({problem}); give the "
                                 ".onnx file that 'deid train extractor' wrote.") from None
        entry, out = self._session.get_inputs()[0], self._session.get_outputs()[0]
        if list(entry.shape[1:]) != [self.chip_size, self.chip_size, 3] or len(out.shape) != 2:
            raise ExtractorError(f"The extractor {path} takes {entry.shape} and gives {out.shape}, "
                                 f"but needed are (M, {self.chip_size}, {self.chip_size}, 3) and "
                                 "(M, D); give the .onnx file that 'deid train extractor' wrote.")
        self._input = entry.name
        self.dimensions = int(out.shape[1])

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """See ``Extractor.embed``."""
        chips = check_chips(chips, size=self.chip_size, name=self.name)
        if not len(chips):
            return np.zeros((0, self.dimensions), np.float32)
        features = [self._session.run(None, {self._input: chips[k:k + BATCH].astype(np.float32)})[0]
                    for k in range(0, len(chips), BATCH)]
        return unit_rows(np.concatenate(features), name=self.name)
