"""A metadata record in MCAP files that says that they were altered.

rosbags writes one record of metadata of its own; ours is put behind it, into the index and
into the statistics, so that every reader finds it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from rosbags.rosbag2.storage_mcap import write_string

from deid_ros.media.marking import NAME, NOTE, SOURCE_TYPE

__all__ = ["CONTENT", "mark_at_end"]

_MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _STATISTICS, _METADATA, _INDEX, _OFFSET, _END = 2, 11, 12, 13, 14, 15
_HEAD = 9               # bytes of a record before its content: kind and length
_END_SIZE = _HEAD + 4
_FOOTER_SIZE = _HEAD + 20
_METADATA_COUNT = 8 + 2 + 4 + 4     # where the statistics count metadata


def _content() -> bytes:
    stream, texts = BytesIO(), BytesIO()
    for text in ("DigitalSourceType", SOURCE_TYPE, "note", NOTE):
        write_string(texts, text)
    write_string(stream, NAME)
    return stream.getvalue() + struct.pack("<I", texts.tell()) + texts.getvalue()


#: What the record holds, the same in every file.
CONTENT = _content()


def mark_at_end(storage: Any) -> None:
    """Let rosbags' writer of an MCAP file add the record when it closes the file."""
    close = storage.close

    def marked(*arguments: Any) -> None:
        close(*arguments)
        _mark(storage.path)

    storage.close = marked


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("<BQ", data, at)
        yield kind, data[at + _HEAD:at + _HEAD + size]
        at += _HEAD + size


def _mark(path: Path) -> None:
    """Put the record into a finished file: the end of its data and its summary anew."""
    with open(path, "r+b") as stream:
        tail = stream.seek(0, 2) - len(_MAGIC) - _FOOTER_SIZE
        stream.seek(tail + _HEAD)
        start, offsets, _ = struct.unpack("<QQI", stream.read(20))
        stream.seek(start)
        rows = list(_records(stream.read(offsets - start)))
        at = start - _END_SIZE
        ours = _record(_METADATA, CONTENT)
        index = BytesIO()
        index.write(struct.pack("<QQ", at, len(ours)))
        write_string(index, NAME)
        rows = [(kind, _counted(content) if kind == _STATISTICS else content)
                for kind, content in rows]
        last = max(i for i, (kind, _) in enumerate(rows) if kind == _INDEX)
        rows.insert(last + 1, (_INDEX, index.getvalue()))
        stream.seek(at)
        stream.truncate()
        stream.write(ours + _record(_END, bytes(4)))
        _write_summary(stream, rows)


def _counted(statistics: bytes) -> bytes:
    (count,) = struct.unpack_from("<I", statistics, _METADATA_COUNT)
    return (statistics[:_METADATA_COUNT] + struct.pack("<I", count + 1)
            + statistics[_METADATA_COUNT + 4:])


def _write_summary(stream: Any, rows: list[tuple[int, bytes]]) -> None:
    """Records of a summary, those of a kind together, then where each kind is."""
    start = stream.tell()
    groups: dict[int, tuple[int, int]] = {}
    for kind, content in rows:
        at = stream.tell()
        stream.write(_record(kind, content))
        groups[kind] = groups.get(kind, (at, 0))[0], stream.tell()
    offsets = stream.tell()
    for kind, (first, end) in groups.items():
        stream.write(_record(_OFFSET, struct.pack("<BQQ", kind, first, end - first)))
    stream.write(_record(_FOOTER, struct.pack("<QQI", start, offsets, 0)) + _MAGIC)
