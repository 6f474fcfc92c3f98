"""What may stay of the data that describes a picture, where it is to stay at all."""

from __future__ import annotations

from typing import Any

from PIL import Image

__all__ = ["kept_exif"]

_EXIF_IFD = 0x8769
# Turned upright already; other places where pictures and positions can lie: the GPS and
# interoperability folders, the manufacturer's note, XMP, IPTC, Photoshop's resources,
# offsets of thumbnails and further pictures.
_NEVER = frozenset((0x0112, 0x8825, 0xA005, 0x927C, 0x02BC, 0x83BB, 0x8649, 0x8773, 0x0201,
                    0x0202, 0x014A, 0x0111, 0x0117, 0x0144, 0x0145, 0xC4A5, 0xC634, 0x9286,
                    _EXIF_IFD))
# A text or number is short; what is longer can be a picture.
_LONGEST = 256


def kept_exif(image: Image.Image) -> bytes:
    """EXIF with the entries of a picture that are short texts and numbers.

    Never a thumbnail, a place or the manufacturer's note; the orientation is left out
    because it is applied. b'' where nothing is left.
    """
    before = image.getexif()
    kept = Image.Exif()
    for tag, value in before.items():
        if tag not in _NEVER and _is_plain(value):
            kept[tag] = value
    below = {tag: value for tag, value in before.get_ifd(_EXIF_IFD).items()
             if tag not in _NEVER and _is_plain(value)}
    if below:
        kept.get_ifd(_EXIF_IFD).update(below)
    return kept.tobytes() if len(kept) or below else b""


def _is_plain(value: Any) -> bool:
    if isinstance(value, (str, bytes)):
        return len(value) <= _LONGEST
    if isinstance(value, (tuple, list)):
        return len(value) <= 16 and all(_is_plain(item) for item in value)
    return not isinstance(value, dict)
