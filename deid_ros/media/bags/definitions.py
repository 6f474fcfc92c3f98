"""What defines the topics of a bag: whether it may leave, and for MCAP as it came.

rosbags writes ``ros2msg`` and ``ros2idl`` alone; here its records are exchanged
for those of the input before a message follows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from rosbags.rosbag2.storage_mcap import (
    Channel,
    Schema,
    write_channel,
    write_record,
    write_schema,
    write_string,
)

from deid_ros.media.bags.contents import protobuf
from deid_ros.media.bags.modalities import judge_values
from deid_ros.media.bags.scan_mcap import RawChannel
from deid_ros.media.bags.signs import magic, name_sign
from deid_ros.media.bags.tally import LIMITS

__all__ = ["definition_sign", "plain_metadata", "restate", "set_profile", "text_reason"]

_HEADER = 1
_LAST_TYPE = 18     # FieldDescriptorProto.Type
_PROFILES = 1024    # of quality of service: one for each publisher
_DIFFERENT = 32     # most publishers offer the same
_MAGIC = b"\x89MCAP0\r\n"


class _Exact(str):
    """A text of rosbags that is written as given bytes and equals only itself."""

    raw: bytes
    key: Any

    def encode(self, *_: Any, **__: Any) -> bytes:
        return self.raw

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = str.__hash__


def _exact(raw: bytes, key: Any = None) -> _Exact:
    made = _Exact(raw.decode("utf-8", "replace"))
    made.raw, made.key = raw, key
    return made


def definition_sign(connection: Any) -> str:
    """Why a topic does not leave: what defines it holds more than a definition; '' for none.

    Args:
        connection: a rosbags ``Connection``; of MCAP its ``owner`` knows the raw channel.
    """
    raw = _raw_of(connection)
    ext = connection.ext
    names = [connection.topic, connection.msgtype, str(connection.digest or ""),
             getattr(ext, "callerid", None) or "", getattr(ext, "serialization_format", ""),
             *(raw.schema[:2] if raw and raw.schema else ())]
    found = next(filter(None, map(name_sign, names)), "") or _qos_sign(
        getattr(ext, "offered_qos_profiles", ()))
    if found or raw is None or raw.schema is None:
        return found or text_reason(connection.msgdef.data)
    _, form, data = raw.schema
    return _blob_sign(data) if form == "protobuf" else (
        magic(data) or text_reason(data.decode("utf-8", "replace")))


def _raw_of(connection: Any) -> RawChannel | None:
    """How MCAP defines a channel; None for other bags."""
    return getattr(connection.owner, "raw", {}).get(connection.id)


def text_reason(value: Any) -> str:
    """Why a text, or what YAML made of one, does not leave; '' where it may."""
    if isinstance(value, str) and magic(value.encode("utf-8", "replace")):
        return "a file"
    return judge_values(value).reason


def _qos_sign(profiles: Sequence[Any]) -> str:
    numbers = [number for one in profiles for number in (
        one.depth, *one.deadline, *one.lifespan, *one.liveliness_lease_duration)]
    fits = (len(profiles) <= _PROFILES and len(set(profiles)) <= _DIFFERENT
            and all(abs(number) < 1 << 64 for number in numbers))
    return "" if fits else "quality of service that no publisher offers"


def _blob_sign(data: bytes) -> str:
    """The same of a Protobuf descriptor."""
    try:
        return magic(data) or judge_values(_uncommon(protobuf(data))).reason
    except ValueError:
        return "" if len(data) <= LIMITS.small else "bytes that are no Protobuf descriptor"


def _uncommon(values: list[Any]) -> list[Any]:
    """A descriptor without the small numbers that every field has: its own, label and type."""
    return [_uncommon(value) if isinstance(value, list) else value for value in values
            if not (isinstance(value, int) and value <= _LAST_TYPE)]


def plain_metadata(raw: RawChannel) -> list[tuple[str, str]]:
    """The entries of a channel's metadata that may leave: none, if all together may not."""
    kept = [(name, text) for name, text in raw.metadata
            if not name_sign(name) and not text_reason(text)]
    return [] if judge_values(dict(kept)).reason else kept


def set_profile(storage: Any, profile: str) -> None:
    """Write the header of a file that is still empty anew."""
    storage.bio.seek(len(_MAGIC))
    storage.bio.truncate()
    record = BytesIO()
    write_string(record, "" if name_sign(profile) else profile)
    write_string(record, "deid_ros")
    write_record(storage.bio, _HEADER, record)


def restate(storage: Any, at: int, before: int, raw: RawChannel) -> None:
    """Exchange the definitions that rosbags has just written for those of the input.

    Args:
        storage: rosbags' writer of MCAP.
        at: where its chunk ended before.
        before: schemas that it had before.
        raw: the input's channel; it has a schema.
    """
    assert raw.schema is not None
    stream = storage.chunk.bio
    stream.seek(at)
    stream.truncate()
    made: Channel = storage.channels.pop()
    del storage.schemas[before:]
    known = next((schema for schema in storage.schemas
                  if getattr(schema.name, "key", None) == raw.schema), None)
    if known is None:
        name, form, data = raw.schema
        known = Schema(len(storage.schemas) + 1, _exact(name.encode(), raw.schema),
                       form, _exact(data))
        storage.schemas.append(known)
        write_schema(stream, known)
    metadata = BytesIO()
    for entry in plain_metadata(raw):
        for text in entry:
            write_string(metadata, text)
    channel = Channel(made.id, known.name, made.topic, made.message_encoding,
                      metadata.getvalue())
    storage.channels.append(channel)
    write_channel(stream, channel, storage.schemas)
