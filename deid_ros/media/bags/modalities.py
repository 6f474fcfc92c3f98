"""The table of modalities: what a message is, by what is in it.

docs/modalities.md holds the table in words. Names of types and fields only ever add
suspicion; what is copied has shown, value by value, that it is small or plain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deid_ros.errors import FrameError
from deid_ros.media.bags.contents import contents, is_defined, layout, type_of
from deid_ros.media.bags.geometry import cloud_sign, points_sign
from deid_ros.media.bags.plain import PLAIN
from deid_ros.media.bags.signs import magic, text_sign

__all__ = ["BIOMETRIC", "GEOMETRY", "PICTURE", "PLAIN_DATA", "SOUND", "UNKNOWN", "Verdict",
           "judge", "judge_values"]

PICTURE, GEOMETRY, SOUND, BIOMETRIC = "picture", "depth or geometry", "sound", "biometric"
UNKNOWN, PLAIN_DATA = "unknown bulk", "structured data"


@dataclass(frozen=True, slots=True)
class Limits:
    """What data may hold and still be 'without bulk'.

    A face can be told from some 16x16 pixels on; one embedding has 128 numbers.
    """

    small: int = 256        # bytes of a message that nobody defines
    bytes_in_one: int = 64  # of an array of bytes
    bytes_in_all: int = 256
    identifiers: int = 4096  # bytes in arrays of 16, as UUIDs are
    numbers_in_one: int = 96
    numbers_in_all: int = 1536
    items: int = 512        # messages in one list
    leaves: int = 8192     # single values


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a message is, and why it is dropped; ``reason`` '' for plain data."""

    modality: str
    reason: str = ""

    @property
    def plain(self) -> bool:
        """Whether it may be copied."""
        return self.modality == PLAIN_DATA


_PLAIN = Verdict(PLAIN_DATA)

_BIOMETRIC = frozenset((
    "embedding", "embeddings", "landmark", "landmarks", "biometric", "biometrics", "faceprint",
    "voiceprint", "facial", "skeleton", "skeletons", "iris", "fingerprint", "gait", "keypoint",
    "keypoints", "descriptor", "descriptors", "encoding", "encodings", "mesh468"))
_SOUND = frozenset(("audio", "sound", "speech", "voice", "pcm", "microphone", "mic"))
_PICTURES = frozenset(("image", "images", "video", "jpeg", "jpg", "png", "h264", "h265", "hevc",
                       "ffmpeg", "theora", "picture", "photo", "rgbd", "texture", "thumbnail"))
_SPOKEN = _BIOMETRIC | _SOUND | _PICTURES
_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_FEW = 5        # numbers that are no shape of a face


@dataclass(slots=True)
class _Tally:
    """What was seen of one message so far."""

    bytes: int = 0
    identifiers: int = 0
    numbers: int = 0
    leaves: int = 0


def judge(data: bytes, connection: Any, *, ros1: bool) -> Verdict:
    """What a message is that is no picture to be covered.

    Args:
        data: as it was published.
        connection: a rosbags ``Connection``: its type, definition and serialisation.
        ros1: whether it comes from a ROS 1 bag.
    """
    kind = magic(data)
    if kind:
        return _found(kind)
    words = _names(type_of(connection))
    if len(data) <= LIMITS.small and not words and not is_defined(connection, ros1=ros1):
        return _PLAIN       # too small for a picture, whatever it is
    try:
        return judge_values(contents(data, connection, ros1=ros1), words)
    except FrameError as error:
        return Verdict(UNKNOWN, f"{len(data)} bytes that nobody can look into: {error}")
    except Exception as error:      # fields that are not what their type promises
        return Verdict(UNKNOWN, f"{len(data)} bytes that are not as their type says "
                                f"({type(error).__name__})")


def judge_values(values: Any, words: frozenset[str] = frozenset()) -> Verdict:
    """What decoded values are: objects of rosbags, dictionaries, lists, arrays, texts."""
    return _look(values, words, _Tally()) or _PLAIN


def _found(kind: str) -> Verdict:
    modality = SOUND if kind in ("FLAC", "MP3", "Ogg") else PICTURE
    return Verdict(modality, f"a {kind} file lies in it")


def _words(name: str) -> frozenset[str]:
    """The words of a CamelCase or snake_case name."""
    split = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
    return frozenset(re.split(r"[^a-z0-9]+", split))


def _look(value: Any, words: frozenset[str], tally: _Tally) -> Verdict | None:
    if isinstance(value, str):
        return _text(value, words, tally)
    if isinstance(value, np.ndarray):
        return _array(value, words, tally)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _array(np.frombuffer(value, np.uint8), words, tally)
    if isinstance(value, dict):
        return _fields(value.items(), words, tally)
    if isinstance(value, (list, tuple)):
        return _sequence(value, words, tally)
    if hasattr(value, "__msgtype__"):
        return _message(value, words, tally)
    tally.leaves += 1
    if tally.leaves > LIMITS.leaves:
        return Verdict(UNKNOWN, f"more than {LIMITS.leaves} single values")
    return None


def _fields(items: Iterable[tuple[Any, Any]], words: frozenset[str],
            tally: _Tally) -> Verdict | None:
    for name, item in items:
        if isinstance(item, (int, float)):
            tally.leaves += 1
            continue
        found = _look(item, words | _names(str(name)), tally)
        if found is None and isinstance(name, str) and len(name) > LIMITS.bytes_in_one:
            found = _text(name, words, tally)
        if found is not None:
            return found
    return None


_KNOWN_NAMES: dict[str, frozenset[str]] = {}


def _names(name: str) -> frozenset[str]:
    found = _KNOWN_NAMES.get(name)
    if found is None:
        found = _words(name[:256]) & _SPOKEN
        if len(_KNOWN_NAMES) < 4096:
            _KNOWN_NAMES[name] = found
    return found


def _message(value: Any, words: frozenset[str], tally: _Tally) -> Verdict | None:
    kind = value.__msgtype__
    if kind in _IMAGES:
        if len(value.data):
            return Verdict(PICTURE, "it holds a picture among its fields")
        return None
    sign = cloud_sign(value)
    if sign:
        return Verdict(GEOMETRY, sign)
    try:
        skipped = PLAIN[kind](value) if kind in PLAIN else ()
    except (AttributeError, TypeError, ValueError):     # defined in another way
        skipped = ()
    if sign is not None:
        skipped = ("data", "points", "fields")
    names, leaves = layout(type(value)) or (
        [name for name in value.__dataclass_fields__ if name != "__msgtype__"], 0)
    tally.leaves += leaves
    if tally.leaves > LIMITS.leaves:
        return Verdict(UNKNOWN, f"more than {LIMITS.leaves} single values")
    return _fields([(name, getattr(value, name)) for name in names if name not in skipped],
                   words | _names(kind), tally)


def _text(text: str, words: frozenset[str], tally: _Tally) -> Verdict | None:
    if len(text) >= LIMITS.small and text.lstrip()[:1] in ("{", "["):
        try:
            return _look(json.loads(text), words, tally)
        except (ValueError, RecursionError):
            pass
    sign = text_sign(text)
    return Verdict(UNKNOWN, f"a text holds {sign}") if sign else None


def _array(values: np.ndarray, words: frozenset[str], tally: _Tally) -> Verdict | None:
    count = values.size
    if not count:
        return None
    if count >= _FEW and words & _BIOMETRIC:
        return Verdict(BIOMETRIC, f"{count} numbers called '{min(words & _BIOMETRIC)}' describe a "
                                  "person")
    if words & _SOUND and (count >= 16 or values.itemsize == 1):
        return Verdict(SOUND, f"{count} numbers called '{min(words & _SOUND)}'")
    if values.dtype.kind not in "iufb":
        return Verdict(UNKNOWN, f"an array of {values.dtype}")
    if values.itemsize == 1 and words & _PICTURES:
        return Verdict(PICTURE, f"{count} bytes called '{min(words & _PICTURES)}'")
    if values.itemsize == 1 or values.dtype.kind == "b" or _are_bytes(values):
        return _bytes(values.astype(np.uint8), tally)
    if values.dtype.kind == "f" and values.itemsize == 8 and count in (9, 36):
        return None         # covariances
    tally.numbers += count
    if values.dtype.kind == "f" and count >= 64 and abs(
            float(np.linalg.norm(np.nan_to_num(values.astype(float)))) - 1) < 1e-3:
        return Verdict(BIOMETRIC, f"a vector of {count} numbers and length 1, as embeddings are")
    if count > LIMITS.numbers_in_one or tally.numbers > LIMITS.numbers_in_all:
        return Verdict(UNKNOWN, f"arrays of {tally.numbers} numbers that nothing explains")
    return None


def _are_bytes(values: np.ndarray) -> bool:
    """Whether wide whole numbers would all fit into bytes."""
    return (values.dtype.kind in "iu" and values.size > 16
            and int(values.min()) >= -128 and int(values.max()) <= 255)


def _bytes(values: np.ndarray, tally: _Tally) -> Verdict | None:
    count = values.size
    if count == 16 and tally.identifiers < LIMITS.identifiers:
        tally.identifiers += count
        return None
    tally.bytes += count
    if count > LIMITS.bytes_in_one or tally.bytes > LIMITS.bytes_in_all:
        kind = magic(values.tobytes())
        if kind:
            return _found(kind)
        return Verdict(UNKNOWN, f"arrays of {tally.bytes} bytes that nothing explains")
    return None


def _sequence(items: Sequence[Any], words: frozenset[str], tally: _Tally) -> Verdict | None:
    if not items:
        return None
    if all(isinstance(item, (int, float)) for item in items):
        whole = all(isinstance(item, int) and -(1 << 63) <= item < 1 << 63 for item in items)
        return _array(np.asarray(items, np.int64 if whole else np.float32), words, tally)
    if all(isinstance(item, str) for item in items):
        if sum(map(len, items)) > 40 * len(items):
            found = _text("".join(items), words, tally)
            if found is not None:
                return found
    elif len(items) >= _FEW and words & _BIOMETRIC:
        return Verdict(BIOMETRIC, f"{len(items)} points called '{min(words & _BIOMETRIC)}' "
                                  "describe a person")
    sign, bare = points_sign(items)
    if sign:
        return Verdict(GEOMETRY, sign)
    if bare:
        return None
    if sign is None and len(items) > LIMITS.items:
        return Verdict(UNKNOWN, f"a list of {len(items)} entries that nothing explains")
    for item in items:
        found = _look(item, words, tally)
        if found is not None:
            return found
    return None
