"""What the back ends share: loading networks, checking frames, fitting boxes."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from deid_ros.errors import FrameError, ModelError
from deid_ros.resources import model_path, model_table

__all__ = ["check_frame", "fit_box", "import_dlib", "onnx_providers", "onnx_session",
           "shrink", "tflite_interpreter"]


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


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image uint8 (H, W, 3) at a smaller ``size`` (width, height).

    Halved as often as it goes, then sampled bilinearly: OpenCV averages in one uneven
    step five times slower, and networks see no difference.
    """
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1]:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        image = cv2.resize(image[:2 * height, :2 * width], (width, height),
                           interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


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
    member = model_table()[name].get("member")
    if member is None:
        interpreter = Interpreter(str(path), num_threads=num_threads)
    else:
        with zipfile.ZipFile(path) as bundle:  # a MediaPipe task: several networks in a file
            interpreter = Interpreter(model_content=bundle.read(member), num_threads=num_threads)
    interpreter.allocate_tensors()
    return interpreter


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"The detector 'centerface' needs the package onnxruntime ({error}); "
                         "bring it with: pip install onnxruntime") from None
    return onnxruntime


def onnx_providers(wanted: Sequence[str] | None = None) -> list[str]:
    """The execution providers to use: those wanted, or CUDA where there is one and the CPU.

    Raises:
        ModelError: ONNX Runtime is missing.
    """
    if wanted is not None:
        return list(wanted)
    present = _onnxruntime().get_available_providers()
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in present]


def onnx_session(model: bytes, *, num_threads: int,
                 providers: Sequence[str] | None = None) -> Any:
    """An ONNX Runtime session of a model in memory.

    Args:
        model: the bytes of an ONNX file.
        num_threads: within one operator.
        providers: see ``onnx_providers``.

    Raises:
        ModelError: ONNX Runtime is missing or refuses the model.
    """
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A plan of the memory for every size of input costs the second frame of each size as
    # much as its inference, and its memory is held for ever.
    options.enable_mem_pattern = False
    # Threads that spin between frames steal the core from the other nodes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=onnx_providers(providers))
    except Exception as error:
        raise ModelError(f"ONNX Runtime {onnxruntime.__version__} refuses the model of "
                         f"{len(model)} bytes ({error}); bring its file again.") from None


def import_dlib() -> Any:
    """The module dlib, imported where it is needed.

    Raises:
        ModelError: it is not installed.
    """
    try:
        import dlib
    except ImportError as error:
        raise ModelError(f"dlib cannot be imported ({error}); bring it with: "
                         "pip install dlib-bin") from None
    return dlib


def fit_box(boxes: np.ndarray, angles: np.ndarray | float,
            fit: tuple[float, float, float, float]) -> np.ndarray:
    """Bring one back end's boxes to the box that all of them answer with.

    Args:
        boxes: (N, 4) x, y, width, height as the network was trained.
        angles: (N,) in-plane rotation of the faces, degrees clockwise, or 0.
        fit: shift right and down in parts of the box's width and height, in the
            axes of the upright face; factors of width and height.

    Returns:
        float64 (N, 4).
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    right, down, wide, high = fit
    turn = np.radians(np.broadcast_to(angles, len(boxes)))
    shift = np.stack([right * np.cos(turn) - down * np.sin(turn),
                      right * np.sin(turn) + down * np.cos(turn)], axis=-1)
    center = boxes[:, :2] + boxes[:, 2:] * (0.5 + shift)
    extent = boxes[:, 2:] * (wide, high)
    return np.concatenate([center - extent / 2, extent], axis=1)
