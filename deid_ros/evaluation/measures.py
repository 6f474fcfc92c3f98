"""From rows of numbers to measures: what is reported, under which key.

Everything here is arithmetic on ``Observations``. A missing output counts for the
attacker and against the tool in every measure; it never drops out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deid_ros.evaluation import recognition as r
from deid_ros.evaluation.adaptive import LEAST, learned_distances
from deid_ros.evaluation.attackers import Attacker
from deid_ros.evaluation.attributes import read_off
from deid_ros.evaluation.intervals import Measure, mean_measure, median_measure, pearson
from deid_ros.evaluation.observations import Observations
from deid_ros.evaluation.precision import average_precision

__all__ = ["FAR_GRID", "adaptive", "carried", "contributor_share", "curves_of", "detection",
           "distances_of", "downstream", "expression", "identification", "impersonation",
           "inference", "measures_of", "parrot", "picture", "unaltered", "variety", "verification"]

#: The false accept rates at which the ROC is drawn.
FAR_GRID = np.concatenate([[0.0], np.logspace(-3, 0, 61)])

#: The share of strangers who are as like a gallery person as an impersonator.
BY_CHANCE = 0.05

#: The false accept rates at which true accepts are given.
FALSE_ACCEPTS = (1e-2, 1e-3)

#: A false accept rate is given where so many pairs of strangers, or more, are accepted at it.
LEAST_ACCEPTED = 10


def carried(far: float | np.ndarray, pairs: int) -> bool | np.ndarray:
    """Whether ``pairs`` pairs of strangers are enough to speak of a false accept rate."""
    return far * pairs >= LEAST_ACCEPTED - 1e-9


def _rate(far: float) -> str:
    mantissa, exponent = f"{far:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def distances_of(observed: Observations, attacker: Attacker) -> np.ndarray:
    """An attacker's distances of outputs (rows) to originals, float (N, N), missing
    outputs counted as recognised."""
    known = observed.known[attacker.name]
    distances = attacker.distances(observed.probes[attacker.name], known, known=known)
    return r.count_missing(distances, observed.missing)


def _ranking(prefix: str, title: str, distances: np.ndarray,
             candidates: np.ndarray | None) -> list[Measure]:
    found = r.ranks(distances, candidates=candidates)
    of = np.where(found.candidates > 0, found.candidates, np.nan)
    out = []
    for k in (1, 5):
        chance = np.minimum(k / of, 1.0)
        out.append(mean_measure(
            f"{prefix}.rank_{k}", f"{title}rank-{k}", "share", r.hits(found, k),
            float(np.nanmean(chance)) if (found.candidates > 0).any() else None))
    out.append(mean_measure(f"{prefix}.mean_rank", f"{title}mean normalised rank", "rank",
                            found.normalised, 0.5))
    return out


def identification(prefix: str, distances: np.ndarray, sex: np.ndarray) -> list[Measure]:
    """Closed set: how often the own person is first, among all and among one sex.

    Args:
        distances: float (N, N), own person on the diagonal; see ``count_missing``.
        sex: str (N,), '?' where unknown.
    """
    return [*_ranking(prefix, "", distances, None),
            *_ranking(f"{prefix}.same_sex", "same sex: ", distances, r.same_group(sex))]


def verification(prefix: str, distances: np.ndarray, originals: np.ndarray,
                 sex: np.ndarray, *, threshold: float | None = None) -> list[Measure]:
    """One to one: how often an output passes for its own person.

    Args:
        distances: as in ``identification``.
        originals: float (N, N), the originals among each other: strangers among them
            set the thresholds.
        threshold: the recogniser's usual one, if it has one.
    """
    own = r.own_distances(distances)
    strangers = r.impostors(originals)
    out = [mean_measure(f"{prefix}.own_distance", "distance to the own original", "distance",
                        own, float(strangers.mean()) if len(strangers) else None),
           mean_measure(f"{prefix}.other_distance", "distance to other originals", "distance",
                        r.mean_other(distances),
                        float(strangers.mean()) if len(strangers) else None)]
    if threshold is not None:
        alike = r.impostors(originals, r.same_group(sex))
        alike = alike if len(alike) else strangers
        chance = float((alike < threshold).mean()) if len(alike) else None
        out.append(mean_measure(f"{prefix}.closer", f"closer than {threshold:g} to the own "
                                "original", "share", (own < threshold).astype(float), chance))
    out += _one_to_one(prefix, "", own, distances, strangers, None)
    return out + _one_to_one(f"{prefix}.same_sex", "same sex: ", own, distances,
                             r.impostors(originals, r.same_group(sex)), r.same_group(sex))


def _one_to_one(prefix: str, title: str, own: np.ndarray, distances: np.ndarray,
                strangers: np.ndarray, candidates: np.ndarray | None) -> list[Measure]:
    """True accepts and equal error rate against everybody, or against those of one sex.

    Rates that the number of strangers cannot carry are left out.
    """
    ranked = np.ones(len(own), bool) if candidates is None else np.diag(candidates)
    out = []
    for far in FALSE_ACCEPTS:
        if not carried(far, len(strangers)):
            continue
        accepted = r.true_accepts(own, r.accept_threshold(strangers, far))
        out.append(mean_measure(f"{prefix}.tar_at_far_{_rate(far)}",
                                f"{title}true accepts at FAR {_rate(far)}", "share",
                                np.where(ranked, accepted, np.nan), far))
    points = r.operating_points(distances, candidates=candidates)

    def eer(rows: np.ndarray) -> float:
        return r.equal_error_rate(points, rows[ranked[rows]])

    enough = int(ranked.sum()) if ranked.sum() > 1 else 0
    return [*out, Measure(f"{prefix}.eer", f"{title}equal error rate", "rate", eer, enough, 0.5)]


def parrot(attacker: Attacker, observed: Observations, second: Observations) -> list[Measure]:
    """The parrot attack: match outputs with outputs of second photos of the same people.

    The attacker runs the same tool on photos he has and compares like with like
    (Newton, Sweeney and Malin, "Preserving privacy by de-identifying face images",
    IEEE TKDE 2005).

    Args:
        observed: the outputs under attack.
        second: the attacker's own outputs, the same people in the same order.
    """
    known = observed.known[attacker.name]
    distances = attacker.distances(observed.probes[attacker.name],
                                   second.probes[attacker.name], known=known)
    # What the attacker could not anonymise himself is no candidate but for its owner.
    distances[:, second.missing] = np.inf
    distances = r.count_missing(distances, observed.missing)
    return identification(f"parrot.{attacker.name}", distances, observed.sex)


def adaptive(attacker: Attacker, observed: Observations) -> list[Measure]:
    """The attacker owns the tool, anonymises other people and learns to undo it.

    See ``adaptive.learned_distances``. Nothing where there are too few people to learn from.
    """
    if len(observed.ids) < LEAST:
        return []
    distances = learned_distances(observed.probes[attacker.name], observed.known[attacker.name])
    distances = r.count_missing(distances, observed.missing)
    return identification(f"adaptive.{attacker.name}", distances, observed.sex)


def unaltered(attacker: Attacker, observed: Observations) -> list[Measure]:
    """Whether the attacker knows people at all: rank-1 of the pictures as they were.

    Only where the attacker knows other photographs; with the very picture it is no test.
    """
    if attacker.name not in observed.unaltered:
        return []
    known = observed.known[attacker.name]
    distances = attacker.distances(observed.unaltered[attacker.name], known, known=known)
    found = r.ranks(distances)
    return [mean_measure(f"{attacker.name}.unaltered", "rank-1 of the unaltered pictures", "share",
                         r.hits(found, 1), 1 / len(known) if len(known) else None)]


def inference(attacker: Attacker, observed: Observations) -> list[Measure]:
    """Whether the sex can be read off outputs, and off the pictures as they were.

    Nothing where it is known of too few people; see ``attributes.read_off``. Chance is the
    share of the more frequent one.
    """
    known, sex = observed.known[attacker.name], observed.sex
    before = read_off(known, observed.unaltered.get(attacker.name, known), sex)
    after = read_off(known, observed.probes[attacker.name], sex)
    if before is None or after is None:
        return []
    counts = [int((sex == one).sum()) for one in ("M", "F")]
    chance = max(counts) / sum(counts)
    return [mean_measure(f"inference.{attacker.name}.sex", "the sex is read off the output",
                         "share", after, chance),
            mean_measure(f"inference.{attacker.name}.sex_before",
                         "the sex is read off the unaltered picture", "share", before, chance)]


def detection(observed: Observations) -> list[Measure]:
    """Retention: of the faces that a detector found, how many it still finds."""
    out = []
    for name, before in observed.found_before.items():
        after = observed.found_after[name] & ~observed.missing
        out.append(mean_measure(f"detection.{name}.retained", f"{name} still finds a face",
                                "share", np.where(before, after.astype(float), np.nan)))
    return out


def expression(observed: Observations) -> list[Measure]:
    """Does the output open mouth and eyes when the person does?"""
    out = []
    for key, label, pair in (("mouth", "mouth opening", observed.mouth),
                             ("eyes", "eye opening", observed.eyes)):
        out.append(Measure(
            f"expression.{key}", f"correlation of {label}", "correlation",
            lambda rows, pair=pair: pearson(pair[rows, 0], pair[rows, 1]),
            len(pair) if len(pair) > 1 else 0, 0.0))
    return out


def picture(observed: Observations) -> list[Measure]:
    """Landmarks, head pose, sharpness, and what changed where there was no face."""
    out = [median_measure("landmarks.error", "landmark error (median)", "eye distances",
                          observed.landmark_error)]
    for axis, name in enumerate(("yaw", "pitch", "roll")):
        out.append(median_measure(f"pose.{name}", f"difference in {name} (median)", "degrees",
                                  observed.pose_error[:, axis]))
    out += [median_measure("sharpness.ratio", "sharpness of the face (median)", "ratio",
                           observed.sharpness),
            mean_measure("outside.changed", "pixels changed outside the faces", "part",
                         observed.outside[:, 0]),
            mean_measure("outside.difference", "mean difference outside the faces", "levels",
                         observed.outside[:, 1])]
    if observed.likeness is not None:
        out.append(mean_measure("outside.ssim", "structural similarity outside the faces",
                                "ratio", observed.likeness))
    return out


def downstream(observed: Observations) -> list[Measure]:
    """A task behind the tool: a detector's average precision on the outputs.

    What the detector finds in the originals is the truth (its average precision there
    is 1); what it finds in the outputs is right where the boxes share half.
    """
    out = []
    for name, found in observed.precision.items():
        out.append(Measure(
            f"detection.{name}.ap", f"{name}: average precision, originals 1.0", "ratio",
            lambda rows, found=found: average_precision([found[row] for row in rows]),
            sum(1 for one in found if one.truth), 1.0))
    return out


def variety(outputs: np.ndarray, originals: np.ndarray) -> list[Measure]:
    """How unlike one another the outputs are, as a part of how unlike the originals are.

    Args:
        outputs, originals: float (N, N), distances among them; missing outputs at 0.
    """
    def ratio(rows: np.ndarray) -> float:
        before = r.variety(originals, rows)
        return r.variety(outputs, rows) / before if before > 0 else float("nan")

    return [Measure("variety.ratio", "variety of the outputs", "ratio", ratio,
                    len(originals) if len(originals) > 1 else 0)]


def contributor_share(similarity: np.ndarray, gallery: Sequence[str], ids: Sequence[str],
                      contributors: Mapping[str, Sequence[str]],
                      missing: np.ndarray) -> list[Measure]:
    """Outputs that look most like somebody who was mixed into them.

    Args:
        similarity: float (N, G), of outputs to the gallery's people.
        gallery: G ids.
        ids: of the N people.
        contributors: id -> gallery ids; who is not in it was covered without any.
    """
    values = np.zeros(len(ids))
    for i, name in enumerate(ids):
        if missing[i]:
            values[i] = 1.0
        elif len(gallery):
            nearest = gallery[int(np.argmax(similarity[i]))]
            values[i] = float(nearest in contributors.get(name, ()))
    return [mean_measure("gallery.contributor", "nearest gallery person is a contributor",
                         "share", values)]


def impersonation(similarity: np.ndarray, strangers: np.ndarray,
                  missing: np.ndarray) -> list[Measure]:
    """Outputs on which the real face of somebody of the gallery has landed.

    A stranger, too, is like somebody among hundreds: an output counts when it is more
    like a gallery person than 95 of 100 originals are.

    Args:
        similarity: float (N, G), cosine of outputs to the gallery's people.
        strangers: float (N, G), the same of the originals, who are nobody in the
            gallery.
        missing: bool (N,).
    """
    nearest, usual = (rows.max(axis=1, initial=-1.0) for rows in (similarity, strangers))
    limit = np.quantile(usual, 1 - BY_CHANCE, method="higher") if len(usual) else np.inf
    return [mean_measure("gallery.impersonated", "has the face of a gallery person", "share",
                         np.where(missing, 1.0, nearest > limit), BY_CHANCE)]


def curves_of(observed: Observations, attackers: Sequence[Attacker]) -> dict[str, dict]:
    """What is drawn: attacker -> 'all' and 'same_sex' -> the curves.

    ``cmc`` is the share found within rank 1, 2, ...; ``roc`` the true accepts at the
    false accept rates of ``FAR_GRID``, NaN at those that the trials cannot carry.
    """
    out: dict[str, dict] = {}
    for attacker in attackers:
        distances = distances_of(observed, attacker)
        same = r.same_group(observed.sex)
        out[attacker.name] = {}
        for name, allowed in (("all", None), ("same_sex", same)):
            rows = np.arange(len(distances)) if allowed is None else \
                np.flatnonzero(allowed.diagonal())
            points = r.operating_points(distances[rows], rows,
                                        candidates=None if allowed is None else allowed[rows])
            others = np.ones(distances.shape, bool) if allowed is None else allowed
            trials = int(others[rows].sum()) - len(rows)
            out[attacker.name][name] = {
                "cmc": r.cmc(r.ranks(distances, candidates=allowed)),
                "roc": np.where(carried(FAR_GRID, trials), r.accepts_at(points, FAR_GRID),
                                np.nan)}
    return out


def measures_of(observed: Observations, attackers: Sequence[Attacker], *,
                second: Observations | None = None) -> list[Measure]:
    """Every measure that needs no gallery, in the order of the report."""
    out: list[Measure] = []
    for attacker in attackers:
        known = observed.known[attacker.name]
        among = attacker.distances(known, known, known=known)
        distances = distances_of(observed, attacker)
        out += identification(attacker.name, distances, observed.sex)
        out += verification(attacker.name, distances, among, observed.sex,
                            threshold=attacker.threshold)
        out += unaltered(attacker, observed)
        if second is not None:
            out += parrot(attacker, observed, second)
        if attacker.recogniser:
            out += adaptive(attacker, observed)
            out += inference(attacker, observed)
    out += (detection(observed) + downstream(observed) + picture(observed)
            + expression(observed))
    for attacker in attackers[:1]:
        known, probes = observed.known[attacker.name], observed.probes[attacker.name]
        among = attacker.distances(known, known, known=known)
        outputs = np.nan_to_num(attacker.distances(probes, probes, known=known), nan=0.0)
        out += variety(outputs, among)
    return out
