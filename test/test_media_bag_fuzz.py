"""Generated bags: whatever a picture, a cloud or a sound is hidden in, nothing of it leaves.

Types of random fields are nested at random; one field of a random one, at a random depth and
place, holds the canary in a random form, in one message of many. The others are harmless and
all stay.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from modalities_support import files, picture, texts
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from test_media_bag_structure import channel, mcap, message, schema
from test_media_bags import run

from deid_ros.media.bags import Bag

SEEDS = range(2)
TOPICS = 16             # of a bag
MESSAGES = 5            # of a topic
WINDOW = 24             # bytes in a row that would betray a canary
NAMES = ("alpha", "beta", "data", "value", "state", "items", "level", "count", "points", "note")
RULE = "=" * 80


def canaries(rng: np.random.Generator) -> dict[str, bytes]:
    """What must not leave, as bytes: more than the limits of structured data let through."""
    low = rng.integers(20, 230, (8, 8, 3)).astype(np.float32).repeat(9, 0).repeat(9, 1)
    shaded = np.clip(low + rng.normal(0, 9, low.shape), 1, 254).astype(np.uint8)
    cloud = rng.normal((0.3, -0.2, 1.5), 0.2, (2200, 3)).astype("<f4")
    wave = 9000 * np.sin(np.arange(8000) / 9) + rng.normal(0, 300, 8000)
    return {"picture": shaded.tobytes(), "noise": picture(72).tobytes(), "cloud": cloud.tobytes(),
            "sound": wave.astype("<i2").tobytes(), "JPEG": files()["JPEG"] * 3,
            "PNG": files()["PNG"] * 2}


# Fields: the definition of one (with the types it needs), harmless values and hidden ones

@dataclass(frozen=True)
class Leaf:
    """A field: its type, the types it is made of, and what gives values of it."""

    kind: str
    harmless: Callable[[np.random.Generator], Any]
    hide: Callable[[bytes, Any, np.random.Generator], Any] | None = None
    types: tuple[tuple[str, str], ...] = ()


def _array(dtype: str, size: int = 5) -> Callable[[np.random.Generator], Any]:
    return lambda rng: rng.integers(0, 90, int(rng.integers(0, size))).astype(dtype)


def _word(rng: np.random.Generator) -> str:
    return str(rng.choice(["base_link", "odom", "idle", "12.5 V", "all is well", "", "wheel 3"]))


def _read_as(dtype: str) -> Any:
    """The bytes read as numbers."""
    wide = np.dtype(dtype).itemsize
    return lambda data, make, rng: np.frombuffer(data[:len(data) // wide * wide], dtype).copy()


def _widened(dtype: str) -> Any:
    """A number for each byte."""
    return lambda data, make, rng: np.frombuffer(data, np.uint8).astype(dtype)


def _text(data: bytes, make: Any, rng: np.random.Generator) -> str:
    ways = texts(data)
    return str(rng.choice(["", "see: "])) + ways[str(rng.choice(sorted(ways)))]


def _pieces(data: bytes, make: Any, rng: np.random.Generator) -> list[str]:
    text, size = base64.b64encode(data).decode(), int(rng.integers(4, 150))
    return [text[i:i + size] for i in range(0, len(text), size)][:512]


def _rows(name: str, dtype: str, width: int, *, split: bool = False) -> Any:
    """A list of messages: one field of ``width`` numbers, or as many fields of one."""
    def hide(data: bytes, make: Any, rng: np.random.Generator) -> list[Any]:
        wide = np.dtype(dtype).itemsize * width
        raw = np.frombuffer(data[:len(data) // wide * wide], dtype).reshape(-1, width)
        if not split:
            return [make[name](row.copy()) for row in raw]
        return [make[name](*row.tolist()) for row in raw]
    return hide


def _entries(name: str, width: int, kind: type) -> Any:
    """A list of messages with a number for each byte."""
    return lambda data, make, rng: [
        make[name](*map(kind, data[i:i + width])) for i in range(0, len(data) - width + 1, width)]


def _few(name: str, made: Callable[[np.random.Generator], tuple[Any, ...]]) -> Any:
    return lambda rng: [(name, made(rng)) for _ in range(int(rng.integers(0, 3)))]


def _list(name: str, fields: str, made: Any, hide: Any) -> Leaf:
    return Leaf(f"own_msgs/{name}[]", _few(f"own_msgs/msg/{name}", made), hide,
                ((f"own_msgs/{name}", fields),))


def _blocks(name: str, inner: Leaf, size: int) -> Leaf:
    """The lists of a field cut into lists of lists, each below the limit of one list."""
    kind, fields = inner.types[0]
    assert inner.hide is not None

    def hide(data: bytes, make: Any, rng: np.random.Generator) -> list[Any]:
        items = inner.hide(data, make, rng)  # type: ignore[misc]
        return [make[f"own_msgs/msg/{name}"](items[i:i + size])
                for i in range(0, len(items), size)]
    return Leaf(f"own_msgs/{name}[]", lambda rng: [], hide,
                ((f"own_msgs/{name}", f"{kind}[] rows"), (kind, fields)))


@cache
def leaves() -> list[Leaf]:
    """Every kind of field."""
    plain = [Leaf("float64", lambda rng: float(rng.normal())),
             Leaf("int32", lambda rng: int(rng.integers(-9, 9999))),
             Leaf("string", _word), Leaf("bool", lambda rng: bool(rng.integers(2))),
             Leaf("uint64", lambda rng: 1_700_000_000_000_000_000 + int(rng.integers(10**9)))]
    found = [Leaf("string", _word, _text), Leaf("string[]", lambda rng: [_word(rng)], _pieces)]
    for kind in ("uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "uint64",
                 "float32", "float64"):
        found.append(Leaf(f"{kind}[]", _array(kind), _read_as(kind)))
        if not kind.endswith("nt8"):
            found.append(Leaf(f"{kind}[]", _array(kind), _widened(kind)))
        for width in (7, 16, 36, 60):
            name = f"Row{kind.title()}{width}"
            found.append(_list(
                name, f"{kind}[] v", lambda rng, kind=kind: (_array(kind)(rng),),
                _rows(f"own_msgs/msg/{name}", kind, width)))
        name = f"Many{kind.title()}"
        cast = float if kind.startswith("float") else int
        found.append(_list(
            name, "".join(f"{kind} v{i}\n" for i in range(12)),
            lambda rng, cast=cast: tuple(cast(v) for v in rng.integers(0, 90, 12)),
            _rows(f"own_msgs/msg/{name}", kind, 12, split=True)))
        if not kind.endswith("int8"):
            found.append(_list(
                f"Each{kind.title()}", "".join(f"{kind} v{i}\n" for i in range(3)),
                lambda rng, cast=cast: tuple(cast(v) for v in rng.integers(0, 90, 3)),
                _entries(f"own_msgs/msg/Each{kind.title()}", 3, cast)))
    found.append(_list("Id", "uint8[16] v", lambda rng: (rng.integers(
        0, 256, 16).astype(np.uint8),), _rows("own_msgs/msg/Id", "uint8", 16)))
    found.append(_list("Pair", "string key\nstring value", lambda rng: (_word(rng), _word(rng)),
                       lambda data, make, rng: [make["own_msgs/msg/Pair"](f"k{i}", piece)
                                                for i, piece in enumerate(_pieces(data, make, rng))]
                       ))
    found += [Leaf(f"geometry_msgs/{name}[]", lambda rng: [],
                   _rows(f"geometry_msgs/msg/{name}", kind, 3, split=True),
                   ((f"geometry_msgs/{name}", "".join(f"{kind} {axis}\n" for axis in "xyz")),))
              for name, kind in (("Point32", "float32"), ("Point", "float64"))]
    rows = [leaf for leaf in found if leaf.types]
    return plain * 10 + found + [
        _blocks(f"Block{i}", leaf, 5 + 9 * i % 400) for i, leaf in enumerate(rows)]


# A type of its own, nested at random

class Types:
    """A type whose fields are nested at random; one field, ``hidden``, can hold a canary."""

    def __init__(self, rng: np.random.Generator, number: int, ros1: bool) -> None:
        self.rng, self.ros1, self.parts = rng, ros1, {}
        self.hidden: Leaf = rng.choice([leaf for leaf in leaves() if leaf.hide])  # type: ignore
        self.name = f"own_msgs/Thing{number}"
        self.tree = self._grow(self.name, int(rng.integers(0, 5)), True)
        own = self.parts.pop(self.name)
        self.text = own + "".join(f"\n{RULE}\nMSG: {name}\n{text}"
                                  for name, text in self.parts.items())
        self.store = get_typestore(Stores.EMPTY)
        self.kind = self.name.replace("/", "/msg/")
        self.store.register(get_types_from_msg(self.text, self.kind))

    def _grow(self, name: str, depth: int, hides: bool) -> list[tuple[str, Any, str]]:
        fields: list[tuple[str, Any, str]] = []
        pool = leaves()
        for _ in range(int(self.rng.integers(1, 5))):
            fields.append(("", pool[int(self.rng.integers(len(pool)))], "leaf"))
        if hides:
            inner: Any = self.hidden
            how = "hides"
            if depth:
                below = f"{name}D{depth}"
                inner = (below, self._grow(below, depth - 1, True))
                how = str(self.rng.choice(["one", "list"]))
            fields.insert(int(self.rng.integers(len(fields) + 1)), ("", inner, how))
        named = [(f"{NAMES[i % len(NAMES)]}_{chr(97 + i)}", what, how)
                 for i, (_, what, how) in enumerate(fields)]
        lines = []
        for field, what, how in named:
            if isinstance(what, Leaf):
                lines.append(f"{what.kind} {field}")
                self.parts |= dict(what.types)
            else:
                lines.append(f"{what[0]}{'[]' if how == 'list' else ''} {field}")
        self.parts[name] = "\n".join(lines)
        return named

    def message(self, canary: bytes | None) -> bytes:
        """Serialised; with the canary in the field that hides it, or harmless."""
        made = self._message(self.name, self.tree, canary)
        write = self.store.serialize_ros1 if self.ros1 else self.store.serialize_cdr
        return bytes(write(made, self.kind))

    def _message(self, name: str, fields: Any, canary: bytes | None) -> Any:
        return self.store.types[name.replace("/", "/msg/")](*(
            self._value(what, how, canary) for _, what, how in fields))

    def _value(self, what: Any, how: str, canary: bytes | None) -> Any:
        if how == "hides" and canary is not None:
            return what.hide(canary, self.store.types, self.rng)
        if isinstance(what, Leaf):
            found = what.harmless(self.rng)
            return [self.store.types[item[0]](*item[1]) for item in found] if what.types else found
        if how == "one":
            return self._message(what[0], what[1], canary)
        count = int(self.rng.integers(1, 3))
        place = int(self.rng.integers(count))
        return [self._message(what[0], what[1], canary if i == place else None)
                for i in range(count)]


def bag_of(path, kind: str, seed: int) -> tuple[Any, list[bytes], list[tuple[str, bytes, bytes]]]:
    """A bag, its harmless messages, and of the others: their form, canary and bytes."""
    rng = np.random.default_rng(seed)
    ros1 = kind == "ros1"
    content, harmless, hidden = [], [], []
    writer: Any = Writer1(path.with_suffix(".bag")) if ros1 else Writer2(
        path, version=9, storage_plugin=StoragePlugin[kind.upper()])
    with writer:
        for number in range(TOPICS):
            types = Types(rng, number, ros1)
            about = {"md5sum": f"{number:032x}"} if ros1 else {"rihs01": f"RIHS01_{number:064x}"}
            made = writer.add_connection(f"/t{number}", types.kind, msgdef=types.text, **about)
            at = int(rng.integers(MESSAGES))
            things = canaries(rng)
            canary = things[str(rng.choice(sorted(things)))]
            for index in range(MESSAGES):
                data = types.message(canary if index == at else None)
                content.append((made, data))
                if index == at:
                    hidden.append((f"{types.hidden.kind} {types.hidden.types}", canary, data))
                else:
                    harmless.append(data)
        for stamp, where in enumerate(rng.permutation(len(content))):
            writer.write(content[where][0], 1 + stamp, content[where][1])
    return writer.path, harmless, hidden


def assert_nothing_leaves(target, harmless, hidden, scratch) -> None:
    """Every harmless message is there; of the others not even a window of bytes."""
    bag = Bag(target)
    scan = bag.open(0, scratch=scratch)
    found = sorted(bag.unpacked(data) for _, _, data in scan.messages())
    scan.close()
    left = [form for form, _, data in hidden if data in found]
    assert not left, left
    assert found == sorted(harmless)
    plain = b"".join(harmless)
    whole = b"".join(file.read_bytes() for file in (
        [target] if target.is_file() else sorted(target.iterdir())))
    for form, canary, data in hidden:
        for content in (canary, data):
            for at in range(0, len(content) - WINDOW, 4 * WINDOW):
                window = content[at:at + WINDOW]
                if len(set(window)) > 12 and window not in plain:
                    assert window not in whole, form


@pytest.mark.parametrize("kind", ["mcap", "sqlite3", "ros1"])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_canary_leaves_a_bag_of_nested_types(tmp_path, kind, seed):
    source, harmless, hidden = bag_of(tmp_path / "bag", kind, 1000 * seed + len(kind))
    _, target = run(source, tmp_path)
    assert_nothing_leaves(target, harmless, hidden, tmp_path)


# Forms without a definition of their own

def _json_value(rng: np.random.Generator, depth: int, inner: Any) -> Any:
    """Nested lists and objects around a value."""
    for _ in range(depth):
        others = {str(rng.choice(NAMES)): [_word(rng), float(rng.normal()), None, True]
                  for _ in range(int(rng.integers(0, 3)))}
        place = f"inner_{int(rng.integers(9))}"
        inner = ({**others, place: inner, "z": 1} if rng.integers(2)
                 else [*others.values(), inner, _word(rng)])
    return inner


def _json_canary(data: bytes, rng: np.random.Generator) -> Any:
    numbers = list(data)
    width = int(rng.integers(1, 60))
    rows = [numbers[i:i + width] for i in range(0, len(numbers), width)]
    pieces, whole = _pieces(data, None, rng), data[:len(data) // 4 * 4]
    ways = [numbers, rows, [{"v": row} for row in rows], {str(i): v for i, v in enumerate(numbers)},
            {f"r{i}": {f"c{k}": v for k, v in enumerate(row)} for i, row in enumerate(rows)},
            _text(data, None, rng), pieces, dict.fromkeys(pieces), [[piece] for piece in pieces],
            np.frombuffer(whole, "<f4").tolist(),
            [{"x": v} for v in np.frombuffer(whole, "<i4").tolist()]]
    return ways[int(rng.integers(len(ways)))]


def _json_message(rng: np.random.Generator, canary: bytes | None) -> bytes:
    inner = _word(rng) if canary is None else _json_canary(canary, rng)
    text = json.dumps(_json_value(rng, int(rng.integers(1, 6)), {"it": inner}))
    if canary is not None and rng.integers(2):      # behind a second value of the same key
        text = text.replace('"it": ', '"it": 1, "it": ') if rng.integers(2) else (
            f'{{"a": {text}, "a": 0}}')
    return text.encode()


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def _block(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _protobuf_message(rng: np.random.Generator, canary: bytes | None) -> bytes:
    inner = _block(1, _word(rng).encode())
    if canary is not None:
        size = int(rng.integers(5, 200))
        rows = [canary[i:i + size] for i in range(0, len(canary), size)]
        ways = [_block(2, canary), b"".join(_block(2, row) for row in rows),
                b"".join(_block(2, _block(1, row)) for row in rows),
                b"".join(_varint(3 << 3) + _varint(v) for v in canary),
                b"".join(_varint(3 << 3 | 1) + canary[i:i + 8] for i in range(0, 6400, 8)),
                b"".join(_varint(3 << 3 | 5) + canary[i:i + 4] for i in range(0, 6400, 4)),
                _block(4, _text(canary, None, rng).encode())]
        inner += ways[int(rng.integers(len(ways)))]
    for _ in range(int(rng.integers(0, 5))):
        inner = (_block(1, _word(rng).encode()) + _block(int(rng.integers(2, 9)), inner)
                 + _varint(10 << 3 | 1) + struct.pack("<d", rng.normal()))
    return inner


@pytest.mark.parametrize("form, make", [("json", _json_message), ("protobuf", _protobuf_message)])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_canary_leaves_a_bag_without_definitions(tmp_path, form, make, seed):
    rng = np.random.default_rng(500 + seed)
    records, harmless, hidden = [], [], []
    for number in range(1, TOPICS + 1):
        records += [schema(number, b"acme.T%d" % number, form.encode()),
                    channel(number, number, b"/t%d" % number, form.encode())]
        at = int(rng.integers(MESSAGES))
        things = canaries(rng)
        canary = things[str(rng.choice(sorted(things)))]
        for index in range(MESSAGES):
            data = make(rng, canary if index == at else None)
            records.append(message(number, data, 5 + len(records)))
            if index == at:
                hidden.append((form, canary, data))
            else:
                harmless.append(data)
    _, target = run(mcap(tmp_path / "a.mcap", *records), tmp_path)
    assert_nothing_leaves(target, harmless, hidden, tmp_path)
