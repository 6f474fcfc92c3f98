"""Curves, average precision, likeness and restlessness, with answers known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from test_evaluation_measures import LINE, PLANE, observations, values

from deid_ros.evaluation import measures as m
from deid_ros.evaluation import recognition as r
from deid_ros.evaluation import utility as u
from deid_ros.evaluation.intervals import summarise
from deid_ros.evaluation.precision import average_precision, match_boxes

BOX = np.array([[10, 10, 20, 20.0]])


def scored(*rows):
    return np.array(rows, float).reshape(-1, 5)


def test_average_precision_by_hand():
    assert np.isnan(average_precision([]))
    perfect = match_boxes(BOX, scored([10, 10, 20, 20, 0.9]))
    assert perfect.right.tolist() == [True] and average_precision([perfect]) == 1.0
    nothing = match_boxes(BOX, scored())
    assert average_precision([nothing]) == 0.0
    # One of two faces found: the recall ends at a half.
    assert average_precision([perfect, nothing]) == 0.5
    # A false one above the true one: precision 1/2 at recall 1.
    wrong = match_boxes(BOX, scored([90, 90, 20, 20, 0.95], [11, 10, 20, 20, 0.9]))
    assert average_precision([wrong]) == 0.5
    # A second box on the same face is false; below the first it costs nothing.
    twice = match_boxes(BOX, scored([10, 10, 20, 20, 0.9], [10, 11, 20, 20, 0.8]))
    assert twice.right.tolist() == [True, False] and average_precision([twice]) == 1.0
    # A box of another size shares too little.
    assert not match_boxes(BOX, scored([10, 10, 60, 60, 0.9])).right.any()


def test_precision_is_reported_where_it_was_measured():
    observed = observations(LINE[:2], LINE[:2])
    observed.precision["hog"] = [match_boxes(BOX, scored([10, 10, 20, 20, 0.9])),
                                 match_boxes(BOX, scored())]
    assert values(observed)["detection.hog.ap"] == 0.5


def test_likeness_outside_is_that_of_the_library():
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(0)
    frame = np.repeat(rng.integers(0, 256, (60, 50, 1), np.uint8), 3, axis=2)
    noisy = np.clip(frame + rng.normal(0, 20, frame.shape[:2])[:, :, None], 0, 255) \
        .astype(np.uint8)
    expected = metrics.structural_similarity(
        frame[:, :, 0], noisy[:, :, 0], gaussian_weights=True, sigma=1.5, data_range=255,
        use_sample_covariance=False)
    assert u.outside_likeness(frame, noisy) == pytest.approx(expected, abs=0.01)
    assert u.outside_likeness(frame, frame) == 1.0
    assert u.outside_likeness(frame, None) == 0.0
    # Under the mask anything may happen.
    mask = np.zeros((60, 50), np.uint8)
    mask[10:40, 10:40] = 255
    hidden = frame.copy()
    hidden[10:40, 10:40] = 0
    assert u.outside_likeness(frame, hidden, mask=mask) == 1.0
    assert u.outside_likeness(frame, hidden) < 0.9
    assert np.isnan(u.outside_likeness(frame, frame, mask=np.ones((60, 50))))


def test_jitter_by_hand():
    time = np.arange(10.0)
    even = np.stack([np.stack([3 * time, -time], axis=1)] * 4, axis=1)
    assert u.jitter(even) == 0.0
    shaking = even.copy()
    shaking[1::2, :, 0] += 1
    assert u.jitter(shaking) == pytest.approx(2.0)       # 0 1 0 1: from +1 to -1
    shaking[1::2, :, 0] += 1
    assert u.jitter(shaking) == pytest.approx(4.0)
    assert np.isnan(u.jitter(even[:2])) and np.isnan(u.jitter(np.full((5, 4, 2), np.nan)))


@pytest.mark.parametrize("n", [0, 1])
def test_curves_of_too_few(n):
    curves = m.curves_of(observations(LINE[:n], LINE[:n]), [PLANE])["dlib"]
    assert len(curves["all"]["cmc"]) == n and len(curves["all"]["roc"]) == len(m.FAR_GRID)


def test_curves_by_hand():
    curves = m.curves_of(observations(LINE, LINE), [PLANE])["dlib"]["all"]
    # Ten people are 90 trials: rates below one in nine are not known.
    given = m.FAR_GRID >= 1 / 9
    assert (curves["cmc"] == 1).all() and (curves["roc"][given] == 1).all()
    assert np.isnan(curves["roc"][~given]).all() and given.sum() == 20
    # Everybody gets the middle's face: chance, whatever the rank and rate.
    same = observations(LINE, np.tile([4.5, 9.0], (10, 1)), sex=["F"] * 5 + ["M"] * 5)
    curves = m.curves_of(same, [PLANE])["dlib"]
    assert curves["all"]["cmc"] == pytest.approx(np.arange(1, 11) / 10)
    assert len(curves["same_sex"]["cmc"]) == 5
    assert np.interp(0.5, m.FAR_GRID, curves["all"]["roc"]) == pytest.approx(0.5, abs=0.1)
    unknown = observations(LINE, LINE, sex=["?"] * 10)
    assert np.isnan(m.curves_of(unknown, [PLANE])["dlib"]["same_sex"]["roc"]).all()


def test_true_accepts_at_a_rate_by_hand():
    points = r.operating_points(np.array([[1.0, 2.0], [3.0, 2.0]]))
    # Thresholds 1, 2, 3, inf: false 0, 0, .5, 1; true 0, .5, 1, 1.
    got = r.accepts_at(points, np.array([0.0, 0.25, 0.5, 1.0]))
    assert got == pytest.approx([0.5, 0.75, 1.0, 1.0])


def test_verification_within_the_sex_sees_no_other():
    # Women at 0, 1, ...; men a thousand away: telling sexes apart is easy, people not.
    known = np.concatenate([LINE, LINE + [0, 1000.0]])
    probes = np.concatenate([np.tile([4.5, 9.0], (10, 1)), np.tile([4.5, 991.0], (10, 1))])
    got = values(observations(known, probes, sex=["F"] * 10 + ["M"] * 10))
    assert got["dlib.eer"] < 0.4 and got["dlib.same_sex.eer"] == pytest.approx(0.5, abs=0.02)


def test_impersonation():
    # Strangers are 0.00, 0.01, ..., 0.99 like their nearest: 0.95 is the limit.
    strangers = np.stack([np.arange(100) / 100, np.zeros(100)], axis=1)
    [got] = m.impersonation(np.array([[0.97, 0.1], [0.5, 0.4], [0.2, 0.1]]), strangers,
                            np.array([False, False, True]))
    assert got.values.tolist() == [1, 0, 1] and got.chance == 0.05
    [same] = m.impersonation(strangers, strangers, np.zeros(100, bool))
    assert same.values.mean() == pytest.approx(0.05, abs=0.011)
    [nobody] = m.impersonation(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, bool))
    assert np.isnan(summarise([[nobody]], 0)[0].value)
