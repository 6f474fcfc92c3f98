"""Videos with several tracks of pictures: each is covered like the only one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from test_media_videos import FACE, SIZE, assert_covered, picture, run
from video_support import CANARY, shows_canary

from deid_ros.evaluation.against import Original
from deid_ros.evaluation.outputs import frames_of
from deid_ros.faces import boxes_of
from deid_ros.media import Writing, beside

SIZES = (SIZE, (2 * SIZE[0], SIZE[1]))      # of which players prefer the second
RATES = (25, 10)


def shown(index: int, number: int) -> np.ndarray:
    """A picture of a track, with a face in the colour of the canary."""
    made = picture(index, SIZES[number])
    x, y, w, h = boxes_of(FACE)[0]
    made[y + h // 4:y + 3 * h // 4, x + w // 4:x + 3 * w // 4] = CANARY
    return made


def write(path: Path, count: int = 5, sound: bool = False) -> Path:
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("libx264", rate=rate, options={"crf": "10"})
                  for rate in RATES]
        for stream, size in zip(tracks, SIZES, strict=True):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        heard = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for index in range(count):
            for number, stream in enumerate(tracks):
                frame = av.VideoFrame.from_ndarray(shown(index, number), format="bgr24")
                frame = frame.reformat(format="yuv420p")
                frame.pts = index
                container.mux(stream.encode(frame))
        if heard is not None:
            for index in range(8):
                wave = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                wave.sample_rate, wave.pts = 16000, 1024 * index
                container.mux(heard.encode(wave))
            container.mux(heard.encode(None))
        for stream in tracks:
            container.mux(stream.encode(None))
    return path


def read(path: Path, number: int) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="bgr24"))
                for frame in container.decode(video=number)]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_every_track_of_pictures_is_covered(tmp_path, suffix):
    source = write(tmp_path / f"a{suffix}")
    outcome, target = run(source)
    assert outcome.faultless, outcome.problems
    assert outcome.frames == 10 and not outcome.warnings
    said = json.loads(beside(target)[1].read_text())["streams"]
    assert [stream["action"] for stream in said] == 2 * ["made anonymous"]
    rows = [json.loads(line) for line in beside(target)[0].read_text().splitlines()]
    assert {(row["topic"], row["index"]) for row in rows} == {
        (f"track {n}", i) for n in (1, 2) for i in range(5)}
    for number, rate in enumerate(RATES):
        before, after = read(source, number), read(target, number)
        assert len(after) == 5 and [round(time * rate) for time, _ in after] == list(range(5))
        for (_, old), (_, new) in zip(before, after, strict=True):
            assert shows_canary(old) and not shows_canary(new)
            assert_covered(old, new)


def test_verify_reads_the_tracks_in_the_order_of_the_evidence(tmp_path):
    source = write(tmp_path / "a.mkv")
    _, target = run(source)
    rows = [json.loads(line) for line in beside(target)[0].read_text().splitlines()]
    manifest = json.loads(beside(target)[1].read_text())
    original = Original([source], manifest, tmp_path)
    seen = list(frames_of(target, {}, tmp_path))
    assert len(seen) == len(rows) == 10
    for topic in ("track 1", "track 2"):
        assert sum(name == topic for name, _ in seen) == 5
    counts = {"track 1": 0, "track 2": 0}
    for topic, after in seen:
        before = original.frame(topic, counts[topic])
        counts[topic] += 1
        assert before.shape == after.shape and shows_canary(before) and not shows_canary(after)


def test_sound_stays_with_its_pictures_where_it_is_asked_for(tmp_path):
    source = write(tmp_path / "a.mp4", sound=True)
    outcome, target = run(source, writing=Writing(keep_audio=True))
    assert outcome.faultless, outcome.problems
    with av.open(str(target)) as container:
        assert [stream.type for stream in container.streams].count("video") == 2
        assert sum(frame.samples for frame in container.decode(audio=0)) > 4000
    assert not any(shows_canary(pixels) for n in (0, 1) for _, pixels in read(target, n))


def test_a_limit_counts_all_tracks(tmp_path):
    source = write(tmp_path / "a.mkv")
    outcome, target = run(source, limit=4)
    assert outcome.frames == 4
    assert sum(len(read(target, n)) for n in (0, 1)) == 4


def test_a_cut_off_file_keeps_what_can_be_read(tmp_path):
    whole = write(tmp_path / "whole.mkv", count=40)
    source = tmp_path / "a.mkv"
    source.write_bytes(whole.read_bytes()[:-whole.stat().st_size // 3])
    outcome, target = run(source)
    assert 0 < outcome.frames < 80
    assert not any(shows_canary(pixels) for n in (0, 1) for _, pixels in read(target, n))


def test_a_track_that_was_not_covered_is_the_same_as_its_original(tmp_path):
    source = write(tmp_path / "a.mkv")
    _, target = run(source)
    manifest = json.loads(beside(target)[1].read_text())
    shutil.copy(source, target)
    original = Original([source], manifest, tmp_path)
    topic, after = next(iter(frames_of(target, {}, tmp_path)))
    assert np.array_equal(original.frame(topic, 0), after)
