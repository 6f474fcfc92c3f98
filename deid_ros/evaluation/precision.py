"""Average precision of a detector, as in detection benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deid_ros.evaluation.utility import overlaps

__all__ = ["Matched", "average_precision", "match_boxes"]


@dataclass(frozen=True, slots=True)
class Matched:
    """The detections of one picture: ``scores`` float (m,), ``right`` bool (m,), and
    ``truth``, how many faces there are."""

    scores: np.ndarray
    right: np.ndarray
    truth: int


def match_boxes(truth: np.ndarray, found: np.ndarray, *, shared: float = 0.5) -> Matched:
    """Judge detections: the best scored takes its face first, each face counts once.

    Everingham et al., "The Pascal visual object classes challenge", IJCV, 2010.

    Args:
        truth: (n, 4) boxes x, y, width, height.
        found: (m, 5) the same and a score.
        shared: intersection over union from which a detection is right.
    """
    truth = np.asarray(truth, np.float64).reshape(-1, 4)
    found = np.asarray(found, np.float64).reshape(-1, 5)
    found = found[np.argsort(-found[:, 4], kind="stable")]
    free, right = np.ones(len(truth), bool), np.zeros(len(found), bool)
    for i, row in enumerate(found):
        common = np.where(free, overlaps(row[:4], truth), 0.0)
        if len(truth) and common.max() >= shared:
            free[int(common.argmax())], right[i] = False, True
    return Matched(found[:, 4], right, len(truth))


def average_precision(pictures: Sequence[Matched]) -> float:
    """The area below precision over recall, all pictures together.

    Precision at a recall is the best at that or any higher recall. NaN without faces.
    """
    truth = sum(one.truth for one in pictures)
    if not truth:
        return float("nan")
    scores = np.concatenate([one.scores for one in pictures])
    right = np.concatenate([one.right for one in pictures])[np.argsort(-scores, kind="stable")]
    hits = right.cumsum()
    precision = hits / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best * right).sum() / truth)
