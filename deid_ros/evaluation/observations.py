"""From pictures to rows of numbers: one row per person, ready to be averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import EvaluationError
from deid_ros.evaluation.attackers import Attacker
from deid_ros.evaluation.people import Person, second_photographs
from deid_ros.evaluation.precision import Matched, match_boxes
from deid_ros.evaluation.utility import (
    eye_opening,
    face_region,
    grow_boxes,
    landmark_error,
    mouth_opening,
    outside_change,
    outside_likeness,
    pose_difference,
    sharpness_ratio,
)
from deid_ros.evaluation.views import Observer, View

__all__ = ["Observations", "Originals", "observe_originals", "observe_outputs",
           "observe_second", "read_frame", "silent"]

# What lies within this part of a face's size around its box is not 'outside': hair
# line, jaw and glasses are covered too. A mask, where there is one, is exact.
_GROWN = 0.5

#: What a progress bar wraps: an iterable and its title.
Progress = Callable[[Sequence[Any], str], Iterable[Any]]


def silent(items: Sequence[Any], title: str) -> Sequence[Any]:
    """No progress bar."""
    return items


@dataclass(frozen=True, slots=True)
class Originals:
    """The people, and what is seen of each in the original.

    ``people``    those whose original shows a face.
    ``faceless``  ids of the others: there is nothing to protect or to measure.
    ``views``     one per person.
    ``features``  attacker name -> float (N, D).
    """

    people: tuple[Person, ...]
    faceless: tuple[str, ...]
    views: tuple[View, ...]
    features: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything measured of N people in one run, as arrays of N rows.

    ``ids, sex``          str (N,).
    ``missing``           bool (N,): no readable output.
    ``known, probes``     attacker name -> float (N, D): originals, outputs (rows of
                          missing outputs are NaN).
    ``found_before, found_after``  detector name -> bool (N,).
    ``landmark_error``    float (N,), eye distances; infinite where missing.
    ``pose_error``        float (N, 3), degrees of yaw, pitch, roll; infinite likewise.
    ``mouth, eyes``       float (N, 2), opening in original and output (NaN: missing).
    ``sharpness``         float (N,), ratio; 0 where missing.
    ``outside``           float (N, 2), share of pixels changed, mean difference.
    ``likeness``          float (N,), structural similarity outside the faces.
    ``precision``         detector name -> N judged pictures (``precision.Matched``).
    ``unaltered``         attacker name -> float (N, D): the pictures as they were, where
                          ``known`` are other photographs.
    """

    ids: np.ndarray
    sex: np.ndarray
    missing: np.ndarray
    known: dict[str, np.ndarray]
    probes: dict[str, np.ndarray]
    found_before: dict[str, np.ndarray]
    found_after: dict[str, np.ndarray]
    landmark_error: np.ndarray
    pose_error: np.ndarray
    mouth: np.ndarray
    eyes: np.ndarray
    sharpness: np.ndarray
    outside: np.ndarray
    likeness: np.ndarray | None = None
    precision: dict[str, list[Matched]] = field(default_factory=dict)
    unaltered: dict[str, np.ndarray] = field(default_factory=dict)


def read_frame(path: Path) -> np.ndarray | None:
    """An image as BGR uint8 (H, W, 3), None where it cannot be read."""
    import cv2

    try:
        data = np.fromfile(path, np.uint8)   # unlike imread, silent and fine with any name
    except OSError:
        return None
    return cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None


def _mask(path: Path | None, size: tuple[int, int]) -> np.ndarray | None:
    """What a run has covered: bool (H, W), None where it is not known."""
    image = None if path is None else read_frame(path)
    return image.any(axis=2) if image is not None and image.shape[:2] == size else None


def observe_originals(people: Sequence[Person], observer: Observer,
                      attackers: Sequence[Attacker], *,
                      progress: Progress = silent) -> Originals:
    """Look at every original once.

    Raises:
        EvaluationError: not one of them shows a face.
    """
    kept: list[Person] = []
    faceless: list[str] = []
    views: list[View] = []
    rows: dict[str, list[np.ndarray]] = {a.name: [] for a in attackers}
    for person in progress(people, "originals"):
        frame = read_frame(person.original)
        view = None if frame is None else observer.look(frame)
        if frame is None or view is None:
            faceless.append(person.id)
            continue
        kept.append(person)
        views.append(view)
        for attacker in attackers:
            rows[attacker.name].append(attacker.describe(frame, view))
    if people and not kept:
        raise EvaluationError(f"None of the {len(people)} originals can be read and shows a "
                              "face; give portraits in which a detector finds one.")
    return Originals(tuple(kept), tuple(faceless), tuple(views),
                     {name: _stack(features) for name, features in rows.items()})


def observe_second(originals: Originals, second: Path, observer: Observer,
                   attackers: Sequence[Attacker], *,
                   progress: Progress = silent) -> tuple[Originals, Originals]:
    """Look at other photographs of the people, which are what the attackers will know.

    Args:
        originals: from ``observe_originals``.
        second: folder of the other photographs, named as the originals.

    Returns:
        The originals, and the other photographs in the same order; of those people alone of
        whom both show a face.

    Raises:
        EvaluationError: nobody has another photograph that shows a face.
    """
    photographs = second_photographs(originals.people, second)
    others = [Person(person.id, person.sex, photographs[person.id])
              for person in originals.people if person.id in photographs]
    known = observe_originals(others, observer, attackers, progress=progress)
    ids = {person.id for person in known.people}
    return _only(originals, ids), known


def _only(originals: Originals, ids: set[str]) -> Originals:
    rows = [row for row, person in enumerate(originals.people) if person.id in ids]
    return Originals(tuple(originals.people[row] for row in rows), originals.faceless,
                     tuple(originals.views[row] for row in rows),
                     {name: features[rows] for name, features in originals.features.items()})


def _stack(rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(rows).astype(np.float64) if rows else np.zeros((0, 1))


def observe_outputs(originals: Originals, people: Sequence[Person], observer: Observer,
                    attackers: Sequence[Attacker], *,
                    masks: Mapping[str, Path] | None = None,
                    known: Originals | None = None,
                    progress: Progress = silent) -> Observations:
    """Look at every output and compare it with its original.

    Args:
        originals: from ``observe_originals`` with the same observer and attackers.
        people: with outputs; those of ``originals`` are used.
        masks: id -> image of the size of the original, not 0 where the run has covered
            something; without one, grown boxes stand for it.
        known: other photographs of the same people in the same order, which the attackers
            know instead of the originals.

    Raises:
        EvaluationError: an output has another size than its original.
    """
    outputs = {person.id: person.output for person in people}
    count = len(originals.people)
    missing = np.ones(count, bool)
    probes = {a.name: np.full(originals.features[a.name].shape, np.nan) for a in attackers}
    after = {name: np.zeros(count, bool) for name in observer.detectors}
    error, pose = np.full(count, np.inf), np.full((count, 3), np.inf)
    mouth, eyes = np.full((count, 2), np.nan), np.full((count, 2), np.nan)
    sharp, outside = np.zeros(count), np.zeros((count, 2))
    likeness = np.zeros(count)
    judged: dict[str, list[Matched]] = {name: [] for name in observer.detectors}
    for i, person in enumerate(progress(originals.people, "outputs")):
        view, frame = originals.views[i], read_frame(person.original)
        assert frame is not None
        path = outputs.get(person.id)
        output = None if path is None else read_frame(path)
        if output is not None and output.shape != frame.shape:
            raise EvaluationError(
                f"{path} has {output.shape[1]}x{output.shape[0]} pixels and its original "
                f"{frame.shape[1]}x{frame.shape[0]}; outputs must keep the size.")
        region = face_region(view.landmarks, view.size)
        seen = None if output is None else observer.look(output, at=view)
        mouth[i, 0], eyes[i, 0] = mouth_opening(view.landmarks), eye_opening(view.landmarks)
        sharp[i] = sharpness_ratio(frame, output, region)
        mask = _mask((masks or {}).get(person.id), view.size)
        boxes = grow_boxes(view.boxes, _GROWN) if mask is None else None
        outside[i] = outside_change(frame, output, mask=mask, boxes=boxes)
        likeness[i] = outside_likeness(frame, output, mask=mask, boxes=boxes)
        for name, rows in judged.items():
            rows.append(match_boxes(view.scored[name][:, :4], np.zeros((0, 5)) if seen is None
                                    else seen.scored[name]))
        if output is None or seen is None:
            continue
        missing[i] = False
        error[i] = landmark_error(view.landmarks, seen.landmarks)
        pose[i] = pose_difference(view.angles, seen.angles)
        mouth[i, 1], eyes[i, 1] = mouth_opening(seen.landmarks), eye_opening(seen.landmarks)
        for name, place in seen.places.items():
            after[name][i] = place is not None
        for attacker in attackers:
            probes[attacker.name][i] = attacker.describe(output, seen)
    before = {name: np.array([v.places[name] is not None for v in originals.views], bool)
              for name in observer.detectors}
    return Observations(
        ids=np.array([p.id for p in originals.people], dtype=str),
        sex=np.array([p.sex for p in originals.people], dtype=str), missing=missing,
        known=dict((known or originals).features), probes=probes,
        found_before=before, found_after=after, landmark_error=error, pose_error=pose,
        mouth=mouth, eyes=eyes, sharpness=sharp, outside=outside, likeness=likeness,
        precision=judged, unaltered={} if known is None else dict(originals.features))
