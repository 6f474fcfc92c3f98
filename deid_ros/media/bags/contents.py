"""What a message says, read by its definition: fields, arrays and texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

from rosbags.interfaces import MessageDefinitionFormat, Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.msg import normalize_msgtype

from deid_ros.errors import FrameError

__all__ = ["contents", "is_defined", "layout", "type_of"]

_DEPTH = 40         # of messages in messages


def type_of(connection: Any) -> str:
    """The type of a connection as ROS 2 writes it: package/msg/Name."""
    return _normal(connection.msgtype)


@lru_cache(4096)
def _normal(name: str) -> str:
    try:
        return normalize_msgtype(name) if "/" in name else name
    except ValueError:
        return name


def is_defined(connection: Any, *, ros1: bool) -> bool:
    """Whether anything says how messages of a connection are laid out."""
    form = "ros1" if ros1 else connection.ext.serialization_format
    if form in ("json", "protobuf"):
        return True
    definition = connection.msgdef
    return form in ("cdr", "ros1", "") and bool(
        _stores(type_of(connection), definition.format, definition.data, form == "ros1"))


def contents(data: bytes, connection: Any, *, ros1: bool) -> Any:
    """A message decoded: objects of rosbags, or lists and dictionaries.

    Args:
        data: serialised as the connection says: CDR, ROS 1, JSON or Protobuf.

    Raises:
        FrameError: it cannot be decoded, or not to its last byte.
    """
    form = "ros1" if ros1 else connection.ext.serialization_format
    try:
        if form == "json":
            return json.loads(data)
        if form == "protobuf":
            return list(_protobuf(memoryview(data), 0))
        if form not in ("cdr", "ros1", ""):
            raise ValueError(f"its serialisation '{form}' is not known")
        definition = connection.msgdef
        kind = type_of(connection)
        last: Exception = ValueError(f"nobody defines the type {kind or 'without a name'}")
        for store in _stores(kind, definition.format, definition.data, form == "ros1"):
            try:
                _lay_out(store, kind)
                if form == "ros1":
                    return store.deserialize_ros1(data, kind)
                return store.deserialize_cdr(data, kind)
            except Exception as error:   # rosbags raises whatever its readers meet
                last = error
        raise last
    except RecursionError:
        raise FrameError("it is nested too deeply") from None
    except Exception as error:
        words = " ".join(str(error).split())[:120]
        raise FrameError(f"it cannot be decoded ({words or type(error).__name__})") from None


@cache
def _stores(kind: str, form: Any, text: str, ros1: bool) -> list[Any]:
    """Where a type is looked up: the bag's own definition, else what ROS defines."""
    known = ([Stores.ROS1_NOETIC] if ros1 else [Stores.LATEST, Stores.ROS2_HUMBLE])
    standard = [get_typestore(name) for name in known]
    if not text or form is MessageDefinitionFormat.NONE:
        return [store for store in standard if kind in store.fielddefs]
    try:
        types = (get_types_from_idl(text) if form is MessageDefinitionFormat.IDL
                 else get_types_from_msg(text, kind))
        own = dict(types)
        missing, seen = [kind], set()
        while missing:
            name = missing.pop()
            if name not in own:
                own[name] = standard[0].fielddefs[name]
            missing += [other for other in _names(own[name][1]) if other not in seen]
            seen.add(name)
        store = get_typestore(Stores.EMPTY)
        store.register(own)
        return [store]
    except Exception:      # a definition that cannot be read defines nothing
        return []


#: Class -> names of the fields that need a look, and how many single numbers the others hold.
_LAYOUTS: dict[type, tuple[tuple[str, ...], int]] = {}
# Arrays that are no bulk: vectors, and matrices of float64.
_FIXED = (9, 12, 36)


def layout(kind: type) -> tuple[tuple[str, ...], int] | None:
    """What of a class of messages must be looked at; None where nobody knows."""
    return _LAYOUTS.get(kind)


def _lay_out(store: Any, name: str) -> tuple[tuple[str, ...], int]:
    made = store.types[name]
    known = _LAYOUTS.get(made)
    if known is None:
        names, leaves = [], 0
        for field, desc in store.fielddefs[name][1]:
            size = _bare_size(store, desc)
            leaves += size or 0
            if size is None:
                names.append(field)
        known = _LAYOUTS[made] = tuple(names), leaves
    return known


def _bare_size(store: Any, desc: Any) -> int | None:
    """Numbers in a field of nothing but a few numbers, else None."""
    kind, about = desc
    if kind == Nodetype.BASE:
        return None if "string" in about[0] else 1
    if kind == Nodetype.NAME:
        names, leaves = _lay_out(store, about)
        return None if names else leaves
    inner, count = about
    while inner[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        inner = inner[1][0]
    if inner[0] == Nodetype.NAME:
        _lay_out(store, inner[1])
    elif kind == Nodetype.ARRAY and (count <= 4 or (
            count in _FIXED and inner[1][0] == "float64")) and "string" not in inner[1][0]:
        return count
    return None


def _names(fields: Any) -> Iterator[str]:
    """The message types among the fields of a definition."""
    for _, desc in fields:
        while desc[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            desc = desc[1][0]
        if desc[0] == Nodetype.NAME:
            yield desc[1]


def _protobuf(data: memoryview, depth: int) -> Iterator[Any]:
    """The fields of a Protobuf message by its wire format alone: numbers, texts, bytes, lists.

    Raises:
        ValueError: it is none.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if not tag >> 3:
            raise ValueError("a Protobuf field has the number 0")
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield value
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
            if at > len(data):
                raise ValueError("a Protobuf message ends too early")
            yield 0.0
        elif wire == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("a Protobuf message ends too early")
            yield _block(data[at:at + size], depth + 1)
            at += size
        else:
            raise ValueError(f"a Protobuf field has the wire type {wire}")


def _block(data: memoryview, depth: int) -> Any:
    raw = bytes(data)
    try:
        text = raw.decode()
        if all(c.isprintable() or c in "\t\r\n" for c in text):
            return text
    except UnicodeDecodeError:
        pass
    if depth < _DEPTH:
        try:
            return list(_protobuf(data, depth))
        except ValueError:
            pass
    return raw


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a Protobuf number is damaged")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
