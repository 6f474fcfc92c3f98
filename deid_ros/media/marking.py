"""Outputs say that they were altered: for people, and for programs that look for it.

The words are those of the IPTC (Digital Source Type, NewsCodes): a composite that holds
something synthetic. They are the same in every output and say nothing about anybody.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

__all__ = ["NAME", "NOTE", "SOURCE_TYPE", "XMP", "mark_picture", "mark_texts", "options_of"]

NAME = "deid_ros"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
NOTE = f"Faces were made anonymous by deid_ros. DigitalSourceType: {SOURCE_TYPE}"

#: The packet of a picture.
XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about=""'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    f' Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>').encode()

_JPEG_NAME = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_NAME = b"XML:com.adobe.xmp\0\0\0\0\0"     # not packed, no language, no other name
_BEHIND_HEADER = 33                             # bytes of a PNG: signature and IHDR
_TIFF_TAG = 700
_FIRST_SEGMENTS = (0xE0, 0xE1)                  # JFIF, EXIF: they come first

#: Container -> the text that it keeps.
_TEXTS = {"mp4": "description", "3gp": "description", "mov": "comment",
          "matroska": "DESCRIPTION", "webm": "DESCRIPTION"}


def mark_picture(data: bytes, form: str) -> bytes:
    """An encoded JPEG or PNG with the packet in it; other formats as they are.

    Args:
        form: Pillow's name of the format.
    """
    if form == "JPEG":
        at = 2
        while data[at] == 0xFF and data[at + 1] in _FIRST_SEGMENTS:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
        content = _JPEG_NAME + XMP
        return data[:at] + b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content + data[at:]
    if form == "PNG":
        content = _PNG_NAME + XMP
        chunk = (struct.pack(">I", len(content)) + b"iTXt" + content
                 + struct.pack(">I", zlib.crc32(b"iTXt" + content)))
        return data[:_BEHIND_HEADER] + chunk + data[_BEHIND_HEADER:]
    return data


def options_of(form: str, exif: bytes = b"") -> dict[str, Any]:
    """What Pillow is to be told so that it writes the packet, for the other formats.

    Args:
        exif: what is written besides.
    """
    if form == "WEBP":
        return {"xmp": XMP}
    if form != "TIFF":
        return {}
    from PIL import Image

    # In a TIFF both are entries of one directory.
    entries = Image.Exif()
    if exif:
        entries.load(exif)
    entries[_TIFF_TAG] = XMP
    return {"exif": entries}


def mark_texts(texts: Any, container: str) -> None:
    """Add the words to the texts of a video; one that it has already stays before them.

    Args:
        texts: name -> text, changed in place.
        container: FFmpeg's name.
    """
    if name := _TEXTS.get(container):
        before = [texts.pop(key) for key in list(texts) if key.lower() == name.lower()]
        texts[name] = " ".join([*before, NOTE])
