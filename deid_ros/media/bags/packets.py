"""Packets of compressed video inside serialised messages, read and written anew.

``foxglove_msgs/CompressedVideo`` and ``ffmpeg_image_transport_msgs/FFMPEGPacket``. Nothing
of a packet is copied; of the message what its definition names.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

from deid_ros.errors import FrameError
from deid_ros.media.bags.contents import is_defined_as, type_of
from deid_ros.media.bags.fields import PADDING, Reader
from deid_ros.media.bags.signs import name_sign

__all__ = ["FFMPEG", "FOXGLOVE", "VIDEOS", "VideoMessage", "is_known", "video_in"]

FOXGLOVE = "foxglove_msgs/msg/CompressedVideo"
FFMPEG = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
VIDEOS = (FOXGLOVE, FFMPEG)

_DEFINITIONS = {
    FOXGLOVE: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
    FFMPEG: "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\n"
            "uint8 flags\nbool is_bigendian\nuint8[] data\n"}
# Codec as FFmpeg calls it, by what messages call it or its encoder.
_FORMATS = {"h264": "h264", "h265": "hevc", "hevc": "hevc", "vp9": "vp9", "av1": "av1"}
_ENCODINGS = (("h264", re.compile("264|avc")), ("hevc", re.compile("265|hevc")),
              ("vp9", re.compile("vp9")), ("av1", re.compile("av1")))
_KEY = 1        # FFmpeg's flag of a packet
_WORDS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1"}


def is_known(connection: Any, *, ros1: bool) -> bool:
    """Whether a connection of ``VIDEOS`` is defined as these types are, or not at all.

    Without a definition each message must fit the known one to its last byte.
    """
    return is_defined_as(connection, _DEFINITIONS[type_of(connection)], ros1=ros1)


@dataclass(frozen=True, slots=True)
class VideoMessage:
    """A message with one packet.

    ``stamp_ns`` and ``frame_id`` of its header; ``codec`` as FFmpeg calls it ('hevc'), and
    ``label`` as the message does; ``packet`` its bytes; ``kept`` how many bytes of ``raw`` stay
    as they came; ``rest`` what else it says.
    """

    raw: bytes
    kind: str
    ros1: bool
    order: str
    stamp_ns: int
    frame_id: str
    codec: str
    label: str
    packet: bytes
    kept: int
    rest: tuple[int, ...] = ()

    def with_packet(self, packet: bytes, *, codec: str, size: tuple[int, int],
                    key: bool) -> bytes:
        """The message with another packet.

        Args:
            codec: of the packet, as FFmpeg calls it.
            size: width and height (px).
            key: whether a decoder can begin with it.
        """
        writer = _Writer(self.raw[:self.kept], self.order, self.ros1)
        if self.kind == FOXGLOVE:
            writer.block(packet)
            writer.text(self.label if codec == self.codec else _format(codec))
        else:
            pts, is_bigendian = self.rest
            for number in size:
                writer.number("i", number)
            writer.text(self.label if codec == self.codec else _encoding(codec, self.label))
            writer.number("Q", pts)
            writer.number("B", _KEY if key else 0)
            writer.number("B", is_bigendian)
            writer.block(packet)
        return bytes(writer.made)


def _format(codec: str) -> str:
    return next(name for name, known in _FORMATS.items() if known == codec)


def _encoding(codec: str, before: str) -> str:
    """The codec alone, or with the formats that stand behind it."""
    _, mark, formats = before.partition(";")
    return f"{codec}{mark}{formats}" if mark else _WORDS[codec]


class _Writer:
    """Appends one field after another to the beginning of a message."""

    def __init__(self, begin: bytes, order: str, ros1: bool) -> None:
        self.made, self._order, self._ros1 = bytearray(begin), order, ros1

    def number(self, kind: str, value: int) -> None:
        size = struct.calcsize(kind)
        if not self._ros1:
            self.made += bytes((4 - len(self.made)) % size)
        self.made += struct.pack(self._order + kind, value)

    def block(self, data: bytes) -> None:
        self.number("I", len(data))
        self.made += data

    def text(self, text: str) -> None:
        self.block(text.encode() + (b"" if self._ros1 else b"\0"))


def video_in(raw: bytes, msgtype: str, *, ros1: bool) -> VideoMessage:
    """The packet in a serialised message of one of ``VIDEOS``.

    Raises:
        FrameError: it is not laid out as such a message, or of a codec that is not known.
    """
    reader = Reader(raw, ros1)
    rest: tuple[int, ...] = ()
    if msgtype == FOXGLOVE:
        stamp = reader.time()
        frame = reader.text()
        kept = reader.at
        start, end = reader.block(reader.number())
        label = reader.text()
        codec = _FORMATS.get(label.lower(), "")
    else:
        stamp, frame = reader.header()
        kept = reader.at
        reader.number("i"), reader.number("i")
        label = reader.text()
        pts, _, is_bigendian = reader.number("Q"), reader.number("B"), reader.number("B")
        rest = pts, min(is_bigendian, 1)
        start, end = reader.block(reader.number())
        name = label.lower().partition(";")[0]
        codec = next((codec for codec, words in _ENCODINGS if words.search(name)), "")
    if len(raw) - reader.at >= PADDING or any(raw[reader.at:]):
        raise FrameError(f"A video message is followed by {len(raw) - reader.at} bytes that no "
                         "field explains; it is not handed on.")
    sign = name_sign(frame) or name_sign(label)
    if sign:
        raise FrameError(f"its frame, format or encoding is {sign}")
    if not codec:
        raise FrameError(f"The codec '{label[:40]}' is not known; known are "
                         f"{', '.join(_FORMATS)}.")
    return VideoMessage(raw, msgtype, ros1, reader.order, stamp, frame, codec, label,
                        bytes(raw[start:end]), kept, rest)
