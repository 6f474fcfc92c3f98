"""A canary is put wherever a picture or a video can hold bytes; none may come out."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from sample_faces import FakeFinder

from deid_ros.config import defaults
from deid_ros.errors import MediaError
from deid_ros.faces import empty_faces
from deid_ros.media import Job, Writing, process
from deid_ros.pipeline import Pipeline

CANARY = b"<canary-of-4-and-20-blackbirds>"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SEEDS = range(3)


def pixels(seed: int, channels: int = 3) -> np.ndarray:
    shape = (40, 56) if channels == 1 else (40, 56, channels)
    noise = np.random.default_rng(seed).integers(0, 255, shape, np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def encoded(form: str, seed: int, channels: int = 3, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(seed, channels)).save(stream, form, **options)
    return stream.getvalue()


def exif() -> bytes:
    made = Image.Exif()
    for tag in (0x9C9B, 0xC4A5, 0x02BC, 0x8649):
        made[tag] = CANARY
    made.get_ifd(0x8769)[0x927C] = CANARY
    made.get_ifd(0x8825)[29] = CANARY.decode()
    return made.tobytes()


def jpeg_segment(marker: int, content: bytes, seed: int) -> bytes:
    data = encoded("JPEG", seed)
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[2:]


def png_chunk(name: bytes, content: bytes, seed: int, *, last: bool = False) -> bytes:
    data = encoded("PNG", seed)
    chunk = (struct.pack(">I", len(content)) + name + content
             + struct.pack(">I", zlib.crc32(name + content)))
    at = len(data) - 12 if last else 33
    return data[:at] + chunk + data[at:]


def png_rows(seed: int, more: bytes) -> bytes:
    """The stream of pixels of a PNG goes on."""
    rows = pixels(seed)
    raw = b"".join(b"\0" + row.tobytes() for row in rows) + more
    data = png_chunk(b"IDAT", zlib.compress(raw, 0), seed)
    at = data.index(b"IDAT", 60 + len(raw))
    return data[:at - 4] + data[-12:]


def png_text() -> PngInfo:
    info = PngInfo()
    info.add_text("Comment", CANARY.decode())
    info.add_itxt("XML:com.adobe.xmp", CANARY.decode())
    return info


def riff_chunk(seed: int, name: bytes) -> bytes:
    data = encoded("WEBP", seed, exif=exif())
    body = data[8:] + name + struct.pack("<I", len(CANARY)) + CANARY + b"\0" * (len(CANARY) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp_gap(seed: int) -> bytes:
    data = bytearray(encoded("BMP", seed))
    start = struct.unpack_from("<I", data, 10)[0]
    struct.pack_into("<I", data, 10, start + len(CANARY))
    return bytes(data[:start]) + CANARY + bytes(data[start:])


PICTURES: dict[str, Callable[[int], bytes]] = {
    "exif.jpg": lambda s: encoded("JPEG", s, exif=exif()),
    "comment.jpg": lambda s: encoded("JPEG", s, comment=CANARY),
    "profile.jpg": lambda s: encoded("JPEG", s, icc_profile=PROFILE + CANARY),
    "odd_profile.jpg": lambda s: encoded("JPEG", s, icc_profile=CANARY * 9),
    "name_in_profile.jpg": lambda s: encoded(
        "JPEG", s, icc_profile=PROFILE.replace(PROFILE[-len(CANARY):], CANARY)),
    "table.jpg": lambda s: jpeg_segment(0xDB, b"\x03" + CANARY.ljust(64, b"!"), s),
    "tail.jpg": lambda s: encoded("JPEG", s) + CANARY,
    "before_end.jpg": lambda s: encoded("JPEG", s)[:-2] + CANARY + b"\xff\xd9",
    "second_scan.jpg": lambda s: encoded("JPEG", s) + encoded("JPEG", s + 9, comment=CANARY),
    **{f"app{n}.jpg": lambda s, n=n: jpeg_segment(0xE0 + n, CANARY, s) for n in (1, 2, 3, 13, 15)},
    "exif.png": lambda s: encoded("PNG", s, exif=exif()),
    "text.png": lambda s: encoded("PNG", s, pnginfo=png_text()),
    "profile.png": lambda s: encoded("PNG", s, icc_profile=PROFILE + CANARY),
    "tail.png": lambda s: encoded("PNG", s) + CANARY,
    "odd_exif.png": lambda s: png_chunk(b"eXIf", CANARY, s),
    "palette.png": lambda s: png_chunk(b"PLTE", CANARY.ljust(33, b"!"), s),
    "own.png": lambda s: png_chunk(b"caNa", CANARY, s),
    "own_at_end.png": lambda s: png_chunk(b"caNa", CANARY, s, last=True),
    "rows.png": lambda s: png_rows(s, CANARY),
    "gray.png": lambda s: encoded("PNG", s, 1, pnginfo=png_text()),
    "alpha.png": lambda s: encoded("PNG", s, 4, pnginfo=png_text()),
    "exif.webp": lambda s: encoded("WEBP", s, exif=exif()),
    "xmp.webp": lambda s: encoded("WEBP", s, xmp=CANARY),
    "profile.webp": lambda s: encoded("WEBP", s, icc_profile=PROFILE + CANARY),
    "own.webp": lambda s: riff_chunk(s, b"CANA"),
    "exif.tiff": lambda s: encoded("TIFF", s, exif=exif()),
    "texts.tiff": lambda s: encoded("TIFF", s, tiffinfo={270: CANARY.decode(), 65000: CANARY}),
    "own_text.tiff": lambda s: encoded("TIFF", s, tiffinfo={65000: CANARY}),
    "tail.tiff": lambda s: encoded("TIFF", s) + CANARY,
    "profile.tiff": lambda s: encoded("TIFF", s, icc_profile=PROFILE + CANARY),
    "gap.bmp": bmp_gap,
    "tail.bmp": lambda s: encoded("BMP", s) + CANARY,
    "comment.ppm": lambda s: encoded("PPM", s).replace(b"P6\n", b"P6\n# " + CANARY + b"\n", 1),
    "tail.pgm": lambda s: encoded("PPM", s, 1) + CANARY,
    "deep_tail.pgm": lambda s: b"P5\n8 8\n1023\n" + bytes(128) + CANARY,
}


# Positions that --keep-metadata names.
NAMED = ("texts.tiff",)


def outcome_of(tmp_path: Path, name: str, data: bytes, **options: bool) -> bytes | None:
    """What came out, None where the file was refused."""
    source = tmp_path / name
    source.write_bytes(data)
    job = Job(source, tmp_path / "out" / name, name)
    try:
        process(job, Pipeline(defaults(), finder=FakeFinder(empty_faces())), overwrite=True,
                writing=Writing(**options))
    except MediaError as error:
        assert CANARY.decode() not in str(error)
        return None
    return job.target.read_bytes()


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", PICTURES)
def test_no_canary_leaves_with_a_picture(tmp_path, name, keep):
    if keep and name in NAMED:
        pytest.skip("a description is among what is asked for")
    written = 0
    for seed in SEEDS:
        data = PICTURES[name](seed)
        if "profile.png" not in name:  # packed there
            assert CANARY in data
        made = outcome_of(tmp_path, name, data, keep_metadata=keep)
        if made is None:
            continue
        written += 1
        assert CANARY not in made
        profile = Image.open(io.BytesIO(made)).info.get("icc_profile", b"")
        assert CANARY not in profile
    # What damages a picture may be refused; of these only the rows do.
    assert written == len(SEEDS) or name in ("rows.png", "before_end.jpg")


def video(path: Path, **metadata: str) -> bytes:
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata)
        stream = container.add_stream("libx264" if path.suffix != ".avi" else "mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 56, 40, "yuv420p"
        stream.metadata["title"] = CANARY.decode()
        for i in range(6):
            frame = av.VideoFrame.from_ndarray(pixels(i), format="bgr24").reformat(
                format="yuv420p")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def box(name: bytes) -> bytes:
    return struct.pack(">I", 8 + len(CANARY)) + name + CANARY


VIDEOS: dict[str, Callable[[Path], bytes]] = {
    "texts.mp4": lambda p: video(p, title=CANARY.decode(), comment=CANARY.decode()),
    "places.mp4": lambda p: video(p, location=CANARY.decode(), artist=CANARY.decode() * 20),
    "unknown.mkv": lambda p: video(p, anything=CANARY.decode()),
    "free.mp4": lambda p: video(p) + box(b"free"),
    "uuid.mp4": lambda p: video(p) + box(b"uuid"),
    "texts.mkv": lambda p: video(p, title=CANARY.decode(), anything=CANARY.decode()),
    "tail.mkv": lambda p: video(p) + CANARY,
    "texts.mov": lambda p: video(p, title=CANARY.decode()),
    "texts.avi": lambda p: video(p, title=CANARY.decode()),
    "junk.avi": lambda p: video(p) + b"JUNK" + struct.pack("<I", len(CANARY)) + CANARY,
    "tail.ts": lambda p: video(p) + CANARY.ljust(188, b"\xff"),
}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", VIDEOS)
def test_no_canary_leaves_with_a_video(tmp_path, name, keep):
    if keep and name.startswith("texts."):
        pytest.skip("a title is among what is asked for")
    data = VIDEOS[name](tmp_path / name)
    assert CANARY in data
    made = outcome_of(tmp_path, name, data, keep_metadata=keep)
    assert made is not None and CANARY not in made


def test_the_title_of_a_video_stays_where_it_is_asked_for(tmp_path):
    data = video(tmp_path / "a.mp4", title="Kitchen, second run")
    assert b"Kitchen, second run" in outcome_of(tmp_path, "a.mp4", data, keep_metadata=True)
    assert b"Kitchen" not in outcome_of(tmp_path, "a.mp4", data)
