"""Compressed images: only JPEG and PNG of 8 bits, and nothing hidden in them leaves."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sensor_msgs")

from sensor_msgs.msg import CompressedImage  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from deid_ros.errors import FrameError  # noqa: E402
from deid_ros.messages import encode_like  # noqa: E402
from deid_ros.ros.codec import bytes_array  # noqa: E402
from deid_ros.ros.compressed import (  # noqa: E402
    compress,
    covered_compressed,
    decode,
    is_plain,
    size_of,
)

FRAME = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8), (0, 0), 4)


def encoded(kind: str, picture: np.ndarray = FRAME, *options: int) -> bytes:
    return cv2.imencode(f".{kind}", picture, list(options))[1].tobytes()


def message(data: bytes, form: str = "jpeg") -> CompressedImage:
    return CompressedImage(header=Header(frame_id="camera"), format=form,
                           data=bytes_array(np.frombuffer(data, np.uint8)))


def with_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg[2:]


def with_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    chunk = (struct.pack(">I", len(content)) + name + content
             + struct.pack(">I", zlib.crc32(name + content)))
    return png[:33] + chunk + png[33:]


def longer_stream(png: bytes, within: bytes, behind: bytes = b"") -> bytes:
    """A PNG whose stream of pixels goes on."""
    start = png.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", png, start)
    rows = zlib.decompress(png[start + 8:start + 8 + length])
    content = zlib.compress(rows + within) + behind
    return with_chunk(png[:start] + png[start + 12 + length:], b"IDAT", content)


PLAIN_JPEG, PLAIN_PNG = encoded("jpg"), encoded("png")


@pytest.mark.parametrize("form", ["jpeg", "jpg", "bgr8; jpeg compressed bgr8", "", "rgb8"])
def test_jpeg(form):
    msg = message(PLAIN_JPEG, form)
    assert size_of(msg) == (40, 60)
    assert np.abs(decode(msg).astype(int) - FRAME).mean() < 3


def test_png_is_exact():
    np.testing.assert_array_equal(decode(message(PLAIN_PNG, "png")), FRAME)


def test_grey_becomes_bgr_and_orientation_is_ignored():
    assert decode(message(encoded("jpg", FRAME[..., 0]))).shape == (40, 60, 3)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    assert decode(message(with_segment(PLAIN_JPEG, 0xE1, exif))).shape == (40, 60, 3)


@pytest.mark.parametrize("data, form, words", [
    (b"", "jpeg", "nothing"),
    (b"GIF89a....", "gif", "47494638"),
    (PLAIN_JPEG, "png", "not that of"),
    (PLAIN_PNG, "16UC1; compressedDepth png", "compressedDepth"),
    (PLAIN_JPEG[:10], "jpeg", "damaged"),
    (PLAIN_PNG[:20], "png", "damaged"),
    (PLAIN_PNG[:60], "png", "cannot be decoded"),
    (encoded("png", FRAME.astype(np.uint16) * 200), "png", "16 bits"),
    (PLAIN_PNG[:16] + struct.pack(">II", 60000, 60000) + PLAIN_PNG[24:], "png", "60000x60000"),
])
def test_bad_files_are_refused_with_the_value(data, form, words):
    with pytest.raises(FrameError, match=words):
        decode(message(data, form))


@pytest.mark.parametrize("kind, data, plain", [
    ("jpeg", PLAIN_JPEG, False),
    ("jpeg", encoded("jpg", FRAME, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), False),
    ("jpeg", with_segment(PLAIN_JPEG, 0xE1, b"Exif\0\0 a thumbnail"), False),
    ("jpeg", with_segment(PLAIN_JPEG, 0xE2, b"MPF\0"), False),
    ("jpeg", with_segment(PLAIN_JPEG, 0xFE, b"a comment"), False),
    ("jpeg", PLAIN_JPEG + PLAIN_JPEG, False),
    ("jpeg", PLAIN_JPEG + b"\0", False),
    ("jpeg", PLAIN_JPEG[:-2], False),
    ("png", PLAIN_PNG, True),
    ("png", with_chunk(PLAIN_PNG, b"tEXt", b"who\0she is"), False),
    ("png", with_chunk(PLAIN_PNG, b"eXIf", b"thumbnail"), False),
    ("png", PLAIN_PNG + PLAIN_JPEG, False),
    ("png", encoded("png", cv2.cvtColor(FRAME, cv2.COLOR_BGR2BGRA)), False),
    ("png", PLAIN_PNG[:-12], False),
    ("png", encoded("png", FRAME[..., 0]), True),
    ("png", with_chunk(PLAIN_PNG, b"gAMA", b"\0\0\xb1\x8f"), True),
    ("png", with_chunk(PLAIN_PNG, b"gAMA", b"\0\0\xb1\x8f" + PLAIN_JPEG), False),
    ("png", with_chunk(with_chunk(PLAIN_PNG, b"sRGB", b"\0"), b"sRGB", b"\0"), False),
    ("png", with_chunk(PLAIN_PNG, b"PLTE", bytes(range(240))), False),
    ("png", with_chunk(PLAIN_PNG, b"faCe", PLAIN_JPEG), False),
    ("png", longer_stream(PLAIN_PNG, b"behind the pixels"), False),
    ("png", longer_stream(PLAIN_PNG, b"", b"behind the stream"), False),
    ("png", PLAIN_PNG[:-20] + b"crc!" + PLAIN_PNG[-16:], False),
])
def test_plain_files_hold_one_picture_and_nothing_else(kind, data, plain):
    assert is_plain(kind, data) is plain


def test_an_unchanged_plain_png_leaves_byte_for_byte():
    msg = message(PLAIN_PNG, "png")
    out = covered_compressed(msg, decode(msg), changed=False)
    assert bytes(out.data) == PLAIN_PNG and out.format == "png" and out.header == msg.header


def scan_behind(jpeg: bytes, second: bytes) -> bytes:
    """A JPEG with the scan of another one behind its own."""
    return jpeg[:-2] + second[second.index(b"\xff\xda"):]


OTHER = encoded("jpg", cv2.flip(FRAME, 1) // 2)


@pytest.mark.parametrize("data, hidden", [
    (PLAIN_JPEG, None),
    (with_segment(PLAIN_JPEG, 0xE1, OTHER) + OTHER, OTHER[40:]),
    (PLAIN_JPEG + b"secret thumbnail", b"secret thumbnail"),
    (scan_behind(PLAIN_JPEG, OTHER), OTHER[OTHER.index(b"\xff\xda"):-2]),
    (with_segment(PLAIN_JPEG, 0xDB, b"\x03" + b"table no one uses".ljust(64, b"!")),
     b"table no one uses"),
])
def test_a_jpeg_is_written_anew_and_nothing_hidden_leaves(data, hidden):
    msg = message(data)
    out = covered_compressed(msg, decode(msg), changed=False)
    assert bytes(out.data) != data
    assert hidden is None or hidden not in bytes(out.data)
    assert np.abs(decode(out).astype(int) - decode(msg)).mean() < 3


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_changed_file_keeps_its_kind_and_shows_the_change(kind):
    msg = message(encoded("jpg" if kind == "jpeg" else "png"), kind)
    covered = decode(msg).copy()
    covered[10:30, 10:30] = (0, 255, 0)
    out = covered_compressed(msg, covered, changed=True)
    assert kind in out.format and out.header == msg.header
    assert np.abs(decode(out)[14:26, 14:26].astype(int) - (0, 255, 0)).max() < 12


@pytest.mark.parametrize("data, form", [
    (encoded("jpg", FRAME[..., 0]), "mono8; jpeg compressed mono8"),
    (encoded("jpg", FRAME, cv2.IMWRITE_JPEG_QUALITY, 40), "bgr8; jpeg compressed bgr8"),
    (encoded("jpg", FRAME, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), "jpeg"),
    (with_chunk(encoded("png", FRAME[..., 0]), b"tEXt", b"who\0she is"), "mono8; png compressed")])
@pytest.mark.parametrize("changed", [False, True])
def test_a_file_is_written_as_it_came_and_as_in_a_bag(data, form, changed):
    msg = message(data, form)
    frame = decode(msg).copy()
    if changed:
        frame[10:30, 10:30] = (0, 255, 0)
    out = bytes(covered_compressed(msg, frame, changed=changed).data)
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(out)) as after:
        assert (after.mode, after.format) == (before.mode, before.format)
        if after.format == "JPEG":
            assert after.quantization == before.quantization
            assert after.info.get("progressive") == before.info.get("progressive")
    assert covered_compressed(msg, frame, changed=changed).format == form
    assert out == encode_like("png" if "png" in form else "jpeg", data, frame)


def test_format_names_the_encoding_as_image_transport_does():
    out = compress(FRAME, Header(), encoding="rgb8", quality=80)
    assert out.format == "rgb8; jpeg compressed bgr8"
