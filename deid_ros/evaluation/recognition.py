"""How well somebody recognises people: identification and verification, on arrays.

Everything here works on a matrix of distances, probes (rows) against the people
whom the attacker knows (columns), and knows nothing of images or recognisers.
Smaller is more alike. A probe that is missing is counted for the attacker: see
``count_missing``.

Terms and rates follow ISO/IEC 19795-1 (biometric performance testing).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = [
    "OperatingPoints", "Ranks", "accept_threshold", "accepts_at", "cmc", "count_missing",
    "equal_error_rate", "euclidean", "hits", "mean_other", "own_distances", "ranks",
    "roc", "same_group", "true_accepts", "variety",
]


def euclidean(probes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Euclidean distances of (P, D) to (K, D) features: float64 (P, K).

    A row or column of features that holds NaN gives NaN.
    """
    a, b = np.asarray(probes, np.float64), np.asarray(known, np.float64)
    # Differences and not the expanded square: equal features must be at exactly 0.
    out = np.empty((len(a), len(b)))
    for row, feature in zip(out, a):
        row[:] = np.sqrt(((b - feature) ** 2).sum(axis=1))
    return out


def count_missing(distances: np.ndarray, missing: np.ndarray,
                  own: np.ndarray | None = None) -> np.ndarray:
    """Distances in which every missing probe is recognised with certainty.

    Args:
        distances: float (P, K); rows of missing probes may hold anything.
        missing: bool (P,).
        own: int (P,), each probe's own column; by default row i's own is column i.

    Returns:
        A copy. A missing row has 0 in its own column and infinity elsewhere: rank 1,
        accepted at any threshold. An anonymiser must not gain from losing a picture.
    """
    out = np.array(distances, np.float64)
    own = np.arange(len(out)) if own is None else np.asarray(own)
    rows = np.flatnonzero(missing)
    out[rows] = np.inf
    out[rows, own[rows]] = 0.0
    return out


def same_group(labels: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Which columns share a row's label: bool (P, K); '?' shares with nobody."""
    rows = np.asarray(labels, dtype=str)
    columns = rows if known is None else np.asarray(known, dtype=str)
    return (rows[:, None] == columns[None, :]) & (rows != "?")[:, None]


@dataclass(frozen=True, slots=True)
class Ranks:
    """Where each probe's own person stands among the candidates.

    ``closer``      int (P,): candidates strictly closer than the own person.
    ``tied``        int (P,): other candidates at exactly the own distance.
    ``candidates``  int (P,): candidates, the own person included; 0 where the own
                    person is no candidate (nothing to rank).
    """

    closer: np.ndarray
    tied: np.ndarray
    candidates: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """The rank from 1 up, ties at their middle: float (P,), NaN without candidates."""
        return np.where(self.candidates > 0, 1 + self.closer + self.tied / 2, np.nan)

    @property
    def normalised(self) -> np.ndarray:
        """The rank as 0 (first) to 1 (last), 0.5 is chance: float (P,).

        NaN where the own person is the only candidate or none.
        """
        others = np.maximum(self.candidates - 1, 1)
        return np.where(self.candidates > 1, (self.middle - 1) / others, np.nan)


def ranks(distances: np.ndarray, own: np.ndarray | None = None,
          candidates: np.ndarray | None = None) -> Ranks:
    """Rank each probe's own person.

    Args:
        distances: float (P, K), no NaN.
        own: int (P,), by default row i's own is column i.
        candidates: bool (P, K), who is compared at all; by default everybody.
    """
    distances = np.asarray(distances, np.float64)
    if np.isnan(distances).any():
        raise ValueError("ranks: expected distances without NaN; "
                         "call count_missing first for the probes that are missing.")
    rows = np.arange(len(distances))
    own = rows if own is None else np.asarray(own)
    allowed = np.ones(distances.shape, bool) if candidates is None else np.asarray(candidates)
    valid = allowed[rows, own] if len(rows) else np.zeros(0, bool)
    at = distances[rows, own][:, None]
    closer = ((distances < at) & allowed).sum(axis=1)
    tied = ((distances == at) & allowed).sum(axis=1) - valid
    return Ranks(closer=np.where(valid, closer, 0), tied=np.where(valid, tied, 0),
                 candidates=np.where(valid, allowed.sum(axis=1), 0))


def hits(found: Ranks, k: int) -> np.ndarray:
    """Whether the own person is among the first ``k``: float (P,) in 0..1.

    With ties it is the chance of being among the first k in random order, so that a
    recogniser that sees no difference at all scores exactly k / candidates. NaN
    where there are no candidates.
    """
    chance = np.clip((k - found.closer) / (found.tied + 1), 0.0, 1.0)
    return np.where(found.candidates > 0, chance, np.nan)


def cmc(found: Ranks, *, length: int | None = None) -> np.ndarray:
    """Cumulative match characteristic: float (length,), share found within rank 1, 2, ..."""
    length = int(found.candidates.max(initial=0)) if length is None else length
    if not (found.candidates > 0).any():
        return np.full(length, np.nan)
    return np.array([np.nanmean(hits(found, k)) for k in range(1, length + 1)])


def own_distances(distances: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    """The distance of each probe to its own person: float (P,)."""
    rows = np.arange(len(distances))
    return np.asarray(distances, np.float64)[rows, rows if own is None else own]


def mean_other(distances: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    """The mean distance of each probe to everybody else: float (P,).

    Infinities (missing probes) are left out; NaN where nobody else is left.
    """
    d = np.array(distances, np.float64)
    rows = np.arange(len(d))
    d[rows, rows if own is None else own] = np.nan
    d[np.isinf(d)] = np.nan
    count = (~np.isnan(d)).sum(axis=1)
    return np.where(count > 0, np.nansum(d, axis=1) / np.maximum(count, 1), np.nan)


def impostors(originals: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
    """The distances of different people's originals, each pair once: float (n,).

    Args:
        originals: float (K, K), symmetric.
        allowed: bool (K, K), for example ``same_group``.
    """
    originals = np.asarray(originals, np.float64)
    upper = np.triu(np.ones(originals.shape, bool), 1)
    return originals[upper if allowed is None else upper & allowed]


def accept_threshold(impostor: np.ndarray, far: float) -> float:
    """The largest threshold whose false accepts among ``impostor`` are at most ``far``.

    A pair is accepted when its distance is *below* the threshold, so ties never
    lift the false accepts above ``far``. With fewer than 1/far pairs no impostor is
    accepted at all. NaN without pairs.
    """
    ordered = np.sort(np.asarray(impostor, np.float64))
    if not len(ordered):
        return float("nan")
    allowed = int(np.floor(far * len(ordered) + 1e-9))
    return float(ordered[allowed]) if allowed < len(ordered) else float("inf")


def true_accepts(own: np.ndarray, threshold: float) -> np.ndarray:
    """Which probes pass for their own person: float (P,) of 0 and 1, NaN without threshold.

    Args:
        own: float (P,), see ``own_distances``.
    """
    own = np.asarray(own, np.float64)
    return np.full(len(own), np.nan) if np.isnan(threshold) else (own < threshold).astype(float)


@dataclass(frozen=True, slots=True)
class OperatingPoints:
    """Error rates of each probe over a common set of thresholds.

    ``thresholds``  float (T,), rising.
    ``rejects``     float (P, T): 1 where the probe is not taken for its own person.
    ``accepts``     float (P, T): share of other people for whom it is taken.

    Rows can be drawn again and averaged, which makes resampling over people cheap.
    """

    thresholds: np.ndarray
    rejects: np.ndarray
    accepts: np.ndarray


def operating_points(distances: np.ndarray, own: np.ndarray | None = None, *,
                     candidates: np.ndarray | None = None,
                     thresholds: int = 512) -> OperatingPoints:
    """Genuine and impostor trials of probes against originals, over many thresholds.

    Args:
        distances: float (P, K), at least two columns; see ``count_missing``.
        candidates: bool (P, K), who is compared at all; by default everybody.
        thresholds: how many; quantiles of the distances where there are more of those.
    """
    d = np.asarray(distances, np.float64)
    rows = np.arange(len(d))
    own = rows if own is None else np.asarray(own)
    finite = np.unique(d[np.isfinite(d)])
    if len(finite) > thresholds:
        finite = np.quantile(finite, np.linspace(0, 1, thresholds))
    steps = np.append(finite, np.inf)
    rejects = (d[rows, own][:, None] >= steps).astype(np.float64)
    allowed = np.arange(d.shape[1]) != own[:, None]
    if candidates is not None:
        allowed &= candidates
    accepts = np.stack([np.searchsorted(np.sort(row[other]), steps) / max(other.sum(), 1)
                        for row, other in zip(d, allowed)]) \
        if len(d) else np.zeros((0, len(steps)))
    return OperatingPoints(steps, rejects, accepts)


def equal_error_rate(points: OperatingPoints, rows: np.ndarray | None = None) -> float:
    """The rate at which false rejects equal false accepts, 0.5 is chance.

    The false accepts are those of the same trials (a probe against other people's
    originals). Between two thresholds the rates are joined by straight lines.

    Args:
        rows: int (n,), probes to count, repeats allowed; by default each once.
    """
    rejects = points.rejects if rows is None else points.rejects[rows]
    accepts = points.accepts if rows is None else points.accepts[rows]
    if not len(rejects):
        return float("nan")
    # Before the first threshold everything is rejected: the curve begins at (0, 1).
    frr = np.append(1.0, rejects.mean(axis=0))
    far = np.append(0.0, accepts.mean(axis=0))
    at = int(np.argmax(far >= frr)) if (far >= frr).any() else len(far) - 1
    before = max(at - 1, 0)
    gap_before, gap_at = frr[before] - far[before], far[at] - frr[at]
    part = gap_before / (gap_before + gap_at) if gap_before + gap_at > 0 else 0.0
    return float(far[before] + part * (far[at] - far[before]))


def roc(points: OperatingPoints) -> tuple[np.ndarray, np.ndarray]:
    """The curve of false accepts against true accepts, both float (T,), rising."""
    if not len(points.rejects):
        return np.full(len(points.thresholds), np.nan), np.full(len(points.thresholds), np.nan)
    return points.accepts.mean(axis=0), 1.0 - points.rejects.mean(axis=0)


def accepts_at(points: OperatingPoints, rates: np.ndarray) -> np.ndarray:
    """The true accepts at these false accept rates, between steps by straight lines.

    Args:
        rates: float (n,), rising.

    Returns:
        float (n,), NaN without probes.
    """
    if not len(points.rejects):
        return np.full(len(rates), np.nan)
    false, true = roc(points)
    # The best that a rate allows: of several points at one rate, the last.
    kept = np.append(np.diff(false) > 0, True)
    return np.interp(rates, np.append(0.0, false[kept]), np.append(
        true[false == 0].max(initial=0.0), true[kept]))


def variety(distances: np.ndarray, rows: np.ndarray | None = None) -> float:
    """Mean distance between different people: how unlike one another they are.

    Args:
        distances: float (N, N), symmetric.
        rows: int (n,), people to count, repeats allowed (pairs of one person with
            itself are never counted); by default each once.

    Returns:
        NaN where there are no two people.
    """
    n = len(distances)
    weight = np.ones(n) if rows is None else np.bincount(rows, minlength=n).astype(float)
    pairs = weight.sum() ** 2 - (weight ** 2).sum()
    clean = np.array(distances, np.float64)
    np.fill_diagonal(clean, 0.0)
    return float(weight @ clean @ weight / pairs) if pairs > 0 else float("nan")
