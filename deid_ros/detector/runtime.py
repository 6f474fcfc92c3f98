"""Loading networks: LiteRT interpreters, and the frame check every back end makes."""

from __future__ import annotations

from typing import Any

import numpy as np

from deid_ros.errors import FrameError, ModelError
from deid_ros.resources import model_path

__all__ = ["check_frame", "tflite_interpreter"]


def check_frame(frame: Any) -> np.ndarray:
    """The frame itself, if it is what every detector takes.

    Raises:
        FrameError: not a uint8 array (H, W, 3) with H, W >= 1.
    """
    if (not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3
            or frame.shape[2] != 3 or 0 in frame.shape):
        got = (f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray)
               else type(frame).__name__)
        raise FrameError("A frame must be a BGR uint8 array (H, W, 3) of at least one pixel, "
                         f"got {got}; convert the image first.")
    return frame


def tflite_interpreter(name: str, *, num_threads: int = 1) -> Any:
    """A LiteRT interpreter of the model ``name`` of ``models/models.yaml``, allocated.

    Raises:
        ModelError: the file or the interpreter's package is missing.
    """
    path = model_path(name)
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ModelError(f"The model '{name}' needs the package ai-edge-litert ({error}); "
                         "bring it with: pip install ai-edge-litert") from None
    interpreter = Interpreter(str(path), num_threads=num_threads)
    interpreter.allocate_tensors()
    return interpreter
