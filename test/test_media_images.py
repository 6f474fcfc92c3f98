"""Pictures keep format and quality, and lose metadata and faces."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from sample_faces import FakeFinder, make_face

from deid_ros.config import defaults
from deid_ros.errors import MediaError
from deid_ros.faces import boxes_of, empty_faces
from deid_ros.media import Job, process
from deid_ros.pipeline import Pipeline
from deid_ros.replacer import Replacer

FACE = make_face((60, 50), 50, trusted=False)
HEIGHT, WIDTH = 100, 120


def solid(faces=FACE) -> Pipeline:
    return Pipeline(defaults(), finder=FakeFinder(faces), replacer=Replacer(replace="solid"))


def pixels(channels=3, dtype=np.uint8, seed=0):
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, shape, dtype, endpoint=True)


def run(tmp_path, name, data: bytes, pipeline=None):
    """The output's path after processing a file of these bytes."""
    source = tmp_path / "in" / name
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(data)
    job = Job(source, tmp_path / "out" / name, name)
    outcome = process(job, pipeline or solid())
    assert outcome.frames == 1 and outcome.faultless
    return job.target


def encoded(array, form, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, form, **options)
    return stream.getvalue()


def boxed():
    """bool (H, W): pixels at the middle of the face, and pixels far from it."""
    x, y, w, h = boxes_of(FACE)[0]
    inside, outside = np.zeros((2, HEIGHT, WIDTH), bool)
    inside[y + h // 4:y + 3 * h // 4, x + w // 4:x + 3 * w // 4] = True
    outside[:] = True
    outside[y - 10:y + h + 10, x - 10:x + w + 10] = False
    return inside, outside


def assert_only_face_changed(before, after):
    assert before.shape == after.shape and before.dtype == after.dtype
    inside, outside = boxed()
    assert np.array_equal(before[outside], after[outside])
    assert (before[inside] != after[inside]).mean() > 0.9


@pytest.mark.parametrize("form, options, channels", [
    *(("PNG", {}, c) for c in (1, 2, 3, 4)), *(("TIFF", {}, c) for c in (1, 3, 4)),
    ("TIFF", {"compression": "tiff_lzw"}, 3), ("WEBP", {"lossless": True, "exact": True}, 3),
    ("WEBP", {"lossless": True, "exact": True}, 4), ("BMP", {}, 1), ("BMP", {}, 3),
    ("PPM", {}, 1), ("PPM", {}, 3)])
def test_lossless_formats_stay_as_they_are_elsewhere(tmp_path, form, options, channels):
    before = pixels(channels)
    if channels in (2, 4):
        before[..., -1] = 255
        before[0, 0, -1] = 254
    path = run(tmp_path, "a." + form.lower(), encoded(before, form, **options))
    with Image.open(path) as image:
        assert image.format == form
        after = np.asarray(image)
    if channels in (2, 4):
        assert np.array_equal(before[..., -1], after[..., -1])
        before, after = before[..., :-1], after[..., :-1]
    assert_only_face_changed(before, after)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [16, 12])
def test_sixteen_bits_stay(tmp_path, channels, suffix, bits):
    before = pixels(channels, np.uint16) >> (16 - bits)
    if channels == 4:
        before[..., 3] = 65535
    path = run(tmp_path, "a" + suffix, cv2.imencode(suffix, before)[1].tobytes())
    after = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if channels == 4:
        assert (after[..., 3] == 65535).all()
        before, after = before[..., :3], after[..., :3]
    assert_only_face_changed(before, after)


def test_a_dark_sixteen_bit_picture_is_seen_by_the_detector(tmp_path):
    """Cameras fill 10 of 16 bits: cut to the upper eight there would be no face."""
    class Looks(FakeFinder):
        def find(self, frame, *, stamp_ns=0):
            self.contrast = np.ptp(frame)
            return super().find(frame)

    finder = Looks(FACE)
    pipeline = Pipeline(defaults(), finder=finder, replacer=Replacer(replace="solid"))
    data = cv2.imencode(".png", pixels(1, np.uint16) >> 6)[1].tobytes()
    run(tmp_path, "a.png", data, pipeline)
    assert finder.contrast > 240


def test_palette_and_bilevel_are_handled(tmp_path):
    image = Image.fromarray(pixels()).quantize(16)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    path = run(tmp_path, "p.png", stream.getvalue())
    assert_only_face_changed(np.asarray(image.convert("RGB")), np.asarray(Image.open(path)))
    stream = io.BytesIO()
    Image.fromarray(pixels(1)).convert("1").save(stream, "PNG")
    assert Image.open(run(tmp_path, "b.png", stream.getvalue())).mode == "L"


def test_a_face_drawn_in_transparency_is_covered(tmp_path):
    before = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    before[..., 3] = pixels(1)
    after = np.asarray(Image.open(run(tmp_path, "a.png", encoded(before, "PNG"))))
    inside, outside = boxed()
    assert np.ptp(after[inside][:, 3]) == 0
    assert np.array_equal(after[outside], before[outside])


def smooth():
    return cv2.GaussianBlur(pixels(), (0, 0), 4)


@pytest.mark.parametrize("quality, subsampling", [(60, 2), (92, 0), (80, 1)])
def test_jpeg_quality_is_kept(tmp_path, quality, subsampling):
    data = encoded(smooth(), "JPEG", quality=quality, subsampling=subsampling, progressive=True)
    path = run(tmp_path, "a.jpg", data)
    with Image.open(io.BytesIO(data)) as before, Image.open(path) as after:
        assert after.format == "JPEG" and after.quantization == before.quantization
        from PIL import JpegImagePlugin
        assert JpegImagePlugin.get_sampling(after) == JpegImagePlugin.get_sampling(before)
        assert after.info.get("progressive")
        _, outside = boxed()
        outside[:8] = outside[-8:] = False
        difference = np.asarray(before, int)[outside] - np.asarray(after, int)[outside]
        assert np.abs(difference).mean() < 1.5


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_metadata_is_gone(tmp_path, form):
    thumbnail = encoded(pixels(seed=5)[:40, :40], "JPEG")
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "SecretMake", "SecretModel"
    exif[0x013B] = "SecretArtist"
    exif.get_ifd(0x8825)[29] = "2020:01:02"
    options = {"exif": exif.tobytes() + thumbnail if form == "JPEG" else exif.tobytes()}
    if form == "PNG":
        from PIL.PngImagePlugin import PngInfo
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text("Comment", "SecretText")
    if form == "JPEG":
        options["comment"] = b"SecretComment"
        options["xmp"] = b"<x>SecretXmp</x>"
    data = encoded(smooth(), form, **options)
    assert b"Secret" in data
    path = run(tmp_path, "a." + form.lower(), data)
    written = path.read_bytes()
    assert b"Secret" not in written and b"Exif" not in written and thumbnail not in written
    assert b"2020:01:02" not in written
    with Image.open(path) as image:
        assert not set(image.getexif()) & set(exif)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_orientation_is_applied(tmp_path, orientation, deep):
    upright = np.zeros((HEIGHT, WIDTH), np.uint16 if deep else np.uint8)
    upright[:20, :40], upright[:20, -30:] = 200, 100
    turns = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
             5: upright.T, 6: np.rot90(upright), 7: upright[::-1, ::-1].T,
             8: np.rot90(upright, -1)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(np.ascontiguousarray(turns[orientation]), "PNG", exif=exif.tobytes())
    path = run(tmp_path, "a.png", data, solid(empty_faces()))
    with Image.open(path) as image:
        assert image.getexif().get(0x0112, 1) == 1
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), upright)


def bad_files():
    frames = [Image.fromarray(pixels(seed=i)) for i in range(3)]

    def several(form):
        stream = io.BytesIO()
        frames[0].save(stream, form, save_all=True, append_images=frames[1:])
        return stream.getvalue()

    cmyk = io.BytesIO()
    frames[0].convert("CMYK").save(cmyk, "JPEG")
    png = encoded(pixels(), "PNG")
    yield "text.png", b"no picture at all", "no picture"
    yield "empty.jpg", b"", "no picture"
    yield "cut.png", png[:len(png) // 2], "cannot be read"
    yield "cut.jpg", encoded(pixels(), "JPEG")[:3000], "cannot be read"
    yield "tail.png", png[:40], "no picture"
    yield "cmyk.jpg", cmyk.getvalue(), "CMYK"
    yield "pages.tiff", several("TIFF"), "3 pictures"
    yield "moving.png", several("PNG"), "3 pictures"
    yield "moving.gif", several("GIF"), "GIF"
    yield "float.tiff", encoded(pixels(1).astype(np.float32), "TIFF"), "colours F"


@pytest.mark.parametrize("name, data, word", [pytest.param(*row, id=row[0])
                                              for row in bad_files()])
def test_what_cannot_be_done_is_refused_in_a_sentence(tmp_path, name, data, word):
    with pytest.raises(MediaError, match=word) as error:
        run(tmp_path, name, data)
    assert str(tmp_path / "in" / name) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(MediaError, match="cannot be read"):
        process(Job(tmp_path / "no.jpg", tmp_path / "out.jpg", "no.jpg"), solid())


def test_nothing_is_written_when_detection_fails(tmp_path):
    class Fails(FakeFinder):
        def find(self, frame, *, stamp_ns=0):
            raise RuntimeError("injected")

    pipeline = Pipeline(defaults(), finder=Fails(FACE), replacer=Replacer(replace="solid"))
    with pytest.raises(MediaError, match="could not be made anonymous.*injected"):
        run(tmp_path, "a.png", encoded(pixels(), "PNG"), pipeline)
    assert list((tmp_path / "out").iterdir()) == []


def test_further_views_of_a_phone_picture_are_left_behind(tmp_path):
    frames = [Image.fromarray(cv2.GaussianBlur(pixels(seed=i), (0, 0), 3)) for i in range(2)]
    stream = io.BytesIO()
    frames[0].save(stream, "MPO", save_all=True, append_images=frames[1:])
    path = run(tmp_path, "a.jpg", stream.getvalue())
    with Image.open(path) as image:
        assert image.format == "JPEG" and getattr(image, "n_frames", 1) == 1
    assert path.stat().st_size < 0.75 * len(stream.getvalue())


def test_limit_looks_at_transparency_too(tmp_path):
    before = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    before[..., 3] = pixels(1)
    (tmp_path / "a.png").write_bytes(encoded(before, "PNG"))
    job = Job(tmp_path / "a.png", tmp_path / "out" / "a.png", "a.png")
    process(job, solid(), limit=1)
    inside, _ = boxed()
    assert np.ptp(np.asarray(Image.open(job.target))[inside][:, 3]) == 0
