"""The bench on labelled clips: its measures against the referee's, by hand, and the command."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from deid_ros.bench.scene_measures import Tally, belongs, summarise, tally_frame
from deid_ros.cli import main

CLIP = "head-pose-face-detection-female.mp4"


def grey(value=100):
    return np.full((100, 200, 3), value, np.uint8)


def cover(*box, by="surrogate"):
    return {"box": list(box), "covered_by": by}


def test_nothing_at_all():
    assert summarise(Tally())["recall"] is None
    tally = Tally()
    tally_frame(tally, [], [], [], grey(), grey())
    row = summarise(tally)
    assert row["false"] == 0 and row["excess"] is None and row["sharp"] is None


def test_whose_cover():
    face = (50, 40, 20, 20)
    assert belongs((50, 40, 20, 20), face) and belongs((45, 35, 30, 30), face)
    assert not belongs((80, 40, 20, 20), face) and not belongs((0, 0, 120, 90), face)


def test_a_face_a_false_cover_and_an_ignored_one():
    tally = Tally()
    covers = [cover(48, 38, 30, 40), cover(150, 10, 10, 10, by="solid"), cover(0, 0, 12, 12)]
    tally_frame(tally, covers, [[50, 40, 26, 36]], [[0, 0, 14, 14]], grey(), grey())
    row = summarise(tally)
    assert row["recall"] == 1 and row["false"] == 1 and row["surrogate"] == 1
    assert row["false_area_pct"] == pytest.approx(100 * 100 / 20000)
    assert row["excess"] == pytest.approx(30 * 40 / (26 * 36), abs=1e-3) == row["largest"]


def test_flicker_and_misses():
    tally = Tally()
    face = [50, 40, 26, 36]
    for by in ("surrogate", "solid", "surrogate"):
        tally_frame(tally, [cover(*face, by=by)], [face], [], grey(), grey())
    tally_frame(tally, [], [face], [], grey(), grey())
    row = summarise(tally)
    assert row["flicker"] == 50 and row["recall"] == 0.75 and row["surrogate"] == pytest.approx(
        2 / 3, abs=1e-3)


def test_looks_are_ratios():
    rng = np.random.default_rng(0)
    before = rng.integers(90, 110, (100, 200, 3)).astype(np.uint8)
    after = cv2.GaussianBlur(before, (0, 0), 1.0)
    tally = Tally()
    tally_frame(tally, [cover(50, 20, 60, 60)], [[50, 20, 60, 60]], [], before, after)
    row = summarise(tally)
    assert row["sharp"][1] < 0.2 and row["contrast"][1] < 0.6 and row["chroma90"] < 2


def test_the_command_agrees_with_the_referee(shared, tmp_path, capsys):
    labels = json.loads((shared / "data/scenes.json").read_text())
    (tmp_path / "labels.json").write_text(
        json.dumps({CLIP: labels[CLIP], "gone.mp4": labels[CLIP]}))
    found, worst = tmp_path / "found.json", tmp_path / "worst.png"
    clips, kept = shared / "data/scenes", tmp_path / "kept"
    assert main(["bench", "scenes", str(clips), "--labels", str(tmp_path / "labels.json"),
                 "--presets", "fast", "--keep", str(kept), "--json", str(found), "--worst",
                 str(worst)]) == 0
    assert "plain CenterFace" in capsys.readouterr().out and worst.stat().st_size > 10_000
    row = json.loads(found.read_text())["subjects"]["fast"][CLIP]
    done = subprocess.run([sys.executable, str(shared / "tools/measure_scenes.py"),
                           str(shared / "data/scenes.json"), str(clips), str(kept / "fast"),
                           CLIP, "--json"], capture_output=True, text=True, check=True)
    referee = json.loads(done.stdout)[CLIP]
    assert row["faces"] == referee["faces"] == 23
    for name in ("recall", "false", "false_area_pct", "excess", "surrogate", "flicker"):
        assert row[name] == pytest.approx(referee[name], abs=1e-3), name
    # Two decoders give pixels that differ by a level.
    assert row["sharp"] == pytest.approx(referee["sharp"], rel=0.05)
    assert row["contrast"] == pytest.approx(referee["contrast"], rel=0.02)


@pytest.mark.parametrize(("labels", "words", "says"), [
    ("[]", (), "cannot be read"), ("{", (), "cannot be read"),
    ('{"a.mp4": 3}', (), "cannot be read"),
    ('{"a.mp4": {"faces": [], "ignore": []}}', (), "holds none of the 1 clips"),
    ('{"a.mp4": {"faces": [], "ignore": []}}', ("--names", "b.mp4"), "no clip 'b.mp4'"),
])
def test_labels_that_do_not_fit(tmp_path, capsys, labels, words, says):
    path = tmp_path / "labels.json"
    path.write_text(labels)
    assert main(["bench", "scenes", str(tmp_path), "--labels", str(path), *words]) == 2
    assert says in capsys.readouterr().err
