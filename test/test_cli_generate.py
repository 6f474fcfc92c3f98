"""``deid generate`` from the command line, on a network of one colour for each code."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
from generator_support import FakeNetwork, make_space
from synthetic_gallery import make_gallery

from deid_ros.cli import main

GREY = (128, 128, 128)


@pytest.fixture
def generate(tmp_path, monkeypatch):
    """Run a kind with a small gallery; the outputs lie in ``tmp_path``."""
    monkeypatch.setattr("deid_ros.generator.TextureNetwork", lambda path=None: FakeNetwork())
    monkeypatch.chdir(tmp_path)
    codes = np.random.default_rng(1).normal(0, 0.5, (10, make_space().code_size))
    make_gallery(6, 4, codes=codes.astype(np.float32)).save(tmp_path / "gallery.npz")

    def run(*args: object) -> int:
        return main(["generate", *map(str, args), "--gallery", "gallery.npz", "--size", "64"])

    return run


def picture(path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None and image.shape == (64, 64, 3)
    return image.astype(int)


def middle(image: np.ndarray, background=GREY) -> float:
    """The x of the middle of the face."""
    return float(np.nonzero(np.abs(image - background).max(-1) > 12)[1].mean())


def test_one_picture(generate, tmp_path, capsys):
    assert generate("single", "--id", "id001+id002*2", "--expression", "smile", "--yaw", "20",
                    "-o", "face.png", "--background", "#ff8000") == 0
    assert "face.png: 1 picture of 64 px" in capsys.readouterr().out
    image = picture(tmp_path / "face.png")
    assert (image[0, 0] == (0, 128, 255)).all()
    assert np.abs(image[32, 32] - (0, 128, 255)).max() > 30


def test_identity_expression_and_orientation_change_the_picture(generate, tmp_path):
    ways = {"a": ("--id", "id001"), "b": ("--id", "id005"),
            "c": ("--id", "id001", "--expression", "open"),
            "d": ("--id", "id001", "--expression", "smile,mouth_open=0.0"),
            "e": ("--id", "id001", "--yaw", "30"), "f": ("--id", "id001", "--roll", "45")}
    for name, flags in ways.items():
        assert generate("single", *flags, "-o", f"{name}.png") == 0
    images = {name: picture(tmp_path / f"{name}.png") for name in ways}
    for name in "bcdef":
        # A smile moves little of a face whose texture is of one colour.
        assert np.abs(images[name] - images["a"]).max() > (2 if name == "d" else 20), name


def test_what_exists_is_kept(generate, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"mine")
    assert generate("single", "--id", "id001", "-o", "a.png") == 2
    assert "a.png" in capsys.readouterr().err and (tmp_path / "a.png").read_bytes() == b"mine"
    assert generate("single", "--id", "id001", "-o", "a.png", "--overwrite") == 0
    picture(tmp_path / "a.png")


def test_random_people_and_their_recipes(generate, tmp_path):
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert generate("random", "--count", "3", "--mix", "2", "--seed", seed, "-o", folder) == 0
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == ["0000.png", "0001.png", "0002.png", "identities.csv"]
    a, b, c = ([picture(tmp_path / folder / name) for name in files[:3]] for folder in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    with open(tmp_path / "a" / "identities.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    # What is written can be asked for again.
    assert generate("single", "--id", rows[1]["id"], "-o", "again.png") == 0
    assert np.array_equal(picture(tmp_path / "again.png"), a[1])


def test_interpolating_orientation_and_identity(generate, tmp_path):
    assert generate("interpolate", "--key", "id001 yaw=-40", "--key", "id004 open yaw=40",
                    "--images", "5", "-o", "way") == 0
    images = [picture(tmp_path / "way" / f"{i:04d}.png") for i in range(5)]
    assert generate("single", "--id", "id001", "--yaw", "-40", "-o", "first.png") == 0
    assert generate("single", "--id", "id004", "--yaw", "40", "--expression", "open", "-o",
                    "last.png") == 0
    assert np.array_equal(images[0], picture(tmp_path / "first.png"))
    assert np.array_equal(images[-1], picture(tmp_path / "last.png"))
    # Each is somewhere else, and always further on the way.
    places = [middle(image) for image in images]
    assert (np.diff(places) < -0.3).all() or (np.diff(places) > 0.3).all()
    gaps = [np.abs(b - a).mean() for a, b in zip(images, images[1:])]
    assert max(gaps) < 0.7 * np.abs(images[-1] - images[0]).mean()


def test_a_script_with_times(generate, tmp_path):
    (tmp_path / "s.yaml").write_text("""
fps: 4
background: [10, 20, 30]
keyframes:
  - {id: id001, orientation: {yaw: -30}}
  - {id: id001+id002, expression: smile, at: 1}
  - {id: id003, expression: {base: open, brow_left: 0.27}, orientation: {yaw: 30, pitch: 5}, at: 2}
""")
    assert generate("interpolate", "s.yaml", "-o", "frames") == 0
    assert len(list((tmp_path / "frames").glob("*.png"))) == 8
    assert (picture(tmp_path / "frames" / "0000.png")[0, 0] == (30, 20, 10)).all()
    assert generate("interpolate", "s.yaml", "-o", "less", "--images", "3") == 0
    assert len(list((tmp_path / "less").glob("*.png"))) == 3
    assert np.array_equal(picture(tmp_path / "less" / "0000.png"),
                          picture(tmp_path / "frames" / "0000.png"))


def test_a_walk_as_a_video(generate, tmp_path):
    av = pytest.importorskip("av")
    assert generate("walk", "--count", "3", "--mix", "2", "--seconds", "1", "--fps", "9", "-o",
                    "walk.mp4") == 0
    with av.open(str(tmp_path / "walk.mp4")) as file:
        frames = [frame.to_ndarray(format="bgr24").astype(int) for frame in file.decode(video=0)]
    assert len(frames) == 9 and frames[0].shape == (64, 64, 3)
    steps = [np.abs(b - a).mean() for a, b in zip(frames, [*frames[1:], frames[0]])]
    # It moves all the time, and the end joins the beginning.
    assert min(steps) > 0.1 and steps[-1] < 3 * np.median(steps)


@pytest.mark.parametrize(("args", "message"), [
    (("single",), "No identity is given"),
    (("single", "--id", "id01"), "'id01'; close are id001"),
    (("single", "--id", "id001+"), "cannot be read at ''"),
    (("single", "--id", "id001", "--yaw", "99"), "Yaw is 99.0; give a number from -75 to 75"),
    (("single", "--id", "id001", "--expression", "smyle"), "did you mean 'smile'"),
    (("single", "--id", "id001", "--expression", "smile=x"), "smile is 'x'"),
    (("single", "--id", "id001", "--background", "pink"), "'pink' is no colour"),
    (("single", "--id", "id001", "-o", "a.txt"), "end in '.txt' are not written"),
    (("random", "--count", "0"), "count is 0"),
    (("random", "--mix", "7"), "mix is 7, but the gallery has at most 6"),
    (("random", "--count", "2", "-o", "a.png"), "a.png is one picture, but there are 2"),
    (("interpolate",), "needs two keyframes"),
    (("interpolate", "--key", "id001"), "needs two keyframes"),
    (("interpolate", "--key", "id001 at=1", "--key", "id002 at=1"), "times must rise"),
    (("interpolate", "--key", "id001 yaw=x", "--key", "id002"), "Yaw is 'x'"),
    (("interpolate", "none.yaml"), "none.yaml cannot be read"),
    (("walk", "--seconds", "0"), "0 pictures"),
    (("walk", "--fps", "0"), "fps is 0"),
])
def test_refusals(generate, tmp_path, capsys, args, message):
    assert generate(*args) == 2
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["gallery.npz"]


@pytest.mark.parametrize(("content", "message"), [
    ("- 3", "must hold settings"), ("a: [", "not valid YAML"),
    ("sise: 3", "has the setting 'sise'"),
    ("keyframes: [{id: id001}, {id: id002, yaw: 3}]", "Keyframe 2 says 'yaw'"),
    ("keyframes: [{id: id001}, {expression: smile}]", "Keyframe 2 has no id"),
    ("keyframes: [{id: id001}, {id: id002, orientation: 3}]", "orientation is 3"),
    ("keyframes: [{id: id001, at: 0}, {id: id002}]", "some do not"),
    ("keyframes: 3", "needs two keyframes"),
    ("fps: fast", "fps is 'fast'")])
def test_scripts_that_are_refused(generate, tmp_path, capsys, content, message):
    (tmp_path / "s.yaml").write_text(content)
    assert generate("interpolate", "s.yaml") == 2
    assert message in capsys.readouterr().err


def test_a_long_walk_says_how_far_it_is(generate, monkeypatch, capsys):
    """Also where nobody has a terminal."""
    monkeypatch.setattr("deid_ros.cli.generate._SAY_S", 0.0)
    assert generate("walk", "--images", "5", "--count", "2", "-o", "walk/") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "of 5 pictures" in line]
    assert said[-1] == "deid generate: 4 of 5 pictures"
