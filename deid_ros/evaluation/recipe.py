"""How a face recogniser wants its pictures, and what is known about it: a small YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import EvaluationError
from deid_ros.evaluation.alignment import ARCFACE

__all__ = ["BUILT_IN", "Recipe", "recipe_of"]

_Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What lies between a picture and a recogniser's input.

    ``points``       five (x, y) in parts of the crop: eyes, tip of the nose, corners of the
                     mouth, left to right as seen in the picture.
    ``size``         width and height of the crop (px); None: as the model has it.
    ``colour``       'rgb' or 'bgr'.
    ``mean, scale``  what goes in is (level - mean) * scale, levels 0..255; one number, or
                     one for each channel in the order of ``colour``.
    ``name``         its key in the results; '': that of the file.
    ``independent``  False where training or choosing surrogates made use of it: then it is
                     no proof of anything.
    ``note``         a sentence about that.

    The defaults are the convention of ArcFace (Deng et al., CVPR 2019).
    """

    points: _Points = tuple((float(x), float(y)) for x, y in ARCFACE / 112)
    size: tuple[int, int] | None = None
    colour: str = "rgb"
    mean: tuple[float, ...] = (127.5,)
    scale: tuple[float, ...] = (1 / 127.5,)
    name: str = ""
    independent: bool = True
    note: str = ""

    def prepare(self, chip: np.ndarray) -> np.ndarray:
        """BGR uint8 (h, w, 3) as float32 (h, w, 3) that the model takes."""
        ordered = chip[:, :, ::-1] if self.colour == "rgb" else chip
        return (ordered.astype(np.float32) - np.float32(self.mean)) * np.float32(self.scale)


#: File name without ending -> its recipe: recognisers that need no YAML file.
BUILT_IN = {
    # Open Model Zoo (Apache-2.0): BGR, 0..255, five points.
    "face-reidentification-retail-0095": Recipe(
        points=((0.3156, 0.4616), (0.6827, 0.4616), (0.5003, 0.6405), (0.3495, 0.8247),
                (0.6535, 0.8247)),
        size=(128, 128), colour="bgr", mean=(0.0,), scale=(1.0,), name="retail_0095",
        note="in no loss, and no surrogate is chosen by it"),
}


def recipe_of(model: Path) -> Recipe:
    """The recipe of a model's file: NAME.yaml beside it, a built-in one, or ArcFace's.

    Raises:
        EvaluationError: the YAML file says something else; an ``.xml`` has neither.
    """
    path = model.with_suffix(".yaml")
    if path.is_file():
        return _read(path)
    if model.stem in BUILT_IN:
        return BUILT_IN[model.stem]
    if model.suffix.lower() == ".xml":
        raise EvaluationError(f"How {model} wants its faces is not known; write {path} with "
                              "points, size, colour, mean and scale (docs/privacy.md has an "
                              "example).")
    return Recipe()


def _read(path: Path) -> Recipe:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise EvaluationError(f"{path} is not YAML ({' '.join(str(error).split())[:120]}); see "
                              "the example in docs/privacy.md.") from None
    known = [one.name for one in fields(Recipe)]
    if not isinstance(content, Mapping) or not content.keys() <= set(known):
        raise EvaluationError(f"{path} may say {', '.join(known)} and nothing else.")
    out = Recipe()
    for name, value in content.items():
        out = replace(out, **{name: _checked(path, name, value)})
    return out


@dataclass(frozen=True, slots=True)
class _Rule:
    says: str
    read: Any = field(repr=False)


def _numbers(value: Any) -> tuple[float, ...]:
    rows = np.asarray(value, np.float64).reshape(-1)
    if len(rows) not in (1, 3) or not np.isfinite(rows).all():
        raise ValueError
    return tuple(rows.tolist())


def _five(value: Any) -> _Points:
    rows = np.asarray(value, np.float64)
    if rows.shape != (5, 2) or not np.isfinite(rows).all() or np.abs(rows).max() > 2:
        raise ValueError
    return tuple((float(x), float(y)) for x, y in rows)


def _side(value: Any) -> tuple[int, int]:
    width, height = (value, value) if isinstance(value, int) else value
    if not all(isinstance(n, int) and not isinstance(n, bool) and 8 <= n <= 1024
               for n in (width, height)):
        raise ValueError
    return width, height


def _one_of(*allowed: Any) -> Any:
    def read(value: Any) -> Any:
        if value not in allowed:
            raise ValueError
        return value
    return read


def _word(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 200:
        raise ValueError
    return value


def _key(value: Any) -> str:
    if not _word(value).replace("_", "").replace("-", "").isalnum():
        raise ValueError
    return str(value)


_RULES = {
    "points": _Rule("five pairs of parts of the crop, 0..1", _five),
    "size": _Rule("width and height in px, 8 to 1024", _side),
    "colour": _Rule("rgb or bgr", _one_of("rgb", "bgr")),
    "mean": _Rule("one number or three", _numbers),
    "scale": _Rule("one number or three", _numbers),
    "name": _Rule("letters, digits, - and _", _key),
    "independent": _Rule("true or false", _one_of(True, False)),
    "note": _Rule("a sentence", _word),
}


def _checked(path: Path, name: str, value: Any) -> Any:
    rule = _RULES[name]
    try:
        return rule.read(value)
    except (ValueError, TypeError):
        raise EvaluationError(f"{path} says {name}: {value!r}; expected {rule.says}.") from None
