"""The fields of ``sensor_msgs/CompressedImage`` (JPEG and PNG, 8 bit) to a frame.

A compressed file can carry more than the picture it shows: thumbnails, previews
and whole second pictures in JPEG segments, in tables, behind the first scan or behind the
end. No detector sees those. A JPEG is therefore always encoded anew, from the pixels that
were looked at; a PNG is handed on as it came only if it was read to its last byte, and
holds nothing but the values of its pixels.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Protocol

import cv2
import numpy as np
from PIL import Image

from deid_ros.errors import FrameError
from deid_ros.messages.jpeg import jpeg_options

__all__ = ["MAX_PIXELS", "CompressedFile", "decode", "encode_like", "is_plain", "kind_of",
           "size_of"]

#: A larger picture is refused before memory is taken for it.
MAX_PIXELS = 1 << 26

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
#: PNG chunks that describe the pixels and nothing else, and how long they are at most.
_PNG_PLAIN = {b"IHDR": 13, b"IEND": 0, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9}
_CHANNELS = {0: 1, 2: 3}   # of PNG's colour types without palette and transparency


class CompressedFile(Protocol):
    """The fields of ``sensor_msgs/CompressedImage`` without its header."""

    format: str
    data: Any


def kind_of(msg: CompressedFile) -> str:
    """'jpeg' or 'png', by the first bytes; ``format`` must not say otherwise.

    Raises:
        FrameError: it is neither JPEG nor PNG.
    """
    start = bytes(msg.data[:8])
    kind = "png" if start == _PNG else "jpeg" if start[:3] == _JPEG else ""
    words = msg.format.lower().replace(";", " ").split()
    named = {"jpg": "jpeg"}
    said = {named.get(word, word) for word in words} & {"jpeg", "png"}
    if not kind or "compresseddepth" in words or (said and kind not in said):
        raise FrameError(f"A compressed image of format {msg.format!r} begins with "
                         f"{start.hex() or 'nothing'}, which is not that of an 8-bit JPEG or PNG; "
                         "publish one of these.")
    return kind


def _segments(data: bytes) -> list[tuple[int, int, int]]:
    """(marker, start of its content, end) of a JPEG up to its first scan."""
    found = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        found.append((marker, at + 4, at + 2 + length))
        if marker == 0xDA:
            break
        at += 2 + length
    return found


def _is_frame_header(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)


def _layout(kind: str, data: bytes) -> tuple[int, int, int]:
    """Height, width and bits of a channel, read from the file's own header."""
    try:
        if kind == "png":
            width, height, depth = struct.unpack_from(">IIB", data, 16)
            return height, width, depth
        for marker, start, _ in _segments(data):
            if _is_frame_header(marker):
                depth, height, width = struct.unpack_from(">BHH", data, start)
                return height, width, depth
    except struct.error:
        pass
    raise FrameError(f"A compressed image of {len(data)} bytes is truncated or damaged in its "
                     "header; check the driver and the network.")


def _header(msg: CompressedFile, data: bytes) -> tuple[int, int]:
    height, width, depth = _layout(kind_of(msg), data)
    if depth > 8 or not 0 < height * width <= MAX_PIXELS:
        raise FrameError(f"A compressed image is {width}x{height} with {depth} bits a channel; "
                         f"publish 8 bits and at most {MAX_PIXELS} pixels.")
    return height, width


def size_of(msg: CompressedFile) -> tuple[int, int]:
    """Height and width, from the file's header, without decoding it.

    Raises:
        FrameError: neither JPEG nor PNG of 8 bits, too large, damaged.
    """
    return _header(msg, bytes(msg.data))


def decode(msg: CompressedFile) -> np.ndarray:
    """The frame of a compressed image: uint8 (H, W, 3), BGR.

    The orientation noted in the file is ignored, as ``image_transport`` does.

    Raises:
        FrameError: neither JPEG nor PNG of 8 bits, too large, damaged.
    """
    data = bytes(msg.data)
    height, width = _header(msg, data)
    try:
        frame = cv2.imdecode(np.frombuffer(data, np.uint8),
                             cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        frame = None
    if frame is None or frame.shape != (height, width, 3):
        raise FrameError(f"A compressed image of {len(data)} bytes cannot be decoded; check the "
                         "driver and the network.")
    frame.flags.writeable = False
    return frame


def encode_like(kind: str, data: bytes, frame: np.ndarray) -> bytes:
    """A covered frame as a file like the one that came: its quality, its channels.

    Args:
        kind: 'jpeg' or 'png'.
        data: the file that came.
        frame: uint8 (H, W, 3), BGR.

    Raises:
        FrameError: it cannot be encoded.
    """
    if kind == "png":
        grey = data[25] in (0, 4)
        pixels = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if grey else frame
        done, out = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        if not done:
            raise FrameError(f"A frame of {frame.shape} cannot be encoded as PNG.")
        return out.tobytes()
    stream = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as before:
            grey = before.mode == "L"
            pixels = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY if grey else cv2.COLOR_BGR2RGB)
            Image.fromarray(pixels).save(stream, "JPEG", **jpeg_options(before))
    except (OSError, ValueError, SyntaxError) as error:
        raise FrameError(f"A frame of {frame.shape} cannot be encoded as JPEG ({error}).") from None
    return stream.getvalue()


def is_plain(kind: str, data: bytes) -> bool:
    """Whether a file holds the values of its pixels and nothing besides.

    Only a PNG that is read completely: known chunks, each once and whole, one stream of
    pixels that ends where the picture does, and no byte behind the end. Never a JPEG: what
    its coded data holds beyond the picture, only a decoder of one's own could tell.
    """
    return kind == "png" and _plain_png(data)


def _plain_png(data: bytes) -> bool:
    if len(data) < 33 or data[8:16] != b"\0\0\0\x0dIHDR":
        return False
    width, height, depth, colour, *rest = struct.unpack_from(">IIBBBBB", data, 16)
    if depth != 8 or colour not in _CHANNELS or any(rest) or width * height > MAX_PIXELS:
        return False
    at, seen, packed = len(_PNG), set(), []
    while at + 12 <= len(data) and b"IEND" not in seen:
        length, name = struct.unpack_from(">I4s", data, at)
        content = data[at + 8:at + 8 + length]
        at += 12 + length
        if at > len(data) or struct.unpack_from(">I", data, at - 4)[0] != zlib.crc32(
                name + content):
            return False
        if name == b"IDAT" and length:
            packed.append(content)
        elif name in seen or length != _PNG_PLAIN.get(name):
            return False
        else:
            seen.add(name)
    if at != len(data) or b"IEND" not in seen:
        return False
    size = height * (1 + width * _CHANNELS[colour])
    stream = zlib.decompressobj()
    try:
        pixels = stream.decompress(b"".join(packed), size + 1)
    except zlib.error:
        return False
    return (len(pixels) == size and stream.eof
            and not stream.unused_data and not stream.unconsumed_tail)
