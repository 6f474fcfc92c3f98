"""What may stay of the data that describes a picture, where it is to stay at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PIL import Image

__all__ = ["kept_exif"]

_EXIF_IFD = 0x8769
# The only entries that are kept: who made the picture, when and with what, and how it was
# exposed. Never a place, a thumbnail, an offset or the manufacturer's note.
# The orientation is left out because it is applied.
_KEPT = frozenset((
    0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x8298,
    0x829A, 0x829D, 0x8822, 0x8827, 0x8830, 0x9000, 0x9003, 0x9004, 0x9010, 0x9011, 0x9012,
    *range(0x9201, 0x920B), 0x9290, 0x9291, 0x9292, 0xA001, 0xA20E, 0xA20F, 0xA210, 0xA217,
    *range(0xA401, 0xA407), 0xA408, 0xA409, 0xA40A, 0xA40C, 0xA431, 0xA432, 0xA433, 0xA434))
# A text or number is short; what is longer can be a picture.
_LONGEST, _LONGEST_BYTES, _MOST_NUMBERS = 256, 8, 16


def kept_exif(image: Image.Image) -> bytes:
    """EXIF with the entries of a picture that are named here, short texts and numbers.

    Texts keep their bytes, in whatever alphabet. An entry that cannot be read or written
    is left out. b'' where nothing is left.
    """
    try:
        before = image.getexif()
        main, below = dict(before), dict(before.get_ifd(_EXIF_IFD))
    except Exception:  # whatever a damaged directory makes of its reader
        return b""
    main = {tag: value for tag, value in _kept(main) if _bytes_of({tag: value}, {})}
    below = {tag: value for tag, value in _kept(below) if _bytes_of({}, {tag: value})}
    return _bytes_of(main, below) if main or below else b""


def _kept(entries: dict[int, Any]) -> Iterator[tuple[int, Any]]:
    for tag, value in entries.items():
        if tag in _KEPT and _is_plain(value):
            yield tag, _written(value)


def _written(value: Any) -> Any:
    # Pillow reads texts byte for byte, but writes only ASCII ones so.
    if isinstance(value, str) and not value.isascii():
        return value.encode("latin-1", "replace")
    return value


def _bytes_of(main: dict[int, Any], below: dict[int, Any]) -> bytes:
    """Both directories as EXIF; b'' where that cannot be written."""
    made = Image.Exif()
    try:
        made.update(main)
        if below:
            made.get_ifd(_EXIF_IFD).update(below)
        return bytes(made.tobytes())
    except Exception:  # a text where a number belongs, a number out of range
        return b""


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST and not any(ord(letter) < 32 for letter in value)
    if isinstance(value, bytes):
        return len(value) <= _LONGEST_BYTES
    if isinstance(value, (tuple, list)):
        return len(value) <= _MOST_NUMBERS and all(
            _is_plain(item) and not isinstance(item, (str, bytes)) for item in value)
    return not isinstance(value, dict)
