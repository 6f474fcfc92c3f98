"""Pictures: format and quality kept, orientation applied, metadata left behind."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, JpegImagePlugin, UnidentifiedImageError

from deid_ros.errors import DeidError, MediaError
from deid_ros.media.exif import kept_exif
from deid_ros.media.files import Job
from deid_ros.media.medium import Frame, Writing
from deid_ros.pipeline import Processed

__all__ = ["ImageMedium", "Picture", "is_image", "read_picture", "write_picture"]

# Pillow's name of a format -> the name it is written under.
_FORMATS = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WEBP", "BMP": "BMP",
            "TIFF": "TIFF", "PPM": "PPM"}
# Without loss; whatever else a TIFF is packed with becomes deflate.
_TIFF_PACKINGS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits")
_WEBP_QUALITY = 90
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it is stored, upright.

    ``pixels``: uint8 or uint16, (H, W) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB
    or (H, W, 4) RGB and alpha. ``format``: Pillow's name. ``options``: what keeps
    the quality when it is written, and the metadata that is kept: the colour profile.
    """

    pixels: np.ndarray
    format: str
    options: dict[str, Any]


def read_picture(path: Path, *, keep_metadata: bool = False) -> Picture:
    """Read a picture and turn it upright by its EXIF orientation.

    Args:
        keep_metadata: keep what describes the picture too (``exif.kept_exif``).

    Raises:
        MediaError: it cannot be read, or not without leaving a part unprocessed
            (animations, several pages, colours other than grey and RGB).
    """
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            _refuse(image, path)
            options = _options(image, data)
            if keep_metadata and (exif := kept_exif(image)):
                options["exif"] = exif
            deep = _bits(image, data) == 16
            if deep:
                pixels = _read_deep(data, image, path)
            else:
                upright = ImageOps.exif_transpose(image)
                pixels = np.asarray(_plain(upright, path))
            return Picture(pixels, _FORMATS[image.format], options)
    except MediaError:
        raise
    except UnidentifiedImageError:
        raise MediaError(f"{path} is no picture that can be read; check the file or convert it to "
                         "PNG.") from None
    except OSError as error:
        raise MediaError(f"The picture {path} cannot be read ({error.strerror or error}); check "
                         "the file.") from None
    except Exception as error:  # whatever a damaged file makes of its decoder
        raise MediaError(f"The picture {path} cannot be read ({error}); check the "
                         "file.") from None


def _refuse(image: Image.Image, path: Path) -> None:
    if image.format not in _FORMATS:
        raise MediaError(f"{path} is in the format {image.format}, which is not written; convert "
                         "it to PNG first.")
    # The further pictures of an MPO are previews and views by a second lens: they
    # are left behind like a thumbnail.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise MediaError(f"{path} holds {image.n_frames} pictures (pages or an animation), of "
                         "which one would be written; split it first.")


def _options(image: Image.Image, data: bytes) -> dict[str, Any]:
    options: dict[str, Any] = {}
    profile = image.info.get("icc_profile")
    if profile:
        options["icc_profile"] = profile
    kind = _FORMATS[image.format]
    if kind == "JPEG":
        options["qtables"] = image.quantization
        sampling = JpegImagePlugin.get_sampling(image)
        if sampling != -1:
            options["subsampling"] = sampling
        options["progressive"] = bool(image.info.get("progressive"))
        options["optimize"] = True
    elif kind == "WEBP":
        # Chunk VP8L: stored without loss. 'exact' keeps colours below alpha 0.
        lossless = b"VP8L" in data[:64]
        options |= {"lossless": lossless, "exact": True,
                    "quality": 75 if lossless else _WEBP_QUALITY}
    elif kind == "TIFF":
        packing = image.info.get("compression", "raw")
        options["compression"] = packing if packing in _TIFF_PACKINGS else "tiff_adobe_deflate"
    return options


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits per channel."""
    if image.format == "PNG":
        return data[24]
    if image.format == "TIFF":
        return max(np.atleast_1d(image.tag_v2.get(258, 1)))
    return 16 if image.mode.startswith("I") else 8


def _plain(image: Image.Image, path: Path) -> Image.Image:
    """The picture in mode L, LA, RGB or RGBA."""
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "PA"):
        clear = image.mode == "PA" or "transparency" in image.info
        return image.convert("RGBA" if clear else "RGB")
    if image.mode in ("L", "RGB") and "transparency" in image.info:
        return image.convert("LA" if image.mode == "L" else "RGBA")
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise MediaError(f"{path} has the colours {image.mode}, which cannot be processed; convert "
                         "it to RGB first.")
    return image


def _read_deep(data: bytes, image: Image.Image, path: Path) -> np.ndarray:
    # Pillow cuts 16-bit colours down to 8; OpenCV keeps them.
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise MediaError(f"{path} has 16-bit pixels of a kind that cannot be read; convert it to "
                         "16-bit PNG first.")
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4
                              else cv2.COLOR_BGR2RGB)
    return _turn(pixels, image.getexif().get(_ORIENTATION, 1))


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation 1..8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def write_picture(picture: Picture, path: Path) -> None:
    """Write a picture; no metadata but its colour profile.

    Raises:
        MediaError: it cannot be written.
    """
    try:
        if picture.pixels.dtype == np.uint16:
            _write_deep(picture, path)
        else:
            image = Image.fromarray(picture.pixels)
            with open(path, "wb") as stream:
                image.save(stream, format=picture.format, **picture.options)
    except OSError as error:
        raise MediaError(f"A picture could not be written to {path.parent} "
                         f"({error.strerror or error}); check the space left.") from None


def _write_deep(picture: Picture, path: Path) -> None:
    pixels = picture.pixels
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4
                              else cv2.COLOR_RGB2BGR)
    suffix = {"PNG": ".png", "TIFF": ".tiff", "PPM": ".ppm"}.get(picture.format, ".png")
    path.write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())


class ImageMedium:
    """A picture: one frame, and a second one where its transparency is not flat."""

    total, steady, withheld, lost = 1, False, 0, 0

    def __init__(self, job: Job, part: Path, writing: Writing) -> None:
        self._job, self._part = job, part
        self._picture = read_picture(job.source, keep_metadata=writing.keep_metadata)
        self._pixels = self._picture.pixels.copy()
        self._failed = False
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.facts: dict[str, Any] = {}

    def frames(self) -> Iterator[Frame]:
        """The colours, then what is drawn in transparency."""
        pixels = self._picture.pixels
        planes = pixels[..., None] if pixels.ndim == 2 else pixels
        target = self._pixels[..., None] if pixels.ndim == 2 else self._pixels
        colours = planes.shape[2] - (planes.shape[2] in (2, 4))
        yield _seen(planes[..., :colours], target[..., :colours], None)
        alpha = planes[..., colours:]
        if alpha.size and alpha.min() != alpha.max():
            # A face can also be drawn in transparency.
            yield _seen(alpha, target[..., colours:], "alpha")

    def take(self, frame: Frame, processed: Processed | None) -> None:
        """Put covered pixels in place."""
        if processed is None:
            self._failed = True
            return
        view: _View = frame.token
        changed = processed.mask > 0
        covered = processed.frame[changed]
        grey = view.target.shape[2] == 1
        covered = covered.mean(axis=1, keepdims=True) if grey else covered[:, ::-1]
        covered = view.low + covered * ((view.high - view.low) / 255)
        view.target[changed] = np.round(covered).astype(view.target.dtype)

    def urgent(self) -> None:
        """Nothing waits."""

    def finish(self) -> None:
        """Write the picture.

        Raises:
            MediaError: it could not be made anonymous, or not be written.
        """
        if self._failed:
            raise MediaError(f"{self._job.source} could not be made anonymous and is left out.")
        write_picture(replace(self._picture, pixels=self._pixels), self._part)

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class _View:
    """Planes of a picture to be changed in place, and what of them is black and white."""

    target: np.ndarray
    low: float
    high: float


def _seen(planes: np.ndarray, target: np.ndarray, topic: str | None) -> Frame:
    """Planes uint8 or uint16 (H, W, 1 or 3) as the detector is to see them."""
    low, high = 0.0, 255.0
    frame = planes
    if planes.dtype == np.uint16:
        # Cameras fill 10 to 14 of the 16 bits: the detector is to see their contrast.
        low, high = (float(v) for v in np.percentile(planes[::4, ::4], (0.1, 99.9)))
        high = max(high, low + 255)
        frame = np.clip((planes - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    frame = cv2.cvtColor(np.ascontiguousarray(frame),
                         cv2.COLOR_GRAY2BGR if frame.shape[2] == 1 else cv2.COLOR_RGB2BGR)
    return Frame(frame, 0, topic=topic, token=_View(target, low, high))


def is_image(path: Path) -> bool:
    """Whether the file's content is that of a picture."""
    try:
        with Image.open(path):
            return True
    except (OSError, DeidError, ValueError, Image.DecompressionBombError):
        return False
