"""deid run: what it writes, what it says, and how it ends."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from sample_faces import FakeFinder, make_face
from test_media_videos import write

from deid_ros import pipeline as module
from deid_ros.cli import main
from deid_ros.faces import boxes_of


class StandIn(FakeFinder):
    """One face in the middle of every frame; the real finder has its own tests."""

    def __init__(self) -> None:
        super().__init__(make_face((60, 50), 50, trusted=False))


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setattr(module.Pipeline, "finder", property(
        lambda self: self.__dict__.setdefault("_stand_in", StandIn())))
    monkeypatch.setattr(module.Pipeline, "reset", lambda self, *, stream="": None)
    monkeypatch.chdir(tmp_path)


def picture(path: Path, seed=0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (100, 120, 3), np.uint8)
    cv2.imwrite(str(path), pixels)
    return path


def run(*words) -> int:
    try:
        return main(["run", *map(str, words)])
    except SystemExit as error:
        return int(error.code)


def outputs(folder) -> list[str]:
    """The outputs of a folder; each has its evidence, and there is nothing else."""
    files = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*")
             if path.is_file()}
    found = {name for name in files if not name.endswith((".manifest.json", ".faces.jsonl"))}
    assert files == found | {name + end for name in found
                             for end in (".manifest.json", ".faces.jsonl")}
    return sorted(found)


def test_a_folder_of_pictures_and_videos(tmp_path, capsys):
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "sub" / "b.png", 1)
    write(tmp_path / "in" / "c.mp4", range(0, 400, 40))
    assert run("in", "-o", "out", "--replace", "solid") == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 5 and err == ""
    assert "3 of 3 inputs to out; 12 frames" in out and "12 faces covered (12 solid)" in out
    for name in ("a.png", "sub/b.png"):
        before, after = cv2.imread(f"in/{name}"), cv2.imread(f"out/{name}")
        x, y, w, h = boxes_of(StandIn().faces)[0]
        assert np.ptp(after[y + h // 3:y + h // 2, x + w // 3:x + w // 2], axis=(0, 1)).max() == 0
        assert np.array_equal(before[:, -5:], after[:, -5:])
    assert Path("out/c.mp4").stat().st_size > 500
    assert outputs("out") == ["a.png", "c.mp4", "sub/b.png"]


def test_in_and_out_are_the_defaults(tmp_path, capsys):
    picture(tmp_path / "in" / "a.png")
    assert run("--replace", "blur") == 0
    assert Path("out/a.png").is_file()


def test_what_cannot_be_read_is_said_and_the_rest_goes_on(tmp_path, capsys):
    picture(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"not a picture")
    (tmp_path / "in" / "bad.mp4").write_bytes(b"not a video")
    assert run("in", "missing.jpg", "--replace", "solid") == 1
    out, err = capsys.readouterr()
    assert "1 of 4 inputs" in out
    lines = err.strip().splitlines()
    assert len(lines) == 3 and "Traceback" not in err
    assert {name for name in ("missing.jpg", "bad.png", "bad.mp4")
            if any(name in line for line in lines)} == {"missing.jpg", "bad.png", "bad.mp4"}
    assert outputs("out") == ["good.png"]


@pytest.mark.parametrize("words, sentence", [
    (["missing.jpg"], "no file or folder missing.jpg"),
    (["empty"], "folder empty holds no picture"),
    (["a.png", "--replace", "smile"], "must be one of surrogate, blur, pixelate, solid"),
    (["a.png", "--blend", "poisson"], "must be one of gaussian, inplace"),
    (["a.png", "--detector", "eye"], "viola_jones"),
    (["a.png", "--mix", "0"], "from 1"),
    (["a.png", "--mix", "many"], "many"),
    (["a.png", "--limit", "0"], "whole number from 1"),
    (["a.png", "--nonsense"], "--nonsense"),
    (["a.png", "-o", "b.txt"], "b.txt is a file"),
    (["a.png", "--config", "no.yaml"], "no.yaml"),
])
def test_wrong_commands_are_refused_in_one_line(tmp_path, capsys, words, sentence):
    picture(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "b.txt").write_text("x")
    assert run(*words) == 2
    out, err = capsys.readouterr()
    assert sentence in err and err.count("\n") == 1 and out == ""
    assert not Path("out").exists()


def test_without_anything_in_the_default_folder(capsys):
    assert run() == 2
    assert "in" in capsys.readouterr().err


def test_outputs_are_overwritten_only_when_told(tmp_path, capsys):
    picture(tmp_path / "in" / "a.png")
    assert run("--replace", "solid") == 0
    first = Path("out/a.png").read_bytes()
    assert run("--replace", "blur") == 2
    assert "--overwrite" in capsys.readouterr().err and Path("out/a.png").read_bytes() == first
    assert run("--replace", "blur", "--overwrite") == 0
    assert Path("out/a.png").read_bytes() != first


@pytest.mark.parametrize("words", [["in", "-o", "in"], ["in", "-o", "in", "--overwrite"],
                                   ["in/a.png", "-o", "in/a.png", "--overwrite"]])
def test_inputs_are_never_overwritten(tmp_path, capsys, words):
    before = picture(tmp_path / "in" / "a.png").read_bytes()
    assert run(*words, "--replace", "solid") == 2
    assert "overwrite an input" in capsys.readouterr().err
    assert Path("in/a.png").read_bytes() == before and os.listdir("in") == ["a.png"]


def test_limit(tmp_path, capsys):
    for i in range(4):
        picture(tmp_path / "in" / f"{i}.png", i)
    write(tmp_path / "clip.mp4", range(0, 400, 40))
    assert run("in", "--limit", 2, "--replace", "solid") == 0
    assert outputs("out") == ["0.png", "1.png"]
    assert run("clip.mp4", "--limit", 3, "--replace", "solid") == 0
    assert "3 frames" in capsys.readouterr().out


def test_a_single_output_may_be_named(tmp_path):
    picture(tmp_path / "a.png")
    assert run("a.png", "-o", "new/b.png", "--replace", "solid") == 0
    assert Path("new/b.png").is_file()


def test_a_missing_model_is_said_before_anything_is_done(tmp_path, capsys):
    picture(tmp_path / "a.png")
    config = tmp_path / "c.yaml"
    config.write_text("/**/generator:\n  ros__parameters:\n    generator: /no/such.onnx\n")
    assert run("a.png", "--config", config) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "such.onnx" in err and not Path("out").exists()


def test_a_failing_stage_covers_flat_and_is_said(tmp_path, capsys, monkeypatch):
    picture(tmp_path / "in" / "a.png")

    def fail(*_, **__):
        raise RuntimeError("injected fault")

    class Broken:
        replace = "solid"
        apply = fail

    monkeypatch.setattr(module.Pipeline, "replacer", property(lambda self: Broken()))
    assert run("in") == 1
    out, err = capsys.readouterr()
    assert "1 faces covered (1 solid)" in out and "injected fault" in err
