"""Playing with identities: faces of any code, expression and orientation.

What lies between two looks is found by moving the identity code, the numbers of the
expression and the angles in straight lines: codes are coordinates of a linear space,
so every point between two faces is a face.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from deid_ros import geometry
from deid_ros.errors import GeneratorError
from deid_ros.faces import EXPRESSION
from deid_ros.generator import atlas
from deid_ros.generator.face_space import FaceSpace
from deid_ros.generator.surrogate import alpha_texture

__all__ = ["ANGLES", "EXPRESSIONS", "LIMITS", "Look", "Studio", "at_times", "expression_of",
           "orientation_of", "stroll"]

_CALM = {name: float(number) for name, number in zip(EXPRESSION[:3], geometry.CALM[:3])}

#: Expressions by name: numbers of ``faces.EXPRESSION``; what is not named is as in
#: the mean of the portraits, which smile a little.
EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": _CALM,
    "smile": {"mouth_open": 0.12, "mouth_width": 0.79, "smile": 0.09},
    "open": {"mouth_open": 0.2, "mouth_width": 0.68, "smile": 0.035},
    "closed_eyes": {**_CALM, "eye_left": 0.008, "eye_right": 0.008},
    "raised_brows": {**_CALM, "brow_left": 0.275, "brow_right": 0.275},
    "mean": {},
}

#: The angles of an orientation, in degrees; see ``geometry.rotation``.
ANGLES = ("yaw", "pitch", "roll")

#: Largest angle either way: beyond, the mesh shows its edge. Any roll is fine.
LIMITS = {"yaw": 75.0, "pitch": 45.0, "roll": 180.0}

# Largest number of an expression that is still some face's.
_LARGEST = 1.5
# The face is drawn at this multiple of the size that is asked for, against stairs.
_OVERSAMPLING = 2
# Pixels per model unit, as a part of the picture's side.
_SCALE = 0.42


class _Network(Protocol):
    """What a ``Studio`` needs of ``surrogate.TextureNetwork``."""

    space: FaceSpace

    def texture(self, code: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """BGR uint8 (384, 384, 3)."""
        ...


@dataclass(frozen=True, eq=False)
class Look:
    """One picture's content.

    ``code`` float32 (code_size,); ``expression`` float32 (7,), the numbers of
    ``faces.EXPRESSION``; ``angles`` float64 (3,), yaw, pitch and roll in degrees.
    """

    code: np.ndarray
    expression: np.ndarray
    angles: np.ndarray

    def towards(self, other: Look, part: float) -> Look:
        """The look at ``part`` (0..1) of the way to another."""
        def lerp(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return (1 - part) * a + part * b

        return Look(lerp(self.code, other.code), lerp(self.expression, other.expression),
                    lerp(self.angles, other.angles))


def expression_of(space: FaceSpace, wanted: str | Mapping[str, float]) -> np.ndarray:
    """An expression by name or by some of its numbers: float32 (7,).

    Args:
        wanted: a key of ``EXPRESSIONS``, or numbers by the names of ``EXPRESSION``
            over those of ``neutral`` (or over a ``base``, also a key).

    Raises:
        GeneratorError: an unknown name or a number that is none.
    """
    numbers = {"base": wanted} if isinstance(wanted, str) else dict(wanted)
    base = numbers.pop("base", "neutral")
    if base not in EXPRESSIONS:
        raise GeneratorError(f"There is no expression '{base}'; {_known(base, EXPRESSIONS)}.")
    out = np.array(space.expression_mean, np.float32)
    for name, value in {**EXPRESSIONS[base], **numbers}.items():
        if name not in EXPRESSION:
            raise GeneratorError(f"An expression has no number '{name}'; "
                                 f"{_known(name, EXPRESSION)}.")
        out[EXPRESSION.index(name)] = _number(f"The expression's {name}", value, _LARGEST)
    return out


def orientation_of(wanted: Mapping[str, float]) -> np.ndarray:
    """Some of yaw, pitch and roll in degrees to all three: float64 (3,); others are 0.

    Raises:
        GeneratorError: an unknown angle, or one beyond ``LIMITS``.
    """
    out = np.zeros(3)
    for name, value in wanted.items():
        if name not in ANGLES:
            raise GeneratorError(f"An orientation has no angle '{name}'; {_known(name, ANGLES)}.")
        out[ANGLES.index(name)] = _number(name.capitalize(), value, LIMITS[name], " degrees")
    return out


def _known(word: str, names: Sequence[str] | Mapping[str, object]) -> str:
    close = difflib.get_close_matches(str(word), list(names), n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known are {', '.join(names)}"


def _number(what: str, value: object, limit: float, unit: str = "") -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = np.nan
    if isinstance(value, bool) or not abs(number) <= limit:
        raise GeneratorError(f"{what} is {value!r}; give a number from {-limit:g} to "
                             f"{limit:g}{unit}.")
    return number


class Studio:
    """Draws looks.

    Args:
        network: the texture network.
        size: side of the pictures in px.
        background: BGR, 0..255.

    Raises:
        GeneratorError: a size out of range.
    """

    def __init__(self, network: _Network, *, size: int = 512,
                 background: Sequence[int] = (128, 128, 128)) -> None:
        if not 16 <= size <= 4096:
            raise GeneratorError(f"The size is {size} px; choose 16 to 4096.")
        self._network, self._size = network, size
        self._background = np.array(background, np.float32)
        self._alpha = alpha_texture()

    @property
    def space(self) -> FaceSpace:
        """The face space whose codes are drawn."""
        return self._network.space

    def draw(self, look: Look) -> np.ndarray:
        """The picture of a look: BGR uint8 (size, size, 3).

        Raises:
            GeneratorError: a code of another size than the generator's.
        """
        if look.code.shape != (self.space.code_size,):
            raise GeneratorError(f"The codes have {look.code.size} numbers, the generator takes "
                                 f"{self.space.code_size}; build the gallery with this generator: "
                                 "deid db build")
        texture = self._network.texture(look.code, look.expression)
        side = self._size * _OVERSAMPLING
        shape = geometry.apply_expression(self.space.shape(look.code), look.expression)
        pose = geometry.Pose(*(float(a) for a in look.angles), scale=_SCALE * side,
                             center=(side / 2, side / 2))
        drawn = atlas.render(np.dstack([texture, self._alpha]),
                             geometry.project(geometry.with_skirt(shape), pose), side)
        alpha = np.minimum(drawn[..., 3:4], drawn[..., 4:5]) / np.float32(255)
        picture = drawn[..., :3] * alpha + self._background * (1 - alpha)
        picture = cv2.resize(picture, (self._size, self._size), interpolation=cv2.INTER_AREA)
        return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def at_times(looks: Sequence[Look], times: Sequence[float], moments: Sequence[float]) -> list[Look]:
    """The looks at ``moments``, in straight lines between those at ``times``.

    Before the first and after the last the look stays.

    Args:
        looks: at least one.
        times: as many, rising.
    """
    out = []
    for moment in moments:
        after = int(np.searchsorted(times, moment, side="right"))
        if after == 0 or after == len(times):
            out.append(looks[min(after, len(times) - 1)])
            continue
        start, end = times[after - 1], times[after]
        out.append(looks[after - 1].towards(looks[after], (moment - start) / (end - start)))
    return out


def stroll(looks: Sequence[Look], count: int) -> list[Look]:
    """``count`` looks on a smooth closed way through all of ``looks``.

    Catmull and Rom, "A class of local interpolating splines", 1974. The first of
    the looks is the first given; after the last the way is back at the first.
    """
    def stack(name: str) -> np.ndarray:
        return np.array([getattr(look, name) for look in looks], np.float64)

    def spline(points: np.ndarray) -> np.ndarray:
        place = np.arange(count) * len(points) / max(count, 1)
        first = place.astype(int)
        t = (place - first)[:, None]
        a, b, c, d = (points[(first + k) % len(points)] for k in (-1, 0, 1, 2))
        return (b + t * (c - a) / 2 + t ** 2 * (a - 2.5 * b + 2 * c - d / 2)
                + t ** 3 * (1.5 * (b - c) + (d - a) / 2))

    parts = [spline(stack(name)) for name in ("code", "expression", "angles")]
    return [Look(*row) for row in zip(*parts)]
