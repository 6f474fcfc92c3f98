"""Messages with likely values for any type, and contents that must never leave."""

from __future__ import annotations

import base64
import io
import types
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

STORE = get_typestore(Stores.LATEST)


def connection(msgtype: str, definition: str = "", *, form: str = "cdr") -> Any:
    """What rosbags knows of a topic, as far as verdicts need it."""
    kind = MessageDefinitionFormat.MSG if definition else MessageDefinitionFormat.NONE
    return types.SimpleNamespace(
        id=1, topic="/t", msgtype=msgtype, msgdef=MessageDefinition(kind, definition),
        ext=types.SimpleNamespace(serialization_format=form), owner=None, digest="")


def likely(msgtype: str, rng: np.random.Generator, store: Any = STORE) -> Any:
    """A message as a robot might send it: few entries, short texts."""
    values = [_value(desc, rng, store) for _, desc in store.fielddefs[msgtype][1]]
    return store.types[msgtype](*values)


def _value(desc: Any, rng: np.random.Generator, store: Any) -> Any:
    kind, about = desc
    if kind == Nodetype.BASE:
        return _base(about[0], rng)
    if kind == Nodetype.NAME:
        return likely(about, rng, store)
    inner, count = about
    if kind == Nodetype.SEQUENCE:
        count = int(rng.integers(0, 5))
    if inner[0] == Nodetype.BASE and inner[1][0] != "string":
        dtype = {"bool": np.bool_, "byte": np.uint8, "octet": np.uint8, "char": np.uint8}.get(
            inner[1][0], inner[1][0])
        return rng.integers(0, 2, count).astype(dtype)
    return [_value(inner, rng, store) for _ in range(count)]


def _base(name: str, rng: np.random.Generator) -> Any:
    if name in ("string", "wstring"):
        return str(rng.choice(["base_link", "odom", "/tf of map", "OK: 12 V, 3 A", ""]))
    if name == "bool":
        return bool(rng.integers(2))
    if name.startswith("float"):
        return float(np.float32(rng.normal()))
    return int(rng.integers(0, 100))


def picture(size: int = 32) -> np.ndarray:
    """A small picture that packs badly, BGR."""
    return np.random.default_rng(size).integers(0, 255, (size, size, 3), np.uint8)


def files() -> dict[str, bytes]:
    """One small file of many a format."""
    from PIL import Image
    found = {}
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "PPM"):
        stream = io.BytesIO()
        Image.fromarray(picture()).save(stream, kind)
        found[kind] = stream.getvalue()
    found["raw"] = picture().tobytes()
    found["depth"] = (np.arange(1024, dtype=np.uint16) * 7).tobytes()
    found["wav"] = b"RIFF\x24\x08\0\0WAVEfmt " + bytes(400)
    found["grey"] = cv2.cvtColor(picture(), cv2.COLOR_BGR2GRAY).tobytes()
    return found


def texts(data: bytes) -> dict[str, str]:
    """The same bytes as text in several ways."""
    plain = base64.b64encode(data).decode()
    return {
        "base64": plain, "uri": f"data:image/jpeg;base64,{plain}", "hex": data.hex(),
        "lines": base64.encodebytes(data).decode(), "url": base64.urlsafe_b64encode(data).decode(),
        "numbers": ", ".join(map(str, data)), "base85": base64.b85encode(data).decode(),
        "latin": data.decode("latin1"), "json": '{"a": {"b": "' + plain + '"}}',
        "list": str(list(data)), "escaped": "".join(f"\\x{byte:02x}" for byte in data),
        "base32": base64.b32encode(data).decode()}


def own(definition: str, values: dict[str, Any], name: str = "own_msgs/msg/Thing") -> tuple[
        Any, bytes]:
    """A type of one's own and one message of it: connection and bytes."""
    store = get_typestore(Stores.LATEST)
    store.register(get_types_from_msg(definition, name))
    message = store.types[name](**values)
    return connection(name, definition), bytes(store.serialize_cdr(message, name))
