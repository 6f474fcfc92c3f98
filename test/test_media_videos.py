"""Videos keep timing and looks, and lose sound, metadata and faces."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from sample_faces import FakeFinder, make_face

from deid_ros.config import defaults
from deid_ros.errors import DetectorError, MediaError
from deid_ros.faces import boxes_of, empty_faces
from deid_ros.media import Job, process
from deid_ros.pipeline import Pipeline
from deid_ros.replacer import Replacer

FACE = make_face((64, 48), 44, trusted=False)
SIZE = (128, 96)


def solid(faces=FACE, finder=None) -> Pipeline:
    return Pipeline(defaults(), finder=finder or FakeFinder(faces),
                    replacer=Replacer(replace="solid"))


def picture(index=0, size=SIZE):
    """Smooth colours that change from frame to frame; compresses well."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    planes = [60 + 120 * x, 200 - 120 * y, 80 + 100 * x * y + 3 * index]
    return np.stack(planes, axis=-1).astype(np.uint8)


def write(path, times, *, codec="libx264", size=SIZE, time_base=Fraction(1, 1000), sound=False,
          metadata=None, pix_fmt="yuv420p", colours=None, frames=None):
    """A clip with frames at these times (in ``time_base``)."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.time_base = time_base
        if colours:
            stream.codec_context.colorspace, stream.codec_context.color_range = colours
        tone = None
        if sound:
            tone = container.add_stream("aac", rate=44100, layout="mono")
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            samples.sample_rate = 44100
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i, size) if frames is None else frames[i],
                                               format="bgr24")
            if colours:
                frame = frame.reformat(format=pix_fmt, dst_colorspace=colours[0],
                                       dst_color_range=colours[1])
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
            if tone:
                samples.pts = 1024 * i
                container.mux(tone.encode(samples))
        container.mux(stream.encode(None))
        if tone:
            container.mux(tone.encode(None))
    return path


def read(path):
    """(times in seconds, BGR frames) of a clip."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [frame.time for frame in frames], [f.to_ndarray(format="bgr24") for f in frames]


def run(source, pipeline=None, name=None, **options):
    target = source.parent / "out" / (name or source.name)
    return process(Job(source, target, source.name), pipeline or solid(), **options), target


def assert_covered(before, after, tolerance=6):
    x, y, w, h = boxes_of(FACE)[0]
    inside = after[y + h // 3:y + 2 * h // 3, x + w // 3:x + 2 * w // 3].astype(int)
    assert inside.std(axis=(0, 1)).max() < 3
    outside = np.ones(before.shape[:2], bool)
    outside[y - 12:y + h + 12, x - 12:x + w + 12] = False
    assert np.abs(before.astype(int) - after)[outside].mean() < tolerance


def test_timestamps_are_kept_also_uneven_ones(tmp_path):
    times = [0, 40, 80, 200, 210, 1000, 1040]
    source = write(tmp_path / "a.mp4", times)
    outcome, target = run(source)
    assert outcome.frames == len(times) and outcome.faultless
    assert outcome.covered == {"solid": len(times)}
    assert np.allclose(read(target)[0], read(source)[0], atol=1e-3)
    for before, after in zip(read(source)[1], read(target)[1], strict=True):
        assert_covered(before, after)


def test_every_frame_carries_its_time_to_the_tracker(tmp_path):
    class Times(FakeFinder):
        def find(self, frame, *, stamp_ns=0):
            self.seen.append(stamp_ns)
            return super().find(frame)

    finder = Times(FACE)
    finder.seen = []
    run(write(tmp_path / "a.mp4", [0, 40, 120]), solid(finder=finder))
    assert finder.seen[0] >= 1
    assert np.allclose(np.diff(finder.seen), [40e6, 80e6], atol=1e6)
    assert finder.resets == 1


@pytest.mark.parametrize("suffix, codec, family", [
    (".mp4", "libx264", "h264"), (".mp4", "libx265", "hevc"), (".mkv", "libvpx-vp9", "vp9"),
    (".webm", "libvpx-vp9", "vp9"), (".avi", "mpeg4", "mpeg4"), (".avi", "mjpeg", "mjpeg"),
    (".mkv", "ffv1", "ffv1"), (".mov", "libx264", "h264"), (".mpg", "mpeg2video", "mpeg2video"),
    (".mkv", "libsvtav1", "av1"), (".ts", "libx264", "h264"), (".avi", "libx264", "h264"),
    (".avi", "huffyuv", "h264")])
def test_the_codec_family_is_kept_where_it_can_be_written(tmp_path, suffix, codec, family):
    fmt = {"mjpeg": "yuvj420p", "ffv1": "yuv420p", "huffyuv": "yuv422p"}.get(codec, "yuv420p")
    step = Fraction(1, 25)
    source = write(tmp_path / f"a{suffix}", range(6), codec=codec, time_base=step, pix_fmt=fmt)
    outcome, target = run(source)
    assert outcome.frames == 6, outcome.problems
    with av.open(str(target)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == family
    (times, before), (again, after) = read(source), read(target)
    if codec != "libx264" or suffix != ".avi":  # AVI has no times that could be compared
        assert np.allclose(np.diff(times), np.diff(again), atol=2e-3)
    for one, two in zip(before, after, strict=True):
        assert_covered(one, two)


@pytest.mark.parametrize("space, full", [(1, 1), (5, 1), (1, 2), (6, 2)])
def test_colours_are_those_of_the_input(tmp_path, space, full):
    source = write(tmp_path / "a.mp4", [0, 40, 80], colours=(space, full))
    _, target = run(source)
    with av.open(str(target)) as container:
        frame = next(container.decode(video=0))
        assert (int(frame.colorspace), int(frame.color_range)) == (space, full)
    for one, two in zip(read(source)[1], read(target)[1], strict=True):
        assert_covered(one, two, tolerance=3)


@pytest.mark.parametrize("size", [(127, 96), (128, 95), (127, 95)])
def test_odd_sizes_stay(tmp_path, size):
    source = write(tmp_path / "a.mp4", [0, 40], size=size, pix_fmt="yuv444p")
    _, target = run(source, solid(empty_faces()))
    assert read(target)[1][0].shape[:2] == size[::-1]


def test_sound_and_metadata_are_gone(tmp_path):
    metadata = {"title": "SecretTitle", "comment": "SecretPlace",
                "creation_time": "2020-01-02T03:04:05Z"}
    source = write(tmp_path / "a.mkv", range(0, 400, 40), sound=True, metadata=metadata)
    assert b"SecretTitle" in source.read_bytes()
    _, target = run(source)
    with av.open(str(target)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert not {key.lower() for key in container.metadata} & set(metadata)
    assert b"Secret" not in target.read_bytes()


def turned(path, matrix):
    """Put a rotation into the header of an mp4 file."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    data[at:at + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)


@pytest.mark.parametrize("turns, matrix", [
    (-1, (0, 1, 0, -1, 0, 0)), (2, (-1, 0, 0, 0, -1, 0)), (1, (0, -1, 0, 1, 0, 0))])
def test_rotation_is_applied(tmp_path, turns, matrix):
    """A matrix (0, 1, -1, 0) is shown turned clockwise by a quarter (ISO 14496-12)."""
    source = write(tmp_path / "a.mp4", [0, 40])
    turned(source, [v * 65536 for v in matrix] + [0, 0, 1 << 30])
    _, target = run(source, solid(empty_faces()))
    with av.open(str(target)) as container:
        frame = next(container.decode(video=0))
        assert frame.rotation == 0
    expected = np.rot90(picture(0), turns)
    assert frame.to_ndarray(format="bgr24").shape == expected.shape
    assert np.abs(frame.to_ndarray(format="bgr24").astype(int) - expected).mean() < 6


def test_limit_and_progress(tmp_path):
    seen = []
    outcome, target = run(write(tmp_path / "a.mp4", range(0, 400, 40)), limit=4,
                          progress=lambda done, total: seen.append((done, total)))
    assert outcome.frames == 4 == len(read(target)[0])
    assert seen == [(i, 4) for i in (1, 2, 3, 4)]


class Flaky(FakeFinder):
    """Fails at every other frame."""

    calls = 0

    def find(self, frame, *, stamp_ns=0):
        self.calls += 1
        if self.calls % 2:
            raise DetectorError("injected")
        return super().find(frame)


def test_frames_that_cannot_be_made_anonymous_are_withheld(tmp_path):
    source = write(tmp_path / "a.mp4", range(0, 400, 40))
    outcome, target = run(source, solid(finder=Flaky(FACE)))
    assert (outcome.frames, outcome.withheld) == (5, 5) and not outcome.faultless
    assert np.allclose(read(target)[0], read(source)[0][1::2], atol=1e-3)
    for frame in read(target)[1]:
        assert_covered(picture(5), frame, tolerance=20)


def test_nothing_is_written_when_every_frame_is_withheld(tmp_path):
    class Never(FakeFinder):
        def find(self, frame, *, stamp_ns=0):
            raise DetectorError("injected")

    with pytest.raises(MediaError, match="injected"):
        run(write(tmp_path / "a.mp4", [0, 40]), solid(finder=Never(FACE)))
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interrupted_run_leaves_nothing(tmp_path):
    class Stops(FakeFinder):
        calls = 0

        def find(self, frame, *, stamp_ns=0):
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().find(frame)

    with pytest.raises(KeyboardInterrupt):
        run(write(tmp_path / "a.mp4", range(0, 400, 40)), solid(finder=Stops(FACE)))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_video_yields_what_can_be_read(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8) for _ in range(40)]
    source = write(tmp_path / "a.ts", range(0, 1600, 40), frames=frames)
    data = bytearray(source.read_bytes())
    for at in range(len(data) // 2, len(data) // 2 + 4000):
        data[at] = rng.integers(256)
    source.write_bytes(data)
    outcome, target = run(source)
    assert 15 < outcome.frames <= 40
    assert outcome.lost and "damaged" in " ".join(outcome.problems)
    assert len(read(target)[0]) == outcome.frames


@pytest.mark.parametrize("name, data", [("a.mp4", b""), ("a.mp4", b"no video at all" * 100),
                                        ("b.avi", b"RIFF\0\0\0\0AVI LIST")])
def test_what_is_no_video_is_refused(tmp_path, name, data):
    source = tmp_path / name
    source.write_bytes(data)
    with pytest.raises(MediaError) as error:
        run(source)
    assert str(source) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_sound_alone_is_no_video(tmp_path):
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="no video"):
        run(source)


def test_an_unknown_kind_of_output_is_refused(tmp_path):
    with pytest.raises(MediaError, match=r"\.xyz"):
        run(write(tmp_path / "a.mp4", [0]), name="a.xyz")


def test_memory_does_not_grow_with_length(tmp_path):
    import tracemalloc

    def peak(count):
        source = write(tmp_path / f"{count}.mp4", range(0, 40 * count, 40), size=(320, 240))
        tracemalloc.start()
        run(source, solid(empty_faces()))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(5)
    assert peak(120) < peak(20) + 2_000_000
