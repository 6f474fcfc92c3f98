"""Record tables and stacks of pictures as standard messages.

A ``PointCloud2`` is a typed record table: a numpy structured array goes in and
the same array comes out. An ``Image`` carries a stack of N square pictures, one
below the other. Both belong to one frame and say which: the header is the
frame's, and 16 bytes of padding hold the frame's size and CRC-32
(``codec.FrameTag``). Before them may stand who searched it
(``searcher.Searcher``). Padding is legal in both messages, so any tool reads them.
"""

from __future__ import annotations

import functools
import struct
import sys
from array import array
from typing import Any

import numpy as np
from sensor_msgs.msg import Image, PointCloud2, PointField

from deid_ros.errors import FrameError
from deid_ros.faces import FACE, match_dtype
from deid_ros.ros.codec import FrameTag, bytes_array
from deid_ros.ros.searcher import Searcher

__all__ = ["from_faces", "from_matches", "from_stack", "from_table", "searcher_of", "to_stack",
           "to_table"]

#: Height, width, CRC-32, magic number; little endian.
_TAG = struct.Struct("<4I")
_MAGIC = 0x44494544  # 'DEID' in memory
_MAGIC_SEARCHED = 0x53494544  # 'DEIS': a searcher stands before the tag

_MOST_FACES = 500
#: What a face may say of itself; frames have sides of 32768 px at most.
_PLAUSIBLE = {
    "x_offset": (-65536, 65536), "y_offset": (-65536, 65536), "width": (0, 65536),
    "height": (0, 65536), "yaw": (-360, 360), "pitch": (-360, 360), "roll": (-360, 360),
    "scale": (0, 16384), "center": (-65536, 65536), "expression": (-1000, 1000),
    "landmarks": (-65536, 65536),
}

_DATATYPES = {
    "i1": PointField.INT8, "u1": PointField.UINT8, "i2": PointField.INT16,
    "u2": PointField.UINT16, "i4": PointField.INT32, "u4": PointField.UINT32,
    "f4": PointField.FLOAT32, "f8": PointField.FLOAT64,
}


@functools.lru_cache(maxsize=16)
def _fields(dtype: np.dtype) -> tuple[tuple[str, int, int, int], ...]:
    """(name, offset, datatype, count) of every field of a flat record type."""
    described = []
    for name, (kind, offset, *_) in (dtype.fields or {}).items():
        base, shape = kind.subdtype or (kind, ())
        described.append((name, offset, _DATATYPES[base.str[1:]],
                          int(np.prod(shape, dtype=int))))
    return tuple(described)


def to_table(rows: np.ndarray, header: Any, tag: FrameTag | None = None,
             searcher: Searcher | None = None) -> PointCloud2:
    """A structured array of N rows, N = 0 included, as a message.

    Args:
        rows: one-dimensional, a record type of little-endian numbers and
            one-dimensional arrays of them.
        header: the header of the frame the rows belong to.
        tag: written behind the rows where given.
        searcher: who made it, or whose; needs a tag.
    """
    footer = b"" if tag is None else _footer(tag, searcher)
    data = bytes_array(rows)
    data.frombytes(footer)
    return PointCloud2(
        header=header, height=1, width=len(rows), is_bigendian=False, is_dense=True,
        point_step=rows.dtype.itemsize, row_step=len(data), data=data,
        fields=[PointField(name=name, offset=offset, datatype=datatype, count=count)
                for name, offset, datatype, count in _fields(rows.dtype)])


def from_table(msg: PointCloud2, dtype: np.dtype, *,
               tagged: bool = False) -> tuple[np.ndarray, FrameTag | None]:
    """The rows of a message, read-only and without a copy, and its tag.

    Raises:
        FrameError: the fields are not exactly those of ``dtype``, the sizes do
            not fit together, or a tag is asked for and there is none.
    """
    came = tuple((f.name, f.offset, f.datatype, f.count) for f in msg.fields)
    wanted = _fields(dtype)
    if came != wanted or msg.point_step != dtype.itemsize or msg.is_bigendian:
        different = [f"{w} but {c}" for w, c in zip(wanted, came) if w != c]
        raise FrameError(
            f"A table has {len(came)} fields in {msg.point_step} bytes where {len(wanted)} in "
            f"{dtype.itemsize} are expected ({different[0] if different else 'same names'}); all "
            "nodes must run the same version of deid_ros.")
    footer = _footer_size(msg.data, len(msg.data)) if tagged else 0
    size = msg.width * dtype.itemsize + footer
    if msg.height != 1 or msg.row_step != size or len(msg.data) != size:
        raise FrameError(
            f"A table of {msg.height} x {msg.width} rows has {len(msg.data)} bytes of data and a "
            f"row step of {msg.row_step}, expected {size}; all nodes must run the same version of "
            "deid_ros.")
    rows = np.frombuffer(msg.data, dtype, msg.width) if msg.width else np.zeros(0, dtype)
    rows.flags.writeable = False
    return rows, _read_tag(msg.data, size) if tagged else None


def searcher_of(msg: PointCloud2 | Image) -> Searcher:
    """Who made a table or a stack; nobody in particular where it does not say."""
    end = len(msg.data) if isinstance(msg, PointCloud2) else min(msg.step, len(msg.data))
    size = _footer_size(msg.data, end)
    if size <= _TAG.size or end < size:
        return Searcher()
    return Searcher.unpack(msg.data[end - size:end - _TAG.size])


def _footer(tag: FrameTag, searcher: Searcher | None) -> bytes:
    if searcher is None:
        return _TAG.pack(*tag, _MAGIC)
    return searcher.pack() + _TAG.pack(*tag, _MAGIC_SEARCHED)


def _footer_size(data: array, end: int) -> int:
    """Bytes of the footer that ends at ``end``, judged by its last four."""
    if end < 4 or int.from_bytes(bytes(data[end - 4:end]), "little") != _MAGIC_SEARCHED:
        return _TAG.size
    return _TAG.size + Searcher.SIZE


def from_faces(msg: PointCloud2) -> tuple[np.ndarray, FrameTag]:
    """The rows of a face table, read-only, and the tag of its frame.

    Raises:
        FrameError: it is no face table, or says what no detector would: drawing a face
            at a senseless place could take for ever.
    """
    rows, tag = from_table(msg, FACE, tagged=True)
    assert tag is not None
    if len(rows) > _MOST_FACES:
        raise FrameError(f"A face table has {len(rows)} rows, allowed are {_MOST_FACES}; its frame "
                         "is withheld.")
    for name, (least, most) in _PLAUSIBLE.items():
        values = rows[name]
        # Written so that a number that is none fails too.
        if values.size and not (values.min() >= least and values.max() <= most):
            raise FrameError(f"A face table has a {name} outside of {least} to {most}; its frame "
                             "is withheld.")
    return rows, tag


def from_matches(msg: PointCloud2) -> np.ndarray:
    """The rows of a table of matches, whatever the size of its identity code.

    Raises:
        FrameError: it is not such a table.
    """
    sizes = [field.count for field in msg.fields if field.name == "code"]
    if len(sizes) != 1 or not 1 <= sizes[0] <= 65536:
        raise FrameError("A table of matches has no field 'code'; all nodes must run the same "
                         "version of deid_ros.")
    tagged = msg.row_step != msg.width * msg.point_step
    return from_table(msg, match_dtype(sizes[0]), tagged=tagged)[0]


def _read_tag(data: array, end: int) -> FrameTag:
    height, width, crc, magic = _TAG.unpack_from(data, end - _TAG.size)
    if magic not in (_MAGIC, _MAGIC_SEARCHED):
        raise FrameError(f"A message ends in {magic:#010x} instead of {_MAGIC:#010x}, so it does "
                         "not say which frame it belongs to; all nodes must run the same version "
                         "of deid_ros.")
    return FrameTag(height, width, crc)


def to_stack(pictures: np.ndarray, header: Any, tag: FrameTag,
             searcher: Searcher | None = None) -> Image:
    """N square pictures below one another, N and S at least 1.

    Args:
        pictures: uint8 (N, S, S, 3) for ``bgr8`` or (N, S, S, 4) for ``rgba8``.
        header: the header of the frame they belong to.
        tag: which frame; stands in the padding of the first row.
        searcher: who searched it; stands before the tag.
    """
    footer = _footer(tag, searcher)
    count, side, _, channels = pictures.shape
    width = side * channels
    rows = np.zeros((count * side, width + len(footer)), np.uint8)
    rows[:, :width] = pictures.reshape(count * side, width)
    rows[0, width:] = np.frombuffer(footer, np.uint8)
    return Image(header=header, height=count * side, width=side, step=rows.shape[1],
                 encoding={3: "bgr8", 4: "rgba8"}[channels],
                 is_bigendian=int(sys.byteorder == "big"), data=bytes_array(rows))


def from_stack(msg: Image, channels: int) -> tuple[np.ndarray, FrameTag]:
    """The pictures, uint8 (N, S, S, channels), read-only and without a copy, and the tag.

    Raises:
        FrameError: another encoding, no squares, sizes that do not fit together.
    """
    width = msg.width * channels
    footer = _footer_size(msg.data, min(msg.step, len(msg.data)))
    encoding = {3: "bgr8", 4: "rgba8"}[channels]
    if (msg.encoding != encoding or msg.width < 1 or msg.height < 1 or msg.height % msg.width
            or msg.step != width + footer or len(msg.data) != msg.step * msg.height):
        raise FrameError(
            f"A stack of pictures is {msg.width}x{msg.height} {msg.encoding} with step {msg.step} "
            f"and {len(msg.data)} bytes, expected squares of {encoding} with {footer} bytes of "
            "padding; all nodes must run the same version of deid_ros.")
    rows = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.step)[:, :width]
    rows.flags.writeable = False
    return (rows.reshape(msg.height // msg.width, msg.width, msg.width, channels),
            _read_tag(msg.data, msg.step))
