"""Colour profiles, written anew from the few numbers that say what the colours mean.

An ICC profile can hold anything behind or between its tags. What is kept is the meaning:
white point, primaries and curves of grey and RGB profiles (ICC.1:2022, chapters 8.3, 8.4
and 10). Profiles by tables (of printers, mostly) have none of these and are left behind.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["rebuilt_profile"]

_D50 = struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
_TAGS = {b"RGB ": (b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"),
         b"GRAY": (b"wtpt", b"kTRC")}
_PARAMETERS = (1, 3, 4, 5, 7)       # of the kinds of parametric curves
_MOST_POINTS = 4096                 # of a curve
_MOST_TAGS = 100
_NAME = b"rebuilt colour profile"


class _Tag(NamedTuple):
    kind: bytes
    content: bytes


def rebuilt_profile(profile: bytes, *, grey: bool) -> bytes | None:
    """A new profile of the same meaning, None where it has none that can be told.

    Args:
        profile: an ICC profile, or what claims to be one.
        grey: whether the picture has one colour; else it is RGB.
    """
    space = b"GRAY" if grey else b"RGB "
    try:
        if profile[36:40] != b"acsp" or profile[16:20] != space or profile[20:24] != b"XYZ ":
            return None
        tags = _read(profile)
        made = {name: _number_tag(name, tags[name]) for name in _TAGS[space]}
        if b"chad" in tags:
            made[b"chad"] = b"sf32" + bytes(4) + _fixed(tags[b"chad"], b"sf32", 9)
        return _written(profile, space, made)
    except (KeyError, ValueError, struct.error):
        return None


def _read(profile: bytes) -> dict[bytes, _Tag]:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > _MOST_TAGS:
        raise ValueError("too many tags")
    found = {}
    for i in range(count):
        name, start, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        found[name] = _Tag(profile[start:start + 4], profile[start + 8:start + size])
    return found


def _number_tag(name: bytes, tag: _Tag) -> bytes:
    if name.endswith(b"TRC"):
        return _curve(tag)
    return b"XYZ " + bytes(4) + _fixed(tag, b"XYZ ", 3)


def _fixed(tag: _Tag, kind: bytes, count: int) -> bytes:
    """Numbers in 16.16 bits; those of colours are small."""
    numbers = struct.unpack_from(f">{count}i", tag.content)
    if tag.kind != kind or max(map(abs, numbers)) > 4 << 16:
        raise ValueError("no numbers of colours")
    return struct.pack(f">{count}i", *numbers)


def _curve(tag: _Tag) -> bytes:
    if tag.kind == b"para":
        (kind,) = struct.unpack_from(">H", tag.content)
        if kind >= len(_PARAMETERS):
            raise ValueError("another kind of curve")
        numbers = struct.unpack_from(f">{_PARAMETERS[kind]}i", tag.content, 4)
        if max(map(abs, numbers)) > 100 << 16:
            raise ValueError("no curve")
        return struct.pack(f">4s4xHxx{len(numbers)}i", b"para", kind, *numbers)
    (count,) = struct.unpack_from(">I", tag.content)
    if tag.kind != b"curv" or count > _MOST_POINTS:
        raise ValueError("no curve")
    points = struct.unpack_from(f">{count}H", tag.content, 4)
    # A curve rises. A picture that was put in its place does not.
    if any(after < before for before, after in zip(points, points[1:], strict=False)):
        raise ValueError("no rising curve")
    return struct.pack(f">4s4xI{count}H", b"curv", count, *points)


def _written(before: bytes, space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile of a screen; its date, maker and intent are always the same."""
    new = before[8] >= 4 or any(tag.startswith(b"para") for tag in tags.values())
    text = _NAME.decode().encode("utf-16-be")
    if new:
        about = b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28)
        tags = {b"desc": about + text, b"cprt": about + text, **tags}
    else:
        about = b"desc" + bytes(4) + struct.pack(">I", len(_NAME) + 1) + _NAME + bytes(79)
        tags = {b"desc": about, b"cprt": b"text" + bytes(4) + _NAME + b"\0", **tags}
    table, body = struct.pack(">I", len(tags)), b""
    start = 132 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    version = 0x04300000 if new else 0x02400000
    head = struct.pack(">I4xI4s4s4s6H4s28x", start + len(body), version, b"mntr", space, b"XYZ ",
                       2000, 1, 1, 0, 0, 0, b"acsp") + _D50
    return head + bytes(128 - len(head)) + table + body
