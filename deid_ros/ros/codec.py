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

import cv2
import numpy as np
from sensor_msgs.msg import Image

from deid_ros.errors import FrameError
from deid_ros.ros.encodings import ENCODINGS, Encoding

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
    _checked(msg)
    return FrameTag(msg.height, msg.width, zlib.crc32(msg.data))


def bytes_array(values: np.ndarray) -> array:
    """An ``array('B')`` with a copy of an array's bytes."""
    out = array("B")
    if values.size:
        out.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
    return out


def _encoding(msg: Image) -> Encoding:
    try:
        return ENCODINGS[msg.encoding]
    except KeyError:
        raise FrameError(f"The image encoding {msg.encoding!r} is not supported; publish one of "
                         f"{', '.join(ENCODINGS)}.") from None


def _checked(msg: Image) -> Encoding:
    """The encoding of a message whose numbers fit together.

    Raises:
        FrameError: with the value and the remedy.
    """
    encoding = _encoding(msg)
    if msg.width < 1 or msg.height < 1:
        raise FrameError(f"The image is {msg.width}x{msg.height} pixels; the driver must fill in "
                         "width and height.")
    if (encoding.even_width and msg.width % 2) or (encoding.even_height and msg.height % 2):
        raise FrameError(f"The image is {msg.width}x{msg.height} pixels, but {msg.encoding} comes "
                         "in pairs; publish an even size.")
    least = msg.width * encoding.pixel_bytes
    if msg.step < least or (msg.encoding == "mono16" and msg.step % 2):
        raise FrameError(f"The image's step is {msg.step} bytes, but {msg.width} pixels of "
                         f"{msg.encoding} need {least}; the driver must set step.")
    size = msg.step * msg.height
    if len(msg.data) != size:
        word = "truncated" if len(msg.data) < size else "followed by bytes that are no pixels"
        raise FrameError(f"The image's data is {word}: {len(msg.data)} bytes came, step x height "
                         f"is {size}; the driver must send whole rows.")
    return encoding


def _rows(msg: Image, encoding: Encoding, data: array | None = None) -> np.ndarray:
    """The pixel bytes as a view: uint8 (H, W * pixel_bytes)."""
    flat = np.frombuffer(msg.data if data is None else data, np.uint8)
    return flat.reshape(msg.height, msg.step)[:, :msg.width * encoding.pixel_bytes]


def to_bgr(msg: Image) -> np.ndarray:
    """The frame of a camera image: uint8 (H, W, 3), BGR, not to be written to.

    A view of the message for ``bgr8``.

    Raises:
        FrameError: an encoding nobody knows, zero size, a step or an amount of
            data that does not fit.
    """
    encoding = _checked(msg)
    frame = encoding.to_bgr(_rows(msg, encoding), bool(msg.is_bigendian))
    frame.flags.writeable = False
    return frame


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
    encoding = _checked(msg)
    out = Image(header=msg.header, height=msg.height, width=msg.width, encoding=msg.encoding,
                is_bigendian=msg.is_bigendian, step=msg.step)
    data = msg.data
    padding = msg.step - msg.width * encoding.pixel_bytes
    covered = frame is not None and mask is not None and mask.any()
    if padding or covered:
        data = msg.data[:]
    if padding:
        np.frombuffer(data, np.uint8).reshape(msg.height, msg.step)[:, -padding:] = 0
    if covered:
        shape = (msg.height, msg.width)
        if mask.shape != shape or frame.shape != (*shape, 3):
            raise FrameError(f"The covered frame is {frame.shape} with a mask of {mask.shape}, but "
                             f"the image is {shape}.")
        _write(_rows(msg, encoding, data), encoding, frame, mask, bool(msg.is_bigendian))
    out.data = data
    return out


def _write(rows: np.ndarray, encoding: Encoding, frame: np.ndarray, mask: np.ndarray,
           big: bool) -> None:
    # Only the rows that have covered pixels are touched; from an even row on, so
    # that Bayer patterns and pairs stay aligned. mono16 scales by the brightest
    # pixel of the whole frame and so gets all rows.
    top, bottom = 0, len(rows)
    if encoding is not ENCODINGS["mono16"]:
        _, y, _, height = cv2.boundingRect(mask)
        top, bottom = y - y % 2, y + height
    part = rows[top:bottom]
    # OpenCV wants contiguous arrays; rows with padding are not.
    work = part if part.flags.c_contiguous else np.ascontiguousarray(part)
    encoding.write(work, frame[top:bottom], mask[top:bottom], big)
    if work is not part:
        part[:] = work


def image_of(frame: np.ndarray, header: Any) -> Image:
    """A ``bgr8`` image of a frame uint8 (H, W, 3), BGR."""
    height, width = frame.shape[:2]
    return Image(header=header, height=height, width=width, encoding="bgr8", is_bigendian=0,
                 step=width * 3, data=bytes_array(frame))
