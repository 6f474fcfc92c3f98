"""rosbag2's SQLite files in the order of their rows."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import apsw
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag2.metadata import parse_qos
from rosbags.rosbag2.storage_sqlite3 import make_vfs

from deid_ros.errors import MediaError
from deid_ros.media.bags.scan import Damage, zstd

__all__ = ["SqliteScan"]

_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}
_NOTHING = MessageDefinition(MessageDefinitionFormat.NONE, "")
# Rows skipped after a damaged one, doubled until something can be read again.
_FARTHEST = 1 << 40


class SqliteScan:
    """One SQLite file of a bag, also a damaged or packed one.

    Args:
        scratch: folder on whose disk a packed file is unpacked, without a name.

    Raises:
        MediaError: not even its topics can be read.
    """

    packing = profile = ""
    extras: list[tuple[str, str]] = []

    def __init__(self, path: Path, *, scratch: Path) -> None:
        self._path, self.damage = path, Damage()
        self._unpacked: BinaryIO | None = None
        self.counts: dict[int, int] = {}
        self._cut = ""
        try:
            self._base = self._connect(path, scratch)
            self.connections = self._topics()
            self.by_id = {connection.id: connection for connection in self.connections}
        except (apsw.Error, OSError, ValueError) as error:
            self.close()
            raise MediaError(f"{path} is no bag that can be read ({error}); check the "
                             "file.") from None

    def _connect(self, path: Path, scratch: Path) -> apsw.Connection:
        source: Any = path
        if path.suffix == ".zstd":
            source = self._unpacked = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115
            with zstd.open(path, "rb") as packed:
                try:
                    shutil.copyfileobj(packed, source, 1 << 20)
                except (EOFError, OSError, zstd.ZstdError) as error:
                    self._cut = f"{path.name} cannot be unpacked to its end ({error})"
            source.flush()
        # Through a stream of our own, SQLite needs neither a name nor a writable folder.
        vfs = make_vfs(_Stream(source))
        base = apsw.Connection("file:bag?immutable=1", vfs="rpathvfs",
                               flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        del vfs
        # Else SQLite refuses a file that was cut off, whatever can be read of it.
        base.execute("PRAGMA writable_schema=ON")
        return base

    def _topics(self) -> list[Connection]:
        columns = {row[1] for row in self._base.execute("PRAGMA table_info(topics)")}
        if "name" not in columns:
            raise ValueError("it has no table of topics")
        extra = [f"{name}" if name in columns else "''"
                 for name in ("offered_qos_profiles", "type_description_hash")]
        rows = list(self._base.execute(
            f"SELECT id, name, type, serialization_format, {extra[0]}, {extra[1]} FROM topics "
            "ORDER BY id"))
        known: dict[str, MessageDefinition] = {}
        if list(self._base.execute("PRAGMA table_info(message_definitions)")):
            known = {kind: MessageDefinition(_FORMATS[form], text) for kind, form, text in
                     self._base.execute("SELECT topic_type, encoding, encoded_message_definition "
                                        "FROM message_definitions") if form in _FORMATS and text}
        return [Connection(number, name, kind, known.get(kind, _NOTHING), digest, 0,
                           ConnectionExtRosbag2(form, parse_qos(qos)), self)
                for number, name, kind, form, qos, digest in rows]

    def messages(self) -> Iterator[tuple[int, int, bytes]]:
        """See ``Scan.messages``; a row that cannot be read costs no other."""
        self.damage = Damage()
        if self._cut:
            self.damage.add(self._cut)
        for end in ("-wal", "-journal"):
            beside = self._path.with_name(self._path.name + end)
            if beside.is_file() and beside.stat().st_size:
                self.damage.add(f"{beside.name} holds messages that are not in {self._path.name} "
                                "yet; open it once with sqlite3, which puts them there")
        last, step = -(1 << 62), 0
        while True:
            try:
                for number, topic, stamp, data in self._base.execute(
                        "SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? "
                        "ORDER BY id", (last,)):
                    last, step = number, 0
                    if isinstance(data, bytes) and isinstance(stamp, int):
                        yield topic, stamp, data
                    else:
                        self.damage.add(f"{self._path.name}: row {number} holds no message")
                return
            except apsw.Error as error:
                if not step:
                    self.damage.add(f"{self._path.name}: rows after {max(last, 0)} cannot be read "
                                    f"({error})")
                    last = max(last, 0)
                step = max(2 * step, 1)
                if step > _FARTHEST:
                    return
                last += step

    def close(self) -> None:
        """Close the file; what was unpacked is gone."""
        if hasattr(self, "_base"):
            self._base.close()
        if self._unpacked is not None:
            self._unpacked.close()


class _Stream:
    """What rosbags wants of a path that is none: a file or an open one."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def open(self, *_: Any, **__: Any) -> BinaryIO:
        if isinstance(self._source, Path):
            return self._source.open("rb")
        return os.fdopen(os.dup(self._source.fileno()), "rb")

    def stat(self, **_: Any) -> os.stat_result:
        return (self._source.stat() if isinstance(self._source, Path)
                else os.fstat(self._source.fileno()))
