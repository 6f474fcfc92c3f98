"""OFFLINE: from a folder of portraits to shapes and completed textures.

Each portrait becomes a shape in the model frame, the numbers of its expression and
a texture whose hidden parts (hair, ears, the inside of a closed mouth) are filled
by a low-rank model of everybody's textures (principal components with missing
data, by expectation maximisation; Roweis, NIPS 1998).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from deid_ros import geometry
from deid_ros.errors import TrainingError
from deid_ros.generator import atlas, skin
from deid_ros.training.light import even_light

__all__ = ["OWN_COMPLEXION", "Person", "SeenFace", "TrainingSet", "complete", "load_portraits",
           "read_people", "see_face"]

_HINDRANCES = ("glasses", "beard", "grey", "occluded")
_IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
#: How much of its own complexion a texture keeps, L, a, b: photographs differ in
#: colour cast more than people do, and the replacer fits the colour to the source.
OWN_COMPLEXION = np.array([0.6, 0.4, 0.4], np.float32)


class Person(NamedTuple):
    """One portrait; ``plain``: no glasses or beard, nothing over the forehead, in colour;
    ``source``: the number of the folder that it comes from."""

    path: Path
    id: str
    sex: str
    plain: bool = True
    source: int = 0


@dataclass(frozen=True)
class TrainingSet:
    """What the generator learns from; n portraits, plain ones and no others.

    ids (n,) str; sex (n,) 'M', 'F' or '?'; textures uint8 (n, 384, 384, 3) BGR,
    completed; valid bool (n, 384, 384), texels that were really seen; shapes float32
    (n, 468, 3) in model units with their expression; expressions float32 (n, 7); sources
    int (n,), the number of the folder that each portrait comes from.
    """

    ids: np.ndarray
    sex: np.ndarray
    textures: np.ndarray
    valid: np.ndarray
    shapes: np.ndarray
    expressions: np.ndarray
    sources: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, path: Path) -> None:
        """Keep it as one npz, so that a resumed training starts at once."""
        np.savez(path, **{name: getattr(self, name) for name in self.__dataclass_fields__})

    @classmethod
    def load(cls, path: Path) -> TrainingSet:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{name: file[name] for name in cls.__dataclass_fields__})


def read_people(folder: Path, *, table: Path | None = None, split: str | None = None,
                attributes: Path | None = None, source: int = 0) -> list[Person]:
    """The portraits of a folder.

    ``table`` (columns id, sex, split) picks and names the people; ``attributes`` (id,
    glasses, beard, grey, occluded) says who is plain.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder} is no folder; give a folder of portraits.")
    paths = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in _IMAGES}
    if not paths:
        raise TrainingError(f"There are no images in {folder}; give a folder of portraits.")
    sex = dict.fromkeys(paths, "?")
    if table:
        rows = _rows(table, {"id", "sex"} | ({"split"} if split else set()))
        sex = {r["id"]: r["sex"] for r in rows
               if r["id"] in paths and (split is None or r["split"] == split)}
        if not sex:
            raise TrainingError(f"{table} names nobody of split '{split}' who has an image "
                                f"in {folder}.")
    marks = {}
    if attributes:
        marks = {r["id"]: r for r in
                 _rows(attributes, {"id", *_HINDRANCES})}
    people = []
    for name in sorted(sex):
        mark = marks.get(name, {})
        plain = not any(int(mark.get(k, 0)) for k in _HINDRANCES)
        people.append(Person(paths[name], name, sex[name], plain, source))
    return people


def _rows(path: Path, columns: set[str]) -> list[dict[str, str]]:
    """The rows of a CSV file that must have ``columns``."""
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = columns - set(reader.fieldnames or ())
            if missing:
                raise TrainingError(f"{path} lacks the column {', '.join(sorted(missing))}; "
                                    f"it has {', '.join(reader.fieldnames or ())}.")
            return list(reader)
    except OSError as error:
        raise TrainingError(f"{path} cannot be read ({error.strerror}).") from error


class SeenFace(NamedTuple):
    """A face of a photograph: ``texture`` BGR uint8 (384, 384, 3) in even light; ``valid``
    bool (384, 384), what was seen of it; ``shape`` float (468, 3) in model units with its
    ``expression`` float32 (7,)."""

    texture: np.ndarray
    valid: np.ndarray
    shape: np.ndarray
    expression: np.ndarray


def see_face(image: np.ndarray, mesh: np.ndarray, sex: str) -> SeenFace:
    """Take a face off a photograph, BGR uint8 (H, W, 3), by its mesh (468, 3) in px.

    A man's ('M') chin is drawn shaved.
    """
    pose = geometry.fit_pose(mesh)
    texture = atlas.unwrap(image, mesh)
    valid = skin.valid_texels(texture, mesh)
    return SeenFace(even_light(texture, valid, shaved=sex == "M"), valid,
                    geometry.frontalise(mesh, pose), geometry.measure_expression(mesh, pose))


def load_portraits(people: list[Person]) -> TrainingSet:
    """Locate, unwrap and complete every plain portrait of ``read_people``."""
    from deid_ros.detector.mesh import FaceMesh
    from deid_ros.detector.registry import create_detector

    finder, mesher = create_detector(["centerface"]), FaceMesh(kind="fine")
    ids, sexes, textures, valid, shapes, expressions, sources = [], [], [], [], [], [], []
    for person in tqdm([p for p in people if p.plain], desc="portraits", unit="face"):
        image = cv2.imread(str(person.path))
        found = finder.detect(image) if image is not None else ()
        if not len(found):
            tqdm.write(f"{person.path}: no face found, left out")
            continue
        mesh = mesher.locate(image, found[:1])[0][0]
        face = see_face(image, mesh, person.sex)
        ids.append(person.id)
        sexes.append(person.sex)
        sources.append(person.source)
        textures.append(face.texture)
        valid.append(face.valid)
        shapes.append(face.shape)
        expressions.append(face.expression)
    if len(ids) < 2:
        raise TrainingError(f"{len(ids)} usable portraits are too few to learn from; "
                            "give at least two plain faces.")
    tones = np.array([skin.mean_skin(t) for t in textures])
    shift = (OWN_COMPLEXION - 1) * (tones - tones.mean(0))
    textures = np.array([skin.tint(t, s) for t, s in zip(textures, shift)])
    valid = np.array(valid)
    textures = complete(textures, valid)
    # Lips that hardly part show a dark gap; teeth come with wider mouths.
    for texture, expression in zip(textures, expressions):
        if expression[0] < skin.MOUTH_CLOSED:
            texture[:] = skin.darken_mouth(texture)
    return TrainingSet(np.array(ids), np.array(sexes), textures, valid,
                       np.array(shapes, np.float32), np.array(expressions, np.float32),
                       np.array(sources))


def complete(textures: np.ndarray, valid: np.ndarray, *, rank: int = 48,
             rounds: int = 14) -> np.ndarray:
    """Fill the texels of each texture that were not seen: uint8 (n, 384, 384, 3).

    Within the core by principal components of all textures and their mirror images
    (at a third of the size; what is hidden is smooth skin), outside by spreading.
    """
    side = atlas.TEXTURE_SIDE // 3
    region = skin.regions()
    core = cv2.resize(region["core"].astype(np.uint8), (side, side),
                      interpolation=cv2.INTER_NEAREST) > 0
    small = np.array([cv2.resize(t, (side, side), interpolation=cv2.INTER_AREA)
                      for t in textures], np.float32)
    seen = np.array([cv2.resize(v.astype(np.float32), (side, side),
                                interpolation=cv2.INTER_AREA) > 0.99 for v in valid])
    rows = np.concatenate([small, small[:, :, ::-1]])[:, core].reshape(2 * len(small), -1)
    known = np.repeat(np.concatenate([seen, seen[:, :, ::-1]])[:, core], 3, axis=1)
    count = known.sum(0)
    mean = (rows * known).sum(0) / np.maximum(count, 1)
    canvas = np.zeros((side, side, 3), np.float32)
    canvas[core] = mean.reshape(-1, 3)
    often = np.zeros((side, side), bool)
    often[core] = count[::3] > max(2, 0.02 * len(rows))
    mean = skin.fill_outwards(canvas, often)[core].reshape(-1)
    gap = ((rows - mean) * known).reshape(len(rows), -1, 3).sum(1)
    gap /= np.maximum(known[:, ::3].sum(1, keepdims=True), 1)
    filled = np.where(known, rows, mean + np.tile(gap, (1, rows.shape[1] // 3)))
    rank = min(rank, len(rows) - 2)
    for step in range(rounds):
        kept = max(1, min(rank, 8 + 4 * step))
        centre = filled.mean(0)
        centred = filled - centre
        gram = centred @ centred.T
        values, vectors = np.linalg.eigh(gram)
        values, vectors = values[::-1][:kept], vectors[:, ::-1][:, :kept]
        noise = (np.trace(gram) - values.sum()) / (len(rows) - kept)
        shrink = np.maximum(values - noise, 0) / np.maximum(values, 1e-9)
        filled = np.where(known, rows, centre + (vectors * shrink) @ (vectors.T @ centred))
    out = np.zeros_like(textures)
    inner = cv2.erode(region["core"].astype(np.uint8), np.ones((7, 7)))
    edge = cv2.GaussianBlur(cv2.erode(inner, np.ones((7, 7))).astype(np.float32), (0, 0), 4.5)
    for k, texture in enumerate(textures):
        canvas[:] = 0
        canvas[core] = filled[k].reshape(-1, 3)
        coarse = cv2.resize(skin.fill_outwards(canvas, core), texture.shape[:2],
                            interpolation=cv2.INTER_CUBIC)
        own = cv2.erode(valid[k].astype(np.float32), np.ones((7, 7)))
        own = cv2.GaussianBlur(own, (0, 0), 3.8)[..., None]
        mixed = own * texture + (1 - own) * coarse
        spread = skin.fill_outwards(mixed, inner > 0)
        mixed = edge[..., None] * mixed + (1 - edge[..., None]) * spread
        out[k] = np.clip(mixed, 0, 255)
    return out
