"""The image encodings that are read, each with its way to BGR and back.

An encoding is a pair of pure functions on the rows of a message: ``to_bgr``
makes the 8-bit BGR frame that the stages work on, ``write`` puts covered pixels
back into a copy of the message's bytes and leaves all others as they came.
Names and layouts: ``sensor_msgs/image_encodings.hpp``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from deid_ros.messages.tone import tone_of

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
        planes: rows of data for every row of the image; more than one where colours
            lie in a plane of their own behind the brightness.
        word: bytes of a number; ``step`` is a multiple of it.
        alpha: rows -> a view of the bytes of the transparency, uint8 (H, W, word). None where
            there is none.
    """

    pixel_bytes: int
    to_bgr: Callable[[Rows, bool], np.ndarray]
    write: Write
    even_width: bool = False
    even_height: bool = False
    planes: Fraction = Fraction(1)
    word: int = 1
    alpha: Callable[[Rows], np.ndarray] | None = None

    @property
    def whole(self) -> bool:
        """Whether ``write`` needs all rows at once: they share a curve, or another plane."""
        return self.planes > 1 or self.word > 1


def _alpha(word: int) -> Callable[[Rows], np.ndarray]:
    """For four channels of ``word`` bytes, the last of them the transparency.

    An infrared sensor may write its picture there (RGB-IR cameras).
    """
    return lambda rows: _pixels(rows, 4 * word)[..., 3 * word:]


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

    return Encoding(channels, read, write, alpha=_alpha(1) if channels == 4 else None)


def _read_mono(rows: Rows, big: bool) -> np.ndarray:
    return cv2.cvtColor(rows, cv2.COLOR_GRAY2BGR)


def _write_mono(rows: Rows, frame: np.ndarray, mask: np.ndarray, big: bool) -> None:
    cv2.copyTo(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), mask, rows)


def _values16(rows: Rows, big: bool) -> np.ndarray:
    return rows.view(">u2" if big else "<u2")


def _packed16(channels: int, to_bgr: int | None, from_bgr: int | None) -> Encoding:
    """16-bit channels side by side, shown through the curve of ``tone``."""

    def read(rows: Rows, big: bool) -> np.ndarray:
        values = _pixels(_values16(rows, big), channels)
        shown = tone_of(values[..., :3]).shown(values)
        return shown if to_bgr is None else cv2.cvtColor(shown, to_bgr)

    def write(rows: Rows, frame: np.ndarray, mask: np.ndarray, big: bool) -> None:
        values = _pixels(_values16(rows, big), channels)
        tone, box = tone_of(values[..., :3]), _box(mask)
        new = frame[box] if from_bgr is None else cv2.cvtColor(frame[box], from_bgr)
        covered = mask[box] > 0
        new = new.reshape(*covered.shape, -1)[..., :3]
        values[box][..., :3][covered] = tone.stored(new[covered])
        values[box][..., 3:][covered] = 65535

    return Encoding(2 * channels, read, write, word=2, alpha=_alpha(2) if channels == 4 else None)


def _yuv422(luma: int, to_bgr: int) -> Encoding:
    """Two pixels share one U and one V; ``luma`` is the byte of Y in a pixel (0 or 1)."""

    def read(rows: Rows, big: bool) -> np.ndarray:
        return cv2.cvtColor(_pixels(rows, 2), to_bgr)

    def write(rows: Rows, frame: np.ndarray, mask: np.ndarray, big: bool) -> None:
        y, u, v = _yuv_of(frame)
        bytes_ = _pixels(rows, 2)
        covered = mask > 0
        np.copyto(bytes_[..., luma], np.rint(y).astype(np.uint8), where=covered)
        # Where only one pixel of a pair is covered the colour stays: it is the other's.
        pair = covered[:, 0::2] & covered[:, 1::2]
        for offset, plane in ((0, u), (1, v)):
            shared = np.rint((plane[:, 0::2] + plane[:, 1::2]) / 2).astype(np.uint8)
            np.copyto(bytes_[:, offset::2, 1 - luma], shared, where=pair)

    return Encoding(2, read, write, even_width=True)


def _bayer(pattern: str, to_bgr: int, word: int = 1) -> Encoding:
    """One colour a pixel; ``pattern`` names those of the first two rows, row by row."""
    channel = ["bgr".index(letter) for letter in pattern]

    def read(rows: Rows, big: bool) -> np.ndarray:
        if word == 2:
            values = _values16(rows, big)
            rows = tone_of(values).shown(values)
        return cv2.cvtColor(rows, to_bgr)

    def write(rows: Rows, frame: np.ndarray, mask: np.ndarray, big: bool) -> None:
        box = _box(mask)
        frame = frame[box]
        if word == 2:
            rows = _values16(rows, big)
            frame = tone_of(rows).stored(frame)
        rows, mask = rows[box], mask[box]
        for i, c in enumerate(channel):
            where = np.s_[i // 2::2, i % 2::2]
            np.copyto(rows[where], frame[(*where, c)], where=mask[where] > 0)

    return Encoding(word, read, write, even_width=True, even_height=True, word=word)


def _two_planes(order: str, *, halved: bool) -> Encoding:
    """A plane of brightness, then one of colour pairs; ``order`` is 'uv' or 'vu'.

    ``halved``: one pair for 2x2 pixels (NV12, NV21), else one for every pixel (NV24).
    """
    code = cv2.COLOR_YUV2BGR_NV12 if order == "uv" else cv2.COLOR_YUV2BGR_NV21
    side = 2 if halved else 1
    planes = Fraction(3, 2) if halved else Fraction(3)

    def read(rows: Rows, big: bool) -> np.ndarray:
        if halved:
            return cv2.cvtColor(rows, code)
        # OpenCV has no NV24: every pixel and its colours become a block of 2x2.
        height = rows.shape[0] // 3
        bright = np.ascontiguousarray(rows[:height]).repeat(2, axis=0).repeat(2, axis=1)
        colours = np.ascontiguousarray(rows[height:]).reshape(height, -1)
        return np.ascontiguousarray(cv2.cvtColor(np.vstack([bright, colours]), code)[::2, ::2])

    def write(rows: Rows, frame: np.ndarray, mask: np.ndarray, big: bool) -> None:
        height, width = mask.shape
        box = _box(mask)
        bright, *colours = _yuv_of(frame[box])
        covered = mask[box] > 0
        np.copyto(rows[:height][box], np.rint(bright).astype(np.uint8), where=covered)
        # Where only some pixels of a block are covered the colour stays: it is the others'.
        blocks = (covered.shape[0] // side, side, covered.shape[1] // side, side)
        block = covered.reshape(blocks).all(axis=(1, 3))
        pairs = rows[height:].reshape(height // side, width // side, 2)[tuple(
            slice(part.start // side, part.stop // side) for part in box)]
        for plane, letter in zip(colours, "uv", strict=True):
            shared = plane.reshape(blocks).mean(axis=(1, 3))
            np.copyto(pairs[..., order.index(letter)], np.rint(shared).astype(np.uint8),
                      where=block)

    return Encoding(1, read, write, even_width=halved, even_height=halved, planes=planes)


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of what a mask (H, W) covers, by twos where there are two: patterns
    and blocks of colours stay whole."""
    x, y, width, height = cv2.boundingRect(mask)
    return (slice(y - y % 2, min(y + height + (y + height) % 2, mask.shape[0])),
            slice(x - x % 2, min(x + width + (x + width) % 2, mask.shape[1])))


def _yuv_of(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BGR as brightness and two colours, BT.601 limited range, as OpenCV reads them."""
    blue, green, red = (frame[..., c].astype(np.float32) for c in range(3))
    return (16 + 0.257 * red + 0.504 * green + 0.098 * blue,
            128 - 0.148 * red - 0.291 * green + 0.439 * blue,
            128 + 0.439 * red - 0.368 * green - 0.071 * blue)


_UYVY = _yuv422(1, cv2.COLOR_YUV2BGR_UYVY)
_YUYV = _yuv422(0, cv2.COLOR_YUV2BGR_YUY2)

_MONO = Encoding(1, _read_mono, _write_mono)
# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the
# first row: hence the pairs.
_PATTERNS = {"rggb": cv2.COLOR_BayerBG2BGR, "bggr": cv2.COLOR_BayerRG2BGR,
             "gbrg": cv2.COLOR_BayerGR2BGR, "grbg": cv2.COLOR_BayerGB2BGR}

#: Name in ``Image.encoding`` -> encoding. Depth (16UC1, 32FC1) is none of them.
ENCODINGS: dict[str, Encoding] = {
    "bgr8": _packed(3, None, None),
    "rgb8": _packed(3, cv2.COLOR_RGB2BGR, cv2.COLOR_BGR2RGB),
    "bgra8": _packed(4, cv2.COLOR_BGRA2BGR, cv2.COLOR_BGR2BGRA),
    "rgba8": _packed(4, cv2.COLOR_RGBA2BGR, cv2.COLOR_BGR2RGBA),
    "bgr16": _packed16(3, None, None),
    "rgb16": _packed16(3, cv2.COLOR_RGB2BGR, cv2.COLOR_BGR2RGB),
    "bgra16": _packed16(4, cv2.COLOR_BGRA2BGR, cv2.COLOR_BGR2BGRA),
    "rgba16": _packed16(4, cv2.COLOR_RGBA2BGR, cv2.COLOR_BGR2RGBA),
    "mono8": _MONO,
    "mono16": _packed16(1, cv2.COLOR_GRAY2BGR, cv2.COLOR_BGR2GRAY),
    # Without a name for the colours; one channel is grey, three are in OpenCV's order.
    "8UC1": _MONO,
    "8UC3": _packed(3, None, None),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": _two_planes("uv", halved=True),
    "nv21": _two_planes("vu", halved=True),
    "nv24": _two_planes("uv", halved=False),
    **{f"bayer_{name}8": _bayer(name, code) for name, code in _PATTERNS.items()},
    **{f"bayer_{name}16": _bayer(name, code, 2) for name, code in _PATTERNS.items()},
}
