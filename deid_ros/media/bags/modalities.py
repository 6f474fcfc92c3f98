"""The table of modalities: what a message is, by what is in it.

docs/modalities.md holds the table in words. Names of types and fields only ever add
suspicion; what is copied has shown, value by value, that it is small or plain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deid_ros.errors import FrameError
from deid_ros.media.bags.contents import (
    Layout,
    Pairs,
    contents,
    is_defined,
    is_standard,
    layout,
    read_json,
    type_of,
)
from deid_ros.media.bags.geometry import (
    POINTS,
    cloud_sign,
    is_packed_cloud,
    spots_of,
)
from deid_ros.media.bags.numbers import NUMBERS, array_of, is_small, pixels_in, small_in, strange_in
from deid_ros.media.bags.plain import PLAIN
from deid_ros.media.bags.signs import RULE, look_at, magic, packed_in, text_sign

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
    identifiers: int = 1024  # bytes in arrays of 16, as UUIDs are
    numbers_in_one: int = 96
    numbers_in_all: int = 1536  # single ones that differ, of JSON and own types, among them
    items: int = 512        # messages in one list
    leaves: int = 8192      # single values, texts among them
    pixels: int = 512       # single whole numbers that would fit into bytes, but for 0
    colours: int = 64       # in one list
    colours_in_all: int = 256


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
_ALPHABET = 40  # different characters; names and numbers of parts have fewer
_SHORT = 16     # numbers whose range says nothing
_MATRICES = (9, 12, 36)     # numbers of covariances and projections


@dataclass(slots=True)
class _Tally:
    """What was seen of one message so far."""

    bytes: int = 0
    identifiers: int = 0
    numbers: int = 0
    leaves: int = 0
    pixels: int = 0
    levels: set[Any] = field(default_factory=set)
    points: int = 0
    colours: int = 0
    strange: int = 0
    wide: list[Any] = field(default_factory=list)   # single numbers that fit into no byte
    arrays: list[np.ndarray] = field(default_factory=list)
    texts: dict[str, None] = field(default_factory=dict)    # each once, in their order
    packed: int = 0         # characters that look like packed data
    written: int = 0        # numbers in texts

    def single(self, value: Any) -> None:
        """Count a number or a truth."""
        self.leaves += 1
        if is_small(value):
            self.small((value,))
        elif type(value) in (int, float):
            self.wide.append(value)

    def small(self, values: Iterable[Any]) -> None:
        """Count whole numbers that would fit into bytes; 0 says nothing."""
        found = [value for value in values if value]
        self.pixels += len(found)
        self.levels.update(found)

    def last(self) -> Verdict | None:
        """Whether what lies apart is packed data, pixels or raw bytes, taken together."""
        if len(self.texts) > LIMITS.bytes_in_one:
            joined = "".join(text for text in self.texts if len(text) < 8)
            if len(set(joined)) >= _ALPHABET:
                self.packed += packed_in(joined)
        if sum(values.size for values in self.arrays) + len(self.wide) > LIMITS.numbers_in_one:
            self.numbers += len(set(self.wide)) + sum(map(_weight, self.arrays))
            for kind in (int, float):
                self.arrays.append(array_of([v for v in self.wide if type(v) is kind]))
            for kind in "iuf":
                for size in (2, 4, 8):
                    alike = [values for values in self.arrays if values.dtype.kind == kind
                             and values.itemsize == size]
                    if alike:
                        flat = np.concatenate(alike)
                        self.strange += strange_in(flat)
                        self.small(small_in(flat).tolist())
        return self.over()

    def over(self) -> Verdict | None:
        """Whether single values, texts or bytes are too many, all together."""
        if self.leaves > LIMITS.leaves:
            return Verdict(UNKNOWN, f"more than {LIMITS.leaves} single values")
        if self.pixels > LIMITS.pixels and len(self.levels) > NUMBERS.levels:
            return Verdict(UNKNOWN, f"more than {LIMITS.pixels} single numbers that would fit into "
                                    "bytes")
        if self.numbers > LIMITS.numbers_in_all:
            return Verdict(UNKNOWN, f"{self.numbers} numbers that nothing explains")
        if self.bytes > LIMITS.bytes_in_all:
            return Verdict(UNKNOWN, f"{self.bytes} bytes that nothing explains")
        if self.strange > NUMBERS.strange:
            return Verdict(UNKNOWN, f"{self.strange} numbers of sizes that raw bytes have")
        if self.packed > RULE.packed or self.written > RULE.numbers:
            return Verdict(UNKNOWN, "texts that together look like packed data")
        return None


def _weight(values: np.ndarray) -> int:
    """Numbers of an array; those of a matrix that say something: 0 and twins do not."""
    if values.dtype == np.float64 and values.size in _MATRICES:
        return len(np.unique(values[values != 0]))
    return values.size


def judge(data: bytes, connection: Any, *, ros1: bool) -> Verdict:
    """What a message is that is no picture to be covered.

    Args:
        data: as it was published.
        connection: a rosbags ``Connection``: its type, definition and serialisation.
        ros1: whether it comes from a ROS 1 bag.
    """
    words = _names(type_of(connection))
    verdict = _decoded(data, connection, words, ros1=ros1)
    # The search through all bytes comes last: it can only add to what was found.
    kind = magic(data) if verdict.modality in (PLAIN_DATA, UNKNOWN) else ""
    return _found(kind) if kind else verdict


def _decoded(data: bytes, connection: Any, words: frozenset[str], *, ros1: bool) -> Verdict:
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
    tally = _Tally()
    return _look(values, words, tally) or tally.last() or _PLAIN


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
    if isinstance(value, Pairs):
        return _object(value, words, tally)
    if isinstance(value, dict):
        return _object(value.items(), words, tally)
    if isinstance(value, (list, tuple)):
        return _sequence(value, words, tally)
    if hasattr(value, "__msgtype__"):
        return _message(value, words, tally)
    tally.single(value)
    return tally.over()


def _object(pairs: Iterable[tuple[Any, Any]], words: frozenset[str],
            tally: _Tally) -> Verdict | None:
    """Keys that the data brings along are texts as all others."""
    for name, item in pairs:
        found = _text(str(name), words, tally) or _look(item, words | _names(str(name)), tally)
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
    if kind in _IMAGES and len(value.data):
        return Verdict(PICTURE, "it holds a picture among its fields")
    sign = cloud_sign(value)
    if sign:
        return Verdict(GEOMETRY, sign)
    shape = _shape(value)
    skipped = _proven(value, shape) if kind in PLAIN else ()
    if is_packed_cloud(value):
        skipped = ("data",)
    if shape.common and shape.look:
        tally.leaves += shape.leaves
    else:
        for number in shape.values(value):
            tally.single(number)
    found = tally.over()
    words = words | _names(kind)
    for name in shape.look:
        if found is not None:
            return found
        if name not in skipped:
            found = _look(getattr(value, name), words | _names(name), tally)
    return found


def _shape(value: Any) -> Layout:
    return layout(type(value)) or Layout(tuple(
        name for name in value.__dataclass_fields__ if name != "__msgtype__"), 0, lambda _: (), (),
        False)


def _proven(value: Any, shape: Layout) -> tuple[str, ...]:
    """The fields of a common type that their values prove to be harmless."""
    if not shape.common and is_standard(value.__msgtype__):
        return ()       # a type that lies about its name
    try:
        return PLAIN[value.__msgtype__](value)
    except (AttributeError, TypeError, ValueError):     # defined in another way
        return ()


def _text(text: str, words: frozenset[str], tally: _Tally) -> Verdict | None:
    tally.leaves += 1
    if text.lstrip()[:1] in ("{", "[") and len(text) > 1:
        try:
            return _look(read_json(text), words, tally)
        except (ValueError, RecursionError):
            pass
    look = look_at(text)
    if look.sign:
        return Verdict(UNKNOWN, f"a text holds {look.sign}")
    if text not in tally.texts:     # states say the same again and again
        tally.texts[text] = None
        tally.packed += look.packed
        tally.written += look.written
        tally.small(look.small)
    return tally.over()


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
    if values.dtype.kind == "f" and count >= 64 and _is_unit(values):
        return Verdict(BIOMETRIC, f"a vector of {count} numbers and length 1, as embeddings are")
    if count > LIMITS.numbers_in_one:
        return Verdict(UNKNOWN, f"an array of {count} numbers that nothing explains")
    tally.arrays.append(values)
    return None


def _is_unit(values: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        return abs(float(np.linalg.norm(np.nan_to_num(values.astype(float)))) - 1) < 1e-3


def _are_bytes(values: np.ndarray) -> bool:
    """Whether wide numbers would all fit into bytes."""
    if values.size <= _SHORT:
        return False
    if values.dtype.kind == "f":
        return pixels_in(values.reshape(-1, 1)) > 0
    return int(values.min()) >= -128 and int(values.max()) <= 255


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
        return _array(np.asarray(items, np.int64 if whole else np.float64), words, tally)
    if all(isinstance(item, str) for item in items):
        return _texts(items, words, tally)
    if len(items) >= _FEW and words & _BIOMETRIC:
        return Verdict(BIOMETRIC, f"{len(items)} points called '{min(words & _BIOMETRIC)}' "
                                  "describe a person")
    found, harmless = _points(items, tally)
    if found is not None:
        return found
    if len(items) > LIMITS.items and not harmless:
        return Verdict(UNKNOWN, f"a list of {len(items)} entries that nothing explains")
    shape = layout(type(items[0]))
    if shape is not None and not shape.look and len(items) >= POINTS.few:
        return None if harmless else _table(items, shape, tally)
    leaves = tally.leaves
    for item in items:
        found = _look(item, words, tally)
        if found is not None:
            return found
        if harmless:
            tally.leaves = leaves
    return None


def _texts(items: Sequence[str], words: frozenset[str], tally: _Tally) -> Verdict | None:
    if len(items) > LIMITS.items:
        return Verdict(UNKNOWN, f"a list of {len(items)} texts that nothing explains")
    joined = "".join(items)
    if len(joined) > 40 * len(items):       # lines of one text, or pieces of one
        sign = text_sign(joined)
        if sign:
            return Verdict(UNKNOWN, f"texts together hold {sign}")
    elif len(items) > LIMITS.bytes_in_one:
        tally.packed += packed_in(joined)
    return next(filter(None, (_text(item, words, tally) for item in items)), None)


def _points(items: Sequence[Any], tally: _Tally) -> tuple[Verdict | None, bool]:
    """Why a list of messages is a surface or picture, and whether its length does not matter."""
    if all(hasattr(items[0], name) for name in "rgb"):
        tally.colours += len(items)
        if len(items) > LIMITS.colours or tally.colours > LIMITS.colours_in_all:
            return Verdict(GEOMETRY, f"lists of {tally.colours} colours are a picture"), False
    spots = spots_of(items)
    if spots is None:
        return None, False
    if spots.sign:
        return Verdict(GEOMETRY, spots.sign), False
    tally.points += spots.deep
    if tally.points > POINTS.poses:
        return Verdict(GEOMETRY, f"lists of {tally.points} points in space can show a face"), False
    if not spots.harmless:
        tally.bytes += pixels_in(spots.places)
        tally.strange += strange_in(spots.places.ravel())
    return tally.over(), spots.harmless


def _table(items: Sequence[Any], shape: Layout, tally: _Tally) -> Verdict | None:
    """A list of messages of nothing but single numbers."""
    rows = [shape.values(item) for item in items]
    table = np.array(rows, float)
    tally.leaves += table.size
    tally.bytes += pixels_in(table)
    tally.numbers += len(np.unique(table))
    tally.strange += sum(max(strange_in(array_of(column)) - 1, 0) for column in zip(*rows))
    return tally.over()
