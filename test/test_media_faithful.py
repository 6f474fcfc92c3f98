"""What of a picture stays, and that nothing else does: tables, profiles, chunks, 16 bits."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from sample_faces import FakeFinder

from deid_ros.config import defaults
from deid_ros.faces import empty_faces
from deid_ros.media import Job, Writing, process
from deid_ros.media.profiles import rebuilt_profile
from deid_ros.pipeline import Pipeline

HEIGHT, WIDTH = 40, 60
CANARY = b"canary canary canary"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    noise = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return smooth if dtype == np.uint8 else smooth.astype(dtype) * 257


def encoded(array: np.ndarray, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, form, **options)
    return stream.getvalue()


def run(tmp_path, name: str, data: bytes, **options):
    """Outcome and output of a file in which there is no face."""
    source = tmp_path / "in" / name
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(data)
    job = Job(source, tmp_path / "out" / name, name)
    pipeline = Pipeline(defaults(), finder=FakeFinder(empty_faces()))
    outcome = process(job, pipeline, writing=Writing(**options), overwrite=True)
    return outcome, job.target.read_bytes()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return (struct.pack(">I", len(content)) + name + content
            + struct.pack(">I", zlib.crc32(name + content)))


def with_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    return png[:33] + png_chunk(name, content) + png[33:]


def renumbered(jpeg: bytes, numbers: dict[int, int]) -> bytes:
    """A JPEG whose quantisation tables have other numbers."""
    data, at = bytearray(jpeg), 2
    while data[at + 1] != 0xDA:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if marker == 0xDB:
            for table in range(at + 4, at + 2 + length, 65):
                data[table] = numbers[data[table]]
        if marker in (0xC0, 0xC2):
            for colour in range(data[at + 9]):
                data[at + 12 + 3 * colour] = numbers[data[at + 12 + 3 * colour]]
        at += 2 + length
    return bytes(data)


@pytest.mark.parametrize("numbers", [{0: 0, 1: 1}, {0: 2, 1: 3}, {0: 0, 1: 2}, {0: 3, 1: 0}])
@pytest.mark.parametrize("channels", [1, 3])
def test_tables_of_a_jpeg_are_kept_whatever_their_numbers(tmp_path, numbers, channels):
    plain = encoded(picture(channels), "JPEG", quality=70)
    _, data = run(tmp_path, "a.jpg", renumbered(plain, numbers))
    with Image.open(io.BytesIO(plain)) as before, Image.open(io.BytesIO(data)) as after:
        assert before.quantization == after.quantization
        assert np.abs(np.asarray(before, int) - np.asarray(after)).mean() < 2


def test_a_table_that_no_colour_uses_is_left_behind(tmp_path):
    jpeg = encoded(picture(), "JPEG")
    table = b"\x03" + CANARY.ljust(64, b"!")
    data = jpeg[:2] + struct.pack(">BBH", 0xFF, 0xDB, len(table) + 2) + table + jpeg[2:]
    assert CANARY not in run(tmp_path, "a.jpg", data)[1]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_profile_is_written_anew(tmp_path, form):
    data = encoded(picture(), form, icc_profile=SRGB + CANARY)
    assert form == "PNG" or CANARY in data
    outcome, written = run(tmp_path, "a." + form.lower(), data)
    with Image.open(io.BytesIO(written)) as image:
        profile = image.info["icc_profile"]
    assert CANARY not in profile and CANARY not in written and not outcome.warnings
    lab = ImageCms.createProfile("LAB")

    def meaning(known: bytes) -> np.ndarray:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(known))
        change = ImageCms.buildTransform(opened, lab, "RGB", "LAB")
        return np.asarray(ImageCms.applyTransform(Image.fromarray(picture()), change), int)

    assert np.abs(meaning(SRGB) - meaning(profile)).max() <= 1


def test_a_profile_of_sixteen_bits_stays_too(tmp_path):
    png = cv2.imencode(".png", picture(3, np.uint16))[1].tobytes()
    packed = zlib.compress(SRGB + CANARY)
    _, data = run(tmp_path, "a.png", with_chunk(png, b"iCCP", b"name\0\0" + packed))
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == rebuilt_profile(SRGB, grey=False)


@pytest.mark.parametrize("profile", [b"no profile at all" * 20, SRGB[:200], SRGB[:128] + CANARY,
                                     SRGB.replace(b"rXYZ", b"oops")])
def test_a_profile_that_cannot_be_read_is_left_behind_and_named(tmp_path, profile):
    outcome, data = run(tmp_path, "a.jpg", encoded(picture(), "JPEG", icc_profile=profile))
    assert b"ICC_PROFILE" not in data
    assert "profile" in outcome.warnings[0] and str(len(profile)) in outcome.warnings[0]


def test_a_curve_that_does_not_rise_is_no_curve():
    start = SRGB.index(b"para") if b"para" in SRGB else SRGB.index(b"curv")
    noise = np.random.default_rng(0).integers(0, 65535, 64).astype(">u2").tobytes()
    fake = SRGB[:start] + struct.pack(">4s4xI", b"curv", 64) + noise + SRGB[start + 140:]
    assert rebuilt_profile(SRGB, grey=False) and rebuilt_profile(fake, grey=False) is None
    assert rebuilt_profile(SRGB, grey=True) is None


@pytest.mark.parametrize("deep", [False, True])
def test_numbers_of_png_colours_stay_and_its_other_chunks_do_not(tmp_path, deep):
    png = cv2.imencode(".png", picture(3, np.uint16 if deep else np.uint8))[1].tobytes()
    for name, content in ((b"gAMA", struct.pack(">I", 100000)), (b"eXIf", CANARY),
                          (b"tEXt", b"a\0" + CANARY), (b"faCe", CANARY)):
        png = with_chunk(png, name, content)
    outcome, data = run(tmp_path, "a.png", png + CANARY)
    assert outcome.faultless and CANARY not in data
    assert Image.open(io.BytesIO(data)).info["gamma"] == 1.0


def test_named_metadata_stays_byte_for_byte_and_nothing_else(tmp_path):
    exif = Image.Exif()
    exif[0x013B] = "Zo\u00eb \u4e2d".encode()
    exif[0x010F], exif[0x9C9B], exif[0xC4A5] = "Maker", CANARY, CANARY
    exif.get_ifd(0x8769)[0x829A] = 0.5
    exif.get_ifd(0x8769)[0x927C] = CANARY
    exif.get_ifd(0x8825)[29] = "2020:01:02"
    for form in ("jpg", "png", "webp"):
        kind = {"jpg": "JPEG"}.get(form, form.upper())
        data = encoded(picture(), kind, exif=exif.tobytes())
        _, written = run(tmp_path, "a." + form, data, keep_metadata=True)
        assert "Zo\u00eb \u4e2d".encode() in written and b"Maker" in written
        assert CANARY not in written and b"2020:01:02" not in written
        with Image.open(io.BytesIO(written)) as image:
            assert image.getexif().get_ifd(0x8769)[0x829A] == 0.5


@pytest.mark.parametrize("tag, value", [(0x011A, "a text"), (0x0128, "inches")])
def test_an_entry_that_cannot_be_written_costs_itself(tmp_path, tag, value):
    text = value.encode() + b"\0"
    # One entry more, of the type text where a number belongs.
    body = b"II*\0\x08\0\0\0" + struct.pack(
        "<HHHI4sHHIII", 2, 0x010F, 2, 4, b"Abc\0", tag, 2, len(text), 38, 0) + text
    outcome, data = run(tmp_path, "a.jpg", encoded(picture(), "JPEG", exif=b"Exif\0\0" + body),
                        keep_metadata=True)
    assert outcome.faultless
    assert Image.open(io.BytesIO(data)).getexif()[0x010F] == "Abc"


@pytest.mark.parametrize("highest", [1023, 4095, 65535])
@pytest.mark.parametrize("kind", ["P5", "P6"])
def test_deep_portable_maps_keep_values_and_highest(tmp_path, highest, kind):
    before = (picture(1 if kind == "P5" else 3).astype(np.uint32) * highest // 255)
    head = f"{kind}\n# a comment\n{WIDTH} {HEIGHT}\n{highest}\n".encode()
    _, data = run(tmp_path, "a.ppm", head + before.astype(">u2").tobytes())
    assert data == head.replace(b"# a comment\n", b"") + before.astype(">u2").tobytes()


@pytest.mark.parametrize("options", [
    {}, {"photometric": "miniswhite"}, {"byteorder": ">"}, {"turn": 6}, {"turn": 3},
    {"planes": True}, {"planes": True, "turn": 8}, {"tile": (16, 16)}], ids=str)
def test_deep_tiffs_of_every_kind_are_read_right(tmp_path, options):
    tifffile = pytest.importorskip("tifffile")
    options = dict(options)
    turn, planes = options.pop("turn", 1), options.pop("planes", False)
    before = picture(3, np.uint16)
    if "photometric" in options:
        before = picture(1, np.uint16)
    shown = 65535 - before if "photometric" in options else before
    stored = np.ascontiguousarray(np.moveaxis(before, 2, 0)) if planes else before
    stream = io.BytesIO()
    tifffile.imwrite(stream, stored, **{
        "photometric": "rgb", "planarconfig": "separate" if planes else None,
        "extratags": [(274, 3, 1, turn, True)], **options})
    _, data = run(tmp_path, "a.tiff", stream.getvalue())
    upright = {1: shown, 3: np.rot90(shown, 2), 6: np.rot90(shown, -1), 8: np.rot90(shown)}[turn]
    after = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(after if after.ndim == 2 else after[..., ::-1], upright)


def test_a_stuck_pixel_of_a_deep_picture_does_not_make_it_black(tmp_path):
    shown = []

    class Looks(FakeFinder):
        def find(self, frame, *, stamp_ns=0):
            shown.append(frame.copy())
            return super().find(frame)

    values = picture(1).astype(np.uint16) << 2
    values[3], values[7, 9] = 65535, 65535
    source = tmp_path / "a.png"
    source.write_bytes(cv2.imencode(".png", values)[1].tobytes())
    process(Job(source, tmp_path / "b.png", "a"),
            Pipeline(defaults(), finder=Looks(empty_faces())))
    assert np.ptp(np.percentile(shown[0][10:], (5, 95))) > 60


def test_other_pictures_of_a_file_are_named(tmp_path):
    frames = [Image.fromarray(picture()) for _ in range(3)]
    stream = io.BytesIO()
    frames[0].save(stream, "MPO", save_all=True, append_images=frames[1:])
    outcome, _ = run(tmp_path, "a.jpg", stream.getvalue())
    assert "2 further pictures" in outcome.warnings[0]
