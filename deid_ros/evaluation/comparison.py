"""What each way of hiding faces buys: one table over policies, mixes, k and obfuscations."""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.evaluation import closed_set
from deid_ros.evaluation.attackers import ATTACKERS, create_attackers
from deid_ros.evaluation.evaluate import GalleryPeople, similarity_to
from deid_ros.evaluation.intervals import Measure, summarise
from deid_ros.evaluation.measures import contributor_share, impersonation, measures_of, parrot
from deid_ros.evaluation.observations import observe_originals, observe_outputs
from deid_ros.evaluation.people import Person, with_outputs
from deid_ros.evaluation.report import plain
from deid_ros.evaluation.runs import anonymise, second_views
from deid_ros.evaluation.views import Observer
from deid_ros.evaluation.workshop import Workshop
from deid_ros.matcher.gallery import cosine_distances

__all__ = ["CELLS", "Cell", "compare", "evenly"]

_MIXES, _KS = (2, 3, 5, 10), (2, 5, 10)
_KEY, _OTHER = "compare", "compare-of-the-attacker"


@dataclass(frozen=True, slots=True)
class Cell:
    """One way: ``key`` and ``label``, what it sets, and who parrots it ('own', 'given').

    ``special`` is that of ``Workshop.anonymiser``.
    """

    key: str
    label: str
    replace: str = "surrogate"
    policy: str = ""
    mix: int = 5
    k: int = 0
    special: str = ""
    parrots: tuple[str, ...] = ("own", "given")

    def changes(self, key: str, enrolled: Path | None) -> dict[str, dict[str, Any]]:
        """Node -> parameter -> value."""
        matcher: dict[str, Any] = {"key": key}
        if self.policy:
            matcher |= {"policy": self.policy, "mix": self.mix}
        if self.policy == "k_same":
            matcher |= {"k": self.k, "enrolled": str(enrolled)}
        return {"replacer": {"replace": self.replace}, "matcher": matcher}


#: In the order of the table. An obfuscation knows no key, so it is parroted once.
CELLS = (
    *(Cell(name, name, replace=name, parrots=("own",)) for name in ("blur", "pixelate", "solid")),
    Cell("context_flat", "context alone: the face region flat", policy="independent",
         special="flat", parrots=()),
    Cell("context_fixed", "context alone: one surrogate for everybody", policy="independent",
         special="fixed", parrots=()),
    *(Cell(f"{policy}_mix{mix}", f"{policy}, mix {mix}", policy=policy, mix=mix)
      for policy in ("independent", "margin", "nearest") for mix in _MIXES),
    *(Cell(f"k_same_k{k}", f"k_same, k {k}", policy="k_same", k=k) for k in _KS),
)


def evenly(people: Sequence[Person], count: int) -> list[Person]:
    """``count`` of the people at even steps, everybody where there are no more."""
    rows = np.linspace(0, len(people) - 1, min(count, len(people))).round().astype(int)
    return [people[row] for row in rows] if len(people) else []


class _Bench:
    """Everything that cells have in common, once per process."""

    def __init__(self, people: Sequence[Person], folder: Path, config: Mapping[str, Any],
                 work: Path, options: Mapping[str, Any]) -> None:
        self.folder, self.work, self.draws = folder, work, options["draws"]
        self.config = config
        self.observer = Observer(landmarks=options["landmarks"])
        self.attackers = create_attackers(options["attackers"], self.observer)
        self.dlib = [a for a in self.attackers if a.name == "dlib"]
        self.originals = observe_originals(people, self.observer, self.attackers)
        self.people = self.originals.people
        self.paths = {person.id: person.original for person in self.people}
        self.names = {name: name + path.suffix for name, path in self.paths.items()}
        self.views = second_views(self.paths, work / "views")
        self.workshop = Workshop(config)
        self.enrolled = self.workshop.embeddings_of(self.people)
        self.gallery = options["gallery"]

    def measure(self, cell: Cell) -> dict[str, Any]:
        """One row of the table."""
        start = time.perf_counter()
        file = None
        if cell.policy == "k_same":
            if len(self.enrolled) < cell.k:
                return {"key": cell.key, "label": cell.label, "refused":
                        f"{len(self.enrolled)} people are too few for groups of {cell.k}."}
            file = self.workshop.enrol(self.enrolled, self.work / "enrolled.npz",
                                       self.config["matcher"]["extractor"])
        make = self.workshop.anonymiser(cell.changes(_KEY, file), special=cell.special)
        with tempfile.TemporaryDirectory(dir=self.work) as temporary:
            outputs, masks = Path(temporary) / "out", Path(temporary) / "masks"
            outputs.mkdir(), masks.mkdir()
            contributors = anonymise(self.paths, outputs, make, names=self.names, masks=masks)
            observed = observe_outputs(
                self.originals, with_outputs(self.people, self.folder, outputs), self.observer,
                self.attackers,
                masks={file.stem: file for file in masks.glob("*.png")})
            measures = measures_of(observed, self.attackers)
            if self.gallery is not None and contributors and not cell.special and self.dlib:
                alike = similarity_to(observed.probes["dlib"], self.gallery.embeddings)
                known = similarity_to(observed.known["dlib"], self.gallery.embeddings)
                measures += contributor_share(alike, self.gallery.ids, list(self.paths),
                                              contributors, observed.missing)
                measures += impersonation(alike, known, observed.missing)
            for whose in cell.parrots if self.dlib else ():
                measures += self._parrot(cell, whose, observed, file, Path(temporary) / whose)
        rows = {m.key: _row(m) for m in summarise([measures], len(self.people), count=self.draws)}
        out = {"key": cell.key, "label": cell.label, "replace": cell.replace,
               "policy": cell.policy, "mix": cell.mix, "k": cell.k, "measures": rows,
               "seconds": round(time.perf_counter() - start, 1)}
        if cell.policy == "k_same":
            out["closed_set"] = self._closed_set(cell, file, rows)
        return out

    def _parrot(self, cell: Cell, whose: str, observed: Any, file: Path | None,
                folder: Path) -> list[Measure]:
        key = _KEY if whose == "given" else _OTHER
        make = self.workshop.anonymiser(cell.changes(key, file), special=cell.special)
        anonymise(self.views, folder, make, names=self.names)
        second = observe_outputs(
            self.originals, with_outputs(self.people, self.folder, folder), self.observer,
            self.dlib)
        return [replace(measure, key=f"{measure.key}.{whose}")
                for measure in parrot(self.dlib[0], observed, second)]

    def _closed_set(self, cell: Cell, file: Path | None, rows: Mapping[str, Any]) -> dict:
        from deid_ros.matcher import create_matcher

        settings = {**self.config["matcher"], **cell.changes(_KEY, file)["matcher"]}
        certificate = create_matcher(settings).certificate()
        groups = [group["people"] for group in certificate["groups"]]
        # Whose surrogate a picture gets is the group of the nearest enrolled face.
        ids, faces = list(self.enrolled), np.stack(list(self.enrolled.values()))
        home = {name: number for number, names in enumerate(groups) for name in names}
        nearest = cosine_distances(faces, faces).argmin(axis=1)
        assigned = {name: home[ids[row]] for name, row in zip(ids, nearest)}
        reasons = closed_set.refusals([p.id for p in self.people], ids, faces, assigned, groups,
                                      cell.k)
        rank_1 = {a.name: rows[f"{a.name}.rank_1"]["value"] for a in self.attackers}
        return closed_set.examine(certificate, reasons, rank_1)


def _row(summary: Any) -> dict[str, Any]:
    return {"label": summary.label, "unit": summary.unit, "value": plain(summary.value),
            "chance": plain(summary.chance), "people": summary.people,
            "interval": None if summary.interval is None else
            [plain(v) for v in summary.interval]}


_bench: _Bench | None = None


def _start(people: Sequence[Person], folder: Path, config: Mapping[str, Any],
           options: Mapping[str, Any]) -> None:
    global _bench
    import cv2

    # Processes side by side: threads within would only wait for one another.
    cv2.setNumThreads(1)
    _bench = _Bench(people, folder, config, Path(tempfile.mkdtemp(dir=options["work"])), options)


def _measure(cell: Cell) -> dict[str, Any]:
    assert _bench is not None
    return _bench.measure(cell)


def compare(people: Sequence[Person], folder: Path, config: Mapping[str, Any], *,
            cells: Sequence[Cell] = CELLS, attackers: Sequence[str] = tuple(ATTACKERS),
            gallery: GalleryPeople | None = None, landmarks: str | None = None,
            draws: int = 300, workers: int = 1, separate: bool = False,
            tell: Callable[[str], None] | None = None) -> dict[str, Any]:
    """The table, one key for each way, over the same people.

    Args:
        people: as for ``evaluate``; all of them in every cell.
        folder: of their originals.
        config: what the cells do not set.
        workers: processes; with 1 it is this one, unless it is to be ``separate``.
        tell: is called with a sentence for every finished cell.

    Returns:
        For JSON: ``people``, ``key``, ``cells`` in the order given.

    Raises:
        DeidError: nobody has a face, a model is missing.
    """
    with tempfile.TemporaryDirectory(prefix="deid-compare-") as work:
        options = {"attackers": list(attackers), "gallery": gallery, "landmarks": landmarks,
                   "draws": draws, "work": work}
        arguments = (list(people), Path(folder), dict(config), options)
        found = {}
        for row in _each(cells, arguments, workers, separate):
            found[row["key"]] = row
            (tell or _tell)(f"{row['label']}: {row.get('seconds', 0):.0f} s")
    return {"people": len(people), "key": _KEY, "cells": [found[cell.key] for cell in cells]}


def _tell(sentence: str) -> None:
    print(f"deid evaluate: {sentence}", file=sys.stderr, flush=True)


def _each(cells: Sequence[Cell], arguments: tuple, workers: int,
          separate: bool) -> Iterator[dict[str, Any]]:
    if workers < 2 and not separate:
        _start(*arguments)
        yield from map(_measure, cells)
        return
    # Not forked: the models' threads would not survive it.
    with ProcessPoolExecutor(min(workers, len(cells)), multiprocessing.get_context("spawn"),
                             initializer=_start, initargs=arguments) as pool:
        # The long ones first, so that nobody waits for one at the end.
        order = sorted(cells, key=lambda cell: -len(cell.parrots))
        for future in as_completed([pool.submit(_measure, cell) for cell in order]):
            yield future.result()
