"""Intervals over people and ranges over keys."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros.evaluation import intervals as iv


def test_nobody():
    [summary] = iv.summarise([[iv.mean_measure("a", "a", "share", np.zeros(0))]], 0)
    assert np.isnan(summary.value) and summary.interval is None and summary.people == 0


def test_one_person():
    [summary] = iv.summarise([[iv.mean_measure("a", "a", "degrees", np.array([3.0]))]], 1)
    assert summary.value == 3.0 and summary.interval == (3.0, 3.0)


def test_the_interval_of_a_mean_is_about_two_standard_errors():
    values = np.random.default_rng(0).normal(size=400)
    [summary] = iv.summarise([[iv.mean_measure("a", "a", "ratio", values)]], 400)
    low, high = summary.interval
    assert high - low == pytest.approx(4 * values.std() / 20, rel=0.1)
    assert low < values.mean() < high


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random(50)
    measure = [[iv.mean_measure("a", "a", "ratio", values)]]
    first, again, other = (iv.summarise(measure, 50, seed=s)[0].interval for s in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_nobody_or_everybody_is_not_certain(share):
    [summary] = iv.summarise([[iv.mean_measure("a", "a", "share", np.full(88, share))]], 88)
    low, high = summary.interval
    # Clopper-Pearson for 0 of 88: 0 to 4.1 %.
    assert high - low == pytest.approx(0.0411, abs=1e-3)
    assert summary.value == share and share in (low, high)


def test_keys_give_mean_and_range():
    runs = [[iv.mean_measure("a", "a", "share", np.array(v, float))]
            for v in ([0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0])]
    [summary] = iv.summarise(runs, 4)
    assert summary.per_key == (0.5, 0.25, 0.0)
    assert summary.value == pytest.approx(0.25)
    # People are drawn, not trials: the last is always hit by two keys of three.
    assert summary.interval[1] <= 2 / 3


def test_the_median_survives_lost_faces_but_not_many():
    values = np.array([1.0, 2.0, np.inf])
    assert iv.median_measure("a", "a", "degrees", values).statistic(np.arange(3)) == 2.0
    [summary] = iv.summarise([[iv.median_measure("a", "a", "degrees", values)]], 3)
    assert summary.value == 2.0 and summary.interval[1] == np.inf


def test_values_that_do_not_apply_are_left_out():
    measure = iv.mean_measure("a", "a", "share", np.array([np.nan, 1.0, 0.0]))
    assert measure.people == 2 and measure.statistic(np.arange(3)) == 0.5


def test_pearson():
    x = np.array([1.0, 2, 3, 4])
    assert iv.pearson(x, 2 * x + 1) == pytest.approx(1.0)
    assert iv.pearson(x, -x) == pytest.approx(-1.0)
    assert iv.pearson(x, np.array([1.0, -1, -1, 1])) == pytest.approx(0.0)
    assert iv.pearson(x, np.ones(4)) == 0.0
    assert np.isnan(iv.pearson(np.ones(4), x))
    assert np.isnan(iv.pearson(x[:1], x[:1]))
    assert np.isnan(iv.pearson(x[:0], x[:0]))


def test_a_missing_output_lowers_the_correlation():
    x = np.array([1.0, 2, 3, 4])
    lost = np.array([1.0, 2, 3, np.nan])
    assert 0 < iv.pearson(x, lost) < 0.75
    assert iv.pearson(np.array([1.0, 2, 3, np.nan]), x) == pytest.approx(1.0)
    assert iv.pearson(x, np.full(4, np.nan)) == 0.0


@pytest.mark.parametrize("values", [
    [], [1.0], [1.0, 4.0], [3.0, 1.0, 2.0], [np.nan, 5.0, 1.0], [np.nan, np.nan], [np.nan, 7.0],
    [np.inf, 1.0], [np.inf, np.inf], [2.0, 1.0, np.inf, np.inf], [1.0, 2.0, 3.0, np.nan, 9.0]])
def test_averages_leave_out_what_does_not_apply(values):
    values = np.array(values)
    kept, everybody = values[~np.isnan(values)], np.arange(len(values))
    for measure, plain in ((iv.mean_measure, np.mean), (iv.median_measure, np.median)):
        got = measure("a", "a", "ratio", values).statistic(everybody)
        assert got == plain(kept) if len(kept) else np.isnan(got)


def test_draws_at_once_are_draws_one_by_one():
    values = np.array([1.0, np.nan, 4.0, np.inf, 2.0, 2.5])
    draws = iv.resamples(6, count=200, seed=3)
    for measure in (iv.mean_measure, iv.median_measure):
        one = measure("a", "a", "ratio", values)
        expected = [one.statistic(rows) for rows in draws]
        assert np.array_equal(iv._drawn(one, draws), expected, equal_nan=True)
