"""What an output says about a person besides the name: can the sex be read off it?

A ridge classifier learns from a recogniser's features of other people's photographs, as
the attacker has them, and is asked about the output. What ``preserve`` names is kept on
purpose and should be found; the number says how openly.
"""

from __future__ import annotations

import numpy as np

__all__ = ["LEAST", "read_off"]

#: With fewer people of a sex there is nothing to learn from.
LEAST = 5

_FOLDS = 5


def read_off(known: np.ndarray, probes: np.ndarray, sex: np.ndarray, *,
             seed: int = 0) -> np.ndarray | None:
    """Whether the sex that is read off each picture is the person's.

    Args:
        known: float (N, D), features of photographs, from which is learned.
        probes: float (N, D), of the pictures that are asked about; NaN: missing, and
            counted as right.
        sex: str (N,), 'M', 'F', or '?' where it is not known.

    Returns:
        float (N,) of 0 and 1, NaN where the sex is not known; None with too few people.
        Nobody's own photograph is learned from.
    """
    known, probes = np.asarray(known, np.float64), np.asarray(probes, np.float64)
    sex = np.asarray(sex)
    told = np.flatnonzero(np.isin(sex, ["M", "F"]))
    if min((sex == "M").sum(), (sex == "F").sum()) < LEAST:
        return None
    out = np.full(len(sex), np.nan)
    order = np.random.default_rng(seed).permutation(told)
    for own in np.array_split(order, _FOLDS):
        others = np.setdiff1d(told, own)
        middle = (known[others][sex[others] == "M"].mean(axis=0)
                  + known[others][sex[others] == "F"].mean(axis=0)) / 2
        rows = known[others] - middle
        likeness = rows @ rows.T
        penalty = max(float(np.trace(likeness)) / len(rows), 1e-12)
        dual = np.linalg.solve(likeness + penalty * np.eye(len(rows)),
                               np.where(sex[others] == "M", 1.0, -1.0))
        says = ((probes[own] - middle) @ rows.T) @ dual
        out[own] = np.where(np.isnan(says), 1.0, (says > 0) == (sex[own] == "M"))
    return out
