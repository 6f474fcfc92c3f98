"""Signs that bytes or a text hold a picture, a video, sound or packed data.

Strict enough that numbers of a sensor do not look like one by chance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["RULE", "TextLook", "TextRule", "look_at", "magic", "name_sign", "number_rows",
           "packed_in", "quoted", "shown", "text_sign"]

# What files begin with, and where: anywhere, since fields stand before them. A word that
# is found quickly, where it stands in the pattern, and the pattern.
_FILES: tuple[tuple[str, bytes, int, re.Pattern[bytes]], ...] = tuple(
    (kind, word, offset, re.compile(pattern, re.DOTALL)) for kind, word, offset, pattern in (
        ("JPEG", b"\xff\xd8\xff", 0, rb"\xff\xd8\xff[\xc0-\xfe][\x00-\x3f]."),
        ("PNG", b"\x89PNG\r\n\x1a\n", 0, rb"\x89PNG"),
        ("GIF", b"GIF8", 0, rb"GIF8[79]a"),
        ("RIFF", b"RIFF", 0, rb"RIFF....(?:WEBP|WAVE|AVI )"),
        ("MP4 or HEIF", b"ftyp", 4, rb"\x00\x00\x00[\x08-\x60]ftyp"),
        ("Matroska", b"\x1a\x45\xdf\xa3", 0, rb"\x1a\x45\xdf\xa3[\x80-\xff\x01]"),
        ("Ogg", b"OggS", 0, rb"OggS\x00[\x00-\x07]"),
        ("FLAC", b"fLaC", 0, rb"fLaC\x00"),
        ("MP3", b"ID3", 0, rb"ID3[\x02-\x04]\x00"),
        ("JPEG 2000", b"jP  ", 4, rb"\x00\x00\x00\x0cjP  "),
        ("JPEG 2000", b"\xff\x4f\xff\x51\x00", 0, rb"\xff\x4f"),
        ("JPEG XL", b"JXL ", 4, rb"\x00\x00\x00\x0cJXL "),
        ("TIFF", b"II*\x00\x08\x00\x00\x00", 0, rb"II"),
        ("TIFF", b"MM\x00*\x00\x00\x00\x08", 0, rb"MM"),
        ("PDF", b"%PDF-1", 0, rb"%PDF-1"),
        ("ZIP", b"PK\x03\x04", 0, rb"PK\x03\x04[\x0a-\x2d]\x00")))

_LEAST = 160        # characters: less text holds no picture
_NAME = 255         # characters of a name
_RUN = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{160,}={0,2}")
_LINES = re.compile(r"(?<![A-Za-z0-9+/])(?:[A-Za-z0-9+/]{48,}={0,2}(?:\\n|\\r|\s)+){2,}")
_DENSE = re.compile(r"(?<!\S)\S{400,}")
_NUMBER = re.compile(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]{1,3})?")
_BETWEEN = re.compile(r"[\s,;|\[\]]{1,8}")
_BYTES = re.compile(r"(?:(?:\\x|%|0x)[0-9a-fA-F]{2}[\s,]{0,2}){64}")
_ESCAPE = re.compile(r"(?:\\x|%|0x)[0-9a-fA-F]{2}")
_URI = re.compile(r"data:(?:image|video|audio)/", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffd]")
_BREAK = re.compile("[\x00-\x1f\x7f-\x9f\ufffd]")
_WORD = re.compile(r"[A-Za-z0-9]{8,}")
_SWITCH = re.compile("[a-z](?=[A-Z0-9])|[A-Z](?=[0-9])|[0-9](?=[A-Za-z])")
_LONG = re.compile(r"\S{64,}")
_TOKEN = re.compile(r"\S{8,}")
_ODD = re.compile(r"[!#$%&*?@^`~]")


@dataclass(frozen=True, slots=True)
class TextRule:
    """When a text is no plain text.

    Words of base64, base32 and hexadecimal switch between small letters, capitals and
    digits at a third of their characters; names and numbers at a fifth at most.
    """

    switches: float = 0.22
    fewest: int = 3         # switches of a short word; axis1Pos has two
    packed: int = 512       # characters in such words, all together
    numbers: int = 256      # numbers in long rows, all together
    row: int = 16           # numbers one after the other: a matrix; more is a long row


RULE = TextRule()


def magic(data: bytes) -> str:
    """The kind of file that begins somewhere in ``data``; '' for none."""
    for kind, word, offset, pattern in _FILES:
        at = data.find(word)
        while at >= 0:
            if at >= offset and pattern.match(data, at - offset) and (
                    kind != "JPEG" or _is_jpeg(data, at)):
                return kind
            at = data.find(word, at + 1)
    return ""


def _is_jpeg(data: bytes, at: int) -> bool:
    """Whether another marker follows the first segment, or it is cut off before that."""
    after = at + 4 + int.from_bytes(data[at + 4:at + 6], "big")
    return after >= len(data) or data[after] == 0xFF


def text_sign(text: str) -> str:
    """Why a text is no plain text; '' where it is.

    Found are data URIs, base64 (also in lines and pieces), hexadecimal, lists of numbers,
    other dense encodings, and bytes that were taken for characters.
    """
    return look_at(text).sign


def _sign(text: str, packed: int, written: int) -> str:
    if _URI.search(text):
        return "a data URI of a picture, video or sound"
    if len(text) < _LEAST:
        return ""
    for run in _RUN.finditer(text):
        if _is_packed(run.group()):
            return f"{len(run.group())} characters that look like base64 or hexadecimal"
    if _LINES.search(text):
        return "lines that look like base64"
    if written >= RULE.numbers or _BYTES.search(text):
        return "a long list of numbers as text"
    if any(len(set(run.group())) >= 12 for run in _DENSE.finditer(text)):
        return "a run of 400 characters or more without a space, as packed data has"
    if len(_CONTROL.findall(text)) > max(len(text) // 20, 8):
        return "a text of unprintable characters"
    return "many words that look like base64 or hexadecimal" if packed > RULE.packed else ""


def name_sign(text: str) -> str:
    """Why a text is no name of a topic, a type, a frame, a format or an encoding."""
    if len(text) > _NAME:
        return f"a name of {len(text)} characters"
    if _BREAK.search(text):
        return "a name with unprintable characters"
    look = look_at(text)
    return look.sign or ("a name that looks like base64 or hexadecimal" if look.packed > 64 else "")


def shown(name: str) -> str:
    """A name as the manifest may show it: one that is none is cut short."""
    return f"{name[:16]!r}... ({name_sign(name)})" if name_sign(name) else name


def quoted(reason: str) -> str:
    """A sentence as the manifest may show it: long words in it are data, and are cut short."""
    return _LONG.sub(lambda word: word.group()[:16] + "...", reason)[:300]


@dataclass(frozen=True, slots=True)
class TextLook:
    """What a text holds: why it is none, else what counts over a message.

    ``packed`` characters that look like pieces of packed data; ``written`` numbers in long
    rows; ``small`` those in rows that would fit into bytes.
    """

    sign: str
    packed: int
    written: int
    small: tuple[int, ...]


def look_at(text: str) -> TextLook:
    """What a text holds."""
    return _known_look(text) if len(text) < _LEAST else _look_at(text)


def _look_at(text: str) -> TextLook:
    rows = list(number_rows(text))
    small = tuple(int(word) for row in rows if len(row) > 2 for word in row
                  if word.isdigit() and len(word) <= 3 and int(word) <= 255)
    packed, written = packed_in(text), _written(rows)
    return TextLook(_sign(text, packed, written), packed, written, small)


_known_look = lru_cache(4096)(_look_at)     # names and states come again and again


def packed_in(text: str) -> int:
    """Characters of a text that look like pieces of packed data."""
    if len(text) < 8:
        return len(text) if len(_SWITCH.findall(text)) >= RULE.fewest else 0
    count = len(_CONTROL.findall(text)) + 4 * len(_ESCAPE.findall(text))
    for word in _WORD.findall(text):
        if len(_SWITCH.findall(word)) >= max(RULE.switches * len(word), RULE.fewest) or (
                len(word) >= 24 and word.isdigit()):
            count += len(word)
    return count + sum(len(token) for token in _TOKEN.findall(text)
                       if len(set(_ODD.findall(token))) >= 3)


def _written(rows: list[list[str]]) -> int:
    return sum(len(row) for row in rows if len(row) > RULE.row)


def number_rows(text: str) -> Iterator[list[str]]:
    """Numbers that follow each other, row by row; every character is read once."""
    row: list[str] = []
    end = 0
    for number in _NUMBER.finditer(text):
        between = _BETWEEN.match(text, end) if row else None
        if row and (between is None or between.end() != number.start()):
            yield row
            row = []
        row.append(number.group())
        end = number.end()
    if row:
        yield row


def _is_packed(run: str) -> bool:
    plain = run.rstrip("=")
    if len(plain) >= 512 or re.fullmatch("[0-9a-fA-F]+", plain):
        return True
    return (len(set(plain)) >= 24 and any(c.isdigit() for c in plain)
            and any(c.isupper() for c in plain))
