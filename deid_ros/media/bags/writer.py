"""Bags written as they were read: the same kind, the same files, the same order.

rosbags writes one file at a time. The files of a split rosbag2 are written as bags of
their own and then folded into one, whose metadata is the input's with new numbers.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode

from deid_ros.errors import MediaError
from deid_ros.media.bags.bag import Bag
from deid_ros.media.bags.definitions import restate, set_profile, text_reason
from deid_ros.media.bags.marked import mark_at_end
from deid_ros.media.whole import hidden

__all__ = ["BagWriter"]

# rosbags wants a hash where older bags have none; it is taken out again.
_NO_HASH = "RIHS01_" + 64 * "0"
# What a metadata.yaml says; anything else in it is somebody's own and does not leave.
_KEYS = ("version", "storage_identifier", "relative_file_paths", "duration", "starting_time",
         "message_count", "topics_with_message_count", "compression_format", "compression_mode",
         "files", "ros_distro")
_TOPIC_KEYS = ("name", "type", "serialization_format", "offered_qos_profiles",
               "type_description_hash")
_SQLITE_CANNOT = "?#%"


@dataclass(slots=True)
class _Part:
    """One file being written, and what is known of it."""

    name: str
    packing: str
    profile: str = ""
    pending: list[tuple[Any, str]] = field(default_factory=list)     # connection, topic
    made: dict[int, Any] = field(default_factory=dict)      # by the input's number
    known: list[tuple[Any, Any]] = field(default_factory=list)      # all said of it, made
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    start: int = 2**63 - 1
    end: int = 0


class BagWriter:
    """Writes the output of a bag.

    Args:
        bag: the input.
        part: where the output is to lie when it is finished: a folder that exists for
            a folder, else a file.
        target: the name that it gets afterwards.
        marking: say in MCAP files that they were altered.

    Raises:
        MediaError: it cannot be written there.
    """

    def __init__(self, bag: Bag, part: Path, target: Path, *, marking: bool = True) -> None:
        self._bag, self._part, self._marking = bag, part, marking
        self._work = part if part.is_dir() else hidden(target)
        if bag.kind == "sqlite3" and any(char in str(target) for char in _SQLITE_CANNOT):
            raise MediaError(f"SQLite cannot write to {target} because of the "
                             f"'{_SQLITE_CANNOT}' in it; choose another name with -o.")
        self._parts: list[_Part] = []
        self._open = -1
        self._writer: Any = None
        self.names: dict[str, str] = {}      # old topic -> new

    def begin(self, name: str, packing: str, profile: str = "ros2") -> None:
        """The next file of the input begins."""
        self._parts.append(_Part(name, packing, profile))

    def declare(self, number: int, connection: Any, topic: str) -> None:
        """A connection of file ``number`` is to be written, as ``topic``."""
        self.names[connection.topic] = topic
        part = self._parts[number]
        if self._open == number:
            self._connect(part, connection, topic)
        else:
            part.pending.append((connection, topic))

    def write(self, number: int, connection: int, stamp: int, data: bytes) -> None:
        """Append a message to file ``number``; the numbers never fall."""
        self._advance(number)
        part = self._parts[number]
        made = part.made[connection]
        self._writer.write(made, stamp, data)
        part.counts[made.topic, made.msgtype] += 1
        part.start, part.end = min(part.start, stamp), max(part.end, stamp)

    def _advance(self, number: int) -> None:
        while self._open < number:
            self._shut()
            self._open += 1
            part = self._parts[self._open]
            self._writer = self._start(part)
            for connection, topic in part.pending:
                self._connect(part, connection, topic)
            part.pending.clear()

    def _start(self, part: _Part) -> Any:
        if self._bag.kind == "ros1":
            self._part.unlink(missing_ok=True)
            writer: Any = Writer1(self._part)
            if part.packing in ("bz2", "lz4"):
                writer.set_compression(Writer1.CompressionFormat[part.packing.upper()])
        else:
            version = 9 if int(self._bag.info.get("version") or 0) >= 9 else 8
            self._work.mkdir(exist_ok=True)
            writer = Writer2(self._work / _stem(part.name), version=version,
                             storage_plugin=StoragePlugin[self._bag.kind.upper()])
            mode = self._bag.mode or ("storage" if part.packing and self._bag.kind == "mcap"
                                      else "none")
            writer.set_compression(CompressionMode[mode.upper()], CompressionFormat.ZSTD)
        writer.open()
        if self._bag.kind == "mcap":
            set_profile(writer.storage, part.profile)
            if self._marking:
                mark_at_end(writer.storage)
        return writer

    def _connect(self, part: _Part, connection: Any, topic: str) -> None:
        if self._bag.kind == "ros1":
            options = {"msgdef": connection.msgdef.data, "md5sum": connection.digest,
                       "callerid": connection.ext.callerid, "latching": connection.ext.latching}
        else:
            options = {"msgdef": _definition(connection), "rihs01": connection.digest or _NO_HASH,
                       "serialization_format": connection.ext.serialization_format,
                       "offered_qos_profiles": connection.ext.offered_qos_profiles}
        raw = getattr(connection.owner, "raw", {}).get(connection.id)
        about = topic, *connection[2:5], connection.ext, raw
        for known, made in part.known:  # some bags have a topic twice; here it is one connection
            if known == about:
                part.made[connection.id] = made
                return
        storage = self._writer.storage if raw is not None and raw.schema is not None else None
        if storage is not None:
            at, before = storage.chunk.bio.tell(), len(storage.schemas)
            self._writer.added_types.discard(connection.msgtype)
        part.made[connection.id] = made = self._add(topic, connection.msgtype, options)
        part.known.append((about, made))
        if storage is not None:
            restate(storage, at, before, raw)

    def _add(self, topic: str, msgtype: str, options: dict[str, Any]) -> Any:
        """A connection of rosbags, which takes a topic of one type only once."""
        others = self._writer.connections
        self._writer.connections = [other._replace(topic="") for other in others]
        try:
            made = self._writer.add_connection(topic, msgtype, **options)
        finally:
            self._writer.connections = others
        others.append(made)
        return made

    def _shut(self) -> None:
        """Close the file that is open and put it in its place."""
        if self._writer is None:
            return
        part, writer, self._writer = self._parts[self._open], self._writer, None
        if self._bag.kind == "ros1":
            writer.close()
            return
        if self._bag.kind == "sqlite3":
            base = writer.storage.conn
            base.execute("DELETE FROM message_definitions WHERE encoded_message_definition = ''")
            for table in ("topics", "message_definitions"):
                base.execute(f"UPDATE {table} SET type_description_hash = '' "
                             "WHERE type_description_hash = ?", (_NO_HASH,))
        stored, suffix = Path(writer.storage.path), ""
        writer.close()
        if self._bag.mode == "file":
            suffix = ".zstd"
        stored = stored.with_name(stored.name + suffix)
        place = self._work / part.name if self._work == self._part else self._part
        folder = stored.parent
        os.replace(stored, self._work / "stored.tmp")
        shutil.rmtree(folder)
        os.replace(self._work / "stored.tmp", place)

    def finish(self) -> None:
        """Close the last file and write the metadata.

        Raises:
            MediaError: there is no file.
        """
        if not self._parts:
            raise MediaError(f"{self._bag.path} gave nothing that could be written; check it.")
        self._advance(len(self._parts) - 1)
        self._shut()
        if self._bag.path.is_dir():
            self._write_metadata()

    def _write_metadata(self) -> None:
        info = {key: copy.deepcopy(value) for key, value in self._bag.info.items() if key in _KEYS}
        if text_reason(info.get("ros_distro")):
            del info["ros_distro"]
        if "custom_data" in self._bag.info:
            info["custom_data"] = None
        counts: Counter[tuple[str, str]] = sum((part.counts for part in self._parts), Counter())
        named = [part for part in self._parts if part.counts]
        start = min((part.start for part in named), default=2**63 - 1)
        end = max((part.end for part in named), default=start)
        listed = info.get("topics_with_message_count") or self._topics()
        topics = []
        for entry in listed:
            about = {key: value for key, value in entry["topic_metadata"].items()
                     if key in _TOPIC_KEYS and not text_reason(value)}
            if about.get("name") in self.names and "type" in about:
                about["name"] = self.names[about["name"]]
                topics.append({"topic_metadata": about,
                               "message_count": counts[about["name"], about["type"]]})
        info |= {
            "version": int(info.get("version") or 8), "storage_identifier": self._bag.kind,
            "relative_file_paths": [part.name for part in self._parts],
            "duration": {"nanoseconds": end - start},
            "starting_time": {"nanoseconds_since_epoch": start},
            "message_count": counts.total(), "topics_with_message_count": topics,
            "compression_format": "zstd" if self._bag.mode else "",
            "compression_mode": info.get("compression_mode") or self._bag.mode,
            "files": [{
                "path": part.name, "message_count": part.counts.total(),
                "starting_time": {"nanoseconds_since_epoch": part.start},
                "duration": {"nanoseconds": max(part.end - part.start, 0)}}
                for part in self._parts]}
        text = yaml.safe_dump({"rosbag2_bagfile_information": info}, sort_keys=False)
        (self._part / "metadata.yaml").write_text(text, encoding="utf-8")

    def _topics(self) -> list[dict[str, Any]]:
        """The topics of a bag whose metadata was lost, from its files."""
        from rosbags.rosbag2.metadata import dump_qos_v8

        found: dict[tuple[str, str], dict[str, Any]] = {}
        back = {new: old for old, new in self.names.items()}
        for part in self._parts:
            for made in part.made.values():
                digest = "" if made.digest == _NO_HASH else made.digest
                found[made.topic, made.msgtype] = {"topic_metadata": {
                    "name": back[made.topic], "type": made.msgtype,
                    "serialization_format": made.ext.serialization_format,
                    "offered_qos_profiles": dump_qos_v8(made.ext.offered_qos_profiles),
                    "type_description_hash": digest}}
        return list(found.values())

    def abandon(self) -> None:
        """Close without caring what becomes of it."""
        if self._writer is not None:
            with suppress(Exception):
                self._writer.abort()
            self._writer = None
        if self._work != self._part:
            shutil.rmtree(self._work, ignore_errors=True)


def _stem(name: str) -> str:
    return name.removesuffix(".zstd").rsplit(".", 1)[0]


def _definition(connection: Any) -> str:
    """The text of a type's definition, marked as IDL where it is."""
    text = connection.msgdef.data
    mark = "=" * 80 + "\nIDL: "
    if connection.msgdef.format is MessageDefinitionFormat.IDL and not text.startswith(mark):
        return f"{mark}{connection.msgtype}\n{text}"
    return text
