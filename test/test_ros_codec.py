"""Images in every encoding: to BGR, and back with the uncovered bytes untouched."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("sensor_msgs")

from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from deid_ros.errors import FrameError  # noqa: E402
from deid_ros.messages.encodings import ENCODINGS  # noqa: E402
from deid_ros.ros.codec import bytes_array, covered_image, image_of, tag_of, to_bgr  # noqa: E402

HEIGHT, WIDTH = 48, 64
COLOURLESS = ("mono8", "mono16", "8UC1")


def smooth(seed: int = 0) -> np.ndarray:
    """A colourful frame that survives 4:2:2 and Bayer nearly unchanged."""
    noise = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    frame = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 6), None, 30, 220, cv2.NORM_MINMAX)
    frame[2:8, 2:8], frame[2:8, -8:-2] = 0, 255  # the ends of the window of 16 bits
    return frame


def blank(encoding: str, *, padding: int = 0, big: int = 0, seed: int = 1) -> Image:
    step = WIDTH * ENCODINGS[encoding].pixel_bytes + padding
    rows = int(HEIGHT * ENCODINGS[encoding].planes)
    data = np.random.default_rng(seed).integers(0, 255, (rows, step), np.uint8)
    if ENCODINGS[encoding].alpha is not None:
        size = ENCODINGS[encoding].pixel_bytes
        data[:, :WIDTH * size].reshape(HEIGHT, WIDTH, size)[..., size * 3 // 4:] = 255
    return Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=step, is_bigendian=big,
                 data=bytes_array(data), header=Header(frame_id="camera"))


def pixels(msg: Image) -> np.ndarray:
    size = ENCODINGS[msg.encoding].pixel_bytes
    rows = np.frombuffer(msg.data, np.uint8).reshape(-1, msg.step)[:msg.height]
    return rows[:, :msg.width * size].reshape(msg.height, msg.width, size)


def written(encoding: str, frame: np.ndarray, **options) -> Image:
    """A message that shows ``frame``, written by the code under test."""
    return covered_image(blank(encoding, **options), frame, np.full((HEIGHT, WIDTH), 255, np.uint8))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big", [0, 1])
def test_round_trip_and_untouched_outside_of_the_mask(encoding, padding, big):
    if padding and encoding == "nv24":
        pytest.skip("its rows have two lengths, and step names one")
    frame = smooth()
    msg = written(encoding, frame, padding=padding, big=big)
    shown = to_bgr(msg)
    expected = (cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
                if encoding in COLOURLESS else frame)
    assert np.abs(shown.astype(int) - expected).mean() < 4
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(mask, (31, 21), 12, 255, -1)
    covered = frame.copy()
    covered[mask > 0] = (10, 200, 90)
    out = covered_image(msg, covered, mask)
    assert (out.encoding, out.step, out.is_bigendian) == (encoding, msg.step, big)
    assert out.header == msg.header
    np.testing.assert_array_equal(pixels(out)[mask == 0], pixels(msg)[mask == 0])
    inside = to_bgr(out)[16:26, 26:36].reshape(-1, 3).mean(axis=0)
    wanted = np.full(3, 145) if encoding in COLOURLESS else np.array([10, 200, 90])
    assert np.abs(inside - wanted).max() < 4


@pytest.mark.parametrize("encoding, code", [
    ("yuv422", cv2.COLOR_BGR2YUV_UYVY), ("yuv422_yuy2", cv2.COLOR_BGR2YUV_YUY2)])
def test_yuv_is_read_as_opencv_writes_it(encoding, code):
    frame = smooth()
    msg = blank(encoding)
    msg.data = bytes_array(cv2.cvtColor(frame, code))
    assert np.abs(to_bgr(msg).astype(int) - frame).mean() < 3


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_are_named_by_their_first_row(pattern):
    frame = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    frame[:] = (200, 120, 40)
    mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
    for i, letter in enumerate(pattern):
        mosaic[i // 2::2, i % 2::2] = frame[0, 0, "bgr".index(letter)]
    msg = blank(f"bayer_{pattern}8")
    msg.data = bytes_array(mosaic)
    assert np.abs(to_bgr(msg).astype(int) - frame).max() <= 1


@pytest.mark.parametrize("code, encoding", [(cv2.COLOR_YUV2BGR_NV12, "nv12"),
                                            (cv2.COLOR_YUV2BGR_NV21, "nv21")])
def test_colours_in_a_plane_of_their_own_are_read_as_opencv_does(code, encoding):
    msg = blank(encoding)
    rows = np.frombuffer(msg.data, np.uint8).reshape(-1, WIDTH)
    np.testing.assert_array_equal(to_bgr(msg), cv2.cvtColor(rows, code))


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_colours_in_a_plane_of_their_own_stay_outside_of_the_mask(encoding):
    msg = written(encoding, smooth())
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[11:30, 20:41] = 255
    out = covered_image(msg, np.full((HEIGHT, WIDTH, 3), (0, 0, 255), np.uint8), mask)
    before, after = (to_bgr(m).astype(int) for m in (msg, out))
    assert np.abs(after[14:28, 22:38] - (0, 0, 255)).max() < 6
    outside = cv2.dilate(mask, np.ones((3, 3), np.uint8)) == 0
    assert np.array_equal(before[outside], after[outside])
    half = 2 if encoding == "nv24" else 1
    changed = np.frombuffer(msg.data, np.uint8) != np.frombuffer(out.data, np.uint8)
    assert changed[HEIGHT * WIDTH:].sum() <= half * half * mask.astype(bool).sum() / 2 + 1


ODD = {
    "nothing odd": lambda values: None,
    "a stuck pixel": lambda values: values.__setitem__((5, 7), 65535),
    "a stuck column": lambda values: values.__setitem__((slice(None), 9), 65535),
    "a lamp": lambda values: values.__setitem__((slice(0, 14), slice(0, 11)), 60000),
    "dead pixels": lambda values: values.__setitem__((slice(0, 3), slice(0, 5)), 0)}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("encoding, big", [("mono16", 0), ("mono16", 1), ("rgb16", 0),
                                           ("bgra16", 1), ("bayer_rggb16", 0)])
def test_sixteen_bits_have_contrast_whatever_the_sensor_fills(encoding, big, bits, odd):
    values = smooth().astype(np.uint16)[..., 0] << (bits - 8)
    ODD[odd](values)
    msg = blank(encoding, big=big)
    channels = ENCODINGS[encoding].pixel_bytes // 2
    array = np.repeat(values[..., None], channels, axis=2)
    msg.data = bytes_array(array.astype(">u2" if big else "<u2"))
    shown = to_bgr(msg)[16:40, 16:56, 1].astype(float)
    low, high = np.percentile(shown, (5, 95))
    assert high - low > 60
    frame = smooth()[16:40, 16:56, 0]
    assert np.corrcoef(shown.ravel(), frame.ravel())[0, 1] > 0.95


def test_a_lit_face_in_a_dark_room_keeps_its_contrast():
    values = np.random.default_rng(0).integers(20, 100, (480, 640)).astype(np.uint16)
    values[200:260, 300:360] = np.linspace(300, 900, 60).astype(np.uint16)
    msg = Image(height=480, width=640, encoding="mono16", step=1280, data=bytes_array(values))
    assert np.ptp(to_bgr(msg)[200:260, 300:360, 0].astype(int)) > 80


@pytest.mark.parametrize("encoding", ["rgba8", "bgra8", "rgba16", "bgra16"])
@pytest.mark.parametrize("padding", [0, 6])
def test_what_is_drawn_in_transparency_does_not_leave(encoding, padding):
    msg = blank(encoding, padding=padding)
    size = ENCODINGS[encoding].pixel_bytes
    data = np.frombuffer(msg.data, np.uint8).copy().reshape(HEIGHT, -1)
    alpha = data[:, :WIDTH * size].reshape(HEIGHT, WIDTH, size)[..., size * 3 // 4:]
    alpha[10:30, 20:40] = 7
    msg.data = bytes_array(data)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:4, :4] = 255
    for given in ((None, None), (smooth(), mask)):
        out = covered_image(msg, *given)
        assert (pixels(out)[..., size * 3 // 4:] == 255).all()
        np.testing.assert_array_equal(pixels(out)[8:, :, :size * 3 // 4],
                                      pixels(msg)[8:, :, :size * 3 // 4])


def test_bgr8_is_a_view_and_must_not_be_written():
    msg = blank("bgr8", padding=2)
    frame = to_bgr(msg)
    assert np.shares_memory(frame, np.frombuffer(msg.data, np.uint8))
    with pytest.raises(ValueError):
        frame[0, 0] = 0


def test_without_faces_the_very_same_data_leaves():
    msg = blank("bgr8")
    assert covered_image(msg, None, None) == msg
    empty = np.zeros((HEIGHT, WIDTH), np.uint8)
    assert covered_image(msg, smooth(), empty) == msg


def test_the_camera_message_itself_is_never_changed():
    msg = blank("rgb8", padding=4)
    before = bytes(msg.data)
    covered_image(msg, smooth(), np.full((HEIGHT, WIDTH), 255, np.uint8))
    assert bytes(msg.data) == before


def test_padding_that_nobody_looked_at_is_cleared():
    msg = blank("bgr8", padding=9)
    rows = np.frombuffer(covered_image(msg, None, None).data, np.uint8).reshape(HEIGHT, -1)
    assert not rows[:, WIDTH * 3:].any()
    np.testing.assert_array_equal(rows[:, :WIDTH * 3],
                                  np.frombuffer(msg.data, np.uint8).reshape(HEIGHT, -1)[:, :-9])


def test_covered_pixels_become_opaque():
    msg = blank("rgba8")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:20, 10:20] = 255
    assert (pixels(covered_image(msg, smooth(), mask))[mask > 0][:, 3] == 255).all()


def change(**fields):
    msg = blank("bgr8")
    for name, value in fields.items():
        setattr(msg, name, value)
    return msg


@pytest.mark.parametrize("msg, words", [
    (Image(), ["''", "not supported"]),
    (change(encoding="yuv422p"), ["'yuv422p'", "bgr8"]),
    (change(encoding="nv12", step=64), ["no pixels", "4608"]),
    (change(encoding="nv24", step=66), ["step is 66"]),
    (change(encoding="32FC1"), ["'32FC1'"]),
    (change(encoding="16UC1"), ["'16UC1'"]),
    (change(width=0), ["0x48"]),
    (change(height=0), ["64x0"]),
    (change(step=0), ["step is 0", "192"]),
    (change(step=191), ["step is 191"]),
    (change(data=bytes_array(np.zeros(100, np.uint8))), ["truncated", "100", "9216"]),
    (change(data=bytes_array(np.zeros(9217, np.uint8))), ["no pixels", "9217"]),
    (change(height=49), ["truncated"]),
    (change(encoding="yuv422", width=63, step=192), ["63x48", "pairs"]),
    (change(encoding="bayer_rggb8", height=47, step=192), ["pairs"]),
    (change(encoding="mono16", step=131), ["step is 131"]),
    (change(width=2**31, height=2**31), ["step"]),
])
def test_bad_messages_are_refused_with_the_value(msg, words):
    for read in (to_bgr, tag_of, lambda m: covered_image(m, None, None)):
        with pytest.raises(FrameError) as error:
            read(msg)
        assert all(word in str(error.value) for word in words), error.value


def test_frames_of_another_size_are_refused():
    with pytest.raises(FrameError, match="is"):
        covered_image(blank("bgr8"), smooth()[:-1], np.full((HEIGHT - 1, WIDTH), 255, np.uint8))


def test_image_of_a_frame_and_its_tag():
    frame = smooth()
    msg = image_of(frame[:, ::-1], Header(frame_id="x"))
    np.testing.assert_array_equal(to_bgr(msg), frame[:, ::-1])
    assert tag_of(msg)[:2] == (HEIGHT, WIDTH)
    assert tag_of(msg) != tag_of(image_of(frame, Header()))
