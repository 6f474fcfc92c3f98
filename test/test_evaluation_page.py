"""The report: what it says, that it needs nothing else, and that a browser shows it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter

import numpy as np
import pytest
from test_evaluation_measures import LINE, PLANE, observations

from deid_ros.evaluation import measures as m
from deid_ros.evaluation import page as p
from deid_ros.evaluation.evaluate import Evaluation
from deid_ros.evaluation.intervals import summarise
from deid_ros.evaluation.lights import read_thresholds
from deid_ros.evaluation.people import Person
from deid_ros.evaluation.recordings import over_time, read_recordings
from deid_ros.evaluation.report import as_json
from deid_ros.evaluation.smoothness import compare_tracks
from deid_ros.evaluation.thumbnails import cut_out, hide
from deid_ros.evaluation.worst import worst_of
from deid_ros.resources import share_path

cv2 = pytest.importorskip("cv2")
RED, BLUE = (0, 0, 255), (255, 0, 0)


def picture(path, colour):
    """A grey frame with a face of one colour."""
    frame = np.full((100, 80, 3), 200, np.uint8)
    frame[30:70, 20:60] = colour
    cv2.imwrite(str(path), frame)
    return path


@pytest.fixture
def result(tmp_path):
    """Ten people, the first recognised and one without output; faces red before, blue after."""
    observed = observations(LINE, np.concatenate([LINE[:1], LINE[1:] + [50, 0]]),
                            sex=["F"] * 5 + ["M"] * 5, missing=[False] * 9 + [True])
    found = m.measures_of(observed, [PLANE])
    people = tuple(Person(name, str(sex), picture(tmp_path / f"{name}.png", RED))
                   for name, sex in zip(observed.ids.tolist(), observed.sex))
    values = {one.key: one.values for one in found if one.values is not None}
    box = np.tile([20.0, 30, 40, 40], (10, 1))
    measures = summarise([found, found], 10, count=50)
    settings = {"attackers": ["dlib"], "keys": 2, "recognisers": [
        {"name": "dlib", "title": "dlib descriptor", "independent": False, "note": ""}]}
    return Evaluation(people, (), {"k0": ("p9",), "k1": ()},
                      (*worst_of(measures, ["dlib"]), *measures), values, settings,
                      m.curves_of(observed, [PLANE]), box,
                      tuple(box[i:i + 1] for i in range(10)))


CELL = {"key": "independent_mix5", "label": "independent, mix 5", "policy": "independent",
        "mix": 5, "k": 0, "measures": {
            "worst.rank_1": {"value": 0.1, "interval": [0.0, 0.2], "unit": "share", "label": ""},
            "parrot.worst.rank_1.own": {"value": 0.4, "interval": None, "unit": "share",
                                       "label": ""},
            "expression.mouth": {"value": 0.7, "interval": None, "unit": "correlation",
                                 "label": ""},
            "detection.centerface.ap": {"value": 1.0, "interval": None, "unit": "ratio",
                                        "label": ""}}}
CLOSED = CELL | {"key": "k_same_k2", "label": "k_same, k 2", "policy": "k_same", "k": 2,
                 "closed_set": {"k": 2, "k_anonymous": False, "bound": None, "smallest": 2,
                                "statement": "This must not be called k-anonymous: twins.",
                                "reasons": ["twins"], "clusters": [["a", "<b>"]],
                                "rank_1": {"dlib": 0.25}}}
COMPARISON = {"people": 10, "keys": ["compare"], "cells": [
    CELL, CLOSED, {"key": "k_same_k10", "label": "k_same, k 10", "refused": "Too few people."}]}


@pytest.fixture
def report(result, tmp_path):
    """Writes the page with everything in it, returns path and text."""
    pytest.importorskip("jinja2"), pytest.importorskip("matplotlib")

    def write(content=None, **options):
        outputs = {person.id: picture(tmp_path / f"out-{person.id}.png", BLUE)
                   for person in result.people[:9]}
        path = tmp_path / "report.html"
        content = json.loads(json.dumps(content or as_json(result), allow_nan=False))
        p.write_page(path, result, content, outputs=outputs,
                     thresholds=read_thresholds(share_path("config", "report.yaml")),
                     comparison=COMPARISON, files={"a.onnx": "0" * 64}, command="deid evaluate x",
                     video={"video": "v.mp4", "frames": 9, "before": 1, "after": 2, "ratio": 2},
                     **options)
        return path, path.read_text(encoding="utf-8")

    return write


def colours(uri):
    """Mean of a picture in the page, BGR."""
    import base64

    data = np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[60:110, 60:110].mean(axis=(0, 1))


def test_the_page_is_whole_and_needs_no_network(report):
    _, text = report()
    assert not re.search(r"""(src|href|action|srcset)\s*=\s*(?!["']?data:)""", text)
    assert "<script" not in text and "@import" not in text and "url(" not in text
    for words in ("At a glance", "Who recognises the people", "k-anonymity", "The worst cases",
                  "a.onnx", "deid evaluate x", "Too few people.", "2.00 times as much",
                  "must not be called k-anonymous", "&lt;b&gt;",
                  "named by dlib in 100 % of the runs",
                  "no output in 1 runs, counted as recognised"):
        assert words in text, words
    assert not re.search(r">\s*(nan|None|inf)\b", text)
    assert 'name="viewport"' in text and "@media print" in text


def test_the_page_says_who_is_independent_and_where_it_leaks(result, report):
    content = as_json(result)
    content["settings"]["recognisers"].append(
        {"name": "mine", "title": "recogniser mine.onnx", "independent": True, "note": "a note"})
    content["settings"]["impostor_pairs"] = {"all": 45, "same_sex": 20}
    row = {"value": 0.2, "interval": [0.1, 0.4], "unit": "share", "label": ""}
    content["leaks"] = {"people": 10, "cells": [
        {"key": "as_is", "label": "as it is set", "measures": {"worst.rank_1": row}},
        {"key": "original_grey", "label": "control: <b>", "measures": {}}]}
    text = re.sub(r"\s+", " ", report(content=content)[1])
    assert "dlib descriptor: not independent." in text
    assert "recogniser mine.onnx: independent of the tool: a note." in text
    assert "10 people are 45 pairs of strangers, 20 of one sex" in text
    assert "<td>as it is set</td>" in text and "20.0 % (10.0 to 40.0)" in text
    assert "control: &lt;b&gt;" in text and "that the test is fair" in text
    del content["leaks"]["cells"][1]
    assert "that the test is fair" not in report(content=content)[1]
    assert "Where it leaks" not in report()[1]


def test_originals_are_painted_over_unless_asked_for(report):
    before = r'src="(data:image/jpeg[^"]+)" alt="before'
    hidden = [colours(uri) for uri in re.findall(before, report()[1])]
    shown = [colours(uri) for uri in re.findall(before, report(show_originals=True)[1])]
    assert hidden and len(hidden) == len(shown)
    assert all(np.abs(colour - 128).max() < 12 for colour in hidden)
    assert all(colour[2] > 200 and colour[0] < 60 for colour in shown)
    after = re.findall(r'src="(data:image/jpeg[^"]+)" alt="after', report()[1])
    assert all(colours(uri)[0] > 200 for uri in after)


def test_the_summary_takes_the_worst_recogniser(result):
    content = as_json(result)
    sentences = p.summary(content)
    assert all(s.endswith(".") for s in sentences)
    assert "people, dlib, which knows every original, names 20.0 %" in sentences[0]
    assert "guessing names 10.0 %" in sentences[0]
    assert "No recogniser attacked that is independent of the tool" in sentences[1]
    assert "was not tried" in sentences[2]
    row = content["measures"]["worst.rank_1"]
    content["measures"]["worst.rank_1"] = row | {"value": 0.9, "attacker": "mine"}
    content["measures"]["parrot.worst.rank_1"] = row
    content["measures"]["lbph.rank_1"] = row | {"value": 0.7}
    content["settings"] |= {"parrot": "given", "known": "second photographs"}
    content["settings"]["recognisers"].append({"name": "mine", "independent": True})
    text = " ".join(p.summary(content))
    assert "The worst of 2 face recognisers for these 10 people, mine, which knows another " \
        "photograph of each, names 90.0 %" in text
    assert "independent" not in text
    assert "the strongest, local binary patterns, names 70.0 %" in text
    assert "with the run's key, names 20.0 %" in text


def test_worst_cases_come_first(result):
    worst = p.worst_cases(result, {}, show=False, count=3)
    assert {worst[0]["id"], worst[1]["id"]} == {"p0", "p9"}
    assert worst[0]["after"] is None and worst[0]["before"].startswith("data:image/jpeg")


def test_what_hides_a_face():
    frame = np.full((100, 80, 3), 7, np.uint8)
    hidden = hide(frame, np.array([[20, 30, 40, 40.0]]))
    assert (hidden[30:70, 20:60] == 128).all() and (hidden[:20] == 7).all()
    assert (frame == 7).all()
    # Nobody knows where the face is: nothing is shown.
    assert (hide(frame, np.zeros((0, 4))) == 128).all()
    assert cut_out(None, np.zeros(4)) is None


def test_coverage_over_time():
    assert over_time([]) == {}
    frames = [Counter(surrogate=2)] * 4 + [Counter(solid=1)] * 4
    got = over_time(frames, parts=2)
    assert got["surrogate"].tolist() == [2, 0] and got["solid"].tolist() == [0, 1]
    assert len(over_time(frames, parts=100)["solid"]) == 8


def test_recordings_are_read_from_their_manifests(tmp_path):
    manifest = {"tool": {}, "input": {}, "output": {"sha256": "0"}, "frames": 2}
    for name in ("a.mp4", "b.png", "c.mp4", "d.mp4"):
        (tmp_path / f"{name}.manifest.json").write_text(json.dumps(manifest))
    box = {"box": [0, 0, 9, 9]}
    line = json.dumps({"index": 0, "topic": None, "faces": [
        box | {"covered_by": "surrogate"}, box | {"covered_by": "solid", "carried": True}]})
    (tmp_path / "a.mp4.faces.jsonl").write_text(line + "\n" + line + "\n")
    (tmp_path / "b.png.faces.jsonl").write_text(line + "\n")
    (tmp_path / "d.mp4.faces.jsonl").write_text(line + "\n[]\n")
    film, still, broken, odd = read_recordings(tmp_path)
    assert film.parts["surrogate"].tolist() == [1, 1] and film.parts["carried"].tolist() == [1, 1]
    assert not still.parts and not still.problem
    assert "cannot be read" in broken.problem and "is damaged" in odd.problem
    assert read_recordings(tmp_path / "none") == []


def test_smoothness_is_against_the_original():
    time = np.arange(12.0)
    still = np.tile(np.stack([np.linspace(0, 100, 68), np.zeros(68)], axis=1), (12, 1, 1))
    eyes = np.abs(still[0, 45] - still[0, 36]).sum()
    before, after = still.copy(), still.copy()
    before[:, :, 0] += (time % 2)[:, None]
    after[:, :, 0] += 3 * (time % 2)[:, None]
    got = compare_tracks(before, after)
    assert got["before"] == pytest.approx(2000 / eyes) and got["ratio"] == pytest.approx(3.0)
    assert np.isnan(compare_tracks(still[:0], still[:0])["ratio"])


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
               None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--enable-logging=stderr"]
PROBE = """<script>
window.addEventListener('load', () => {
  const lost = [...document.images].filter(i => !i.complete || !i.naturalWidth);
  document.title = `pictures ${document.images.length} lost ${lost.length} `
    + `wide ${document.documentElement.scrollWidth - window.innerWidth}`;
});
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1000, 500])
def test_a_browser_loads_every_picture_and_complains_of_nothing(report, tmp_path, width):
    path, text = report()
    probe = path.with_name("probe.html")
    probe.write_text(text.replace("</body>", PROBE), encoding="utf-8")
    done = subprocess.run(
        [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900",
         "--virtual-time-budget=5000", "--dump-dom", probe.as_uri()],
        capture_output=True, text=True, timeout=180, check=False)
    title = re.search(r"<title>pictures (\d+) lost (\d+) wide (-?\d+)</title>", done.stdout)
    assert title, done.stderr[-2000:]
    assert int(title[1]) == text.count("<img ") > 10 and int(title[2]) == 0
    # Nothing but tables may be wider than the screen, and those scroll by themselves.
    assert int(title[3]) <= 0
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
