"""ROS 1 bags (format 2.0) from front to end; see http://wiki.ros.org/Bags/Format/2.0."""

from __future__ import annotations

import bz2
import io
import re
import struct
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO

from lz4.frame import decompress as lz4_decompress
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag1,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.typesys.msg import normalize_msgtype

from deid_ros.errors import MediaError
from deid_ros.media.bags.scan import Damage

__all__ = ["Ros1Scan"]

_MAGIC = b"#ROSBAG V2.0\n"
_MESSAGE, _BAG, _CHUNK, _CHUNK_INFO, _CONNECTION = 2, 3, 5, 6, 7
_LARGEST = 1 << 31      # bytes of a field: more is damage
_UNPACK = {"none": bytes, "bz2": bz2.decompress, "lz4": lz4_decompress}

#: Fields of a record's header, and its data.
Record = tuple[dict[str, bytes], bytes]


class Ros1Scan:
    """One ROS 1 bag, also one that was never closed.

    Raises:
        MediaError: it is no such bag, or encrypted.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.damage, self.packing = path, Damage(), ""
        self.connections: list[Connection] = []
        self.counts: dict[int, int] = {}
        self.by_id: dict[int, Connection] = {}
        self.profile, self.extras = "", []
        try:
            if not self._index():
                for _ in self._scan():
                    pass
        except OSError as error:
            raise MediaError(f"{path} cannot be read ({error.strerror or error}); check the "
                             "file.") from None
        self.damage = Damage()

    def _index(self) -> bool:
        """Topics and counts from the end of the file, where it has been closed."""
        with open(self._path, "rb") as stream:
            self._check(stream)
            try:
                fields, _ = _record(stream)
                (at,) = struct.unpack("<Q", fields["index_pos"])
                if fields.get("encryptor"):
                    raise MediaError(f"{self._path} is encrypted; decrypt it first.")
                if not at:
                    return False
                stream.seek(at)
                counts: dict[int, int] = {}
                for fields, data in _records(stream):
                    if fields["op"][0] == _CONNECTION:
                        self._note(fields, data)
                    elif fields["op"][0] == _CHUNK_INFO:
                        for number, count in struct.iter_unpack("<II", data):
                            counts[number] = counts.get(number, 0) + count
            except (ValueError, KeyError, struct.error):
                return False
        self.counts = counts
        return True

    def _check(self, stream: BinaryIO) -> None:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise MediaError(f"{self._path} is no ROS 1 bag of format 2.0; check the file.")

    def _note(self, fields: dict[str, bytes], data: bytes) -> None:
        (number,) = struct.unpack("<I", fields["conn"])
        if number in self.by_id:
            return
        inner = _fields(data)
        latching = inner.get("latching", b"")
        topic = fields["topic"].decode("utf-8", "replace")
        self.by_id[number] = connection = Connection(
            number, re.sub("/+", "/", topic), normalize_msgtype(inner["type"].decode()),
            MessageDefinition(MessageDefinitionFormat.MSG,
                              inner["message_definition"].decode("utf-8", "replace")),
            inner["md5sum"].decode(), 0,
            ConnectionExtRosbag1(inner["callerid"].decode() if "callerid" in inner else None,
                                 int(latching) if latching in (b"0", b"1") else None), self)
        self.connections.append(connection)

    def messages(self) -> Iterator[tuple[int, int, bytes]]:
        """See ``Scan.messages``."""
        self.damage = Damage()
        yield from self._scan()

    def _scan(self) -> Generator[tuple[int, int, bytes], None, None]:
        with open(self._path, "rb") as stream:
            self._check(stream)
            closed = False
            try:
                for fields, data in _records(stream):
                    kind = fields["op"][0]
                    if kind == _BAG:
                        closed = fields["index_pos"] != b"\0" * 8
                    elif kind == _CHUNK:
                        yield from self._chunk(fields, data)
                    elif kind == _MESSAGE:
                        yield _message(fields, data)
                    elif kind == _CONNECTION:
                        self._note(fields, data)
            except (ValueError, KeyError, struct.error) as error:
                self.damage.add(f"{self._path.name} cannot be read beyond byte {stream.tell()} "
                                f"({error})")
                return
            if not closed:
                self.damage.add(f"{self._path.name} was never closed; its last messages may be "
                                "missing")

    def _chunk(self, fields: dict[str, bytes], data: bytes) -> Iterator[tuple[int, int, bytes]]:
        try:
            packing = fields["compression"].decode()
            self.packing = "" if packing == "none" else packing
            for inner, content in _records(io.BytesIO(_UNPACK[packing](data))):
                if inner["op"][0] == _MESSAGE:
                    yield _message(inner, content)
                elif inner["op"][0] == _CONNECTION:
                    self._note(inner, content)
        except (ValueError, KeyError, OSError, EOFError, RuntimeError, struct.error) as error:
            self.damage.add(f"{self._path.name}: a chunk of {len(data)} bytes cannot be read "
                            f"({error})")

    def close(self) -> None:
        """Nothing stays open."""


def _message(fields: dict[str, bytes], data: bytes) -> tuple[int, int, bytes]:
    seconds, rest = struct.unpack("<II", fields["time"])
    return struct.unpack("<I", fields["conn"])[0], seconds * 1_000_000_000 + rest, data


def _records(stream: BinaryIO) -> Iterator[Record]:
    while True:
        at = stream.read(4)
        if at == bytes(4):      # tools that rewrite bags leave zeros between records
            at = b"\0"
            while at == b"\0":
                at = stream.read(1)
        if not at:
            return
        yield _record(stream, at)


def _record(stream: BinaryIO, begun: bytes = b"") -> Record:
    return _fields(_block(stream, begun)), _block(stream)


def _block(stream: BinaryIO, begun: bytes = b"") -> bytes:
    head = begun + stream.read(4 - len(begun))
    if len(head) < 4:
        raise ValueError("it ends in the middle of a record")
    (size,) = struct.unpack("<I", head)
    if size > _LARGEST:
        raise ValueError(f"a record claims to have {size} bytes")
    data = stream.read(size)
    if len(data) < size:
        raise ValueError("it ends in the middle of a record")
    return data


def _fields(data: bytes) -> dict[str, bytes]:
    found, at = {}, 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        name, mark, value = data[at + 4:at + 4 + size].partition(b"=")
        if not mark or at + 4 + size > len(data):
            raise ValueError("a field is damaged")
        found[name.decode("utf-8", "replace")] = value
        at += 4 + size
    return found
