"""MCAP definitions as they came: schemas, encodings and channel metadata.

rosbags writes ``ros2msg`` and ``ros2idl`` alone; here its records are exchanged
for those of the input before a message follows them.
"""

from __future__ import annotations

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

from deid_ros.media.bags.scan_mcap import RawChannel
from deid_ros.media.bags.signs import magic, text_sign

__all__ = ["restate", "set_profile", "suspicious"]

_HEADER = 1
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


def suspicious(raw: RawChannel) -> str:
    """Why a definition is not copied: it holds more than a definition; '' for none."""
    if raw.schema is None:
        return ""
    data = raw.schema[2]
    return magic(data) or ("" if raw.schema[1] == "protobuf"
                           else text_sign(data.decode("utf-8", "replace")))


def set_profile(storage: Any, profile: str) -> None:
    """Write the header of a file that is still empty anew."""
    storage.bio.seek(len(_MAGIC))
    storage.bio.truncate()
    record = BytesIO()
    write_string(record, profile)
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
    for name, text in raw.metadata:
        if not (magic(text.encode()) or text_sign(text)):
            write_string(metadata, name)
            write_string(metadata, text)
    channel = Channel(made.id, known.name, made.topic, made.message_encoding,
                      metadata.getvalue())
    storage.channels.append(channel)
    write_channel(stream, channel, storage.schemas)
