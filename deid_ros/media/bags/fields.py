"""Images inside serialised messages, found and put back without touching another byte.

``sensor_msgs/Image`` and ``CompressedImage`` end with their data: header and fields are
read where they lie, and the data is exchanged. So headers stay byte for byte, whatever
wrote them. Layouts: OMG CDR as ROS 2 uses it (little or big endian), and ROS 1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deid_ros.errors import FrameError
from deid_ros.messages import covered_data, decode, encode_like, is_plain, kind_of, to_bgr

__all__ = ["COMPRESSED", "PADDING", "RAW", "BagImage", "Reader", "image_in"]

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
PADDING = 8     # bytes that may follow the last field


class Reader:
    """Takes one field after another from a serialised message."""

    def __init__(self, raw: bytes, ros1: bool) -> None:
        self.raw, self.ros1, self.order, self.base, self.at = raw, ros1, "<", 0, 0
        if not ros1:
            # Encapsulation: 0 big and 1 little endian of plain CDR.
            if len(raw) < 4 or raw[0] != 0 or raw[1] not in (0, 1):
                start = bytes(raw[:4]).hex() or "nothing"
                raise FrameError(f"A message begins with {start}, which is no plain CDR; it cannot "
                                 "be read.")
            self.order, self.base, self.at = "<" if raw[1] else ">", 4, 4

    def number(self, kind: str = "I") -> int:
        """An unsigned number of 1 (B), 4 (I), 8 (Q) bytes, or a signed one (i)."""
        size = struct.calcsize(kind)
        if not self.ros1:
            self.at += (self.base - self.at) % size
        try:
            (value,) = struct.unpack_from(self.order + kind, self.raw, self.at)
        except struct.error:
            raise FrameError(f"A message of {len(self.raw)} bytes ends too early; it is "
                             "damaged.") from None
        self.at += size
        return value

    def block(self, size: int) -> tuple[int, int]:
        """Begin and end of the next bytes."""
        start, self.at = self.at, self.at + size
        if self.at > len(self.raw):
            raise FrameError(f"A message of {len(self.raw)} bytes ends too early; it is damaged.")
        return start, self.at

    def text(self) -> str:
        start, end = self.block(self.number())
        return bytes(self.raw[start:end]).rstrip(b"\0").decode("utf-8", "replace")

    def header(self) -> tuple[int, str]:
        """Read a ``std_msgs/Header``; its stamp (ns) and its frame."""
        if self.ros1:
            self.number()                       # seq
        stamp = self.time()
        return stamp, self.text()

    def time(self) -> int:
        """Read a ``builtin_interfaces/Time`` (ns)."""
        seconds = self.number("I" if self.ros1 else "i")
        return seconds * 1_000_000_000 + self.number()


@dataclass(slots=True)
class BagImage:
    """An image message of a bag.

    ``stamp_ns`` and ``frame_id`` of its header; ``start``, ``end`` of its ``data`` in ``raw``,
    ``length`` where the number of its bytes stands; the other fields as in the message,
    ``format`` for a compressed one.
    """

    raw: bytes
    stamp_ns: int
    frame_id: str
    order: str
    length: int
    start: int
    end: int
    format: str | None = None
    height: int = 0
    width: int = 0
    encoding: str = ""
    is_bigendian: int = 0
    step: int = 0
    data: memoryview = field(init=False)

    def __post_init__(self) -> None:
        self.data = memoryview(self.raw)[self.start:self.end]

    def frame(self) -> np.ndarray:
        """BGR uint8 (H, W, 3), not to be written to.

        Raises:
            FrameError: an encoding that cannot be read, or damage.
        """
        return to_bgr(self) if self.format is None else decode(self)

    def covered(self, frame: np.ndarray, mask: np.ndarray) -> bytes:
        """The message with covered pixels; all else as it came.

        A compressed file without faces stays as it is if it holds nothing but its
        picture; else it is encoded anew, as the camera did.

        Args:
            frame: BGR uint8 (H, W, 3).
            mask: uint8 (H, W), 0 where pixels stay.

        Raises:
            FrameError: it cannot be encoded.
        """
        if self.format is None:
            before = self.data
            data = covered_data(self, frame, mask)
            return self.raw if data is before else self._with(data, self.raw[self.end:])
        data = bytes(self.data)
        kind = kind_of(self)
        if not mask.any() and is_plain(kind, data):
            return self.raw
        return self._with(encode_like(kind, data, frame))

    def _with(self, data: Any, rest: bytes = b"") -> bytes:
        length = struct.pack(self.order + "I", len(data))
        return b"".join([self.raw[:self.length], length, data, rest])


def image_in(raw: bytes, msgtype: str, *, ros1: bool) -> BagImage:
    """Find the image in a serialised message of type ``RAW`` or ``COMPRESSED``.

    ROS 1 names, without ``/msg/``, mean the same.

    Raises:
        FrameError: it is not laid out as such a message.
    """
    reader = Reader(raw, ros1)
    stamp, frame = reader.header()
    fields: dict[str, Any] = {}
    if msgtype in (RAW, RAW.replace("/msg/", "/")):
        fields = {"height": reader.number(), "width": reader.number(), "encoding": reader.text(),
                  "is_bigendian": reader.number("B"), "step": reader.number()}
    else:
        fields = {"format": reader.text()}
    size = reader.number()
    length = reader.at - 4
    start, end = reader.block(size)
    if len(raw) - end >= PADDING or any(raw[end:]):
        raise FrameError(f"An image message is followed by {len(raw) - end} bytes that no field "
                         "explains; it is not handed on.")
    return BagImage(raw, stamp, frame, reader.order, length, start, end, **fields)
