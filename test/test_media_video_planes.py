"""Numbers of decoded frames stay but where a cover is; odd stamps, turns and side data."""

from __future__ import annotations

import gc
import io
from fractions import Fraction
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from sample_faces import FakeFinder
from test_media_video_kinds import SIZE, clip, frames_of, mux_pictures, picture, run, turned

from deid_ros.config import defaults
from deid_ros.faces import empty_faces
from deid_ros.media import Job, Writing, process
from deid_ros.media.orientation import DisplayTurn
from deid_ros.media.tracks import Times
from deid_ros.media.video_writer import VideoWriter, _planes
from deid_ros.media.videos import VideoReader
from deid_ros.pipeline import Pipeline

TURNS = [(1, 0, 0, 1), (-1, 0, 0, 1), (0, 1, -1, 0), (0, -1, 1, 0), (0, 1, 1, 0)]


def reference(writer, pixels, decoded, mask):
    """Every number by itself: converted whole, then put back where nothing is covered."""
    made, turn = writer._converted(pixels), DisplayTurn(decoded)
    out = []
    for new, old in zip(_planes(made), _planes(decoded.reformat(format=writer.pixel_format)),
                        strict=True):
        covered = mask
        if new.shape != mask.shape:
            covered = cv2.resize(cv2.dilate(mask, np.ones((3, 3), np.uint8)), new.shape[::-1],
                                 interpolation=cv2.INTER_NEAREST)
        out.append(np.where(covered > 0, new, turn.upright(old)))
    return out


@pytest.mark.parametrize("matrix", TURNS)
@pytest.mark.parametrize("codec, form", [
    ("libx264", "yuv420p"), ("libx264", "yuv444p"), ("libx264", "yuv422p"),
    ("libx264", "yuv420p10le"), ("libx265", "yuv422p10le")])
def test_only_the_surroundings_of_covers_are_converted(tmp_path, codec, form, matrix):
    source = turned(clip(tmp_path / "a.mp4", codec=codec, form=form), *matrix)
    rng = np.random.default_rng(0)
    with VideoReader(source) as reader:
        pixels, _, decoded = next(iter(reader))
        size = pixels.shape[1], pixels.shape[0]
        writer = VideoWriter(tmp_path / "b.mp4", suffix=".mp4", reader=reader, size=size,
                             first=decoded, writing=Writing())
        for covers in range(4):
            mask, drawn = np.zeros(pixels.shape[:2], np.uint8), pixels.copy()
            for _ in range(covers):
                x, y = rng.integers(0, size[0] - 9), rng.integers(0, size[1] - 9)
                mask[y:y + 9, x:x + 7] = 255
            drawn[mask > 0] = (40, 200, 90)
            made = _planes(writer._restored(drawn, decoded, mask))
            for plane, wanted in zip(made, reference(writer, drawn, decoded, mask), strict=True):
                np.testing.assert_array_equal(plane, wanted)
        writer.abandon()


@pytest.mark.parametrize("codec, form", [("libx265", "yuv422p10le"), ("libx264", "yuv422p10le"),
                                         ("libx264", "yuv422p")])
def test_videos_with_colours_halved_across_may_be_turned(tmp_path, codec, form):
    source = turned(clip(tmp_path / "a.mp4", codec=codec, form=form), 0, 1, -1, 0)
    made = frames_of(run(source)[1])[0]
    assert (made.width, made.height) == SIZE[::-1]
    wanted = np.rot90(picture(), -1)
    assert np.abs(made.to_ndarray(format="bgr24").astype(int) - wanted).mean() < 4


def test_pictures_with_exif_in_a_video(tmp_path):
    """FFmpeg has kinds of side data that PyAV has no name for."""
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        for index in range(3):
            data = io.BytesIO()
            Image.fromarray(picture(index)[..., ::-1]).save(data, "JPEG", exif=exif, quality=95)
            packet = av.Packet(data.getvalue())
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = index
            packet.is_keyframe = True
            container.mux(packet)
    outcome, target = run(path)
    assert outcome.frames == 3 and len(frames_of(target)) == 3


def times(stamps, step=40):
    clock = Times(step)
    return [clock.next(SimpleNamespace(pts=stamp, dts=None)) for stamp in stamps]


def test_one_wrong_stamp_does_not_move_the_rest():
    assert times([3600000, 3600040, 0, 3600120, 3600160]) == [
        3600000, 3600040, 3600080, 3600120, 3600160]


def test_joined_recordings_go_on():
    assert times([5000, 5040, 5080, 0, 40, 80]) == [5000, 5040, 5080, 5120, 5160, 5200]


def with_sound(path, codec, layout, form=None):
    """A second of pictures and sound."""
    rate = 48000
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout=layout)
        if form:
            sound.codec_context.format = form
        wanted = sound.codec_context.format.name
        wave = (8000 * np.sin(np.arange(rate) * 2 * np.pi * 440 / rate)).astype(np.int16)[None]
        whole = av.AudioFrame.from_ndarray(wave, "s16", "mono")
        whole.sample_rate, whole.pts = rate, 0
        for part in av.AudioResampler(wanted, layout, rate).resample(whole):
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
        mux_pictures(container, video)
    return path


def kept(source, suffix, *, most_lost=0):
    """What the sound became: seconds, channels, format."""
    target = source.with_name(f"out{suffix}")
    outcome = process(Job(source, target, source.name),
                      Pipeline(defaults(), finder=FakeFinder(empty_faces())),
                      writing=Writing(keep_audio=True))
    assert outcome.lost <= most_lost
    with av.open(str(target)) as container:
        stream = container.streams.audio[0]
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
        return seconds, stream.layout.nb_channels, stream.format.name


@pytest.mark.parametrize(("codec", "layout", "suffix", "channels"), [
    ("pcm_s16le", "stereo", ".mp4", 2), ("ac3", "5.1(side)", ".webm", 6),
    ("ac3", "5.1(side)", ".mpg", 2), ("aac", "5.1", ".mp4", 6)])
def test_layouts_of_sound_that_the_other_container_knows_not(tmp_path, codec, layout, suffix,
                                                            channels):
    seconds, count, _ = kept(with_sound(tmp_path / "a.mkv", codec, layout), suffix)
    assert abs(seconds - 1) < 0.15 and count == channels


def test_the_depth_of_sound_stays(tmp_path):
    assert kept(with_sound(tmp_path / "a.mkv", "flac", "stereo", "s32"), ".mkv")[2] == "s32"


@pytest.mark.parametrize("suffix", [".ts", ".mp4"])
def test_sound_goes_on_where_recordings_were_joined(tmp_path, suffix):
    one = with_sound(tmp_path / "a.ts", "aac", "stereo").read_bytes()
    source = tmp_path / "joined.ts"
    source.write_bytes(one + one)
    # Where one file ends and the next begins, a packet is cut in two.
    assert abs(kept(source, suffix, most_lost=1)[0] - 2) < 0.2


def test_frames_are_freed_at_once(tmp_path):
    """Memory must not wait for Python to look for cycles."""
    source = clip(tmp_path / "a.mkv", range(0, 6000, 40))

    def alive():
        return sum(isinstance(each, av.VideoFrame) for each in gc.get_objects())

    gc.collect()
    before = alive()
    gc.disable()
    try:
        with VideoReader(source) as reader:
            for _, _, frame in reader:
                assert DisplayTurn(frame).swapped is False
                assert alive() < before + 50     # decoders give several at a time
    finally:
        gc.enable()
