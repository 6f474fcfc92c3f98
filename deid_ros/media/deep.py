"""Pictures of 16 bits a channel, of which Pillow would keep eight."""

from __future__ import annotations

import io
import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from deid_ros.errors import MediaError

__all__ = ["bits_of", "encode_deep", "read_deep", "turned"]

_PHOTOMETRIC, _PLANAR, _BITS = 262, 284, 258
# A PGM or PPM in bytes: its kind, width, height and highest value, with comments between.
_SPACE = rb"(?:\s|#[^\n]*\n)+"
_PNM = re.compile(rb"P([56])" + (_SPACE + rb"(\d+)") * 3)


def bits_of(image: Image.Image, data: bytes) -> int:
    """Bits per channel of an open picture."""
    if image.format == "PNG":
        return data[24]
    if image.format == "TIFF":
        return int(max(np.atleast_1d(image.tag_v2.get(_BITS, 1))))
    if image.format == "PPM":
        return 16 if highest_of(data) > 255 else 8
    return 16 if image.mode.startswith("I") else 8


def highest_of(data: bytes) -> int:
    """The highest value that a PGM or PPM names."""
    found = _PNM.match(data)
    return int(found[4]) if found else 255


def read_deep(data: bytes, image: Image.Image, orientation: int, path: Path) -> np.ndarray:
    """uint16 (H, W) grey or (H, W, 3 or 4) RGB, upright.

    Raises:
        MediaError: 16 bits of a kind that cannot be read.
    """
    if image.format == "TIFF" and image.tag_v2.get(_PLANAR) == 2:
        return turned(_planes(data, path), orientation)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise _unreadable(path)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4
                              else cv2.COLOR_BGR2RGB)
    if image.format == "TIFF":  # OpenCV has turned it already
        if image.tag_v2.get(_PHOTOMETRIC) == 0:
            pixels = 65535 - pixels  # zero was white
        return pixels
    return turned(pixels, orientation)


def _planes(data: bytes, path: Path) -> np.ndarray:
    """A TIFF that holds one colour after another, which OpenCV reads wrongly."""
    try:
        import tifffile
    except ImportError:
        raise MediaError(f"{path} is a 16-bit TIFF with a plane for each colour; install the "
                         "package tifffile, or convert it to 16-bit PNG.") from None
    planes = tifffile.imread(io.BytesIO(data))
    if planes.dtype != np.uint16 or planes.ndim != 3 or planes.shape[0] not in (3, 4):
        raise _unreadable(path)
    return np.moveaxis(planes, 0, 2)


def _unreadable(path: Path) -> MediaError:
    return MediaError(f"{path} has 16-bit pixels of a kind that cannot be read; convert it to "
                      "16-bit PNG first.")


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation 1..8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def encode_deep(pixels: np.ndarray, form: str, highest: int = 65535) -> bytes:
    """uint16 pixels as a file of Pillow's format ``form``.

    ``highest`` is what a PGM or PPM says of its values.
    """
    if form == "PPM":
        kind = b"P5" if pixels.ndim == 2 else b"P6"
        height, width = pixels.shape[:2]
        return b"%s\n%d %d\n%d\n" % (kind, width, height, highest) + np.minimum(
            pixels, highest).astype(">u2").tobytes()
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4
                              else cv2.COLOR_RGB2BGR)
    return cv2.imencode(".tiff" if form == "TIFF" else ".png", pixels)[1].tobytes()
