"""Runs that are cut off come to the same end, and never show a face meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_support import FACE, SIZE, Maker, pixels, read_bag, write_bag
from killed_runs import final_files
from sample_faces import FakeExtractor, FakeFinder, FakeGenerator, make_face
from test_media_videos import read, write

from deid_ros import pipeline as module
from deid_ros.cli import main
from deid_ros.config import defaults
from deid_ros.media import TopicWishes, Writing, evidence
from deid_ros.media.resume import STATE
from deid_ros.parameters import PARAMETERS

HERE = Path(__file__).parent


def archive(folder: Path) -> Path:
    """Pictures, a video and two bags with the face; ``secret`` is what lies under it."""
    folder.mkdir()
    picture = pixels(3).reshape(SIZE[1], SIZE[0], 3)
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.bmp"), picture)
    write(folder / "clip.mp4", range(0, 480, 40), size=SIZE)
    make = Maker(False)
    raw = [("/camera", "sensor_msgs/msg/Image", 10**9 * (i + 1), make.image(i + 1, 3, "bgr8"))
           for i in range(16)]
    for name, kind in (("a", "mcap"), ("b", "sqlite")):
        write_bag(folder / name, kind, raw)
    x, y = int(FACE[0]), int(FACE[1])
    (folder.parent / "secret").write_bytes(picture[y, x - 8:x + 8].tobytes())
    for path in (folder / "a" / "a.mcap", folder / "b" / "b.db3"):
        assert (folder.parent / "secret").read_bytes() in path.read_bytes()
    return folder


def test_killed_at_twenty_moments_and_resumed(tmp_path):
    source, out, whole = archive(tmp_path / "in"), tmp_path / "out", tmp_path / "whole"
    out.mkdir()
    environment = os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parent}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, HERE / "killed_runs.py", source, out, "20", "0.3"],
                          env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    uninterrupted = subprocess.run(
        [sys.executable, "-c", "import sys, os, killed_runs as k; sys.exit(os.waitpid("
         "k.run(*sys.argv[1:]), 0)[1])", source, whole], env=environment, timeout=60)
    assert uninterrupted.returncode == 0
    assert sorted(p.relative_to(out) for p in out.rglob("*")) == sorted(
        p.relative_to(whole) for p in whole.rglob("*"))
    for path in final_files(out):
        other = whole / path.relative_to(out)
        if path.suffix == ".mp4":
            assert read(path)[0] == read(other)[0]
            assert all(np.array_equal(a, b) for a, b in zip(read(path)[1], read(other)[1],
                                                            strict=True))
        elif path.suffix in (".mcap", ".db3"):
            assert read_bag(path)[0] == read_bag(other)[0]
        elif path.suffix in (".bmp", ".jsonl"):
            assert path.read_bytes() == other.read_bytes()


class Interrupts(FakeFinder):
    """Ends the run at its n-th frame."""

    def __init__(self, at):
        super().__init__(make_face((60, 50), 50))
        self.left = at

    def find(self, frame, *, stamp_ns=0):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return super().find(frame)


@pytest.fixture
def draws(tmp_path, monkeypatch):
    """Pictures, and a matcher that notes the key it was made with; the rest are stand-ins."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for i in range(4):
        cv2.imwrite(f"in/{i}.png", np.random.default_rng(i).integers(0, 255, (100, 120, 3),
                                                                    np.uint8))
    keys = []

    class Matcher:
        introduction, policy = "", type("P", (), {"name": "independent"})

        def match(self, tracks, embeddings, **_):
            from deid_ros.faces import match_dtype
            found = np.zeros(len(tracks), match_dtype(2))
            found["track_id"] = tracks
            return found

    init = module.Pipeline.__init__

    def made(self, config, **stages):
        keys.append(config["matcher"]["key"])
        init(self, config, **({"finder": Interrupts(made.at), "extractor": FakeExtractor(),
                               "matcher": Matcher(), "generator": FakeGenerator()} | stages))
    made.at = 3
    monkeypatch.setattr(module.Pipeline, "__init__", made)
    return keys, made


def test_the_key_outlives_an_interrupted_run_and_not_a_finished_one(tmp_path, draws, capsys):
    keys, made = draws
    assert main(["run"]) == 130
    state = tmp_path / "out" / STATE
    assert state.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(state.read_text())) == {"settings", "key_given", "key"}
    assert sorted(p.name for p in Path("out").glob("*.png")) == ["0.png", "1.png"]
    first = [Path(f"out/{i}.png").read_bytes() for i in range(2)]
    made.at = 0
    assert main(["run", "--resume"]) == 0
    assert "2 inputs were finished before; the rest goes on" in capsys.readouterr().err
    assert keys[0] == keys[1] and len(keys[0]) == 64
    assert first == [Path(f"out/{i}.png").read_bytes() for i in range(2)]
    assert len(list(Path("out").glob("*.png"))) == 4 and not state.exists()
    assert keys[0] not in "".join(p.read_text() for p in Path("out").glob("*.json*"))
    assert main(["run", "--resume"]) == 0
    assert "nothing is left to do" in capsys.readouterr().out
    assert main(["run"]) == 2


@pytest.mark.parametrize("words", [["--mix", "3"], ["--key", "mine"], ["--crf", "9"],
                                   ["--drop", "/x"], ["--limit", "3"]])
def test_other_settings_do_not_take_up_a_run(draws, capsys, words):
    assert main(["run"]) == 130
    capsys.readouterr()
    assert main(["run", "--resume", *words]) == 2
    err = capsys.readouterr().err
    assert "other settings" in err or "No bag has the topic" in err


@pytest.mark.parametrize("change, words, why", [
    (lambda: Path("out/1.png").write_bytes(b"mine"), (), "is not what was written"),
    (lambda: Path("out/1.png").write_bytes(Path("in/1.png").read_bytes()), (),
     "is not what was written"),
    (lambda: Path("in/1.png").write_bytes(flipped("in/1.png")), (), "made of another input"),
    (lambda: Path("out/1.png").unlink(), (), "it was cut off"),
    (lambda: Path("out/1.png.faces.jsonl").unlink(), (), "it was cut off"),
    (lambda: (Path("out/1.png").unlink(), Path("out/1.png.faces.jsonl").unlink(),
              Path("out/1.png.manifest.json").write_text("")), (), "it was cut off"),
    (lambda: Path("out/1.png.faces.jsonl").write_text("{}"), (),
     "1.png.faces.jsonl is not what was written"),
    (lambda: None, ("--threshold", "0.2"), "made with other settings"),
    (lambda: None, ("--limit", "1"), "made with other settings"),
    (lambda: None, ("--key", "mine"), "made with other settings")])
def test_only_what_is_proven_is_finished(draws, capsys, change, words, why):
    _, made = draws
    made.at = 0
    assert main(["run"]) == 0
    before = Path("out/1.png.manifest.json").read_bytes()
    change()
    capsys.readouterr()
    assert main(["run", "--resume", *words]) == 0
    err = capsys.readouterr().err
    assert "out/1.png is made anew: " in err and why in err
    if not words:
        assert "3 inputs were finished before" in err
    elif words[0] != "--limit":
        assert "0 inputs were finished before" in err
        assert Path("out/1.png.manifest.json").read_bytes() != before
    assert main(["run", "--resume", *words]) == 0
    assert "made anew" not in capsys.readouterr().err or words[0] == "--limit"


def flipped(path):
    """Another file of the same size: one bit differs."""
    raw = Path(path).read_bytes()
    return raw[:-13] + bytes([raw[-13] ^ 1]) + raw[-12:]


@pytest.mark.parametrize("end", ["", ".faces.jsonl", ".manifest.json"])
@pytest.mark.parametrize("words", [(), ("--resume",)])
def test_what_no_run_has_made_is_not_replaced(draws, capsys, end, words):
    _, made = draws
    made.at = 0
    mine = Path("out/1.png" + end)
    mine.parent.mkdir()
    mine.write_text("mine")
    assert main(["run", *words]) == 1
    assert f"{mine} exists already" in capsys.readouterr().err and mine.read_text() == "mine"
    assert len(list(Path("out").glob("*.png.manifest.json"))) == 3 + (end == ".manifest.json")
    assert main(["run", "--overwrite"]) == 0
    assert mine.read_bytes() != b"mine"


@pytest.mark.parametrize("change", [
    lambda path: path.write_bytes(path.read_bytes() + b"x"),
    lambda path: path.rename(path.with_name("moved")) and path.write_bytes(b"other"),
    lambda path: path.unlink()])
def test_an_input_that_changes_while_it_is_read_is_not_written(draws, capsys, monkeypatch,
                                                              change):
    _, made = draws
    made.at = 0
    find = FakeFinder.find

    def meanwhile(self, frame, **words):
        if Path("in/1.png").exists() and not Path("out/.seen").exists() and list(
                Path("out").glob(".1.png.*.part")):
            Path("out/.seen").touch()
            change(Path("in/1.png"))
        return find(self, frame, **words)

    monkeypatch.setattr(FakeFinder, "find", meanwhile)
    assert main(["run"]) == 1
    assert "in/1.png was changed while it was read" in capsys.readouterr().err
    assert not list(Path("out").glob("1.png*")) and len(list(Path("out").glob("*.png"))) == 3


def test_two_runs_do_not_write_to_one_folder(tmp_path, draws, capsys):
    (tmp_path / "out").mkdir()
    with open(tmp_path / "out" / STATE, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        for words in ((), ("--resume",)):
            assert main(["run", *words]) == 2
            assert "Another run is writing to out" in capsys.readouterr().err
        assert os.path.samestat(os.fstat(stream.fileno()), os.stat(f"out/{STATE}"))


def test_what_is_finished_is_looked_at_while_nobody_else_writes_there(draws, monkeypatch):
    _, made = draws
    made.at, free, look = 0, [], evidence.fault_of

    def looks(job, binding):
        with open(f"out/{STATE}") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free.append(job.name)
            except OSError:
                pass
        return look(job, binding)
    monkeypatch.setattr(evidence, "fault_of", looks)
    assert main(["run"]) == main(["run", "--resume"]) == 0
    assert free == [] and not Path(f"out/{STATE}").exists()


@pytest.mark.parametrize("lost", ["settings", "key", "key_given"])
def test_a_state_that_is_none_is_a_new_run(draws, lost, capsys):
    _, made = draws
    assert main(["run"]) == 130
    made.at, state = 0, json.loads(Path(f"out/{STATE}").read_text())
    del state[lost]
    Path(f"out/{STATE}").write_text(json.dumps(state))
    assert main(["run", "--resume"]) == 0
    assert "the rest is a run of its own" in capsys.readouterr().err


def test_the_key_goes_with_the_last_output(draws):
    _, made = draws
    assert main(["run"]) == 130
    made.at, state = 0, Path(f"out/{STATE}").read_text()
    assert main(["run", "--resume"]) == 0
    Path(f"out/{STATE}").write_text(state)      # killed after its last output
    assert main(["run", "--resume"]) == 0 and not Path(f"out/{STATE}").exists()


def test_what_decides_is_found_out_once(draws, monkeypatch):
    _, made = draws
    made.at, of, asked = 0, evidence.tool_of, []
    monkeypatch.setattr(evidence, "tool_of", lambda config: (asked.append(1), of(config))[1])
    for words in ((), ("--resume",), ("--resume", "--threshold", "0.2")):
        asked.clear()
        assert main(["run", *words]) == 0 and asked == [1]


@pytest.mark.parametrize("text", ['["tool", "input", "output", "frames"]', "[]", "7", "[" * 99999])
def test_a_manifest_that_is_none_is_said(draws, capsys, text):
    _, made = draws
    made.at = 0
    assert main(["run"]) == 0
    Path("out/1.png.manifest.json").write_text(text)
    capsys.readouterr()
    assert main(["run", "--resume"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "out/1.png exists already and has no manifest" in said
    assert main(["verify", "out/1.png"]) == 1
    assert "manifest out/1.png.manifest.json cannot be read" in capsys.readouterr().err


def test_the_state_of_another_user_is_not_trusted(draws, capsys, monkeypatch):
    _, made = draws
    assert main(["run"]) == 130
    made.at = 0
    seen = os.fstat

    def of_somebody(file):
        about = list(seen(file))
        about[4] += 7 * os.readlink(f"/proc/self/fd/{file}").endswith(STATE)
        return os.stat_result(about)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", of_somebody)
        assert main(["run", "--resume"]) == 2
    assert "somebody else's" in capsys.readouterr().err


def test_where_all_files_are_somebody_else_s_a_run_is_taken_up(draws, capsys, monkeypatch):
    _, made = draws
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 7)    # as on vfat

    def forbidden(*_):
        raise PermissionError(1, "Operation not permitted")
    monkeypatch.setattr(os, "fchmod", forbidden)
    assert main(["run"]) == 130
    made.at = 0
    assert main(["run", "--resume"]) == 0
    assert "goes on as it was begun" in capsys.readouterr().err


def test_a_topic_of_a_bag_that_is_finished_is_known(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    finder = FakeFinder(make_face(FACE[:2], FACE[2], trusted=False))
    monkeypatch.setattr(module.Pipeline, "finder", property(lambda self: finder))
    make = Maker(False)
    for name in ("a", "b"):
        write_bag(Path("in", name), "mcap", [
            (f"/{name}", "sensor_msgs/msg/Image", 10**9, make.image(1, 3, "bgr8"))])
    words = ["run", "in", "--replace", "solid", "--topic-map", "/a:=/c"]
    assert main(words) == 0
    Path("out/b.manifest.json").unlink()
    Path("out/b.faces.jsonl").unlink()
    shutil.rmtree("out/b")
    assert main([*words, "--resume"]) == 0 and Path("out/b").is_dir()



@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "folder"])
def test_a_state_file_that_is_none_is_left_alone(draws, capsys, kind):
    Path("out").mkdir()
    mine, state = Path("mine.txt"), Path("out") / STATE
    mine.write_text("mine")
    {"link": lambda: state.symlink_to(mine.absolute()), "hard link": lambda: os.link(mine, state),
     "fifo": lambda: os.mkfifo(state), "folder": state.mkdir}[kind]()
    for words in ((), ("--resume",)):
        assert main(["run", *words]) == 2
        err = capsys.readouterr().err
        assert str(state) in err and "remove it" in err
    assert mine.read_text() == "mine" and not list(Path("out").glob("*.png"))


def test_only_its_owner_may_read_the_state_of_a_run(draws):
    Path("out").mkdir()
    (Path("out") / STATE).touch(0o666)
    assert main(["run"]) == 130
    assert (Path("out") / STATE).stat().st_mode & 0o777 == 0o600


def test_every_setting_binds_but_those_of_live_topics_and_the_key_s_value():
    config, binding = defaults(), evidence.Recipe.of(defaults(), Writing()).binding
    loose = []
    for node in ("detector", "matcher", "generator", "replacer"):
        for name, value in config[node].items():
            kind, choices = type(value), PARAMETERS[node][name].choices
            other = next((c for c in choices or () if c != value), None) or value + kind("1")
            other = [*value, other] if kind is list else other
            changed = config | {node: config[node] | {name: other}}
            if evidence.Recipe.of(changed, Writing()).binding == binding:
                loose.append(name)
    assert loose == ["image_topic", "queue", "image_topic", "deadline_ms", "queue"]
    first, second = (evidence.Recipe.of(config | {"matcher": config["matcher"] | {"key": key}},
                                        Writing()).binding for key in ("a", "b"))
    assert first == second != binding
    for writing in (Writing(codec="h264"), Writing(crf=9), Writing(keep_audio=True),
                    Writing(keep_metadata=True), Writing(topics=TopicWishes(frozenset("/a")))):
        assert evidence.Recipe.of(config, writing).binding != binding
    assert evidence.Recipe.of(config, Writing(), limit=3).binding != binding
