"""``sensor_msgs/Image`` to frame and back, without copies where none is needed.

The one promise of this module: a message made by ``covered_image`` differs from
the camera's only where the mask says so, byte for byte.

Assigning ``bytes`` or a list to ``Image.data`` makes rclpy check and convert
every element; an ``array.array('B')`` is taken as a whole (0.07 ms instead of
0.6 ms for 640x480), and ``numpy.frombuffer`` reads it in place.
"""

from __future__ import annotations

import zlib
from array import array
from typing import Any, NamedTuple

import numpy as np
from sensor_msgs.msg import Image

from deid_ros.messages import checked, covered_data, to_bgr

__all__ = ["FrameTag", "bytes_array", "covered_image", "image_of", "stamp_ns", "tag_of",
           "to_bgr"]


class FrameTag(NamedTuple):
    """What ties the messages of a frame to its pixels.

    Stamps repeat (zero stamps, restarts, looped bags), so every table also says
    which bytes it was made from.
    """

    height: int
    width: int
    #: CRC-32 of the camera message's ``data``.
    crc: int


def stamp_ns(header: Any) -> int:
    """The stamp of a ``std_msgs/Header`` in nanoseconds."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def tag_of(msg: Image) -> FrameTag:
    """The tag of a camera image.

    Raises:
        FrameError: the message is not one that ``to_bgr`` takes.
    """
    checked(msg)
    return FrameTag(msg.height, msg.width, zlib.crc32(msg.data))


def bytes_array(values: np.ndarray) -> array:
    """An ``array('B')`` with a copy of an array's bytes."""
    out = array("B")
    if values.size:
        out.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
    return out


def covered_image(msg: Image, frame: np.ndarray | None, mask: np.ndarray | None) -> Image:
    """The camera's image with the covered pixels written into it.

    Header, encoding, step and byte order are the camera's. Padding at the end of
    rows is cleared: it can hold pixels that no detector has seen (a window cut
    out of a larger image by its step).

    Args:
        frame: the covered frame, uint8 (H, W, 3), BGR; None for 'no face'.
        mask: uint8 (H, W); where it is 0 the camera's bytes stay.

    Raises:
        FrameError: the message is not one that ``to_bgr`` takes, or frame and
            mask have another size.
    """
    out = Image(header=msg.header, height=msg.height, width=msg.width, encoding=msg.encoding,
                is_bigendian=msg.is_bigendian, step=msg.step)
    out.data = covered_data(msg, frame, mask, copy=lambda data: data[:])
    return out


def image_of(frame: np.ndarray, header: Any) -> Image:
    """A ``bgr8`` image of a frame uint8 (H, W, 3), BGR."""
    height, width = frame.shape[:2]
    return Image(header=header, height=height, width=width, encoding="bgr8", is_bigendian=0,
                 step=width * 3, data=bytes_array(frame))
