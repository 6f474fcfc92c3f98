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
from deid_ros.evaluation.evaluate import (
    GalleryPeople,
    impostor_pairs,
    recognisers_of,
    similarity_to,
)
from deid_ros.evaluation.intervals import Measure, summarise
from deid_ros.evaluation.measures import contributor_share, impersonation, measures_of, parrot
from deid_ros.evaluation.observations import (
    observe_originals,
    observe_outputs,
    observe_second,
)
from deid_ros.evaluation.people import Person, second_photographs, with_outputs
from deid_ros.evaluation.report import plain
from deid_ros.evaluation.runs import anonymise, second_views
from deid_ros.evaluation.views import Observer
from deid_ros.evaluation.workshop import Workshop
from deid_ros.evaluation.worst import worst_of
from deid_ros.matcher.gallery import cosine_distances

__all__ = ["CELLS", "Cell", "compare", "evenly"]

_MIXES, _KS = (2, 3, 5, 10), (2, 5, 10)
_KEY = "compare"
_ABOUT = ("people", "impostor_pairs", "recognisers")     # the same in every cell


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
    preserve: tuple[str, ...] = ()
    special: str = ""
    parrots: tuple[str, ...] = ("own", "given")

    def changes(self, key: str, enrolled: Path | None) -> dict[str, dict[str, Any]]:
        """Node -> parameter -> value."""
        matcher: dict[str, Any] = {"key": key}
        if self.policy:
            matcher |= {"policy": self.policy, "mix": self.mix}
        if self.policy == "k_same":
            matcher |= {"k": self.k, "enrolled": str(enrolled)}
        if self.preserve:
            matcher["preserve"] = list(self.preserve)
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
        self.recognisers = [a for a in self.attackers if a.recogniser]
        self.keys: Sequence[str] = options["keys"]
        self.originals = observe_originals(people, self.observer, self.attackers)
        self.second, self.known = options["second"], None
        if self.second is not None:
            self.originals, self.known = observe_second(self.originals, self.second, self.observer,
                                                        self.attackers)
        self.people = self.originals.people
        self.paths = {person.id: person.original for person in self.people}
        self.names = {name: name + path.suffix for name, path in self.paths.items()}
        self._views: dict[str, Path] | None = None
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
        runs = [self._measures(cell, key, file) for key in self.keys]
        found = summarise(runs, len(self.people), count=self.draws)
        worst = worst_of(found, [one.name for one in self.recognisers])
        rows = {m.key: _row(m) for m in (*worst, *found)}
        out = {"key": cell.key, "label": cell.label, "replace": cell.replace,
               "policy": cell.policy, "mix": cell.mix, "k": cell.k, "measures": rows,
               "people": len(self.people), "impostor_pairs": impostor_pairs(self.people),
               "recognisers": recognisers_of(self.attackers),
               "seconds": round(time.perf_counter() - start, 1)}
        if cell.policy == "k_same":
            out["closed_set"] = self._closed_set(cell, file, rows)
        return out

    def _measures(self, cell: Cell, key: str, file: Path | None) -> list[Measure]:
        """Of one run."""
        make = self.workshop.anonymiser(cell.changes(key, file), special=cell.special)
        with tempfile.TemporaryDirectory(dir=self.work) as temporary:
            outputs, masks = Path(temporary) / "out", Path(temporary) / "masks"
            outputs.mkdir(), masks.mkdir()
            contributors = anonymise(self.paths, outputs, make, names=self.names, masks=masks)
            observed = observe_outputs(
                self.originals, with_outputs(self.people, self.folder, outputs), self.observer,
                self.attackers,
                masks={file.stem: file for file in masks.glob("*.png")}, known=self.known)
            measures = measures_of(observed, self.attackers)
            if (self.gallery is not None and contributors and not cell.special
                    and "dlib" in observed.probes):
                alike = similarity_to(observed.probes["dlib"], self.gallery.embeddings)
                known = similarity_to(observed.known["dlib"], self.gallery.embeddings)
                measures += contributor_share(alike, self.gallery.ids, list(self.paths),
                                              contributors, observed.missing)
                measures += impersonation(alike, known, observed.missing)
            for whose in cell.parrots if self.recognisers else ():
                measures += self._parrot(cell, whose, key, observed, file,
                                         Path(temporary) / whose)
        return measures

    def _parrot(self, cell: Cell, whose: str, key: str, observed: Any, file: Path | None,
                folder: Path) -> list[Measure]:
        key = key if whose == "given" else f"{key}-of-the-attacker"
        make = self.workshop.anonymiser(cell.changes(key, file), special=cell.special)
        if self._views is None:
            self._views = (second_photographs(self.people, self.second) if self.second is not None
                           else second_views(self.paths, self.work / "views"))
        anonymise(self._views, folder, make, names=self.names)
        seen = self.known or self.originals
        second = observe_outputs(
            seen, with_outputs(seen.people, self.second or self.folder, folder), self.observer,
            self.recognisers)
        return [replace(measure, key=f"{measure.key}.{whose}")
                for attacker in self.recognisers for measure in parrot(attacker, observed, second)]

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
            [plain(v) for v in summary.interval],
            **({"attacker": summary.attacker} if summary.attacker else {})}


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
            keys: Sequence[str] = (_KEY,), second: Path | None = None, draws: int = 300,
            workers: int = 1, separate: bool = False,
            tell: Callable[[str], None] | None = None) -> dict[str, Any]:
    """The table, every way over the same people.

    Args:
        people: as for ``evaluate``; all of them in every cell.
        folder: of their originals.
        config: what the cells do not set.
        keys: of the runs of each cell; the numbers are their mean.
        second: folder of other photographs of the people; see ``evaluate``.
        workers: processes; with 1 it is this one, unless it is to be ``separate``.
        tell: is called with a sentence for every finished cell.

    Returns:
        For JSON: ``people``, ``impostor_pairs``, ``recognisers``, ``known``, ``keys``, and
        ``cells`` in the order given.

    Raises:
        DeidError: nobody has a face, a model is missing.
    """
    with tempfile.TemporaryDirectory(prefix="deid-compare-") as work:
        options = {"attackers": list(attackers), "gallery": gallery, "landmarks": landmarks,
                   "draws": draws, "work": work, "keys": tuple(keys), "second": second}
        arguments = (list(people), Path(folder), dict(config), options)
        found = {}
        for row in _each(cells, arguments, workers, separate):
            found[row["key"]] = row
            (tell or _tell)(f"{row['label']}: {row.get('seconds', 0):.0f} s")
    rows = [found[cell.key] for cell in cells]
    about = {name: [row.pop(name) for row in rows if name in row] for name in _ABOUT}
    return {"people": len(people), **{name: found[0] for name, found in about.items() if found},
            "known": "originals" if second is None else "second photographs",
            "keys": list(keys), "cells": rows}


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
