"""MCAP from front to end; see https://mcap.dev/spec for the records."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lz4.frame import decompress as lz4_decompress
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2.metadata import parse_qos

from deid_ros.errors import MediaError
from deid_ros.media.bags.marked import CONTENT
from deid_ros.media.bags.scan import Damage, zstd

__all__ = ["McapScan", "RawChannel"]

_MAGIC = b"\x89MCAP0\r\n"
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _STATISTICS, _END = 1, 2, 3, 4, 5, 6, 11, 15
_ATTACHMENT, _METADATA = 9, 12
_OWN_METADATA = "rosbag2"       # is made anew
_FIRST_OWN = 1 << 16            # numbers of channels that were defined twice
_LARGEST = 1 << 31      # bytes of a record: more is damage
_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros1msg": MessageDefinitionFormat.MSG,
            "ros2idl": MessageDefinitionFormat.IDL,
            "omgidl": MessageDefinitionFormat.IDL}


@dataclass(frozen=True, slots=True)
class RawChannel:
    """How a channel was defined: its schema (None: it had none) and its metadata."""

    schema: tuple[str, str, bytes] | None
    metadata: tuple[tuple[str, str], ...]


class McapScan:
    """One MCAP file, also one that was cut off, or is packed as a whole.

    Raises:
        MediaError: it is no MCAP file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.damage, self.packing = path, Damage(), ""
        self.connections: list[Connection] = []
        self.counts: dict[int, int] = {}
        self.by_id: dict[int, Connection] = {}
        self.raw: dict[int, RawChannel] = {}
        self.profile: str = ""
        self.extras: list[tuple[str, str]] = []
        self._schemas: dict[int, tuple[str, str, bytes]] = {}
        self._same: dict[Any, Connection] = {}
        self._here: dict[int, int] = {}         # channel -> connection, as last defined
        self._read_summary()

    def _open(self) -> BinaryIO:
        return (zstd.open if self._path.suffix == ".zstd" else open)(self._path, "rb")

    def _read_summary(self) -> None:
        """The topics: from the end of the file, or, where that is missing, from all of it."""
        if self._path.suffix != ".zstd":
            with open(self._path, "rb") as stream:
                if stream.read(len(_MAGIC)) != _MAGIC:
                    raise MediaError(f"{self._path} is no MCAP file; check it.")
                try:
                    self._note(*next(_records(stream), (0, b"")))
                    if self._summary(stream):
                        return
                except (struct.error, ValueError, OSError):
                    pass
        for _ in self._scan():
            pass
        self.damage = Damage()

    def _summary(self, stream: BinaryIO) -> bool:
        size = stream.seek(0, 2)
        stream.seek(max(size - 37, 0))
        tail = stream.read()
        if tail[-8:] != _MAGIC or tail[:1] != bytes([_FOOTER]):
            return False
        (start,) = struct.unpack_from("<Q", tail, 9)
        if not start:
            return False
        stream.seek(start)
        statistics = False
        for op, data in _records(stream):
            if op == _FOOTER:
                break
            statistics = statistics or op == _STATISTICS
            self._note(op, data)
            if op == 8 and not self.packing:       # an index of a chunk: how it is packed
                offset = 32 + 4 + struct.unpack_from("<I", data, 32)[0] + 8
                self.packing = _text(data, offset)[0]
        return statistics and bool(self.by_id)

    def _note(self, op: int, data: bytes) -> None:
        """Take in a schema, a channel, the statistics, or what lies beside the messages."""
        if op == _SCHEMA:
            (number,) = struct.unpack_from("<H", data)
            name, at = _text(data, 2)
            kind, at = _text(data, at)
            self._schemas[number] = name, kind, _bytes(data, at)[0]
        elif op == _CHANNEL:
            number, schema = struct.unpack_from("<HH", data)
            topic, at = _text(data, 4)
            kind, at = _text(data, at)
            self._channel(number, topic, kind, RawChannel(
                self._schemas.get(schema), tuple(_metadata(data, at).items())))
        elif op == _HEADER:
            self.profile = _text(data, 0)[0]
        elif op in (_ATTACHMENT, _METADATA):
            about = ("metadata" if op == _METADATA else "attachment",
                     _text(data, 0 if op == _METADATA else 16)[0])
            own = about == ("metadata", _OWN_METADATA) or (op == _METADATA and data == CONTENT)
            if about not in self.extras and not own:
                self.extras.append(about)
        elif op == _STATISTICS:
            at = 8 + 2 + 4 + 4 + 4 + 4 + 8 + 8
            (size,) = struct.unpack_from("<I", data, at)
            self.counts = dict(struct.iter_unpack("<HQ", data[at + 4:at + 4 + size]))

    def _channel(self, number: int, topic: str, kind: str, raw: RawChannel) -> None:
        """A channel is defined; one that says something new is a connection of its own."""
        key = number, topic, kind, raw
        known = self._same.get(key)
        if known is None:
            name, form, text = raw.schema or ("", "", b"")
            shape = _FORMATS.get(form, MessageDefinitionFormat.NONE)
            definition = MessageDefinition(shape, "" if shape is MessageDefinitionFormat.NONE
                                           else text.decode("utf-8", "replace"))
            own = number if number not in self.by_id else _FIRST_OWN + len(self.by_id)
            qos = dict(raw.metadata).get("offered_qos_profiles", "")
            known = Connection(own, topic, name, definition, "", 0,
                               ConnectionExtRosbag2(kind, _qos(qos)), self)
            self._same[key] = self.by_id[own] = known
            self.raw[own] = raw
            self.connections.append(known)
        self._here[number] = known.id

    def messages(self) -> Iterator[tuple[int, int, bytes]]:
        """See ``Scan.messages``."""
        self.damage = Damage()
        yield from self._scan()

    def _scan(self) -> Generator[tuple[int, int, bytes], None, None]:
        with self._open() as stream:
            if stream.read(len(_MAGIC)) != _MAGIC:
                raise MediaError(f"{self._path} is no MCAP file; check it.")
            ended, self._here = False, {}
            try:
                for op, data in _records(stream):
                    if op in (_END, _FOOTER):
                        ended = True
                        break
                    if op == _MESSAGE:
                        yield self._message(data)
                    elif op == _CHUNK:
                        yield from self._chunk(data)
                    else:
                        self._note(op, data)
            except (ValueError, EOFError, OSError, struct.error, zstd.ZstdError) as error:
                self.damage.add(f"{self._path.name} cannot be read beyond what was read "
                                f"({error})")
                return
            if not ended:
                self.damage.add(f"{self._path.name} ends without its end; it was cut off")

    def _chunk(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        try:
            size, crc = struct.unpack_from("<QI", data, 16)
            self.packing, at = _text(data, 28)
            packed = memoryview(data)[at + 8:at + 8 + struct.unpack_from("<Q", data, at)[0]]
            raw = _unpack(packed, self.packing)
            if len(raw) != size or (crc and zlib.crc32(raw) != crc):
                raise ValueError("its checksum is wrong")
            for op, record in _records(io.BytesIO(raw)):
                if op == _MESSAGE:
                    yield self._message(record)
                else:
                    self._note(op, record)
        except (ValueError, EOFError, OSError, RuntimeError, struct.error,
                zstd.ZstdError) as error:
            start, end = struct.unpack_from("<QQ", data) if len(data) >= 16 else (0, 0)
            self.damage.add(f"{self._path.name}: a chunk, with the messages from {start} to {end} "
                            f"ns, cannot be read ({error})")

    def _message(self, data: bytes) -> tuple[int, int, bytes]:
        number, _, stamp, _ = struct.unpack_from("<HIQQ", data)
        return self._here.get(number, number), stamp, data[22:]

    def close(self) -> None:
        """Nothing stays open."""


def _records(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    while True:
        head = stream.read(9)
        if not head:
            return
        if len(head) < 9:
            raise ValueError("it ends in the middle of a record")
        op, size = struct.unpack("<BQ", head)
        if size > _LARGEST:
            raise ValueError(f"a record claims to have {size} bytes")
        data = stream.read(size)
        if len(data) < size:
            raise ValueError("it ends in the middle of a record")
        yield op, data


def _qos(text: str) -> list[Any]:
    try:
        return parse_qos(text)
    except Exception:       # another recorder's words; they are kept as they came
        return []


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    (size,) = struct.unpack_from("<I", data, at)
    if at + 4 + size > len(data):
        raise ValueError("a text is longer than its record")
    return data[at + 4:at + 4 + size], at + 4 + size


def _text(data: bytes, at: int) -> tuple[str, int]:
    found, at = _bytes(data, at)
    return found.decode("utf-8", "replace"), at


def _metadata(data: bytes, at: int) -> dict[str, str]:
    (size,) = struct.unpack_from("<I", data, at)
    at, end = at + 4, at + 4 + size
    found: dict[str, str] = {}
    while at < end:
        key, at = _text(data, at)
        found[key], at = _text(data, at)
    return found


def _unpack(packed: Any, packing: str) -> bytes:
    if packing == "":
        return bytes(packed)
    if packing == "zstd":
        return zstd.decompress(packed)
    if packing == "lz4":
        return lz4_decompress(packed)
    raise ValueError(f"it is packed with '{packing}'")
