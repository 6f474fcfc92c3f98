"""``deid evaluate`` from the command line."""

from __future__ import annotations

import json
import shutil

import pytest

from deid_ros.cli import main

NAMES = ("A000369", "B000575")


@pytest.fixture
def folders(shared, tmp_path):
    pytest.importorskip("dlib")
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
        for name in NAMES:
            source = shared / "data" / "portraits" / f"{name}.jpg"
            shutil.copyfile(source, tmp_path / folder / source.name)
    (tmp_path / "out" / f"{NAMES[1]}.jpg").unlink()
    return tmp_path


def test_the_table_and_the_json(shared, folders, capsys):
    target = folders / "report.json"
    status = main(["evaluate", str(folders / "in"), str(folders / "out"), "--csv",
                   str(shared / "data" / "portraits.csv"), "--split", "gallery", "--draws", "10",
                   "--json", str(target)])
    out = capsys.readouterr().out
    assert status == 0
    assert "2 people, 1 run, 1 output missing (counted as recognised" in out
    assert "rank-1" in out and "landmarks: " in out
    content = json.loads(target.read_text())
    assert content["measures"]["dlib.rank_1"]["value"] == 1.0
    assert content["measures"]["detection.centerface.retained"]["value"] == 0.5
    assert content["missing"] == {"0": [NAMES[1]]}


def test_json_alone_on_the_terminal(folders, capsys):
    assert main(["evaluate", str(folders / "in"), str(folders / "in"), "--draws", "0",
                 "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["people"] == 2


def test_keys_make_the_runs_themselves(folders, capsys):
    assert main(["evaluate", str(folders / "in"), str(folders / "kept"), "--keys", "2",
                 "--replace", "solid", "--draws", "0", "--json", "-"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["settings"]["keys"] == 2 and content["missing"] == {"k0": [], "k1": []}
    rate = content["measures"]["detection.centerface.retained"]
    assert rate["value"] == 0.0 and rate["per_key"] == [0.0, 0.0]
    assert content["measures"]["outside.changed"]["value"] == 0.0
    assert sorted(path.name for path in (folders / "kept").iterdir()) == ["k0", "k1"]
    assert main(["evaluate", str(folders / "in"), str(folders / "kept"), "--keys", "1",
                 "--replace", "solid"]) == 2
    assert "not overwriting" in capsys.readouterr().err


def test_the_report_of_given_outputs(folders, shared, capsys):
    pytest.importorskip("jinja2"), pytest.importorskip("sklearn")
    page = folders / "pages" / "of" / "report.html"    # the folders are made
    assert main(["evaluate", str(folders / "in"), str(folders / "out"), "--csv",
                 str(shared / "data" / "portraits.csv"), "--draws", "10", "--attacker", "dlib",
                 "--attacker", "lbph", "--report", str(page)]) == 0
    assert "report.html written" in capsys.readouterr().err
    text = page.read_text(encoding="utf-8")
    assert "A recogniser for these 2 people, dlib, which knows every original, names" in text
    assert "No recogniser attacked that is independent of the tool" in text
    assert "Of 1 attackers of other kinds the strongest, local binary patterns, names" in text
    # One output is missing: the page says so and shows no picture.
    assert "no output in 1 runs" in text and "no picture" in text
    assert "deid evaluate" in text or "Written by" in text


@pytest.mark.parametrize("words, message", [
    (["nowhere", "out"], "nowhere is not a folder"),
    (["in", "nowhere"], "nowhere is not a folder"),
    (["in"], "give OUTPUTS"),
    (["empty", "empty"], "no images in"),
    (["in", "empty"], "None of the 1 originals"),
    (["in", "out", "--split", "probe"], "needs --csv"),
    (["in", "out", "--mix", "3"], "--mix is an option of the runs that --keys N makes"),
    (["in", "out", "--parrot", "own"], "--parrot is an option of the runs"),
    (["in", "--keys", "2", "--contributors", "c.json"], "--contributors belongs to given"),
    (["in", "out", "--contributors", "c.json"], "c.json cannot be read"),
    (["in", "out", "--json", "in/a.jpg/file"], "cannot be made"),
    (["in", "out", "--second-view", "nowhere"], "nowhere is not a folder"),
    (["in", "out", "--second", "nowhere"], "nowhere is not a folder"),
    (["in", "out", "--second", "empty"], "None of the 1 people has a second photograph in"),
    (["in", "out", "--compare"], "--compare belongs to the report; give --report FILE too"),
    (["in", "out", "--show-originals"], "--show-originals belongs to the report"),
    (["in", "out", "--report", "in/a.jpg/file"], "cannot be made"),
    (["in", "out", "--report", "r.html", "--thresholds", "t.yaml"], "t.yaml cannot be read"),
    (["in", "out", "--report", "r.html", "--video", "v.mp4"], "v.mp4 is not there"),
])
def test_refusals_are_one_sentence(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    for folder in ("in", "out", "empty"):
        (tmp_path / folder).mkdir()
    for folder in ("in", "out"):
        (tmp_path / folder / "a.jpg").write_bytes(b"x")
    assert main(["evaluate", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "Traceback" not in error


@pytest.mark.parametrize("words", [["--keys", "0"], ["--keys", "two"], ["--draws", "-1"]])
def test_numbers_out_of_range(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "in", "out", *words])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
