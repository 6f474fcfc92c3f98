"""An attacker who owns the tool and learns what it does to faces.

The attacker anonymises photographs of other people, describes them before and after, and
learns by ridge regression (Hoerl and Kennard, 1970) how to get from the second description
to the first. What the tool passes on linearly in a recogniser's features comes out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deid_ros.evaluation.recognition import euclidean, ranks

__all__ = ["LEAST", "learned_distances"]

#: With fewer people there is nothing to learn from.
LEAST = 10

_FOLDS = 5
_WEIGHTS = np.logspace(-3, 3, 13)   # of the penalty, in parts of the mean variance
_PRIORS = (0.0, 1.0)                # the map is drawn to nothing, or to leaving all as it is


def learned_distances(probes: np.ndarray, known: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Distances of outputs to known photographs, the outputs' features mapped first.

    Cross-fitted: nobody's own pair of pictures is learned from. Penalty, prior and the
    way of comparing are those that rank the people learned from best, each left out in turn.

    Args:
        probes: float (N, D), of outputs; NaN where one is missing.
        known: float (N, D), of the same people's photographs.
        seed: of the folds.

    Returns:
        float (N, N), to be compared within a row; rows of missing outputs are NaN. Plain
        distances where there are too few people to learn from.
    """
    probes, known = np.asarray(probes, np.float64), np.asarray(known, np.float64)
    there = np.flatnonzero(~np.isnan(probes).any(axis=1))
    if len(there) < LEAST:
        return euclidean(probes, known)
    out = np.full((len(probes), len(known)), np.nan)
    there = np.random.default_rng(seed).permutation(there)
    for own in np.array_split(there, _FOLDS):
        others = np.setdiff1d(there, own)
        learned = _Map(probes[others], known[others])
        out[own] = learned.compare(learned(probes[own]), known, learned.middle)
    return out


def _cosine(a: np.ndarray, b: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """1 - cosine of the differences from ``middle``: a map that is unsure says little, and
    what it says must not drown in how far from everybody it stays."""
    a, b = (rows - middle for rows in (a, b))
    a, b = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            for rows in (a, b))
    return 1 - a @ b.T


def _plain(a: np.ndarray, b: np.ndarray, middle: np.ndarray) -> np.ndarray:
    return euclidean(a, b)


class _Map:
    """Ridge regression from (n, D) to (n, D), in its dual form: there are fewer people
    than features."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self._x_mean, self.middle = x.mean(axis=0), y.mean(axis=0)
        self.compare: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] = _plain
        self._x = x - self._x_mean
        values, vectors = np.linalg.eigh(self._x @ self._x.T)
        values = np.maximum(values, 0.0)
        unit = max(float(values.mean()), 1e-12)
        best = np.inf
        for prior in _PRIORS:
            target = y - self.middle - prior * self._x
            turned = vectors.T @ target
            for weight in _WEIGHTS * unit:
                kept = values / (values + weight)
                hat = (vectors ** 2) @ kept + 1 / len(x)
                missed = (target - vectors @ (kept[:, None] * turned)) / np.maximum(
                    1 - hat, 1e-6)[:, None]
                for compare in (_plain, _cosine):
                    # Prediction of each with itself left out, and where that puts it.
                    found = ranks(compare(y - missed, y, self.middle))
                    score = float(np.mean(found.normalised))
                    if score < best - 1e-9:
                        best, self._prior, self.compare = score, prior, compare
                        self._dual = vectors @ (turned / (values + weight)[:, None])

    def __call__(self, probes: np.ndarray) -> np.ndarray:
        centred = probes - self._x_mean
        return self.middle + self._prior * centred + (centred @ self._x.T) @ self._dual
