"""Cells of the comparison, on faces that are drawn, and the attacks on real ones."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from synthetic_gallery import faces, make_gallery

from deid_ros.evaluation import comparison as c
from deid_ros.evaluation import evaluate, find_people
from deid_ros.evaluation.people import Person
from deid_ros.evaluation.runs import Anonymised, runs_of
from deid_ros.evaluation.workshop import FixedMatcher, Workshop
from deid_ros.matcher import Matcher

cv2 = pytest.importorskip("cv2")


def test_the_cells_are_those_of_the_promise():
    keys = [cell.key for cell in c.CELLS]
    assert len(set(keys)) == len(keys)
    assert {"blur", "pixelate", "solid", "context_flat", "context_fixed"} <= set(keys)
    for policy in ("independent", "margin", "nearest"):
        assert {f"{policy}_mix{mix}" for mix in (2, 3, 5, 10)} <= set(keys)
    assert {f"k_same_k{k}" for k in (2, 5, 10)} <= set(keys)
    # Every policy is parroted with the attacker's key and with the run's.
    assert all(cell.parrots == ("own", "given") for cell in c.CELLS
               if cell.policy and not cell.special)


def test_cells_set_what_they_say():
    cell = next(cell for cell in c.CELLS if cell.key == "k_same_k5")
    changes = cell.changes("secret", "people.npz")
    assert changes["matcher"] == {"key": "secret", "policy": "k_same", "mix": 5, "k": 5,
                                  "enrolled": "people.npz"}
    assert changes["replacer"] == {"replace": "surrogate"}
    assert c.CELLS[0].changes("s", None) == {"replacer": {"replace": "blur"},
                                             "matcher": {"key": "s"}}


@pytest.mark.parametrize("count, of, expected", [
    (3, 5, [0, 2, 4]), (9, 3, [0, 1, 2]), (1, 4, [0]), (5, 0, [])])
def test_people_at_even_steps(count, of, expected):
    people = [Person(str(i), "?", None) for i in range(of)]
    assert [int(person.id) for person in c.evenly(people, count)] == expected


def test_one_surrogate_for_everybody():
    matcher = FixedMatcher(Matcher(make_gallery(), policy="independent", mix=3, key="k"))
    assert len(matcher.match([], np.zeros((0, 16), np.float32))) == 0
    first = matcher.match([4, 9], faces("M", 2, 1), stream="a")
    then = matcher.match([1], faces("F", 1, 2), stream="b")
    assert first["track_id"].tolist() == [4, 9] and then["track_id"].tolist() == [1]
    codes = np.concatenate([first, then])["code"]
    assert (codes == codes[0]).all() and matcher.mixture_of(4) is matcher.mixture_of(1)


def test_an_enrolled_file_is_a_gallery(tmp_path):
    from deid_ros.matcher.gallery import Gallery

    known = {"a": np.eye(128, dtype=np.float32)[0], "b": np.eye(128, dtype=np.float32)[1]}
    path = Workshop.enrol(known, tmp_path / "e.npz", "dlib_resnet")
    people = Gallery.load(path)
    assert people.ids.tolist() == ["a", "b"] and people.extractor == "dlib_resnet"


@pytest.fixture(scope="module")
def portraits(shared, tmp_path_factory):
    pytest.importorskip("dlib")
    folder = tmp_path_factory.mktemp("portraits")
    for path in sorted((shared / "data" / "portraits").glob("*.jpg"))[20:28]:
        shutil.copyfile(path, folder / path.name)
    return folder


def weakly_pixelated(frame, name):
    """Squares of 6 px over everything: a face is 130 px wide."""
    height, width = frame.shape[:2]
    small = cv2.resize(frame, (width // 6, height // 6), interpolation=cv2.INTER_AREA)
    return Anonymised(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST))


def test_the_parrot_attack_succeeds_on_weak_pixelation(portraits):
    people = find_people(portraits)
    result = evaluate(people, portraits, runs_of(
        people, keys=["k"], config={"matcher": {}}, parrot="own",
        make=lambda config: weakly_pixelated), attackers=["dlib"], draws=0)
    got = {measure.key: measure for measure in result.measures}
    assert got["parrot.dlib.rank_1"].value >= 0.9
    assert got["parrot.dlib.rank_1"].chance == pytest.approx(1 / 8)


def test_a_comparison_of_two_cells(shared, portraits):
    from deid_ros.config import load

    people = find_people(portraits)[:4]
    cells = [cell for cell in c.CELLS if cell.key in ("solid", "k_same_k2", "k_same_k10")]
    told = []
    got = c.compare(people, portraits, load(), cells=cells, attackers=["dlib", "shape"], draws=0,
                    tell=told.append)
    assert got["people"] == 4 and len(told) == 3
    solid, pairs, many = got["cells"]
    assert solid["measures"]["detection.centerface.retained"]["value"] == 0.0
    assert solid["measures"]["outside.changed"]["value"] == 0.0
    assert "parrot.dlib.rank_1.own" in solid["measures"]
    assert "parrot.dlib.rank_1.given" in pairs["measures"]
    closed = pairs["closed_set"]
    assert closed["k_anonymous"] and closed["bound"] == 0.5 and closed["smallest"] == 2
    assert sorted(sum(closed["clusters"], [])) == [person.id for person in people]
    assert set(closed["rank_1"]) == {"dlib", "shape"}
    assert many["refused"] == "4 people are too few for groups of 10."
