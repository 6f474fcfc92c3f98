"""``deid demo``: its checks, its files, and a whole run with stand-ins for the models."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from deid_ros import cli
from deid_ros.cli import demo
from deid_ros.errors import ConfigError, MediaError


def arguments(*words):
    parser, _ = cli._parser({"demo": demo})
    return parser.parse_args(["demo", *map(str, words)])


def test_nothing_came_out_is_a_problem():
    assert demo.check_stamps(demo.Outputs([], [])) == ["no frame came out"]


@pytest.mark.parametrize(("came", "left", "words"), [
    ([1, 2, 3], [1, 3], []),
    ([1, 2, 3], [1, 4, 5], ["2 output stamps are no input stamps, the first 4 ns"]),
    ([1, 2, 3], [1, 1], ["a stamp came out twice"]),
    ([1], [], ["no frame came out"]),
])
def test_stamps_are_checked(came, left, words):
    assert demo.check_stamps(demo.Outputs(came, left)) == words


def test_frames_are_found_again_by_stamp(monkeypatch):
    monkeypatch.setattr(demo.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(demo.time, "time_ns", iter([100, 200, 300]).__next__)
    frames = [np.full((8, 8, 3), value, np.uint8) for value in (0, 100, 200)]
    shown = demo.Input(iter(frames))
    assert [int(frame[0, 0, 0]) for frame in shown] == [0, 100, 200]
    assert [shown.index_of(stamp) for stamp in (99, 100, 199, 200, 250, 900)] == [-1, 0, 0, 1, 1, 2]
    assert abs(int(shown.frame(1)[4, 4, 0]) - 100) <= 3


def test_results_of_before_are_cleared_and_nothing_else(tmp_path):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").touch()
    for name in ("video.mp4", "mine.txt"):
        (tmp_path / name).touch()
    demo._clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_is_no_bag_stays(tmp_path):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "thesis.txt").touch()
    with pytest.raises(MediaError, match="not replacing it"):
        demo._clear(tmp_path)
    assert (tmp_path / "bag" / "thesis.txt").exists()


@pytest.mark.parametrize("words", [("--rate", 0), ("--seconds", -1), ("--seconds", "nan"),
                                   ("--width", -5), ("--mix", 0)])
def test_settings_out_of_range_are_refused(tmp_path, words):
    with pytest.raises(ConfigError, match="must be"):
        demo.run(arguments("-o", tmp_path / "out", *words))
    assert not (tmp_path / "out").exists()


def test_pair_of_pictures_keeps_both_sides():
    before = np.full((20, 30, 3), 10, np.uint8)
    after = np.full((20, 30, 3), 200, np.uint8)
    pair = demo._side_by_side(before, after)
    assert (pair[:20, :30] == before).all() and (pair[:20, 38:68] == after).all()


def test_changes_that_the_edge_cuts_come_last():
    before = np.full((40, 40, 3), 100, np.uint8)
    whole, cut = before.copy(), before.copy()
    whole[10:20, 10:20] = 200
    cut[0:30, 10:20] = 200
    changes = [demo._change(before, after) for after in (cut, before, whole)]
    assert changes == sorted(changes) and changes[1] == 0 and changes[2] == 100 / 1600


@pytest.fixture
def domain(monkeypatch):
    pytest.importorskip("rclpy")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))


@pytest.mark.ros
def test_source_that_cannot_be_read_is_refused(tmp_path, domain):
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    for source in (tmp_path / "clip.mp4", tmp_path / "none.mp4"):
        with pytest.raises(MediaError, match=source.name):
            demo.run(arguments("--source", source, "-o", tmp_path / "out"))


@pytest.mark.ros
def test_whole_run_leaves_bag_video_and_pictures(tmp_path, domain, capsys):
    av = pytest.importorskip("av")
    from ros_fakes import fake_cores, scene
    pictures = tmp_path / "in"
    pictures.mkdir()
    for i in range(12):
        cv2.imwrite(str(pictures / f"{i:03}.png"), scene(i))
    out = tmp_path / "out"
    status = demo.run(arguments("--source", pictures, "-o", out, "--rate", 10, "--width", 0),
                      cores=fake_cores())
    text = capsys.readouterr().out
    assert status == 0, text
    assert "12 in" in text and "latency" in text and "wrong" not in text
    stamps = demo.read_bag(out / "bag", "/camera/camera_info", "/deidentified/image")
    assert len(stamps.stamps_in) == 12
    assert stamps.stamps_out and set(stamps.stamps_out) <= set(stamps.stamps_in)
    with av.open(str(out / "video.mp4")) as video:
        frames = [frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)]
    assert len(frames) == len(stamps.stamps_out)
    assert frames[0].shape == (120, 320, 3)
    picture = cv2.imread(str(out / "before_after.png"))
    red = (picture[..., 2] > 200) & (picture[..., 1] < 80) & (picture[..., 0] < 80)
    assert red[:120, :160].any() and not red[:, 160:].any()
    # No raw image lies in the bag.
    assert demo.read_bag(out / "bag", "/camera/image_raw", "/camera/image_raw").stamps_in == []
