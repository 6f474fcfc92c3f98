"""Pictures: format and quality kept, orientation applied, metadata left behind."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from deid_ros.errors import MediaError
from deid_ros.media.deep import bits_of, encode_deep, highest_of, read_deep, turned
from deid_ros.media.exif import kept_exif
from deid_ros.media.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Job
from deid_ros.media.marking import mark_picture, options_of
from deid_ros.media.medium import Frame, Writing
from deid_ros.media.profiles import rebuilt_profile
from deid_ros.messages.jpeg import jpeg_options
from deid_ros.messages.tone import Tone, tone_of
from deid_ros.pipeline import Processed

__all__ = ["ALPHA", "ImageMedium", "Picture", "is_picture", "picture_frames", "read_picture",
           "write_picture"]

# Pillow's name of a format -> the name it is written under.
_FORMATS = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WEBP", "BMP": "BMP",
            "TIFF": "TIFF", "PPM": "PPM"}
# Without loss; whatever else a TIFF is packed with becomes deflate.
_TIFF_PACKINGS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits")
_WEBP_QUALITY = 90
_ORIENTATION = 0x0112
#: What the transparency of a picture is called where topics have names.
ALPHA = "alpha"
_BEHIND_HEADER = 33     # bytes of a PNG: signature and IHDR


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it is stored, upright.

    ``pixels``: uint8 or uint16, (H, W) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB
    or (H, W, 4) RGB and alpha. ``format``: Pillow's name. ``options``: what keeps
    the quality when it is written, and what says what its colours mean. ``left`` is what
    of the file is left behind, a sentence each.
    """

    pixels: np.ndarray
    format: str
    options: dict[str, Any]
    left: list[str] = field(default_factory=list)


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
            options, left = _options(image, data), _left(image, path)
            if keep_metadata and (exif := kept_exif(image)):
                options["exif"] = exif
            if bits_of(image, data) == 16:
                pixels = read_deep(data, image, _orientation(image), path)
            else:
                image.load()  # Pillow turns a TIFF here
                pixels = turned(np.asarray(_plain(image, path)), _orientation(image))
            if before := image.info.get("icc_profile"):
                if after := _profile(before, pixels, image.format):
                    options["icc_profile"] = after
                else:
                    left.append(f"{path}: the colour profile of {len(before)} bytes is left "
                                "behind, it cannot be written anew; colours may look different.")
            return Picture(pixels, _FORMATS[image.format], options, left)
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
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise MediaError(f"{path} holds {image.n_frames} pictures (pages or an animation), of "
                         "which one would be written; split it first.")


def _left(image: Image.Image, path: Path) -> list[str]:
    # The further pictures of an MPO are previews and views by a second lens.
    others = getattr(image, "n_frames", 1) - 1
    return [f"{path}: {others} further pictures of the file are left behind."] if others else []


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever a damaged directory makes of its reader
        return 1


def _profile(before: bytes, pixels: np.ndarray, form: str) -> bytes | None:
    """What the colours mean, in numbers of our own; None where that cannot be written."""
    if pixels.dtype == np.uint16 and form == "TIFF":
        return None
    return rebuilt_profile(before, grey=pixels.ndim == 2 or pixels.shape[2] == 2)


def _options(image: Image.Image, data: bytes) -> dict[str, Any]:
    options: dict[str, Any] = {}
    kind = _FORMATS[image.format]
    if kind == "JPEG":
        options = {**jpeg_options(image), "optimize": True}
    elif kind == "PNG":
        options["chunks"] = _colour_chunks(image.info)
    elif kind == "PPM":
        options["highest"] = highest_of(data)
    elif kind == "WEBP":
        # Chunk VP8L: stored without loss. 'exact' keeps colours below alpha 0.
        lossless = b"VP8L" in data[:64]
        options |= {"lossless": lossless, "exact": True,
                    "quality": 75 if lossless else _WEBP_QUALITY}
    elif kind == "TIFF":
        packing = image.info.get("compression", "raw")
        options["compression"] = packing if packing in _TIFF_PACKINGS else "tiff_adobe_deflate"
    return options


def _colour_chunks(info: dict[Any, Any]) -> dict[bytes, bytes]:
    """The numbers of a PNG that say what its colours mean."""
    chunks = {}
    if "srgb" in info:
        chunks[b"sRGB"] = struct.pack(">B", info["srgb"] & 3)
    if 0 < info.get("gamma", 0) < 100:
        chunks[b"gAMA"] = struct.pack(">I", round(info["gamma"] * 100000))
    if len(info.get("chromaticity", ())) == 8:
        chunks[b"cHRM"] = struct.pack(">8I", *(
            min(max(round(v * 100000), 0), 200000) for v in info["chromaticity"]))
    return chunks


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


def write_picture(picture: Picture, path: Path, *, marked: bool = False) -> None:
    """Write a picture; no metadata but what is in its options.

    Args:
        marked: say in it that it was altered, where its format has a place for that.

    Raises:
        MediaError: it cannot be written.
    """
    try:
        path.write_bytes(_encoded(picture, marked))
    except OSError as error:
        raise MediaError(f"A picture could not be written to {path.parent} "
                         f"({error.strerror or error}); check the space left.") from None


def _encoded(picture: Picture, marked: bool) -> bytes:
    options = dict(picture.options)
    options |= options_of(picture.format, options.get("exif", b"")) if marked else {}
    chunks, highest = options.pop("chunks", {}), options.pop("highest", 65535)
    deep = picture.pixels.dtype == np.uint16
    if deep:
        data = encode_deep(picture.pixels, picture.format, highest)
        profile = options.get("icc_profile")
    else:
        stream, profile = io.BytesIO(), None
        Image.fromarray(picture.pixels).save(stream, format=picture.format, **options)
        data = stream.getvalue()
    data = mark_picture(data, picture.format) if marked else data
    if picture.format != "PNG":
        return data
    if profile:
        chunks = {b"iCCP": b"profile\0\0" + zlib.compress(profile)}
    elif "icc_profile" in options:
        chunks = {}
    if deep and "exif" in options:
        chunks = {**chunks, b"eXIf": options["exif"].removeprefix(b"Exif\0\0")}
    made = b"".join(struct.pack(">I4s", len(content), name) + content
                    + struct.pack(">I", zlib.crc32(name + content))
                    for name, content in chunks.items())
    return data[:_BEHIND_HEADER] + made + data[_BEHIND_HEADER:]


class ImageMedium:
    """A picture: one frame, and a second one where its transparency is not flat."""

    total, steady, withheld, lost = 1, False, 0, 0

    def __init__(self, job: Job, part: Path, writing: Writing) -> None:
        self._job, self._part = job, part
        self._picture = read_picture(job.source, keep_metadata=writing.keep_metadata)
        self._pixels = self._picture.pixels.copy()
        self._failed, self._altered, self._marking = False, False, writing.marking
        self.notes: list[str] = []
        self.warnings: list[str] = list(self._picture.left)
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
            yield _seen(alpha, target[..., colours:], ALPHA)

    def take(self, frame: Frame, processed: Processed | None) -> None:
        """Put covered pixels in place."""
        if processed is None:
            self._failed = True
            return
        view: _View = frame.token
        changed = processed.mask > 0
        self._altered |= bool(changed.any())
        covered = processed.frame[changed]
        grey = view.target.shape[2] == 1
        covered = covered.mean(axis=1, keepdims=True) if grey else covered[:, ::-1]
        covered = np.rint(covered).astype(np.uint8)
        view.target[changed] = covered if view.tone is None else view.tone.stored(covered)

    def urgent(self) -> None:
        """Nothing waits."""

    def finish(self) -> None:
        """Write the picture.

        Raises:
            MediaError: it could not be made anonymous, or not be written.
        """
        if self._failed:
            raise MediaError(f"{self._job.source} could not be made anonymous and is left out.")
        # A picture in which nothing was covered was not altered.
        write_picture(replace(self._picture, pixels=self._pixels), self._part,
                      marked=self._marking and self._altered)

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class _View:
    """Planes of a picture to be changed in place, and how those of 16 bits are shown."""

    target: np.ndarray
    tone: Tone | None


def _seen(planes: np.ndarray, target: np.ndarray, topic: str | None) -> Frame:
    """Planes uint8 or uint16 (H, W, 1 or 3) as the detector is to see them."""
    tone = tone_of(planes) if planes.dtype == np.uint16 else None
    frame = np.ascontiguousarray(planes if tone is None else tone.shown(planes))
    frame = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR if frame.shape[2] == 1 else cv2.COLOR_RGB2BGR)
    return Frame(frame, 0, topic=topic, token=_View(target, tone))


def picture_frames(path: Path) -> Iterator[Frame]:
    """A picture as ``deid run`` searches it: its colours, then what is drawn in transparency.

    Raises:
        MediaError: it cannot be read.
    """
    return ImageMedium(Job(path, path, path.name), path, Writing()).frames()


def is_picture(path: Path) -> bool:
    """Whether a file that is no bag is a picture, and no video: by its name, else its content."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        return suffix in IMAGE_SUFFIXES
    try:
        with Image.open(path):
            return True
    except (OSError, ValueError, Image.DecompressionBombError):
        return False
