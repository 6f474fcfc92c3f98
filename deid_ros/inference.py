"""Sessions of ONNX Runtime and LiteRT, and what a published ONNX file needs for one."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from deid_ros.errors import ModelError
from deid_ros.resources import model_path, model_table, onnx_runtime

__all__ = ["free_input_size", "onnx_providers", "onnx_session", "tflite_interpreter",
           "without_lines"]


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
    with without_lines(rb"INFO: "):
        if member is None:
            interpreter = Interpreter(str(path), num_threads=num_threads)
        else:
            with zipfile.ZipFile(path) as bundle:  # a MediaPipe task: several networks in a file
                interpreter = Interpreter(model_content=bundle.read(member),
                                          num_threads=num_threads)
        interpreter.allocate_tensors()
    return interpreter


@contextlib.contextmanager
def without_lines(pattern: bytes) -> Iterator[None]:
    """Keep lines that begin with a pattern from stderr, for libraries that write past Python.

    Everything else that is written meanwhile, also by other threads, is written when
    this ends.
    """
    with tempfile.TemporaryFile() as file, _ALONE:
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            for line in file:
                if not re.match(pattern, line):
                    os.write(2, line)


#: File descriptors belong to all threads.
_ALONE = threading.Lock()


def _onnxruntime() -> Any:
    try:
        return onnx_runtime()
    except ImportError as error:
        raise ModelError(f"The detector 'centerface' needs the package onnxruntime ({error}); "
                         "bring it with: pip install onnxruntime") from None


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


# Field numbers of onnx.proto: ModelProto.graph, GraphProto.initializer, .input
# and .output; TensorProto.name; ValueInfoProto.name.
_GRAPH, _INITIALIZER, _INPUT, _OUTPUT, _TENSOR_NAME, _VALUE_NAME = 7, 5, 11, 12, 8, 1
_FLOAT = 1


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield (field number, payload, the whole field with its tag) of one message."""
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            begin, (_, at) = at, _varint(data, at)
        elif wire in (1, 5):
            begin, at = at, at + (8 if wire == 1 else 4)
        elif wire == 2:
            size, begin = _varint(data, at)
            at = begin + size
        else:
            raise ValueError(f"wire type {wire}")
        if at > len(data):
            raise ValueError("cut short")
        yield tag >> 3, data[begin:at], data[start:at]


def _encode(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _pack(field: int, payload: bytes) -> bytes:
    return _encode(field << 3 | 2) + _encode(len(payload)) + payload


def _name(message: memoryview, field: int) -> bytes:
    return next((bytes(payload) for number, payload, _ in _fields(message)
                 if number == field), b"")


def _value_info(name: bytes, channels: int | None) -> bytes:
    """A float tensor (batch, channels, height, width) of free size, or of any shape."""
    tensor = _encode(1 << 3) + _encode(_FLOAT)
    if channels is not None:
        dims = [_pack(2, b"batch"), _encode(1 << 3) + _encode(channels),
                _pack(2, b"height"), _pack(2, b"width")]
        tensor += _pack(2, b"".join(_pack(1, dim) for dim in dims))
    return _pack(_VALUE_NAME, name) + _pack(2, _pack(1, tensor))


def free_input_size(model: bytes, *, channels: int = 3) -> bytes:
    """Rewrite a model of one image input so that it takes images of any size.

    Args:
        model: the bytes of an ONNX file with one float NCHW input.
        channels: of that input.

    Returns:
        The same network with its weights as constants and free batch, height
        and width.

    Raises:
        ModelError: the bytes are not an ONNX model.
    """
    try:
        parts = []
        for number, payload, whole in _fields(memoryview(model)):
            if number == _GRAPH:
                parts.append(_pack(_GRAPH, _free_graph(payload, channels)))
            else:
                parts.append(bytes(whole))
        return b"".join(parts)
    except (ValueError, IndexError) as error:
        raise ModelError(f"The ONNX model of {len(model)} bytes cannot be read ({error}); "
                         "bring its file again.") from None


def _free_graph(graph: memoryview, channels: int) -> bytes:
    fields = list(_fields(graph))
    weights = {_name(payload, _TENSOR_NAME) for number, payload, _ in fields
               if number == _INITIALIZER}
    out = []
    for number, payload, whole in fields:
        if number == _INPUT:
            name = _name(payload, _VALUE_NAME)
            if name not in weights:
                out.append(_pack(_INPUT, _value_info(name, channels)))
        elif number == _OUTPUT:
            out.append(_pack(_OUTPUT, _value_info(_name(payload, _VALUE_NAME), None)))
        else:
            out.append(bytes(whole))
    return b"".join(out)
