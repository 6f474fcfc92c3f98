"""Compressed images: only JPEG and PNG of 8 bits, and nothing hidden in them leaves."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

pytest.importorskip("sensor_msgs")

from sensor_msgs.msg import CompressedImage  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from deid_ros.errors import FrameError  # noqa: E402
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
    ("jpeg", PLAIN_JPEG, True),
    ("jpeg", encoded("jpg", FRAME, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), True),
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
])
def test_plain_files_hold_one_picture_and_nothing_else(kind, data, plain):
    assert is_plain(kind, data) is plain


def test_an_unchanged_plain_file_leaves_byte_for_byte():
    for data, form in ((PLAIN_JPEG, "jpeg"), (PLAIN_PNG, "png")):
        msg = message(data, form)
        out = covered_compressed(msg, decode(msg), changed=False, quality=90)
        assert bytes(out.data) == data and out.format == form and out.header == msg.header


@pytest.mark.parametrize("extra", [PLAIN_JPEG, b"secret thumbnail"])
def test_what_is_hidden_in_a_file_does_not_leave(extra):
    msg = message(with_segment(PLAIN_JPEG, 0xE1, extra) + extra)
    out = covered_compressed(msg, decode(msg), changed=False, quality=90)
    assert extra not in bytes(out.data)
    assert is_plain("jpeg", bytes(out.data))


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_changed_file_keeps_its_kind_and_shows_the_change(kind):
    msg = message(encoded("jpg" if kind == "jpeg" else "png"), kind)
    covered = decode(msg).copy()
    covered[10:30, 10:30] = (0, 255, 0)
    out = covered_compressed(msg, covered, changed=True, quality=95)
    assert kind in out.format and out.header == msg.header
    assert np.abs(decode(out)[14:26, 14:26].astype(int) - (0, 255, 0)).max() < 12


def test_format_names_the_encoding_as_image_transport_does():
    out = compress(FRAME, Header(), kind="jpeg", encoding="rgb8", quality=80)
    assert out.format == "rgb8; jpeg compressed bgr8"
