"""Videos of odd kinds: shape of pixels, mirrors, depth, tracks, transparency, times."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from sample_faces import FakeFinder, make_face

from deid_ros.config import defaults
from deid_ros.errors import MediaError
from deid_ros.faces import boxes_of, empty_faces
from deid_ros.media import Job, Writing, process
from deid_ros.media.orientation import DisplayTurn
from deid_ros.media.video_writer import encoder_for
from deid_ros.pipeline import Pipeline
from deid_ros.replacer import Replacer

SIZE = (96, 64)
CANARY = b"canary canary canary"


def picture(index: int = 0) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, 1, SIZE[0]), np.linspace(0, 1, SIZE[1]))
    planes = [60 + 120 * x, 200 - 120 * y, 80 + 100 * x * y + 3 * index]
    return np.stack(planes, axis=-1).astype(np.uint8)


def mux_pictures(container: av.container.OutputContainer, video: av.VideoStream) -> None:
    """Write 25 pictures, a second of them, as the stream ``video`` of a container."""
    for i in range(25):
        frame = av.VideoFrame.from_ndarray(picture(i), format="bgr24").reformat(format="yuv420p")
        frame.pts = i
        container.mux(video.encode(frame))
    container.mux(video.encode(None))


def add(container, times, *, codec="libx264", form="yuv420p", aspect=None, base=Fraction(1, 1000),
        colours=None, last=None, options=None):
    """One track with frames at these times (in ``base``), the last of them for so long."""
    packets = []
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    stream = container.add_stream(codec, rate=25, options=options or {})
    stream.width, stream.height, stream.pix_fmt = *SIZE, form
    stream.codec_context.time_base = base
    if aspect:
        stream.codec_context.sample_aspect_ratio = aspect
    if colours:
        stream.codec_context.color_trc = colours
    for i, time in enumerate(times):
        frame = av.VideoFrame.from_ndarray(picture(i), format="bgr24").reformat(format=form)
        frame.pts, frame.time_base = time, base
        packets += stream.encode(frame)
    for packet in [*packets, *stream.encode(None)]:
        if len(times) <= 2:
            packet.dts = packet.pts  # libx265 leaves it unset for one or two frames
        if packet.pts == times[-1] and last:
            packet.duration = last
        container.mux(packet)
    return stream


def clip(path: Path, times=range(0, 200, 40), **options) -> Path:
    with av.open(str(path), "w") as container:
        add(container, times, **options)
    return path


def run(source: Path, **options):
    target = source.parent / "out" / source.name
    limit = options.pop("limit", None)
    pipeline = Pipeline(defaults(), finder=FakeFinder(empty_faces()))
    outcome = process(Job(source, target, source.name), pipeline, writing=Writing(**options),
                      limit=limit, overwrite=True)
    return outcome, target


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def turned(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Put a display matrix into the header of an mp4 file."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    one = 1 << 16
    data[at:at + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix, codec", [
    (".mp4", "libx264"), (".mkv", "libx264"), (".mov", "libx265"), (".ts", "libx264"),
    (".webm", "libvpx-vp9"), (".mp4", "mpeg4"), (".avi", "mpeg4"), (".mpg", "mpeg2video")])
def test_the_shape_of_pixels_stays(tmp_path, suffix, codec):
    times = {"base": Fraction(1, 25), "times": range(5)} if suffix == ".mpg" else {}
    source = clip(tmp_path / f"a{suffix}", codec=codec, aspect=Fraction(4, 3), **times)
    with av.open(str(source)) as given, av.open(str(run(source)[1])) as made:
        before, after = (s.sample_aspect_ratio or s.codec_context.sample_aspect_ratio
                         for s in (given.streams.video[0], made.streams.video[0]))
    assert before and abs(after - before) < 0.01


@pytest.mark.parametrize("matrix, expected", [
    ((1, 0, 0, 1), lambda a: a), ((-1, 0, 0, 1), lambda a: a[:, ::-1]),
    ((1, 0, 0, -1), lambda a: a[::-1]), ((-1, 0, 0, -1), lambda a: np.rot90(a, 2)),
    ((0, 1, -1, 0), lambda a: np.rot90(a, -1)), ((0, -1, 1, 0), lambda a: np.rot90(a)),
    ((0, 1, 1, 0), lambda a: a.swapaxes(0, 1)),
    ((0, -1, -1, 0), lambda a: np.rot90(a, 2).swapaxes(0, 1)), ((0, 0, 0, 0), lambda a: a)])
def test_mirrors_and_turns_are_those_of_players(tmp_path, matrix, expected):
    source = turned(clip(tmp_path / "a.mp4"), *matrix)
    shown = frames_of(run(source)[1])[0]
    wanted = expected(picture())
    made = shown.to_ndarray(format="bgr24")
    assert made.shape == wanted.shape and np.abs(made.astype(int) - wanted).mean() < 4


@pytest.mark.parametrize("codec, form, trc, words", [
    ("mpeg2video", "yuv422p", None, "coarser"), ("prores_ks", "yuva444p10le", None, "transparency"),
    ("ffv1", "yuv420p16le", 18, "HLG"), ("ffv1", "yuv444p14le", 16, "PQ"),
    ("ffv1", "gbrp10le", None, "10 bits")])
def test_depth_and_colours_that_are_lost_are_said(tmp_path, codec, form, trc, words):
    base = {"base": Fraction(1, 25), "times": range(5)} if codec == "mpeg2video" else {}
    source = clip(tmp_path / ("a.mov" if codec == "prores_ks" else "a.mkv"), codec=codec, form=form,
                  colours=trc, **base)
    outcome, _ = run(source)
    assert any(words in warning for warning in outcome.warnings)


@pytest.mark.parametrize("codec, form, suffix", [
    ("libx264", "yuv420p10le", ".mp4"), ("libx265", "yuv420p10le", ".mov"),
    ("libx265", "yuv420p12le", ".mp4"), ("libx265", "yuv422p10le", ".mkv"),
    ("libx264", "yuv444p10le", ".mkv"), ("ffv1", "yuv420p10le", ".mkv"),
    ("prores_ks", "yuv422p10le", ".mov"), ("libsvtav1", "yuv420p10le", ".mkv")])
def test_depth_stays_where_an_encoder_has_it(tmp_path, codec, form, suffix):
    source = clip(tmp_path / f"a{suffix}", codec=codec, form=form)
    outcome, target = run(source, crf=1)
    before, after = frames_of(source)[2], frames_of(target)[2]
    assert after.format.name == form and not outcome.warnings
    planes = [np.frombuffer(f.planes[0], np.uint16).reshape(SIZE[1], -1)[:, :SIZE[0]].astype(int)
              for f in (before, after)]
    assert np.abs(planes[0] - planes[1]).mean() < (4 if "12" in form else 1.5)


@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, 1)])
def test_faces_of_deep_videos_are_covered(tmp_path, matrix):
    source = turned(clip(tmp_path / "a.mp4", codec="libx265", form="yuv420p10le"), *matrix)
    target = tmp_path / "out.mp4"
    face = make_face((30, 30), 20, trusted=False)
    process(Job(source, target, "a"), Pipeline(
        defaults(), finder=FakeFinder(face), replacer=Replacer(replace="solid")))
    x, y, w, h = boxes_of(face)[0]
    for frame in frames_of(target):
        assert frame.format.name == "yuv420p10le"
        shown = frame.to_ndarray(format="bgr24")
        inside = shown[y + h // 3:y + 2 * h // 3, x + w // 3:x + 2 * w // 3].astype(int)
        assert np.ptp(inside, axis=(0, 1)).max() < 12
    turn = DisplayTurn(frames_of(source)[0])
    wanted = turn.upright(frames_of(source)[2].to_ndarray(format="bgr24"))
    made = frames_of(target)[2].to_ndarray(format="bgr24")
    far = np.ones(made.shape[:2], bool)
    far[max(y - 12, 0):y + h + 12, max(x - 12, 0):x + w + 12] = False
    assert np.abs(made.astype(int) - wanted)[far].mean() < 3


@pytest.mark.parametrize("codec, form", [
    ("libx264", "yuv420p"), ("libx264", "yuv422p"), ("libx264", "yuv444p"),
    ("libx265", "yuv444p"), ("libvpx-vp9", "yuv444p"), ("mjpeg", "yuvj444p")])
def test_fineness_of_colours_stays(tmp_path, codec, form):
    source = clip(tmp_path / "a.mkv", codec=codec, form=form)
    outcome, target = run(source)
    assert frames_of(target)[0].format.name == form and not outcome.warnings


@pytest.mark.parametrize("codec, form, suffix", [
    ("prores_ks", "yuva444p10le", ".mov"), ("libvpx-vp9", "yuva420p", ".webm"),
    ("qtrle", "argb", ".mov")])
def test_transparency_that_is_lost_is_said(tmp_path, codec, form, suffix):
    outcome, _ = run(clip(tmp_path / f"a{suffix}", codec=codec, form=form))
    assert any("transparency" in warning for warning in outcome.warnings)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_times_of_mpeg4_stay(tmp_path, suffix):
    times = [*range(0, 1000, 100), *range(1000, 1200, 20)]
    source = clip(tmp_path / f"a{suffix}", times, codec="mpeg4")
    before, after = ([frame.time for frame in frames_of(path)] for path in (source, run(source)[1]))
    assert np.abs(np.diff(before) - np.diff(after)).max() < 0.003


@pytest.mark.parametrize("suffix, codec", [(".mkv", "libx264"), (".webm", "libvpx-vp9"),
                                           (".mkv", "libx265")])
def test_the_last_frame_lasts_as_long_as_before(tmp_path, suffix, codec):
    source = clip(tmp_path / f"a{suffix}", codec=codec, last=500)
    assert [f.duration for f in frames_of(source)][-1] == 500
    assert [f.duration for f in frames_of(run(source)[1])][-1] == 500


def test_time_goes_on_where_recordings_were_joined(tmp_path):
    one, two = (clip(tmp_path / f"{n}.ts", range(0, 1000, 40)) for n in "ab")
    source = tmp_path / "joined.ts"
    source.write_bytes(one.read_bytes() + two.read_bytes())
    times = [frame.time for frame in frames_of(run(source)[1])]
    assert len(times) == 50 and np.abs(np.diff(times) - 0.04).max() < 0.003


@pytest.mark.parametrize("tag", ["hvc1", "hev1"])
def test_the_kind_of_hevc_stays(tmp_path, tag):
    source = tmp_path / "a.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx265", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.codec_tag = tag
        for i in range(4):
            frame = av.VideoFrame.from_ndarray(picture(i), format="bgr24").reformat(
                format="yuv420p")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(run(source)[1])) as made:
        assert made.streams.video[0].codec_context.codec_tag == tag


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv"])
def test_interlaced_h264_stays_interlaced(tmp_path, suffix, order):
    source = clip(tmp_path / f"a{suffix}", options={"x264-params": f"{order}=1"})
    outcome, target = run(source)
    with av.open(str(source)) as given, av.open(str(target)) as made:
        before, after = (c.streams.video[0].codec_context.field_order for c in (given, made))
    assert before == after and all(frame.interlaced_frame for frame in frames_of(target))
    assert not outcome.warnings


def test_other_interlaced_videos_are_named(tmp_path):
    source = clip(tmp_path / "a.mkv", options={"x264-params": "tff=1"})
    outcome, _ = run(source, codec="vp9")
    assert any("interlaced" in warning for warning in outcome.warnings)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_hevc_of_a_few_frames_is_written(tmp_path, count, suffix):
    source = clip(tmp_path / f"a{suffix}", range(0, 40 * count, 40), codec="libx265")
    assert len(frames_of(run(source)[1])) == count
    long = clip(tmp_path / f"b{suffix}", codec="libx265")
    assert len(frames_of(run(long, limit=count)[1])) == count


@pytest.mark.parametrize("size", [0, 20, 48, 200])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts", ".avi"])
def test_only_the_start_of_a_file_is_refused_in_a_sentence(tmp_path, size, suffix):
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    whole = clip(tmp_path / f"whole{suffix}", codec=codec).read_bytes()
    source = tmp_path / f"a{suffix}"
    source.write_bytes(whole[:size])
    with pytest.raises(MediaError) as error:
        run(source)
    assert str(source) in str(error.value)


@pytest.mark.parametrize("codec, suffix", [
    ("aac", ".mp4"), ("flac", ".mkv"), ("libvorbis", ".mkv"), ("libopus", ".webm"),
    ("pcm_s16le", ".mov"), ("libmp3lame", ".mkv")])
def test_sound_that_is_kept_is_nothing_but_sound(tmp_path, codec, suffix):
    """Whatever lies in a track's header and between its packets stays behind."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    source = tmp_path / f"a{suffix}"
    rate = 48000
    with av.open(str(source), "w") as container:
        video = container.add_stream("libvpx-vp9" if suffix == ".webm" else "libx264", rate=25)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout="mono")
        sound.metadata["title"] = CANARY.decode()
        container.metadata["title"] = CANARY.decode()
        form = sound.codec_context.format.name
        wave = (8000 * np.sin(np.arange(rate) * 2 * np.pi * 440 / rate)).astype(np.int16)[None]
        whole = av.AudioFrame.from_ndarray(wave, "s16", "mono")
        whole.sample_rate, whole.pts = rate, 0
        for part in av.AudioResampler(form, "mono", rate).resample(whole):
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
        mux_pictures(container, video)
    assert CANARY in source.read_bytes()
    outcome, target = run(source, keep_audio=True)
    assert outcome.faultless and CANARY not in target.read_bytes()
    with av.open(str(target)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        made = np.concatenate([frame.to_ndarray().reshape(-1)
                               for frame in container.decode(audio=0)])
    assert abs(len(made) / rate - 1) < 0.1
    peak = np.argmax(np.abs(np.fft.rfft(made[:rate].astype(float))))
    assert abs(peak * rate / len(made[:rate]) - 440) < 5


def test_a_cover_picture_is_not_copied_with_the_sound(tmp_path):
    source, cover = tmp_path / "a.mp4", io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), 77, np.uint8)).save(cover, "JPEG", comment=CANARY)
    with av.open(str(source), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="mono")
        still = container.add_stream("mjpeg", rate=25)
        still.width, still.height, still.pix_fmt = 32, 32, "yuvj420p"
        still.disposition = av.stream.Disposition.attached_pic
        packet = av.Packet(cover.getvalue())
        packet.stream, packet.pts, packet.dts = still, 0, 0
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(picture(i), format="bgr24").reformat(
                format="yuv420p")
            frame.pts = i
            container.mux(video.encode(frame))
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts = 48000, 1024 * i
            container.mux(sound.encode(samples))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
        container.mux(packet)
    assert CANARY in source.read_bytes()
    outcome, target = run(source, keep_audio=True)
    assert CANARY not in target.read_bytes()
    assert any("cover picture" in warning for warning in outcome.warnings)


def test_three_passes_do_not_darken(tmp_path):
    source = clip(tmp_path / "a.mp4")
    first = frames_of(source)[1].to_ndarray()[:SIZE[1]].mean()
    for _ in range(3):
        _, target = run(source)
        source.write_bytes(target.read_bytes())
    assert abs(frames_of(source)[1].to_ndarray()[:SIZE[1]].mean() - first) < 0.4


@pytest.mark.parametrize("suffix, codec, asked", [
    (".wmv", "wmv2", ""), (".ogv", "theora", ""), (".mjpeg", "mjpeg", ""), (".mp4", "h264", "odd")])
def test_what_cannot_be_written_is_known_before(suffix, codec, asked):
    if suffix == ".ogv" and "libtheora" in av.codecs_available:
        pytest.skip("this PyAV writes Theora")
    with pytest.raises(MediaError, match="-o|--codec"):
        encoder_for(suffix, codec, asked)
