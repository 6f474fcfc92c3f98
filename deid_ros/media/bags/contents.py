"""What a message says, read by its definition: fields, arrays and texts."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any

from rosbags.interfaces import MessageDefinitionFormat, Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.msg import normalize_msgtype

from deid_ros.errors import FrameError

__all__ = ["Layout", "Pairs", "contents", "is_defined", "is_defined_as", "is_standard", "layout",
           "protobuf", "read_json", "type_of"]

_DEPTH = 40         # of messages in messages
_DIGITS = 32        # of a number in JSON
_FIELD_NUMBERS = 512    # different ones in one Protobuf message


class Pairs(tuple):
    """An object of JSON: every key with its value, also where a key comes twice."""


def read_json(text: str | bytes) -> Any:
    """JSON with nothing left out.

    Raises:
        ValueError: it is none, or has numbers that are longer than numbers are.
    """
    return json.loads(text, object_pairs_hook=Pairs, parse_int=_number(int),
                      parse_float=_number(float))


def _number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if len(text) > _DIGITS:
            raise ValueError(f"a number has {len(text)} digits")
        return kind(text)
    return read


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


def is_defined_as(connection: Any, text: str, *, ros1: bool) -> bool:
    """Whether messages of a connection are laid out as a definition says.

    A connection without any definition counts as one that is.

    Args:
        text: the definition, in ROS's own words; of other types it names only those of ROS.
    """
    form = "ros1" if ros1 else connection.ext.serialization_format
    if form not in ("cdr", "ros1", ""):
        return False
    kind, definition = type_of(connection), connection.msgdef
    if not definition.data or definition.format is MessageDefinitionFormat.NONE:
        return True
    found = _stores(kind, definition.format, definition.data, form == "ros1")
    known = _stores(kind, MessageDefinitionFormat.MSG, text, form == "ros1")
    return bool(found and known) and _same(found[0].fielddefs, known[0].fielddefs, kind)


def _same(found: Any, known: Any, kind: str) -> bool:
    """Whether two stores define a type in the same way, and those in it."""
    fields = known[kind][1]
    return found[kind][1] == fields and all(_same(found, known, name) for name in _names(fields))


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
            return read_json(data)
        if form == "protobuf":
            return protobuf(data)
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
    standard = _standard()[2:] if ros1 else _standard()[:2]
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


@dataclass(frozen=True, slots=True)
class Layout:
    """How messages of a class are laid out, by the definition they were read with.

    ``look`` the fields with texts or arrays; ``leaves`` how many single values the others
    hold, and ``values`` what gives these of a message, in a tuple; ``common`` whether ROS
    defines the type in the same way.
    """

    look: tuple[str, ...]
    leaves: int
    values: Callable[[Any], tuple[Any, ...]]
    paths: tuple[str, ...]
    common: bool


_LAYOUTS: dict[type, Layout] = {}


def layout(kind: type) -> Layout | None:
    """How a class of messages is laid out; None where nobody knows."""
    return _LAYOUTS.get(kind)


@cache
def _standard() -> tuple[Any, ...]:
    return tuple(map(get_typestore, (Stores.LATEST, Stores.ROS2_HUMBLE, Stores.ROS1_NOETIC)))


def is_standard(name: str) -> bool:
    """Whether ROS defines a type of this name."""
    return any(name in store.fielddefs for store in _standard())


def _lay_out(store: Any, name: str) -> Layout:
    made = store.types[name]
    known = _LAYOUTS.get(made)
    if known is None:
        look, paths = [], []
        fields = store.fielddefs[name][1]
        common = any(standard.fielddefs.get(name, ((), None))[1] == fields
                     for standard in _standard())
        for other in _names(fields):
            common &= _lay_out(store, other).common
        for field, (kind, about) in fields:
            inner = _lay_out(store, about) if kind == Nodetype.NAME else None
            if kind == Nodetype.BASE and "string" not in about[0]:
                paths.append(field)
            elif inner is not None and not inner.look:
                paths += [f"{field}.{path}" for path in inner.paths]
            else:
                look.append(field)
        known = _LAYOUTS[made] = Layout(tuple(look), len(paths), _getter(paths), tuple(paths),
                                        common)
    return known


def _getter(paths: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(paths) > 1:
        return attrgetter(*paths)
    return lambda item: tuple(attrgetter(path)(item) for path in paths)


def _names(fields: Any) -> Iterator[str]:
    """The message types among the fields of a definition."""
    for _, desc in fields:
        while desc[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            desc = desc[1][0]
        if desc[0] == Nodetype.NAME:
            yield desc[1]


def protobuf(data: bytes) -> list[Any]:
    """What a Protobuf message says, by its wire format alone.

    Raises:
        ValueError: it is none.
    """
    return list(_protobuf(memoryview(data), 0))


def _protobuf(data: memoryview, depth: int) -> Iterator[Any]:
    """The fields of a Protobuf message by its wire format alone: numbers, texts, bytes, lists.

    Raises:
        ValueError: it is none.
    """
    at, numbers = 0, set()
    while at < len(data):
        tag, at = _varint(data, at)
        if not tag >> 3:
            raise ValueError("a Protobuf field has the number 0")
        numbers.add(tag >> 3)
        if len(numbers) > _FIELD_NUMBERS:
            raise ValueError(f"a Protobuf message has more than {_FIELD_NUMBERS} fields")
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield value
        elif wire in (1, 5):
            form = "<d" if wire == 1 else "<f"
            if at + struct.calcsize(form) > len(data):
                raise ValueError("a Protobuf message ends too early")
            yield struct.unpack_from(form, data, at)[0]
            at += struct.calcsize(form)
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
