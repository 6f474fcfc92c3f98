"""Identification and verification against hand-made cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros.evaluation import recognition as r

PERFECT = np.array([[0.1, 0.9, 0.8], [0.9, 0.2, 0.7], [0.8, 0.7, 0.3]])


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_people(n):
    found = r.ranks(np.zeros((n, n)))
    assert found.middle.shape == (n,)
    assert np.isnan(found.normalised).all()
    assert r.hits(found, 1).tolist() == [1.0] * n
    assert np.isnan(r.variety(np.zeros((n, n))))
    assert r.impostors(np.zeros((n, n))).shape == (0,)
    assert np.isnan(r.accept_threshold(np.zeros(0), 0.01))
    assert np.isnan(r.mean_other(np.zeros((n, n)))).all()
    assert r.cmc(found).shape == (n,)
    points = r.operating_points(np.zeros((n, n)))
    assert np.isnan(r.equal_error_rate(points)) == (n == 0)
    r.roc(points)


def test_perfect_recogniser():
    found = r.ranks(PERFECT)
    assert found.middle.tolist() == [1, 1, 1]
    assert found.normalised.tolist() == [0, 0, 0]
    assert r.cmc(found).tolist() == [1, 1, 1]
    assert r.equal_error_rate(r.operating_points(PERFECT)) == 0.0
    assert r.own_distances(PERFECT).tolist() == [0.1, 0.2, 0.3]
    assert r.mean_other(PERFECT) == pytest.approx([0.85, 0.8, 0.75])


def test_worst_recogniser():
    found = r.ranks(1 - PERFECT)
    assert found.normalised.tolist() == [1, 1, 1]
    assert r.cmc(found).tolist() == [0, 0, 1]
    assert r.equal_error_rate(r.operating_points(1 - PERFECT)) == 1.0


def test_ties_stand_in_the_middle_and_score_chance():
    found = r.ranks(np.ones((5, 5)))
    assert found.middle.tolist() == [3] * 5
    assert found.normalised.tolist() == [0.5] * 5
    assert r.hits(found, 1) == pytest.approx(1 / 5)
    assert r.hits(found, 2) == pytest.approx(2 / 5)
    assert r.cmc(found) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert r.equal_error_rate(r.operating_points(np.ones((5, 5)))) == pytest.approx(0.5)


def test_a_tie_behind_a_closer_one():
    found = r.ranks(np.array([[0.5, 0.5, 0.4, 0.9]]), own=np.array([0]))
    assert found.middle.tolist() == [2.5]
    assert r.hits(found, 1).tolist() == [0.0]
    assert r.hits(found, 2).tolist() == [0.5]
    assert r.hits(found, 3).tolist() == [1.0]


def test_chance_on_random_features():
    rng = np.random.default_rng(1)
    n = 400
    distances = r.euclidean(rng.normal(size=(n, 8)), rng.normal(size=(n, 8)))
    found = r.ranks(distances)
    assert np.mean(found.normalised) == pytest.approx(0.5, abs=0.05)
    assert np.mean(r.hits(found, 1)) < 0.02
    assert np.mean(r.hits(found, 40)) == pytest.approx(0.1, abs=0.05)
    assert r.equal_error_rate(r.operating_points(distances)) == pytest.approx(0.5, abs=0.05)


def test_ranks_among_the_same_group():
    labels = np.array(["F", "M", "M", "?"])
    distances = np.array([[5, 1, 1, 1], [0, 2, 1, 0], [0, 3, 2, 0], [1, 1, 1, 1.0]])
    found = r.ranks(distances, candidates=r.same_group(labels))
    assert found.candidates.tolist() == [1, 2, 2, 0]
    assert found.middle[:3].tolist() == [1, 2, 1]
    assert np.isnan(found.middle[3])
    # Alone in the group there is nobody to stand before or after.
    assert np.isnan(found.normalised[0])
    assert found.normalised[1:3].tolist() == [1, 0]
    assert np.isnan(r.hits(found, 1)[3])


def test_a_missing_probe_is_recognised():
    distances = np.array([[0.9, 0.1, 0.1], [np.nan] * 3, [0.1, 0.1, 0.9]])
    full = r.count_missing(distances, np.array([False, True, False]))
    found = r.ranks(full)
    assert found.middle.tolist() == [3, 1, 3]
    assert r.own_distances(full)[1] == 0.0
    assert r.true_accepts(r.own_distances(full), 0.05).tolist() == [0, 1, 0]
    assert np.isnan(r.mean_other(full)[1])
    # The caller's array stays as it was.
    assert np.isnan(distances[1]).all()
    all_missing = r.count_missing(distances, np.ones(3, bool))
    assert r.equal_error_rate(r.operating_points(all_missing)) == 0.0


def test_ranks_refuse_what_was_not_measured():
    with pytest.raises(ValueError, match="count_missing"):
        r.ranks(np.array([[np.nan]]))


def test_known_true_accepts_at_false_accept_rates():
    impostor = np.arange(1, 1001) / 1000.0            # 0.001 ... 1.000
    threshold = r.accept_threshold(impostor, 0.01)
    assert threshold == pytest.approx(0.011)
    assert (impostor < threshold).mean() == pytest.approx(0.01)
    assert r.accept_threshold(impostor, 0.001) == pytest.approx(0.002)
    assert r.accept_threshold(impostor, 1.0) == np.inf
    own = np.array([0.0105, 0.011, 0.5, 0.0015])
    assert r.true_accepts(own, threshold).tolist() == [1, 0, 0, 1]
    assert r.true_accepts(own, r.accept_threshold(impostor, 0.001)).tolist() == [0, 0, 0, 1]


def test_ties_never_lift_the_false_accepts():
    impostor = np.array([0.2] * 50 + [0.5] * 50)
    for far in (0.001, 0.01, 0.3, 0.5, 0.7):
        assert (impostor < r.accept_threshold(impostor, far)).mean() <= far


def test_fewer_pairs_than_the_rate_asks_for_accept_none():
    impostor = np.array([0.4, 0.6])
    assert r.accept_threshold(impostor, 1e-3) == 0.4
    assert np.isnan(r.true_accepts(np.array([0.1]), float("nan"))).all()


def test_equal_error_rate_between_two_thresholds():
    # Own 1 and 2, others 2 and 3: below 2 rejects a half and accepts none, below 3
    # the other way round; a quarter of both lies between.
    points = r.operating_points(np.array([[1.0, 2.0], [3.0, 2.0]]))
    assert r.equal_error_rate(points) == pytest.approx(0.25)
    # Only the person at distance 1 counts: never wrong.
    assert r.equal_error_rate(points, np.array([0, 0])) == 0.0


def test_operating_points_agree_with_counting():
    rng = np.random.default_rng(3)
    distances = rng.random((30, 30))
    points = r.operating_points(distances, thresholds=50)
    off = ~np.eye(30, dtype=bool)
    false, true = r.roc(points)
    for t, threshold in enumerate(points.thresholds):
        assert false[t] == pytest.approx((distances[off] < threshold).mean())
        assert true[t] == pytest.approx((np.diag(distances) < threshold).mean())
    assert (np.diff(false) >= 0).all() and (np.diff(true) >= 0).all()


def test_variety():
    distances = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0.0]])
    assert r.variety(distances) == pytest.approx(2.0)
    # Twice the first person: pairs of a person with itself are never counted.
    assert r.variety(distances, np.array([0, 0, 1])) == pytest.approx(1.0)
    assert np.isnan(r.variety(distances, np.array([2, 2])))


def test_euclidean():
    a = np.array([[0, 0], [3, 4.0]])
    assert r.euclidean(a, a).tolist() == [[0, 5], [5, 0]]
    assert r.euclidean(np.zeros((0, 2)), a).shape == (0, 2)
    assert r.impostors(r.euclidean(a, a)).tolist() == [5]
