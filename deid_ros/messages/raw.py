"""The fields of ``sensor_msgs/Image`` to a frame and back.

The one promise of this module: what ``covered_data`` gives differs from what came
only where the mask says so, byte for byte; except that padding is cleared, and that
transparency in which something is drawn is made opaque, since no detector has seen them.

Anything with the fields of the message will do: that of a live topic, or the part of
a bag's bytes that was recognised as one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import cv2
import numpy as np

from deid_ros.errors import FrameError
from deid_ros.messages.encodings import ENCODINGS, Encoding

__all__ = ["RawImage", "checked", "covered_data", "to_bgr"]


class RawImage(Protocol):
    """The fields of ``sensor_msgs/Image`` without its header."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


def checked(msg: RawImage) -> Encoding:
    """The encoding of a message whose numbers fit together.

    Raises:
        FrameError: an encoding nobody knows, zero size, a step or an amount of
            data that does not fit; with the value and the remedy.
    """
    try:
        encoding = ENCODINGS[msg.encoding]
    except KeyError:
        raise FrameError(f"The image encoding {msg.encoding!r} is not supported; publish one of "
                         f"{', '.join(ENCODINGS)}.") from None
    if msg.width < 1 or msg.height < 1:
        raise FrameError(f"The image is {msg.width}x{msg.height} pixels; the driver must fill in "
                         "width and height.")
    if (encoding.even_width and msg.width % 2) or (encoding.even_height and msg.height % 2):
        raise FrameError(f"The image is {msg.width}x{msg.height} pixels, but {msg.encoding} comes "
                         "in pairs; publish an even size.")
    least = msg.width * encoding.pixel_bytes
    if msg.step < least or msg.step % encoding.word or (encoding.planes > 2
                                                        and msg.step != least):
        raise FrameError(f"The image's step is {msg.step} bytes, but {msg.width} pixels of "
                         f"{msg.encoding} need {least}; the driver must set step.")
    size = msg.step * _rows_of(msg, encoding)
    if len(msg.data) != size:
        word = "truncated" if len(msg.data) < size else "followed by bytes that are no pixels"
        raise FrameError(f"The image's data is {word}: {len(msg.data)} bytes came, step x "
                         f"rows is {size}; the driver must send whole rows.")
    return encoding


def _rows_of(msg: RawImage, encoding: Encoding) -> int:
    """Rows of ``data``; more than the image has where colours have their own plane."""
    return int(msg.height * encoding.planes)


def _rows(msg: RawImage, encoding: Encoding, data: Any) -> np.ndarray:
    """The pixel bytes as a view: uint8 (H, W * pixel_bytes), in all planes."""
    flat = np.frombuffer(data, np.uint8)
    return flat.reshape(_rows_of(msg, encoding), msg.step)[:, :msg.width * encoding.pixel_bytes]


def to_bgr(msg: RawImage) -> np.ndarray:
    """The frame of a camera image: uint8 (H, W, 3), BGR, not to be written to.

    A view of the message for ``bgr8``.

    Raises:
        FrameError: as for ``checked``.
    """
    encoding = checked(msg)
    rows = _rows(msg, encoding, msg.data)
    if encoding.whole:
        rows = np.ascontiguousarray(rows)
    frame = encoding.to_bgr(rows, bool(msg.is_bigendian))
    frame.flags.writeable = False
    return frame


def covered_data(msg: RawImage, frame: np.ndarray | None, mask: np.ndarray | None, *,
                 copy: Callable[[Any], Any] = bytearray) -> Any:
    """The camera's bytes with the covered pixels written into them.

    Padding at the end of rows is cleared: it can hold pixels that no detector has
    seen (a window cut out of a larger image by its step). So is transparency in which
    something is drawn: it becomes opaque.

    Args:
        frame: the covered frame, uint8 (H, W, 3), BGR; None for 'no face'.
        mask: uint8 (H, W); where it is 0 the camera's bytes stay.
        copy: makes a writable copy of ``msg.data``.

    Returns:
        ``msg.data`` itself where nothing had to be changed, else a copy.

    Raises:
        FrameError: as for ``checked``, or frame and mask have another size.
    """
    encoding = checked(msg)
    padding = msg.step - msg.width * encoding.pixel_bytes
    covered = frame is not None and mask is not None and mask.any()
    drawn = _is_drawn(encoding, _rows(msg, encoding, msg.data))
    data = copy(msg.data) if padding or covered or drawn else msg.data
    if padding:
        np.frombuffer(data, np.uint8).reshape(-1, msg.step)[:, -padding:] = 0
    if drawn:
        _in_place(_rows(msg, encoding, data), lambda rows: encoding.alpha(rows).fill(255))
    if covered:
        shape = (msg.height, msg.width)
        if mask.shape != shape or frame.shape != (*shape, 3):
            raise FrameError(f"The covered frame is {frame.shape} with a mask of {mask.shape}, but "
                             f"the image is {shape}.")
        _write(_rows(msg, encoding, data), encoding, frame, mask, bool(msg.is_bigendian))
    return data


def _is_drawn(encoding: Encoding, rows: np.ndarray) -> bool:
    """Whether the transparency is not the same everywhere."""
    if encoding.alpha is None:
        return False
    alpha = encoding.alpha(rows if rows.flags.c_contiguous else np.ascontiguousarray(rows))
    return any(int(part.min()) != int(part.max()) for part in np.moveaxis(alpha, -1, 0))


def _write(rows: np.ndarray, encoding: Encoding, frame: np.ndarray, mask: np.ndarray,
           big: bool) -> None:
    # Only the rows that have covered pixels are touched; from an even row on, so
    # that Bayer patterns and pairs stay aligned.
    top, bottom = 0, len(mask)
    part = rows
    if not encoding.whole:
        _, y, _, height = cv2.boundingRect(mask)
        top, bottom = y - y % 2, y + height
        part = rows[top:bottom]
    _in_place(part, lambda work: encoding.write(work, frame[top:bottom], mask[top:bottom], big))


def _in_place(part: np.ndarray, change: Callable[[np.ndarray], Any]) -> None:
    # OpenCV wants contiguous arrays; rows with padding are not.
    work = part if part.flags.c_contiguous else np.ascontiguousarray(part)
    change(work)
    if work is not part:
        part[:] = work
