"""OFFLINE: from a folder of portraits to a gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from deid_ros.detector import Detector, FaceMesh, create_detector
from deid_ros.detector.chips import cut_chips
from deid_ros.errors import GalleryError
from deid_ros.extractor import Extractor, create_extractor
from deid_ros.generator.face_space import FaceSpace
from deid_ros.matcher.gallery import Gallery
from deid_ros.resources import sha256_of, share_path
from deid_ros.tables import read_table
from deid_ros.training.face_space import encode

__all__ = ["ATTRIBUTES", "IMAGE_SUFFIXES", "Portrait", "Report", "Stages", "build_gallery",
           "read_portraits"]

#: File name endings that are taken for portraits.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

#: Columns of an attributes table; any of them set makes an identity unusable: it
#: would smear over the face of a surrogate.
ATTRIBUTES = ("glasses", "beard", "grey", "occluded")

#: Years; the faces of older people are too much their own to stand for others.
OLDEST = 75

#: Belief of the mesh (0..1) below which there is no frontal face to take a shape from.
MESH_CONFIDENCE = 0.5

_NO = {"false", "no", ""}
_YES = {"true", "yes"}
_SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F"}


@dataclass(frozen=True)
class Portrait:
    """One person to enrol: ``sex`` 'M', 'F' or '?', ``usable`` and ``age`` as in ``Gallery``."""

    id: str
    path: Path
    sex: str = "?"
    usable: bool = True
    age: float = float("nan")


@dataclass
class Report:
    """How a build went; ``warnings`` holds one line for each portrait left out."""

    portraits: int = 0
    enrolled: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Stages:
    """What a portrait goes through.

    Attributes:
        detector: finds the face.
        locate: (frame, detections) -> (meshes (N, 468, 3), confidence (N,)).
        extractor: chips to embeddings.
        encode: (frame, mesh, sex) -> (code (C,), neutral shape (468, 3), complexion).
        space: SHA-256 of the face space that encodes.
    """

    detector: Detector
    locate: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    extractor: Extractor
    encode: Callable[[np.ndarray, np.ndarray, str], tuple[np.ndarray, np.ndarray, float]]
    space: str = ""

    @classmethod
    def load(cls, *, detector: Sequence[str], threshold: float | None = None, extractor: str,
             weights: str | Path | None = None) -> Stages:
        """The real ones; see ``create_detector`` and ``create_extractor``."""
        return cls(create_detector(detector, threshold=threshold), FaceMesh(kind="fine").locate,
                   create_extractor(extractor, weights=weights), partial(encode, FaceSpace.load()),
                   sha256_of(share_path("models", "face_space.npz")))


def read_portraits(folder: str | Path, *, table: str | Path | None = None,
                   split: str | None = None, attributes: str | Path | None = None,
                   warn: Callable[[str], None] = lambda line: None) -> list[Portrait]:
    """The people in a folder of images, by id.

    Args:
        folder: images; the file name without its ending is the id.
        table: CSV with the columns id and sex, and perhaps age (years); only its people are
            taken.
        split: only rows of ``table`` whose column split says this.
        attributes: CSV with the columns id and ``ATTRIBUTES`` (0: no).
        warn: told about rows without an image and people without attributes.

    Raises:
        GalleryError: an unreadable folder or table, a missing column, an unknown
            split, an id that occurs twice, nobody left.
    """
    images = _images(Path(folder))
    if table is None:
        if split is not None:
            raise GalleryError(f"The split '{split}' needs a table that names it; add "
                               "--csv portraits.csv.")
        people = [Portrait(name, path) for name, path in images.items()]
    else:
        rows = _read_table(Path(table), ("id", "sex", *(("split",) if split else ())))
        if split is not None:
            splits = sorted({row["split"] for row in rows.values()})
            if split not in splits:
                raise GalleryError(f"No row of {table} is of split '{split}'; it has "
                                   f"{', '.join(splits)}.")
            rows = {name: row for name, row in rows.items() if row["split"] == split}
        people = []
        for name, row in rows.items():
            if name in images:
                sex = _SEXES.get(row["sex"].upper(), "?")
                people.append(Portrait(name, images[name], sex, age=_age(row, Path(table))))
            else:
                warn(f"{name}: no image of this id in {folder}, left out")
        if not people:
            raise GalleryError(f"No image in {folder} is named after an id in {table}; give the "
                               "folder that belongs to the table.")
    if attributes is not None:
        people = _with_attributes(people, Path(attributes), warn)
    return sorted(people, key=lambda person: person.id)


def _images(folder: Path) -> dict[str, Path]:
    try:
        files = sorted(path for path in folder.iterdir()
                       if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    except OSError as error:
        raise GalleryError(f"The folder {folder} cannot be read ({error.strerror}); give a folder "
                           "of portraits.") from None
    if not files:
        raise GalleryError(f"There are no images in {folder} ({', '.join(IMAGE_SUFFIXES)}); give "
                           "a folder of portraits, one person each.")
    images: dict[str, Path] = {}
    for path in files:
        if path.stem in images:
            raise GalleryError(f"{images[path.stem].name} and {path.name} in {folder} have the "
                               "same id; keep one image a person.")
        images[path.stem] = path
    return images


def _read_table(path: Path, columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """id -> row of a CSV file that has these columns."""
    found: dict[str, dict[str, str]] = {}
    for row in read_table(path, columns, error=GalleryError):
        if row["id"] in found:
            raise GalleryError(f"The id '{row['id']}' occurs twice in {path}; keep one row.")
        found[row["id"]] = row
    return found


def _with_attributes(people: list[Portrait], path: Path,
                     warn: Callable[[str], None]) -> list[Portrait]:
    rows = _read_table(path, ("id", *ATTRIBUTES))
    for name, row in rows.items():
        for column in ATTRIBUTES:
            if not (row[column].isdecimal() or row[column].lower() in _YES | _NO):
                raise GalleryError(f"{path} says '{row[column]}' in column {column} of {name}; "
                                   "write 0 for no, 1 (or a degree) for yes.")
    unknown = [person.id for person in people if person.id not in rows]
    if unknown:
        warn(f"{path}: nothing about {len(unknown)} people ({unknown[0]}, ...), taken as usable")
    marked = {name for name, row in rows.items()
              if any(_says_yes(row[column]) for column in ATTRIBUTES)}
    return [replace(person, usable=person.id not in marked) for person in people]


def _age(row: dict[str, str], table: Path) -> float:
    """Years; NaN where the table does not say."""
    text = (row.get("age") or "").strip()
    try:
        years = float(text) if text else float("nan")
    except ValueError:
        years = -1.0
    if text and not 0 <= years <= 130:
        raise GalleryError(f"{table} says '{text}' in column age of {row['id']}; write years, or "
                           "nothing.")
    return years


def _says_yes(value: str) -> bool:
    return int(value) > 0 if value.isdecimal() else value.lower() in _YES


def build_gallery(portraits: Iterable[Portrait], stages: Stages, *,
                  warn: Callable[[str], None] = lambda line: None) -> tuple[Gallery, Report]:
    """Enrol portraits; those without exactly one face are left out with a warning.

    Args:
        portraits: an iterable, so that a progress bar can be wrapped around it.
        stages: what each goes through.
        warn: told one line for each portrait left out.

    Raises:
        GalleryError: nobody could be enrolled.
    """
    report = Report()
    kept: list[tuple[Portrait, np.ndarray, np.ndarray, np.ndarray, float, str]] = []
    for portrait in portraits:
        report.portraits += 1
        try:
            kept.append((portrait, *_enrol(portrait, stages)))
        except _LeftOut as reason:
            line = f"{portrait.path}: {reason}, left out"
            report.warnings.append(line)
            warn(line)
    report.enrolled = len(kept)
    if not kept:
        raise GalleryError(f"None of {report.portraits} portraits could be enrolled; give images "
                           "with one frontal face each.")
    kept.sort(key=lambda entry: entry[0].id)
    people, embeddings, codes, shapes, complexions, digests = zip(*kept)
    return Gallery(
        ids=np.array([person.id for person in people]), embeddings=np.stack(embeddings),
        sex=np.array([person.sex for person in people]), shapes=np.stack(shapes),
        codes=np.stack(codes), sha256=np.array(digests), extractor=stages.extractor.name,
        usable=np.array([person.usable and not person.age > OLDEST for person in people]),
        age=np.array([person.age for person in people]), complexion=np.array(complexions),
        space=stages.space), report


class _LeftOut(Exception):
    """Why a portrait cannot be enrolled."""


def _enrol(portrait: Portrait, stages: Stages
           ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, str]:
    """Embedding, code, neutral shape, complexion and SHA-256 of one portrait."""
    try:
        data = np.fromfile(portrait.path, np.uint8)
        frame = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        digest = sha256_of(portrait.path)
    except (OSError, cv2.error) as error:
        raise _LeftOut(f"unreadable ({error})") from None
    if frame is None:
        raise _LeftOut("not an image that can be read")
    found = stages.detector.detect(frame)
    if len(found) != 1:
        raise _LeftOut(f"{len(found)} faces found, expected one" if len(found)
                       else "no face found")
    meshes, confidence = stages.locate(frame, found)
    if confidence[0] < MESH_CONFIDENCE:
        raise _LeftOut(f"no clear face mesh (confidence {confidence[0]:.2f})")
    chips = cut_chips(frame, found["box"], meshes, stages.extractor.name)
    code, shape, complexion = stages.encode(frame, meshes[0], portrait.sex)
    if not (np.isfinite(code).all() and np.isfinite(shape).all()):
        raise _LeftOut("its shape or texture cannot be described")
    return stages.extractor.embed(chips)[0], code, shape, complexion, digest
