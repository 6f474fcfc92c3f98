"""Where it leaks: each row takes away what it says, and nothing else."""

from __future__ import annotations

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from deid_ros.cli import evaluate as command
from deid_ros.cli import main
from deid_ros.evaluation.leaks import LEAKS, as_markdown
from deid_ros.evaluation.workshop import FLAT, TONE, CalmGenerator, painted
from deid_ros.faces import FACE

cv2 = pytest.importorskip("cv2")


def test_the_command_knows_every_row():
    assert tuple(cell.key for cell in LEAKS) == command._LEAKS
    assert len({cell.label for cell in LEAKS}) == len(LEAKS)


@pytest.mark.parametrize("words, inside, outside", [
    ("", 200, 10), ("flat", FLAT, 10), ("outside", 200, FLAT), ("fixed outside", 200, FLAT),
    ("original outside", 10, FLAT), ("calm", 200, 10)])
def test_what_a_row_shows(words, inside, outside):
    frame, done = np.full((2, 6, 6, 3), 10, np.uint8)
    done[2:4, 2:4] = 200
    mask = np.zeros((6, 6), np.uint8)
    mask[2:4, 2:4] = 255
    out = painted(frame, done, mask, set(words.split()))
    assert out.dtype == np.uint8 and (out[2:4, 2:4] == inside).all()
    assert (out[mask == 0] == outside).all()
    assert (frame == 10).all()


def test_every_face_gets_the_same_mean_colour():
    rng = np.random.default_rng(0)
    mask = np.zeros((40, 40), np.uint8)
    mask[8:32, 8:32] = 255
    for level in (90, 120, 160):
        done = np.clip(rng.normal([level - 20, level, level + 15], 6, (40, 40, 3)),
                       0, 255).astype(np.uint8)
        out = painted(done, done, mask, {"tone"})
        lab = cv2.cvtColor(out, cv2.COLOR_BGR2LAB)[mask > 0].astype(float)
        assert lab.mean(axis=0) == pytest.approx(TONE, abs=1.5)
        assert lab.std(axis=0)[0] > 3 and (out[mask == 0] == done[mask == 0]).all()
    assert (painted(done, done, 0 * mask, {"tone"}) == done).all()


def test_rows_set_what_they_say():
    cells = {cell.key: cell for cell in LEAKS}
    assert cells["as_is"].changes("k", None) == {"replacer": {"replace": "surrogate"},
                                                 "matcher": {"key": "k"}}
    assert cells["preserve_none"].changes("k", None)["matcher"] == {"key": "k",
                                                                    "preserve": ["none"]}


def test_a_calm_surrogate_is_drawn_without_the_persons_expression():
    drawn = []
    space = SimpleNamespace(expression_mean=np.arange(7.0))
    calm = CalmGenerator(SimpleNamespace(space=space, learn=drawn.append,
                                         generate=lambda faces: drawn.append(faces) or "patches"))
    faces = np.zeros(2, FACE)
    faces["expression"], faces["yaw"] = 9, 30
    assert calm.generate(faces) == "patches"
    assert (drawn[0]["expression"] == np.arange(7)).all() and (drawn[0]["yaw"] == 30).all()
    assert (faces["expression"] == 9).all()


def row(value, interval=None, unit="share"):
    return {"value": value, "interval": interval, "unit": unit}


def test_the_table_by_hand():
    found = {"people": 50, "cells": [
        {"label": "as it is set", "measures": {
            "a.rank_1": row(0.16, [0.1, 0.24]), "a.same_sex.mean_rank": row(0.19, None, "rank"),
            "b.rank_1": row(None), "worst.rank_1": row(0.16)}},
        {"label": "refused"}]}
    assert "| as it is set | 16.0 (10.0 to 24.0) | 0.19 | – | – | 16.0 | – |" in as_markdown(found)
    del found["cells"][0]["measures"]["b.rank_1"]
    found |= {"impostor_pairs": {"all": 1225, "same_sex": 600}, "keys": ["k0", "k1"],
              "known": "second photographs",
              "recognisers": [{"name": "a", "independent": False, "note": "it was in a loss"}]}
    assert as_markdown(found).splitlines() == [
        "50 people (1225 pairs of strangers, 600 of one sex), 2 keys; attackers know another "
        "photograph of each; 95 % intervals over people.",
        "a: not independent (it was in a loss).", "",
        "|  | a: rank-1 (%) | a: same-sex mean rank |", "| --- | --- | --- |",
        "| as it is set | 16.0 (10.0 to 24.0) | 0.19 |", "| refused | – | – |",
        "| guessing | 2.0 | 0.50 |"]


def test_the_command_prints_the_table(shared, tmp_path, capsys):
    pytest.importorskip("dlib")
    (tmp_path / "in").mkdir()
    for path in sorted((shared / "data" / "portraits").glob("*.jpg"))[40:44]:
        shutil.copyfile(path, tmp_path / "in" / path.name)
    assert main(["evaluate", str(tmp_path / "in"), "--leak", "as_is", "--leak", "original_grey",
                 "--workers", "1", "--draws", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4 people (6 pairs of strangers, 0 of one sex), 1 key;")
    assert lines[1].startswith("dlib: not independent (in no loss, but the gallery is matched")
    assert lines[3] == "|  | dlib: rank-1 (%) | dlib: same-sex mean rank |"
    # The very faces, cut out of the very pictures, are known again.
    assert re.match(r"\| control.* \| 100.0 \|", lines[6])
    assert lines[-1] == "| guessing | 25.0 | 0.50 |"


@pytest.mark.parametrize("words, message", [
    (["in", "out", "--leak", "all"], "leave OUTPUTS out"),
    (["in", "--leak", "all", "--parrot", "own"], "leave --parrot out")])
def test_what_does_not_go_together(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"x")
    assert main(["evaluate", *words]) == 2
    assert message in capsys.readouterr().err
