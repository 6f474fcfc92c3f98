"""Measures, their intervals over people, and their range over keys.

A measure is a number that can be computed for any selection of people. Drawing
the people again with replacement (percentile bootstrap, Efron and Tibshirani, "An
introduction to the bootstrap", 1993) says how much of it is the luck of who was
photographed; repeating the run with other keys says how much is the luck of the
draw of surrogates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "Measure", "Summary", "mean_measure", "median_measure", "pearson", "resamples",
    "summarise",
]

#: Width of every interval.
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Measure:
    """One number about one run.

    ``key``        its stable name in the JSON.
    ``label``      for readers.
    ``unit``       'share' (of the people, 0..1), 'part' (of something else, 0..1),
                   'rate', 'rank' (normalised), 'ratio', 'distance', 'eye distances',
                   'degrees', 'correlation', 'levels' (of 255).
    ``statistic``  int (n,) rows of people, repeats allowed -> the number (NaN where
                   it is not defined).
    ``people``     for how many people it is defined.
    ``chance``     what blind guessing or an unrelated person gives, or None.
    ``values``     float (N,), the person's own value where there is one, else None.
    ``average``    'mean' or 'median' where the statistic is that of ``values``.
    """

    key: str
    label: str
    unit: str
    statistic: Callable[[np.ndarray], float]
    people: int
    chance: float | None = None
    values: np.ndarray | None = None
    average: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """A measure over all its runs.

    ``value``      the mean over runs.
    ``interval``   low and high end over people, or None where it is not defined.
    ``per_key``    one number per run; ``min`` and ``max`` of them are the range.
    ``attacker``   whose number it is, where the key does not say; see ``worst``.
    """

    key: str
    label: str
    unit: str
    value: float
    interval: tuple[float, float] | None
    chance: float | None
    people: int
    per_key: tuple[float, ...]
    attacker: str = ""


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN; NaN where nothing is left."""
    there = ~np.isnan(values)
    count = there.sum(axis=-1)
    total = np.where(there, values, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _median(values: np.ndarray) -> np.ndarray:
    """Median over the last axis without NaN; NaN where nothing is left."""
    # NaN sort to the end: the middle is that of the numbers before them.
    ordered = np.sort(values, axis=-1)
    count = (~np.isnan(values)).sum(axis=-1)[..., None]
    if not values.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=-1)
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[-1] - 1), axis=-1)
    middle = np.where(low == high, low, (low + high) / 2)   # two infinities stay infinite
    return np.where(count > 0, middle, np.nan)[..., 0]


_AVERAGES = {"mean": _mean, "median": _median}


def _of_values(average: str, key: str, label: str, unit: str, values: np.ndarray,
               chance: float | None) -> Measure:
    values = np.asarray(values, np.float64)
    return Measure(key, label, unit, lambda rows: float(_AVERAGES[average](values[rows])),
                   int((~np.isnan(values)).sum()), chance, values, average)


def mean_measure(key: str, label: str, unit: str, values: np.ndarray,
                 chance: float | None = None) -> Measure:
    """The mean of one value per person, float (N,); NaN: does not apply to the person."""
    return _of_values("mean", key, label, unit, values, chance)


def median_measure(key: str, label: str, unit: str, values: np.ndarray,
                   chance: float | None = None) -> Measure:
    """The median of one value per person, float (N,); infinity: lost altogether."""
    return _of_values("median", key, label, unit, values, chance)


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of (n,) and (n,), where missing ``y`` count against it.

    A missing y (NaN) is put at the mean of the others: it follows nothing, and the
    correlation falls. A pair without x is left out. NaN with fewer than two pairs
    or a constant x; 0 where y is constant (it follows nothing either).
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    kept = ~np.isnan(x)
    x, y = x[kept], y[kept]
    if len(x) < 2 or np.ptp(x) == 0:
        return float("nan")
    there = ~np.isnan(y)
    y = np.where(there, y, y[there].mean() if there.any() else 0.0)
    x, y = x - x.mean(), y - y.mean()
    spread = np.sqrt((x ** 2).sum() * (y ** 2).sum())
    return float((x * y).sum() / spread) if spread > 1e-12 else 0.0


def resamples(people: int, *, count: int = 1000, seed: int = 0) -> np.ndarray:
    """``count`` draws of ``people`` rows with replacement: int (count, people)."""
    return np.random.default_rng(seed).integers(0, max(people, 1), (count, people))


def _exact(value: float, people: int) -> tuple[float, float]:
    """Clopper and Pearson's interval (1934) of a share of 0 or 1 over ``people``."""
    reach = 1 - ((1 - CONFIDENCE) / 2) ** (1 / people)
    return (0.0, reach) if value == 0 else (1 - reach, 1.0)


def _drawn(measure: Measure, draws: np.ndarray) -> np.ndarray:
    """The measure for each draw of people: float (count,)."""
    if measure.average and measure.values is not None:
        return _AVERAGES[measure.average](measure.values[draws])
    return np.array([measure.statistic(rows) for rows in draws])


def summarise(runs: Sequence[Sequence[Measure]], people: int, *, count: int = 1000,
              seed: int = 0) -> list[Summary]:
    """Mean over runs, interval over people, and every run's number.

    Args:
        runs: for each key the same measures in the same order, over the same
            ``people``.
        count: draws of people; 0 for no intervals.

    The interval is that of the mean over the keys: in each draw the same people
    stand for every key. A share that is 0 (or 1) for everybody would get an
    interval of no width, which no sample of people can justify; the exact binomial
    interval stands there instead.
    """
    everybody = np.arange(people)
    draws = resamples(people, count=count, seed=seed) if people else np.zeros((0, 0), int)
    out = []
    for versions in zip(*runs, strict=True):
        first = versions[0]
        per_key = tuple(m.statistic(everybody) if m.people else float("nan") for m in versions)
        value = float(_mean(np.array(per_key)))
        interval = None
        counted = min(m.people for m in versions)
        if counted and len(draws) and not np.isnan(value):
            if first.unit == "share" and value in (0.0, 1.0) and first.values is not None:
                interval = _exact(value, counted)
            else:
                drawn = _mean(np.stack([_drawn(m, draws) for m in versions], axis=-1))
                drawn = drawn[~np.isnan(drawn)]
                if len(drawn):
                    # Nearest order statistics: infinities must not be interpolated.
                    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2],
                                            method="nearest")
                    interval = (float(low), float(high))
        out.append(Summary(first.key, first.label, first.unit, value, interval,
                           first.chance, counted, per_key))
    return out
