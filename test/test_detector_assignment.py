"""The assignment of boxes to tracks: the least total cost, as SciPy finds it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from deid_ros.detector.assignment import assign


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_assign(shape):
    rows, columns = assign(np.zeros(shape))
    assert len(rows) == len(columns) == 0


def test_the_cheapest_for_all_is_not_the_cheapest_for_each():
    rows, columns = assign(np.array([[1.0, 2.0], [1.0, 9.0]]))
    assert rows.tolist() == [0, 1] and columns.tolist() == [1, 0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (4, 4), (3, 7), (9, 6), (40, 38)])
@pytest.mark.parametrize("kind", ["numbers", "few numbers", "mostly forbidden", "equal"])
def test_the_total_is_that_of_scipy(shape, kind):
    random = np.random.default_rng(sum(shape))
    for _ in range(20):
        cost = {"numbers": lambda: random.normal(size=shape),
                "few numbers": lambda: random.integers(0, 4, shape).astype(float),
                "mostly forbidden": lambda: np.where(random.random(shape) < 0.2,
                                                     random.random(shape), 1e3),
                "equal": lambda: np.ones(shape)}[kind]()
        rows, columns = assign(cost)
        assert len(rows) == min(shape) and (np.diff(rows) > 0).all()
        assert len(set(columns.tolist())) == len(columns)
        assert cost[rows, columns].sum() == pytest.approx(
            cost[linear_sum_assignment(cost)].sum())


def test_the_live_nodes_start_without_scipy():
    """Its import takes longer than all else that the detector imports."""
    code = ("import sys, deid_ros.detector, deid_ros.matcher, deid_ros.generator, "
            "deid_ros.extractor, deid_ros.replacer; sys.exit('scipy' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
