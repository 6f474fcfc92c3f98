"""The image encodings that are read, each with its way to BGR and back.

An encoding is a pair of pure functions on the rows of a message: ``to_bgr``
makes the 8-bit BGR frame that the stages work on, ``write`` puts covered pixels
back into a copy of the message's bytes and leaves all others as they came.
Names and layouts: ``sensor_msgs/image_encodings.hpp``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["ENCODINGS", "Encoding"]

Rows = np.ndarray
Write = Callable[[Rows, np.ndarray, np.ndarray, bool], None]


@dataclass(frozen=True)
class Encoding:
    """How one encoding lies in memory.

    Attributes:
        pixel_bytes: bytes of one pixel in a row (``step`` is at least
            ``width * pixel_bytes``).
        to_bgr: rows uint8 (H, W * pixel_bytes), big endian? -> uint8 (H, W, 3).
            May be a view of the rows.
        write: rows to be changed in place, BGR frame (H, W, 3), mask uint8
            (H, W), big endian? -> None. Pixels where the mask is 0 keep their
            bytes. ``rows`` is an array of its own or a row-wise slice of one.
        even_width, even_height: the layout needs pairs of pixels.
    """

    pixel_bytes: int
    to_bgr: Callable[[Rows, bool], np.ndarray]
    write: Write
    even_width: bool = False
    even_height: bool = False


def _pixels(rows: Rows, channels: int) -> np.ndarray:
    return rows.reshape(rows.shape[0], -1, channels)


def _packed(channels: int, to_bgr: int | None, from_bgr: int | None) -> Encoding:
    """8-bit channels side by side; the numbers are OpenCV's conversion codes."""

    def read(rows: Rows, big: bool) -> np.ndarray:
        pixels = _pixels(rows, channels)
        return pixels if to_bgr is None else cv2.cvtColor(pixels, to_bgr)

    def write(rows: Rows, frame: np.ndarray, mask: np.ndarray, big: bool) -> None:
        # A covered pixel becomes opaque: its alpha could hold a second picture.
        new = frame if from_bgr is None else cv2.cvtColor(frame, from_bgr)
        cv2.copyTo(new, mask, _pixels(rows, channels))

    return Encoding(channels, read, write)


def _read_mono(rows: Rows, big: bool) -> np.ndarray:
    return cv2.cvtColor(rows, cv2.COLOR_GRAY2BGR)


def _write_mono(rows: Rows, frame: np.ndarray, mask: np.ndarray, big: bool) -> None:
    cv2.copyTo(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), mask, rows)


def _values16(rows: Rows, big: bool) -> np.ndarray:
    return rows.view(">u2" if big else "<u2")


def _shift16(values: np.ndarray) -> int:
    """How many low bits do not fit into 8; cameras fill 10, 12, 14 or 16 of 16.

    Taken from the brightest pixel: a fixed shift of 8 would show a 10-bit image
    as black, and in black no face is found.
    """
    return max(0, int(values.max()).bit_length() - 8)


def _read_mono16(rows: Rows, big: bool) -> np.ndarray:
    values = _values16(rows, big)
    return cv2.cvtColor((values >> _shift16(values)).astype(np.uint8), cv2.COLOR_GRAY2BGR)


def _write_mono16(rows: Rows, frame: np.ndarray, mask: np.ndarray, big: bool) -> None:
    values = _values16(rows, big)
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(values.dtype)
    np.copyto(values, grey << _shift16(values), where=mask > 0)


def _yuv422(luma: int, to_bgr: int) -> Encoding:
    """Two pixels share one U and one V; ``luma`` is the byte of Y in a pixel (0 or 1)."""

    def read(rows: Rows, big: bool) -> np.ndarray:
        return cv2.cvtColor(_pixels(rows, 2), to_bgr)

    def write(rows: Rows, frame: np.ndarray, mask: np.ndarray, big: bool) -> None:
        # BT.601 limited range, the inverse of OpenCV's conversion in `read`.
        blue, green, red = (frame[..., c].astype(np.float32) for c in range(3))
        y = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
        u = 128 - 0.148 * red - 0.291 * green + 0.439 * blue
        v = 128 + 0.439 * red - 0.368 * green - 0.071 * blue
        bytes_ = _pixels(rows, 2)
        covered = mask > 0
        np.copyto(bytes_[..., luma], np.rint(y).astype(np.uint8), where=covered)
        # Where only one pixel of a pair is covered the colour stays: it is the other's.
        pair = covered[:, 0::2] & covered[:, 1::2]
        for offset, plane in ((0, u), (1, v)):
            shared = np.rint((plane[:, 0::2] + plane[:, 1::2]) / 2).astype(np.uint8)
            np.copyto(bytes_[:, offset::2, 1 - luma], shared, where=pair)

    return Encoding(2, read, write, even_width=True)


def _bayer(pattern: str, to_bgr: int) -> Encoding:
    """One colour a pixel; ``pattern`` names those of the first two rows, row by row."""
    channel = ["bgr".index(letter) for letter in pattern]

    def read(rows: Rows, big: bool) -> np.ndarray:
        return cv2.cvtColor(rows, to_bgr)

    def write(rows: Rows, frame: np.ndarray, mask: np.ndarray, big: bool) -> None:
        for i, c in enumerate(channel):
            where = np.s_[i // 2::2, i % 2::2]
            np.copyto(rows[where], frame[(*where, c)], where=mask[where] > 0)

    return Encoding(1, read, write, even_width=True, even_height=True)


_UYVY = _yuv422(1, cv2.COLOR_YUV2BGR_UYVY)
_YUYV = _yuv422(0, cv2.COLOR_YUV2BGR_YUY2)

#: Name in ``Image.encoding`` -> encoding. OpenCV names a Bayer pattern by the
#: second row's second and third pixel, ROS by the first row: hence the pairs.
ENCODINGS: dict[str, Encoding] = {
    "bgr8": _packed(3, None, None),
    "rgb8": _packed(3, cv2.COLOR_RGB2BGR, cv2.COLOR_BGR2RGB),
    "bgra8": _packed(4, cv2.COLOR_BGRA2BGR, cv2.COLOR_BGR2BGRA),
    "rgba8": _packed(4, cv2.COLOR_RGBA2BGR, cv2.COLOR_BGR2RGBA),
    "mono8": Encoding(1, _read_mono, _write_mono),
    "mono16": Encoding(2, _read_mono16, _write_mono16),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "bayer_rggb8": _bayer("rggb", cv2.COLOR_BayerBG2BGR),
    "bayer_bggr8": _bayer("bggr", cv2.COLOR_BayerRG2BGR),
    "bayer_gbrg8": _bayer("gbrg", cv2.COLOR_BayerGR2BGR),
    "bayer_grbg8": _bayer("grbg", cv2.COLOR_BayerGB2BGR),
}
