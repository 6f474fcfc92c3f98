"""The table of modalities: what a message is, by what is in it.

docs/modalities.md holds the table in words. Names of types and fields only ever add
suspicion; what is copied has shown, value by value, that it is small or plain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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
from deid_ros.media.bags.numbers import array_of, pixels_in, strange_in
from deid_ros.media.bags.plain import PLAIN
from deid_ros.media.bags.signs import look_at, magic, packed_in, text_sign
from deid_ros.media.bags.tally import (
    BIOMETRIC,
    GEOMETRY,
    LIMITS,
    PICTURE,
    PLAIN_DATA,
    SOUND,
    UNKNOWN,
    VIDEO,
    Tally,
    Verdict,
)

__all__ = ["BIOMETRIC", "GEOMETRY", "PICTURE", "PLAIN_DATA", "SOUND", "UNKNOWN", "VIDEO",
           "Verdict", "judge", "judge_values"]

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
_SHORT = 16     # numbers whose range says nothing


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
    tally = Tally()
    return _look(values, words, tally) or tally.last() or _PLAIN


def _found(kind: str) -> Verdict:
    modality = SOUND if kind in ("FLAC", "MP3", "Ogg") else PICTURE
    return Verdict(modality, f"a {kind} file lies in it")


def _words(name: str) -> frozenset[str]:
    """The words of a CamelCase or snake_case name."""
    split = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
    return frozenset(re.split(r"[^a-z0-9]+", split))


def _look(value: Any, words: frozenset[str], tally: Tally) -> Verdict | None:
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
            tally: Tally) -> Verdict | None:
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


def _message(value: Any, words: frozenset[str], tally: Tally) -> Verdict | None:
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


def _text(text: str, words: frozenset[str], tally: Tally) -> Verdict | None:
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


def _array(values: np.ndarray, words: frozenset[str], tally: Tally) -> Verdict | None:
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


def _bytes(values: np.ndarray, tally: Tally) -> Verdict | None:
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


def _sequence(items: Sequence[Any], words: frozenset[str], tally: Tally) -> Verdict | None:
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


def _texts(items: Sequence[str], words: frozenset[str], tally: Tally) -> Verdict | None:
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


def _points(items: Sequence[Any], tally: Tally) -> tuple[Verdict | None, bool]:
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
    if tally.points > spots.most:
        return Verdict(GEOMETRY, f"lists of {tally.points} points in space can show a face"), False
    if not spots.harmless:
        tally.bytes += pixels_in(spots.places)
        tally.strange += strange_in(spots.places.ravel())
    return tally.over(), spots.harmless


def _table(items: Sequence[Any], shape: Layout, tally: Tally) -> Verdict | None:
    """A list of messages of nothing but single numbers."""
    rows = [shape.values(item) for item in items]
    table = np.array(rows, float)
    tally.leaves += table.size
    tally.bytes += pixels_in(table)
    tally.numbers += len(np.unique(table))
    tally.strange += sum(max(strange_in(array_of(column)) - 1, 0) for column in zip(*rows))
    return tally.over()
