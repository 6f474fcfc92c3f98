"""One evaluation from folders to numbers: the room's front door."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deid_ros.errors import EvaluationError
from deid_ros.evaluation.attackers import DEFAULT, Attacker, create_attackers
from deid_ros.evaluation.intervals import Measure, Summary, summarise
from deid_ros.evaluation.measures import contributor_share, curves_of, impersonation, measures_of
from deid_ros.evaluation.observations import (
    Observations,
    Originals,
    Progress,
    observe_originals,
    observe_outputs,
    observe_second,
    silent,
)
from deid_ros.evaluation.people import Person, images_in, with_outputs
from deid_ros.evaluation.views import RETENTION, Observer
from deid_ros.evaluation.worst import WORST, worst_of

__all__ = ["Evaluation", "GalleryPeople", "Run", "evaluate", "impostor_pairs",
           "recognisers_of", "similarity_to"]


@dataclass(frozen=True, slots=True)
class Run:
    """The outputs of one run of the tool.

    ``outputs``       folder, file names as in the originals' folder.
    ``key``           what it is called in the result.
    ``contributors``  id -> gallery ids mixed into the surrogate, None: not known.
    ``second``        folder of outputs of second photos, for the parrot attack.
    ``masks``         folder of images, not 0 where the run has covered something.
    """

    outputs: Path
    key: str = ""
    contributors: Mapping[str, Sequence[str]] | None = None
    second: Path | None = None
    masks: Path | None = None


@dataclass(frozen=True, slots=True)
class GalleryPeople:
    """The gallery as far as it is measured: ids (G,) and unit embeddings (G, 128)."""

    ids: tuple[str, ...]
    embeddings: np.ndarray

    @staticmethod
    def load(path: Path) -> GalleryPeople:
        """From a gallery file.

        Raises:
            GalleryError: it cannot be read.
            EvaluationError: its embeddings are not dlib's.
        """
        from deid_ros.matcher.gallery import Gallery

        gallery = Gallery.load(path)
        if gallery.extractor != "dlib_resnet":
            raise EvaluationError(f"The gallery {path} was built with the extractor "
                                  f"'{gallery.extractor}'; nearest gallery people are measured "
                                  "with 'dlib_resnet', give a gallery built with that.")
        return GalleryPeople(tuple(str(i) for i in gallery.ids),
                             np.asarray(gallery.embeddings, np.float64))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of one evaluation.

    ``people``     those measured, ``faceless`` ids left out because the original shows
                   no face, ``missing`` key -> ids without a readable output.
    ``measures``   in the order of the report.
    ``values``     measure key -> float (N,), each person's mean over the runs.
    ``settings``   what the numbers depend on.
    ``curves``     attacker -> 'all', 'same_sex' -> 'cmc', 'roc', the mean over runs; see
                   ``measures.curves_of``.
    ``boxes``      float (N, 4) px, each person's face in the original.
    ``faces``      (n, 4) px each, every face in each person's original.
    """

    people: tuple[Person, ...]
    faceless: tuple[str, ...]
    missing: dict[str, tuple[str, ...]]
    measures: tuple[Summary, ...]
    values: dict[str, np.ndarray]
    settings: dict[str, object] = field(default_factory=dict)
    curves: dict[str, dict] = field(default_factory=dict)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    faces: tuple[np.ndarray, ...] = ()


def evaluate(people: Sequence[Person], folder: Path, runs: Iterable[Run], *,
             gallery: GalleryPeople | None = None, attackers: Sequence[str] = DEFAULT,
             detectors: Sequence[str] = RETENTION, landmarks: str | None = None,
             second: Path | None = None, draws: int = 1000, seed: int = 0,
             progress: Progress = silent) -> Evaluation:
    """Measure the outputs of one or several runs over the same people.

    Args:
        people: from ``find_people``.
        folder: of their originals; outputs lie in the same way below ``Run.outputs``.
        runs: one per key; each is finished with before the next is asked for, so a
            generator may make the outputs and delete them again.
        gallery: with it and ``Run.contributors``, impostures are measured.
        attackers, detectors, landmarks: names; see ``attackers`` and ``views``.
        second: folder of other photographs, names as in ``folder``: they are what the
            attackers know, and what a parrot puts through the tool. Who has none is left out.
        draws: bootstrap draws of people, 0 for no intervals.
        seed: of those draws.

    Raises:
        EvaluationError: nothing to measure, or an output of another size.
        ModelError: a model of an instrument is missing.
    """
    observer = Observer(detectors=detectors, landmarks=landmarks)
    chosen = create_attackers(attackers, observer)
    originals = observe_originals(people, observer, chosen, progress=progress)
    everybody, known = originals.people, None
    if second is not None:
        originals, known = observe_second(originals, second, observer, chosen,
                                          progress=progress)
    measured: list[list[Measure]] = []
    missing: dict[str, tuple[str, ...]] = {}
    curves = []
    for number, run in enumerate(runs):
        observed = observe_outputs(
            originals, with_outputs(originals.people, folder, run.outputs), observer, chosen,
            masks=None if run.masks is None else images_in(run.masks), known=known,
            progress=progress)
        one = measures_of(observed, chosen, second=None if run.second is None else _parroted(
            known or originals, second or folder, run.second, observer, chosen, progress))
        if gallery is not None and run.contributors is not None and "dlib" in observed.probes:
            alike = similarity_to(observed.probes["dlib"], gallery.embeddings)
            one += contributor_share(alike, gallery.ids, [p.id for p in originals.people],
                                     run.contributors, observed.missing)
            one += impersonation(alike, similarity_to(observed.known["dlib"], gallery.embeddings),
                                 observed.missing)
        measured.append(one)
        curves.append(curves_of(observed, chosen))
        missing[run.key or str(number)] = tuple(observed.ids[observed.missing].tolist())
    if not measured:
        raise EvaluationError("There is no run to evaluate; give a folder of outputs.")
    values = {}
    for versions in zip(*measured, strict=True):
        rows = [measure.values for measure in versions if measure.values is not None]
        if rows:
            values[versions[0].key] = _mean_over_keys(rows)
    found = summarise(measured, len(originals.people), count=draws, seed=seed)
    worst = worst_of(found, [attacker.name for attacker in chosen if attacker.recogniser])
    for one in worst:
        values[one.key] = values.get(one.key.replace(WORST, one.attacker, 1), np.zeros(0))
    settings = {
        "attackers": [attacker.name for attacker in chosen], "detectors": list(detectors),
        "landmarks": observer.landmarks, "keys": len(measured), "draws": draws, "seed": seed,
        "recognisers": recognisers_of(chosen), "impostor_pairs": impostor_pairs(originals.people),
        "known": "originals" if known is None else "second photographs",
        "without_second": [one.id for one in everybody if one not in originals.people]}
    return Evaluation(
        originals.people, originals.faceless, missing, (*worst, *found),
        {key: rows for key, rows in values.items() if len(rows)}, settings,
        _mean_curves(curves), np.array([view.box for view in originals.views]).reshape(-1, 4),
        tuple(view.boxes for view in originals.views))


def _parroted(known: Originals, folder: Path, outputs: Path, observer: Observer,
              attackers: Sequence[Attacker], progress: Progress) -> Observations:
    """The attacker's own outputs, of what the attacker knows."""
    return observe_outputs(known, with_outputs(known.people, folder, outputs), observer,
                           attackers, progress=progress)


def recognisers_of(attackers: Sequence[Attacker]) -> list[dict[str, object]]:
    """The face recognisers among the attackers, and what they had to do with the tool."""
    return [{"name": one.name, "title": one.title,
             "independent": getattr(one, "independent", True), "note": getattr(one, "note", "")}
            for one in attackers if one.recogniser]


def impostor_pairs(people: Sequence[Person]) -> dict[str, int]:
    """How many pairs of different people there are: of all, and of one sex."""
    of = Counter(person.sex for person in people)
    return {"all": len(people) * (len(people) - 1) // 2,
            "same_sex": sum(n * (n - 1) // 2 for sex, n in of.items() if sex != "?")}


def similarity_to(probes: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Cosine of (N, D) to unit rows (G, D): float (N, G); missing probes at 0."""
    length = np.linalg.norm(probes, axis=1, keepdims=True)
    return np.nan_to_num(probes / np.maximum(length, 1e-9)) @ embeddings.T


def _mean_curves(runs: Sequence[dict[str, dict]]) -> dict[str, dict]:
    """The mean over runs of every curve."""
    return {name: {group: {kind: np.mean([run[name][group][kind] for run in runs], axis=0)
                           for kind in curves}
                   for group, curves in groups.items()}
            for name, groups in runs[0].items()}


def _mean_over_keys(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Mean (N,) over runs, leaving out what does not apply in a run."""
    stacked = np.stack(rows)
    there = ~np.isnan(stacked)
    total = np.where(there, stacked, 0.0).sum(axis=0)
    return np.where(there.any(axis=0), total / np.maximum(there.sum(axis=0), 1), np.nan)
