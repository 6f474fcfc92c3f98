"""What is reported for people whose results are known beforehand."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from deid_ros.evaluation import measures as m
from deid_ros.evaluation.attackers import DlibAttacker, GeometryAttacker, ShapeAttacker
from deid_ros.evaluation.attributes import read_off
from deid_ros.evaluation.evaluate import Evaluation, impostor_pairs
from deid_ros.evaluation.intervals import summarise
from deid_ros.evaluation.observations import Observations
from deid_ros.evaluation.people import Person
from deid_ros.evaluation.report import as_json, as_table


class Plane:
    """An attacker whose features are points in the plane."""

    name, title, threshold, recogniser = "dlib", "points", 0.6, True
    distances = DlibAttacker.distances


PLANE = Plane()


def observations(known, probes, *, sex=None, missing=None):
    """N people without a flaw but for what the points say."""
    known, probes = np.asarray(known, float), np.asarray(probes, float)
    n = len(known)
    missing = np.zeros(n, bool) if missing is None else np.asarray(missing, bool)
    probes = np.where(missing[:, None], np.nan, probes) if n else probes
    opening = np.stack([np.arange(n), np.where(missing, np.nan, np.arange(n))], axis=1)
    worst = np.where(missing, np.inf, 0.0)
    return Observations(
        ids=np.array([f"p{i}" for i in range(n)]), sex=np.array(sex or ["F"] * n, dtype=str),
        missing=missing, known={"dlib": known}, probes={"dlib": probes},
        found_before={"hog": np.ones(n, bool)}, found_after={"hog": ~missing},
        landmark_error=worst, pose_error=np.repeat(worst[:, None], 3, axis=1),
        mouth=opening, eyes=opening, sharpness=np.where(missing, 0.0, 1.0),
        outside=np.where(missing[:, None], [1.0, 255.0], 0.0))


def values(observed, **options):
    """Measure key -> number over everybody."""
    found = m.measures_of(observed, [PLANE], **options)
    assert len({one.key for one in found}) == len(found)
    return {s.key: s.value for s in summarise([found], len(observed.ids), count=0)}


LINE = np.stack([np.arange(10.0), np.zeros(10)], axis=1)
#: So many that a false accept rate of 0.1 % accepts ten of their pairs.
MANY = np.stack([np.arange(150.0), np.zeros(150)], axis=1)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_people_give_no_number_where_there_is_none(n):
    got = values(observations(LINE[:n], LINE[:n]))
    for key in ("dlib.mean_rank", "dlib.eer", "variety.ratio", "expression.mouth"):
        assert np.isnan(got[key]), key
    assert not any("tar_at_far" in key or "adaptive" in key for key in got)
    if n == 1:
        assert got["dlib.rank_1"] == 1.0 and got["detection.hog.retained"] == 1.0


def test_nothing_hidden():
    got = values(observations(LINE, LINE))
    assert got["dlib.rank_1"] == got["dlib.same_sex.rank_1"] == got["dlib.closer"] == 1.0
    many = values(observations(MANY, MANY))
    assert many["dlib.tar_at_far_1e-2"] == many["dlib.tar_at_far_1e-3"] == 1.0
    assert got["adaptive.dlib.rank_1"] == 1.0
    assert got["dlib.mean_rank"] == got["dlib.own_distance"] == got["dlib.eer"] == 0.0
    assert got["detection.hog.retained"] == got["variety.ratio"] == 1.0
    assert got["expression.eyes"] == pytest.approx(1.0)
    assert got["outside.changed"] == got["landmarks.error"] == got["pose.yaw"] == 0.0


def test_everybody_gets_the_same_face():
    got = values(observations(LINE, np.tile([4.5, 100.0], (10, 1))))
    # The person in the middle of the line stands first for everybody's output.
    assert got["dlib.rank_1"] == pytest.approx(0.1)
    assert got["dlib.rank_5"] == pytest.approx(0.5)
    assert got["dlib.mean_rank"] == pytest.approx(0.5)
    assert got["dlib.closer"] == 0.0
    assert values(observations(MANY, np.tile([9.5, 100.0], (150, 1))))["dlib.tar_at_far_1e-2"] == 0
    assert got["dlib.eer"] == pytest.approx(0.5, abs=0.02)
    assert got["variety.ratio"] == 0.0


def test_knowing_the_sex_alone_is_chance_within_the_sex():
    known = np.concatenate([LINE, LINE + [0, 100]])
    probes = np.concatenate([np.tile([4.5, 50.0 - 49], (10, 1)), np.tile([4.5, 99.0], (10, 1))])
    found = m.measures_of(observations(known, probes, sex=["F"] * 10 + ["M"] * 10), [PLANE])
    got = {s.key: s for s in summarise([found], 20, count=0)}
    assert got["dlib.mean_rank"].value < 0.3
    assert got["dlib.same_sex.mean_rank"].value == pytest.approx(0.5)
    assert got["dlib.rank_1"].chance == pytest.approx(1 / 20)
    assert got["dlib.same_sex.rank_1"].chance == pytest.approx(1 / 10)
    assert got["dlib.same_sex.rank_5"].chance == pytest.approx(1 / 2)


def test_unknown_sex_gives_no_rank_within_it():
    found = m.measures_of(observations(LINE, LINE, sex=["?"] * 10), [PLANE])
    got = {s.key: s for s in summarise([found], 10, count=0)}
    assert np.isnan(got["dlib.same_sex.rank_1"].value)
    assert got["dlib.same_sex.rank_1"].chance is None


def test_a_missing_output_counts_against_the_tool_everywhere():
    far = LINE + [0, 1000.0]
    missing = [True] + [False] * 9
    whole, lost = values(observations(LINE, far[::-1])), \
        values(observations(LINE, far[::-1], missing=missing))
    for key in ("dlib.rank_1", "dlib.rank_5", "dlib.closer", "outside.changed"):
        assert lost[key] > whole[key], key
    assert values(observations(MANY, MANY + [0, 1000.0], missing=[True] + [False] * 149))[
        "dlib.tar_at_far_1e-3"] == pytest.approx(1 / 150)
    for key in ("dlib.mean_rank", "detection.hog.retained", "expression.mouth",
                "variety.ratio", "dlib.own_distance"):
        assert lost[key] < whole[key], key
    assert lost["dlib.closer"] == pytest.approx(0.1)
    assert lost["detection.hog.retained"] == pytest.approx(0.9)


def test_every_output_missing():
    got = values(observations(LINE, LINE, missing=[True] * 10))
    assert got["dlib.rank_1"] == got["adaptive.dlib.rank_1"] == 1.0
    assert got["detection.hog.retained"] == got["expression.mouth"] == 0.0
    assert got["landmarks.error"] == got["pose.roll"] == np.inf
    assert got["variety.ratio"] == got["sharpness.ratio"] == 0.0


def test_the_reference_of_closer_is_how_alike_strangers_are():
    # Ten pairs of people 0.5 apart, of one sex: 10 of 190 pairs are 'closer'.
    known = np.concatenate([10 * LINE, 10 * LINE + [0, 0.5]])
    found = m.measures_of(observations(known, known + [0, 70]), [PLANE])
    [closer] = [one for one in found if one.key == "dlib.closer"]
    assert closer.chance == pytest.approx(10 / 190)


def test_a_detector_answers_for_the_faces_it_found():
    observed = observations(LINE, LINE)
    observed.found_before["hog"][:5] = False
    observed.found_after["hog"][:6] = False
    assert values(observed)["detection.hog.retained"] == pytest.approx(0.8)


def test_the_parrot_attack_sees_through_a_deterministic_tool():
    # The tool swaps people by a fixed rule: the originals do not give it away.
    hidden = LINE[::-1] + [0, 1000.0]
    observed, second = observations(LINE, hidden), observations(LINE, hidden + 0.1)
    got = values(observed, second=second)
    assert got["dlib.rank_1"] == 0.0
    assert got["parrot.dlib.rank_1"] == got["parrot.dlib.same_sex.rank_1"] == 1.0
    # What the attacker cannot anonymise himself does not stand in the way.
    gaps = observations(LINE, hidden + 0.1, missing=[False] * 9 + [True])
    assert values(observed, second=gaps)["parrot.dlib.rank_1"] == pytest.approx(0.9)


def test_contributors():
    similarity = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.9, 0.1]])
    [got] = m.contributor_share(similarity, ["g0", "g1"], ["a", "b", "c", "d"],
                                {"a": ["g0", "g1"], "b": ["g0"]},
                                np.array([False, False, False, True]))
    # a: its own contributor; b: another; c: nobody contributed; d: missing.
    assert got.values.tolist() == [1, 0, 0, 1]


def test_the_geometry_attack_weighs_coordinates_by_their_spread():
    attacker = GeometryAttacker(None)
    known = np.array([[0, 0, 5], [1000, 1, 5], [2000, 0, 5.0]])
    probes = np.array([[100, 0, 99], [1100, 1, 99], [1900, 0, 99.0]])
    distances = attacker.distances(probes, known, known=known)
    assert distances.argmin(axis=1).tolist() == [0, 1, 2]
    # Moved by one standard deviation in one coordinate: one apart.
    step = known[:1] + [known[:, 0].std(), 0, 0]
    assert attacker.distances(step, known, known=known)[0, 0] == pytest.approx(1.0)
    empty = np.zeros((0, 3))
    assert attacker.distances(empty, empty, known=empty).shape == (0, 0)


def test_the_shape_attack_knows_people_by_their_shape_and_not_by_their_pose():
    rng = np.random.default_rng(0)
    own, causes = rng.normal(size=(60, 72)), rng.normal(size=(60, 5)) * [20, 9, 5, 0.1, 0.02]
    moves = rng.normal(size=(5, 72)) * [[0.3], [0.5], [0.6], [20], [90]]

    def seen(shape, causes):
        return np.hstack([shape + causes @ moves + 1e-3 * causes[:, :1] ** 2, causes])

    attacker, known = ShapeAttacker(None), seen(own, causes)
    right = np.arange(60)
    # The same people in other poses are found; other people in the same poses are not.
    again = seen(own + 0.3 * rng.normal(size=own.shape), rng.permutation(causes))
    others = seen(rng.normal(size=own.shape), causes)
    assert (attacker.distances(again, known, known=known).argmin(axis=1) == right).mean() > 0.9
    assert (attacker.distances(others, known, known=known).argmin(axis=1) == right).mean() < 0.1
    plain = GeometryAttacker(None)
    assert (plain.distances(others, known, known=known).argmin(axis=1) == right).mean() > 0.2
    empty = np.zeros((0, 77))
    assert attacker.distances(empty, empty, known=empty).shape == (0, 0)


@pytest.mark.parametrize("n", [0, 1, 10])
def test_table_and_json(n):
    observed = observations(LINE[:n], LINE[:n], missing=([True] + [False] * 9)[:n])
    found = m.measures_of(observed, [PLANE])
    people = tuple(Person(str(i), s, None) for i, s in zip(observed.ids, observed.sex))
    result = Evaluation(people, ("nobody",), {"k0": tuple(observed.ids[:1].tolist())},
                        tuple(summarise([found, found], n, count=20)),
                        {"dlib.rank_1": np.ones(n)}, {"landmarks": "mesh", "keys": 2})
    text = as_table(result)
    assert max(map(len, text.splitlines())) <= 100
    assert "nan" not in text and "inf" not in text
    assert "nobody" in text and "range over keys" in text
    content = json.loads(json.dumps(as_json(result), allow_nan=False))
    assert content["schema"] == 2 and content["people"] == n
    assert set(content["measures"]["dlib.rank_1"]) == {
        "label", "unit", "value", "interval", "chance", "people", "range", "per_key"}
    if n == 10:
        assert content["measures"]["dlib.rank_1"]["value"] == 1.0
        assert content["measures"]["dlib.rank_1"]["range"] == [1.0, 1.0]
        assert content["per_person"][0]["missing"] == ["k0"]
        assert content["per_person"][3] == {
            "id": "p3", "sex": "F", "missing": [], "values": {"dlib.rank_1": 1.0}}


def test_keys_are_stable():
    """Programs read these: a key that goes away or changes raises report.SCHEMA."""
    assert list(values(observations(MANY, MANY))) == [
        "dlib.rank_1", "dlib.rank_5", "dlib.mean_rank",
        "dlib.same_sex.rank_1", "dlib.same_sex.rank_5", "dlib.same_sex.mean_rank",
        "dlib.own_distance", "dlib.other_distance", "dlib.closer",
        "dlib.tar_at_far_1e-2", "dlib.tar_at_far_1e-3", "dlib.eer",
        "dlib.same_sex.tar_at_far_1e-2", "dlib.same_sex.tar_at_far_1e-3", "dlib.same_sex.eer",
        "adaptive.dlib.rank_1", "adaptive.dlib.rank_5", "adaptive.dlib.mean_rank",
        "adaptive.dlib.same_sex.rank_1", "adaptive.dlib.same_sex.rank_5",
        "adaptive.dlib.same_sex.mean_rank",
        "detection.hog.retained", "landmarks.error", "pose.yaw", "pose.pitch", "pose.roll",
        "sharpness.ratio", "outside.changed", "outside.difference",
        "expression.mouth", "expression.eyes", "variety.ratio"]


@pytest.mark.parametrize("people, rates", [(45, []), (46, ["1e-2"]), (141, ["1e-2"]),
                                           (142, ["1e-2", "1e-3"])])
def test_rates_that_so_few_people_cannot_carry_are_not_given(people, rates):
    # 45 people are 990 pairs: one in a hundred of them are fewer than ten.
    got = values(observations(MANY[:people], MANY[:people], sex=["?"] * people))
    assert [rate for rate in ("1e-2", "1e-3") if f"dlib.tar_at_far_{rate}" in got] == rates
    assert "dlib.same_sex.tar_at_far_1e-2" not in got


def test_pairs_of_strangers_are_counted():
    people = [Person(str(i), sex, None) for i, sex in enumerate("FFFMM??")]
    assert impostor_pairs(people) == {"all": 21, "same_sex": 4}


def test_second_photographs_say_whether_the_attacker_knows_people_at_all():
    # The attacker knows MANY; of the pictures as they were, half look like another person.
    seen = LINE.copy()
    seen[::2] += 1.0
    observed = dataclasses.replace(observations(LINE, LINE), unaltered={"dlib": seen})
    assert values(observed)["dlib.unaltered"] == 0.5 == values(observed)["dlib.rank_1"] / 2
    assert "dlib.unaltered" not in values(observations(LINE, LINE))


def test_the_sex_is_read_off_what_shows_it():
    rng = np.random.default_rng(0)
    sex = np.array(["F"] * 30 + ["M"] * 20)
    own = rng.normal(size=(50, 8))
    shows = np.where(sex == "M", 6.0, -6.0)[:, None] * np.eye(8)[0]
    hidden, kept = own, own + shows
    missing = np.zeros(50, bool)
    missing[:5] = True
    known = own + shows
    for probes, low, high in ((kept, 0.99, 1.0), (hidden, 0.35, 0.65)):
        got = values(observations(known, probes, sex=list(sex)))
        assert low <= got["inference.dlib.sex"] <= high
        assert got["inference.dlib.sex_before"] == 1.0
    # A missing output is counted as right; a sex that is not known is not asked for.
    assert read_off(known, np.full((50, 8), np.nan), sex).tolist() == [1.0] * 50
    unsure = np.where(np.arange(50) == 3, "?", sex)
    assert np.isnan(read_off(known, kept, unsure)).tolist() == [i == 3 for i in range(50)]
    assert read_off(known[26:35], kept[26:35], sex[26:35]) is None
    assert read_off(known[:0], kept[:0], sex[:0]) is None


def test_the_sex_cannot_be_learned_from_the_person_asked_about():
    rng = np.random.default_rng(1)
    sex = rng.permutation(["F"] * 40 + ["M"] * 40)
    noise = rng.normal(size=(80, 400))
    assert 0.3 < read_off(noise, noise, sex).mean() < 0.7
