"""The instruments on a few real portraits: nothing hidden, and everything."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from deid_ros.config import load
from deid_ros.errors import DetectorError, EvaluationError
from deid_ros.evaluation import GalleryPeople, Run, evaluate, find_people
from deid_ros.evaluation.dlib_face import landmark_file
from deid_ros.evaluation.runs import Anonymised, anonymise, pipeline_anonymiser, runs_of
from deid_ros.evaluation.second_view import second_view
from deid_ros.evaluation.views import Observer

NAMES = ("A000368", "A000369", "A000370", "B000575", "B001135", "C000127")


@pytest.fixture(scope="module")
def portraits(shared, tmp_path_factory):
    pytest.importorskip("dlib")
    folder = tmp_path_factory.mktemp("portraits")
    for name in NAMES:
        shutil.copyfile(shared / "data" / "portraits" / f"{name}.jpg", folder / f"{name}.jpg")
    return folder


@pytest.fixture(scope="module")
def people(shared, portraits):
    return find_people(portraits, table=shared / "data" / "portraits.csv")


def numbers(result):
    return {measure.key: measure.value for measure in result.measures}


def solid(frame, name):
    """Grey from the hair line to the collar."""
    out = frame.copy()
    mask = np.zeros(frame.shape[:2], np.uint8)
    mask[30:240, 30:195] = 255
    out[mask > 0] = 128
    return Anonymised(out, mask, ("g0",))


def test_originals_against_themselves(portraits, people):
    result = evaluate(people, portraits, [Run(portraits)], draws=20)
    assert len(result.people) == 6 and not result.faceless
    got = numbers(result)
    for key in ("dlib.rank_1", "dlib.same_sex.rank_1", "dlib.closer", "shape.rank_1",
                "worst.rank_1", "detection.dlib_hog.retained", "detection.centerface.retained",
                "sharpness.ratio", "variety.ratio"):
        assert got[key] == 1.0, key
    for key in ("dlib.own_distance", "landmarks.error", "pose.yaw", "pose.pitch", "pose.roll",
                "outside.difference", "dlib.eer"):
        assert got[key] == 0.0, key
    assert got["expression.mouth"] == pytest.approx(1.0)
    assert 0.6 < got["dlib.other_distance"] < 1.1
    assert result.missing == {"0": ()}


def test_a_covered_face_is_not_detected(portraits, people):
    gallery = GalleryPeople(("g0", "g1"), np.eye(2, 128) * -1)
    result = evaluate(people, portraits,
                      runs_of(people, keys=["k0", "k1"], config={"matcher": {}},
                              make=lambda config: solid),
                      gallery=gallery, draws=0)
    got = numbers(result)
    assert got["detection.dlib_hog.retained"] == got["detection.centerface.retained"] == 0.0
    assert got["sharpness.ratio"] == 0.0
    assert got["outside.changed"] == 0.0      # the mask says exactly what was covered
    assert got["dlib.rank_1"] < 0.5 and got["variety.ratio"] < 0.2
    assert 0.0 <= got["gallery.contributor"] <= 1.0
    assert set(result.missing) == {"k0", "k1"}
    assert len(result.measures[0].per_key) == 2


def test_missing_unreadable_and_resized_outputs(portraits, people, tmp_path):
    for name in NAMES[2:]:
        shutil.copyfile(portraits / f"{name}.jpg", tmp_path / f"{name}.jpg")
    (tmp_path / f"{NAMES[1]}.jpg").write_bytes(b"not a picture")
    result = evaluate(people, portraits, [Run(tmp_path)], draws=0, attackers=["dlib"])
    assert result.missing == {"0": NAMES[:2]}
    assert numbers(result)["detection.centerface.retained"] == pytest.approx(4 / 6)
    assert numbers(result)["dlib.rank_1"] == 1.0
    cv2.imwrite(str(tmp_path / f"{NAMES[0]}.jpg"), np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(EvaluationError, match="20x10 pixels and its original 225x275"):
        evaluate(people, portraits, [Run(tmp_path)], draws=0, attackers=["dlib"])


def test_originals_without_a_face_are_named_not_counted(portraits, people, tmp_path):
    shutil.copyfile(portraits / f"{NAMES[0]}.jpg", tmp_path / "face.jpg")
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((90, 80, 3), 90, np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"")
    result = evaluate(find_people(tmp_path), tmp_path, [Run(tmp_path)], draws=0,
                      attackers=["dlib"])
    assert [person.id for person in result.people] == ["face"]
    assert result.faceless == ("broken", "wall")
    (tmp_path / "face.jpg").unlink()
    with pytest.raises(EvaluationError, match="None of the 2 originals"):
        evaluate(find_people(tmp_path), tmp_path, [Run(tmp_path)], draws=0, attackers=["dlib"])


def test_a_second_view_is_the_same_person_to_the_attacker(portraits):
    observer = Observer()
    frame = cv2.imread(str(portraits / f"{NAMES[0]}.jpg"))
    before = frame.copy()
    other = second_view(frame, seed=1)
    assert (frame == before).all() and other.shape == frame.shape
    assert (other == second_view(frame, seed=1)).all()
    assert (other != second_view(frame, seed=2)).any()
    rows = [observer.dlib.descriptor(f, observer.look(f).rectangle) for f in (frame, other)]
    assert 0.05 < np.linalg.norm(rows[0] - rows[1]) < 0.5


def test_a_recogniser_looks_where_the_original_had_its_face(portraits):
    observer = Observer(landmarks="mesh")
    frame = cv2.imread(str(portraits / f"{NAMES[0]}.jpg"))
    view = observer.look(frame)
    left, right, nose, *mouth = view.five
    assert left[0] < nose[0] < right[0] and nose[1] < min(corner[1] for corner in mouth)
    assert (abs(view.five - view.box[:2] - view.box[2:] / 2) < view.box[2:]).all()
    # Moved, it is found anew; hidden, it is where it was.
    moved = observer.look(np.roll(frame, 9, axis=1), at=view)
    assert moved.five[:, 0] == pytest.approx(view.five[:, 0] + 9, abs=2)
    assert (observer.look(solid(frame, "a").frame, at=view).five == view.five).all()


def test_unknown_instruments_are_refused(portraits, people):
    for options, message in (({"attackers": ["eyes"]}, "attacker called 'eyes'"),
                             ({"landmarks": "eyes"}, "landmarks called 'eyes'")):
        with pytest.raises(EvaluationError, match=message):
            evaluate(people, portraits, [Run(portraits)], **options)
    with pytest.raises(EvaluationError, match="no run"):
        evaluate(people[:1], portraits, [])


def test_the_mesh_serves_where_dlibs_landmarks_are_not(portraits, people, monkeypatch):
    result = evaluate(people[:2], portraits, [Run(portraits)], landmarks="mesh", draws=0,
                      attackers=["dlib"])
    assert result.settings["landmarks"] == "mesh"
    assert numbers(result)["landmarks.error"] == 0.0
    monkeypatch.setattr("deid_ros.evaluation.views.landmark_file", lambda: None)
    assert Observer().landmarks == "mesh"
    with pytest.raises(EvaluationError, match="non-commercial"):
        Observer(landmarks="dlib68")
    monkeypatch.undo()
    if landmark_file() is not None:
        assert Observer().landmarks == "dlib68"


def test_kept_runs_are_not_overwritten(portraits, people, tmp_path):
    runs = list(runs_of(people[:1], keys=["k0"], config={"matcher": {}}, keep=tmp_path,
                        parrot="own", make=lambda config: solid))
    assert runs[0].outputs == tmp_path / "k0"
    assert [path.name for path in (tmp_path / "k0").iterdir()] == [f"{people[0].id}.png"]
    assert runs[0].contributors == {people[0].id: ["g0"]}
    with pytest.raises(EvaluationError, match="not overwriting"):
        runs_of(people[:1], keys=["k1", "k0"], config={"matcher": {}}, keep=tmp_path,
                make=lambda config: solid)


def test_runs_use_their_keys(portraits, people):
    keys = []

    def make(config):
        keys.append(config["matcher"]["key"])
        return solid

    config = {"matcher": {"key": ""}}
    for parrot in (None, "own", "given"):
        for run in runs_of(people[:1], keys=["k0", "k1"], config=config, parrot=parrot, make=make):
            assert run.outputs.is_dir() and (run.second is not None) == (parrot is not None)
    assert keys[:2] == ["k0", "k1"]
    own, given = keys[2:6], keys[6:]
    assert own[0] == "k0" != own[1] and own[2] == "k1" != own[3]
    assert given == ["k0", "k0", "k1", "k1"]
    assert config == {"matcher": {"key": ""}}


def test_a_picture_that_cannot_be_anonymised_has_no_output(people, tmp_path, capsys):
    def refuse(frame, name):
        if name.startswith(people[0].id):
            raise DetectorError("Detection failed.")
        return Anonymised(frame)

    pictures = {person.id: person.original for person in people[:2]}
    assert anonymise(pictures, tmp_path, refuse) is None
    assert [path.stem for path in tmp_path.iterdir()] == [people[1].id]
    assert "Detection failed" in capsys.readouterr().err


def test_the_pipeline_makes_the_runs(portraits, people):
    config = load(overrides={"replacer": {"replace": "blur"}})
    one = pipeline_anonymiser(config)
    frame = cv2.imread(str(people[0].original))
    done = one(frame, "a.jpg")
    changed = (done.frame != frame).any(axis=2)
    assert changed.any() and not changed[done.mask == 0].any()
    assert done.contributors is None


@pytest.fixture(scope="module")
def pairs(shared, tmp_path_factory):
    """Four people smiling, and three of them with a neutral face."""
    pytest.importorskip("dlib")
    folder = tmp_path_factory.mktemp("pairs")
    for kind, count in (("smiling", 4), ("neutral", 3)):
        (folder / kind).mkdir()
        for path in sorted((shared / "data" / "two_photos" / kind).glob("*.jpg"))[:count]:
            frame = cv2.imread(str(path))
            cv2.imwrite(str(folder / kind / path.name), cv2.resize(
                frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return folder


def test_second_photographs_are_what_the_attacker_knows(shared, pairs):
    found = find_people(pairs / "smiling", table=shared / "data" / "two_photos.csv")
    runs = runs_of(found, keys=["k0"], config={"matcher": {}}, parrot="own",
                   second={person.id: pairs / "neutral" / person.original.name
                           for person in found[:3]},
                   make=lambda config: lambda frame, name: Anonymised(frame))
    result = evaluate(found, pairs / "smiling", runs, second=pairs / "neutral", draws=0,
                      attackers=["dlib"])
    got = numbers(result)
    assert [person.id for person in result.people] == [person.id for person in found[:3]]
    assert result.settings["without_second"] == [found[3].id]
    # Nothing was hidden: known from another photograph, which is not the same one.
    assert got["dlib.unaltered"] == got["dlib.rank_1"] == got["worst.rank_1"] == 1.0
    assert 0.1 < got["dlib.own_distance"] < 0.5
    # A parrot puts the other photographs through the same tool.
    assert got["parrot.worst.rank_1"] == 1.0
    assert result.settings["known"] == "second photographs"
    assert result.settings["impostor_pairs"]["all"] == 3
    from deid_ros.evaluation import as_table

    text = as_table(result)
    assert "1 left out, they have no second photograph that shows a face" in text
    assert "rank-1 of the unaltered pictures" in text and "NOT independent" in text
    assert "which knows another photograph of all 3 people" in text
    assert max(map(len, text.splitlines())) <= 100
