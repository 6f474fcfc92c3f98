"""Free an ONNX model's input size, without the ``onnx`` package.

Older exporters list every weight among the graph's inputs, which keeps ONNX
Runtime from folding constants (a factor of two in speed), and bake the example
input's size into the graph. Both are put right on the bytes of the file: the
protocol-buffer wire format is a flat list of (field number, payload), and only
the lists of inputs and outputs are written anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from deid_ros.errors import ModelError

__all__ = ["free_input_size"]

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
