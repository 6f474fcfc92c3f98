"""Runs of the pipeline made for measuring: the same pictures under several keys."""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import DetectorError, EvaluationError, FrameError
from deid_ros.evaluation.evaluate import Run
from deid_ros.evaluation.observations import Progress, read_frame, silent
from deid_ros.evaluation.people import Person
from deid_ros.evaluation.second_view import second_view

__all__ = ["Anonymised", "Anonymiser", "anonymise", "pipeline_anonymiser", "runs_of",
           "second_views"]


@dataclass(frozen=True, slots=True)
class Anonymised:
    """One anonymised picture.

    ``frame``         uint8 (H, W, 3) BGR.
    ``mask``          uint8 (H, W), not 0 where it may differ from the input.
    ``contributors``  gallery ids mixed into the surrogates; None: not known.
    """

    frame: np.ndarray
    mask: np.ndarray | None = None
    contributors: tuple[str, ...] | None = None


#: Takes a picture and its name, gives the anonymised one.
Anonymiser = Callable[[np.ndarray, str], Anonymised]


def runs_of(people: Sequence[Person], *, keys: Sequence[str], config: Mapping[str, Any],
            keep: Path | None = None, parrot: str | None = None,
            second: Mapping[str, Path] | None = None,
            make: Callable[[Mapping[str, Any]], Anonymiser] | None = None,
            progress: Progress = silent) -> Iterator[Run]:
    """Anonymise the originals once per key.

    Args:
        people: whose originals; the file of an output is named by the id.
        keys: the keys of the runs.
        config: as from ``config.load``.
        keep: folder for the outputs, one folder per key; None: a temporary one that
            is gone when the next run is asked for.
        parrot: 'own' or 'given': also anonymise second views, with a key of the
            attacker's own or with the run's.
        second: id -> another photograph, to be put through the tool in place of a second
            view; people without one have none.
        make: from a configuration to what anonymises one picture; the pipeline.

    Raises:
        EvaluationError: a folder to keep that is there already.
        DeidError: what ``make`` refuses.
    """
    make = pipeline_anonymiser if make is None else make
    if keep is not None:
        for folder in (Path(keep) / key for key in keys):
            if folder.exists():
                raise EvaluationError(f"{folder} exists already, not overwriting; "
                                      "give another folder.")
    # Made now: a missing model should say so before minutes of measuring, not after.
    first = make(_with_key(config, keys[0])) if keys else None
    return _runs(people, keys, config, first, make, keep, parrot, second, progress)


def _runs(people: Sequence[Person], keys: Sequence[str], config: Mapping[str, Any],
          first: Anonymiser | None, make: Callable[[Mapping[str, Any]], Anonymiser],
          keep: Path | None, parrot: str | None, photographs: Mapping[str, Path] | None,
          progress: Progress) -> Iterator[Run]:
    originals = {person.id: person.original for person in people}
    # The attacker's photos go under the same names: with the same key, the same draws.
    names = {name: name + path.suffix for name, path in originals.items()}
    for key in keys:
        anonymiser, first = first or make(_with_key(config, key)), None
        with tempfile.TemporaryDirectory(prefix="deid-evaluate-") as temporary:
            folder = Path(temporary)
            outputs = folder / "outputs" if keep is None else Path(keep) / key
            masks = folder / "masks"
            outputs.mkdir(parents=True)
            masks.mkdir()
            contributors = anonymise(originals, outputs, anonymiser, names=names, masks=masks,
                                     title=f"{key}: anonymise", progress=progress)
            second = None
            if parrot is not None:
                views, second = photographs, folder / "second"
                if views is None:
                    views = second_views(originals, folder / "views")
                second.mkdir(exist_ok=True)
                other = key if parrot == "given" else f"{key}-of-the-attacker"
                anonymise(views, second, make(_with_key(config, other)), names=names,
                          title=f"{key}: anonymise second views", progress=progress)
            yield Run(outputs, key=key, contributors=contributors, second=second, masks=masks)


def _with_key(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    out = copy.deepcopy(dict(config))
    out["matcher"]["key"] = key
    return out


def second_views(originals: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Second photos of the originals, id -> path, written below ``folder``."""
    views = {}
    for seed, (name, path) in enumerate(originals.items()):
        frame = read_frame(path)
        if frame is not None:
            views[name] = _write(folder, name, second_view(frame, seed=seed))
    return views


def _write(folder: Path, name: str, image: np.ndarray) -> Path:
    import cv2

    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    path.write_bytes(data.tobytes())
    return path


def anonymise(pictures: Mapping[str, Path], folder: Path, anonymiser: Anonymiser, *,
              names: Mapping[str, str] | None = None, masks: Path | None = None,
              title: str = "anonymise",
              progress: Progress = silent) -> dict[str, list[str]] | None:
    """Anonymise pictures into a folder, losslessly.

    A picture that fails has no output (and so counts as recognised); the reason goes
    to stderr and the others go on.

    Args:
        pictures: id -> path.
        names: id -> what the anonymiser is told the picture is called; by default the id.
        masks: folder for the masks.

    Returns:
        Id -> gallery ids, None where the anonymiser does not tell.
    """
    contributors: dict[str, list[str]] = {}
    told = False
    for name in progress(list(pictures), title):
        frame = read_frame(pictures[name])
        if frame is None:
            continue
        try:
            done = anonymiser(frame, (names or {}).get(name, name))
        except (FrameError, DetectorError) as error:
            print(f"{pictures[name]}: {error}", file=sys.stderr)
            continue
        _write(folder, name, done.frame)
        if masks is not None and done.mask is not None:
            _write(masks, name, done.mask)
        if done.contributors is not None:
            told = True
            contributors[name] = list(done.contributors)
    return contributors if told else None


def pipeline_anonymiser(config: Mapping[str, Any]) -> Anonymiser:
    """The pipeline as ``deid run`` uses it: each picture is a recording of its own.

    The name of the picture seeds the draws as it does there, so that the same key
    gives the same faces.

    Raises:
        DeidError: a stage cannot be built.
    """
    from deid_ros.pipeline import Pipeline

    pipeline = Pipeline(config)
    pipeline.prepare()

    def one(frame: np.ndarray, name: str) -> Anonymised:
        pipeline.reset(stream=name)
        done = pipeline.process(frame)
        contributors = None
        if pipeline.makes_surrogates:
            # Faces that were covered otherwise have nobody's face.
            mixtures = [pipeline.matcher.mixture_of(int(track), stream=name) for track, by
                        in zip(done.faces["track_id"], done.covered_by) if by == "surrogate"]
            contributors = tuple(str(i) for m in mixtures if m is not None for i in m.ids)
        return Anonymised(done.frame, done.mask, contributors)

    return one
