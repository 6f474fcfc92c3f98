"""OFFLINE: fit ``generator.face_space.FaceSpace`` to a training set."""

from __future__ import annotations

import cv2
import numpy as np

from deid_ros import geometry
from deid_ros.generator import atlas, skin
from deid_ros.generator.face_space import (
    COARSE_SIDE,
    SHOWN,
    FaceSpace,
    window,
)
from deid_ros.training.textures import OWN_COMPLEXION, TrainingSet, see_face

__all__ = ["codes_of", "encode", "fit_face_space", "mirrored"]

_MIRRORED_EXPRESSION = [0, 1, 2, 4, 3, 6, 5]


def mirrored(people: TrainingSet) -> TrainingSet:
    """The people and their mirror images: twice as many, the mirror images last."""
    mirror = geometry.mesh_model()["mirror"]
    return TrainingSet(
        np.concatenate([people.ids, people.ids]), np.concatenate([people.sex, people.sex]),
        np.concatenate([people.textures, people.textures[:, :, ::-1]]),
        np.concatenate([people.valid, people.valid[:, :, ::-1]]),
        np.concatenate([people.shapes, people.shapes[:, mirror] * np.float32([-1, 1, 1])]),
        np.concatenate([people.expressions, people.expressions[:, _MIRRORED_EXPRESSION]]),
        np.concatenate([people.sources, people.sources]))


def _components(rows: np.ndarray, count: int) -> np.ndarray:
    """The first principal directions (count, d) of centred rows (n, d), unit length."""
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    basis = (vectors / np.sqrt(np.maximum(values, 1e-12))).T @ rows
    return basis / np.maximum(np.linalg.norm(basis, axis=1, keepdims=True), 1e-12)


def _explained(numbers: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Ridge regression of rows (n, d) on standardised numbers (n, e): (e, d)."""
    scale = np.maximum(numbers.std(0), 1e-6)
    x = (numbers - numbers.mean(0)) / scale
    weights = np.linalg.solve(x.T @ x + 0.05 * len(x) * np.eye(x.shape[1]), x.T @ rows)
    return weights / scale[:, None]


def _within(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Rows (n, d) less the mean of those of their group."""
    out = rows.astype(np.float64)
    for group in np.unique(groups):
        out[groups == group] -= out[groups == group].mean(axis=0)
    return out


def fit_face_space(people: TrainingSet, *, texture_count: int = 256,
                   shape_count: int = 32) -> FaceSpace:
    """The space of the people and their mirror images."""
    both = mirrored(people)
    count = len(both)
    small = np.array([cv2.resize(t, (COARSE_SIDE,) * 2, interpolation=cv2.INTER_AREA)
                      for t in both.textures], np.float32)
    texture_mean = small.mean(0)
    rows = (small - texture_mean)[:, window()[0], window()[1]].reshape(count, -1)
    texture_basis = _components(rows, min(texture_count, count - 1))
    coefficients = rows @ texture_basis.T
    # What differs between folders is their people and cameras, not how these smile.
    moves = _explained(_within(both.expressions, both.sources),
                       _within(coefficients, both.sources))
    moves[SHOWN:] = 0
    mean = both.expressions.mean(0)
    coefficients = coefficients - (both.expressions - mean) @ moves
    texture_unit = float(np.sqrt((coefficients ** 2).sum(1).mean()))

    neutral = np.array([geometry.apply_expression(s, mean) for s in both.shapes]).reshape(count, -1)
    shape_mean = neutral.mean(0)
    shape_basis = _components(neutral - shape_mean, min(shape_count, count - 1))
    shape_codes = (neutral - shape_mean) @ shape_basis.T
    shape_unit = float(np.sqrt((shape_codes ** 2).sum(1).mean()))

    codes = np.concatenate([coefficients / texture_unit, shape_codes / shape_unit], axis=1)
    return FaceSpace(
        texture_mean=texture_mean,
        texture_basis=texture_basis.astype(np.float32), texture_unit=texture_unit,
        texture_moves=(moves / texture_unit).astype(np.float32),
        texture_detail=_detail(people, texture_mean, texture_basis),
        shape_mean=shape_mean.reshape(-1, 3).astype(np.float32),
        shape_basis=shape_basis.astype(np.float32), shape_unit=shape_unit,
        code_std=codes.std(0).astype(np.float32),
        tone=np.mean([skin.mean_skin(t) for t in people.textures], axis=0).astype(np.float32),
        own_tone=OWN_COMPLEXION, expression_mean=mean.astype(np.float32),
        expression_std=both.expressions.std(0).astype(np.float32),
        openings=np.zeros((codes.shape[1], 2), np.float32))


def _detail(people: TrainingSet, mean: np.ndarray, basis: np.ndarray, *,
            side: int = 32) -> np.ndarray:
    """How strong the detail is that the components leave out: float32 (side, side).

    Root mean square over people in grey levels, where skin was seen; elsewhere, where
    the components say nothing, what is usual.
    """
    rows, columns = window()
    power, seen = np.zeros((side, side)), np.zeros((side, side))
    for texture, valid in zip(people.textures, people.valid):
        small = cv2.resize(texture, (COARSE_SIDE,) * 2, interpolation=cv2.INTER_AREA)
        known = (small - mean)[rows, columns]
        shown = mean.copy()
        shown[rows, columns] += ((known.reshape(-1) @ basis.T) @ basis).reshape(known.shape)
        shown = cv2.resize(shown, texture.shape[:2], interpolation=cv2.INTER_LINEAR)
        weight = cv2.erode(valid.astype(np.uint8), np.ones((5, 5))).astype(np.float32)
        gap = ((texture - shown) ** 2).mean(axis=2) * weight
        power += cv2.resize(gap, (side, side), interpolation=cv2.INTER_AREA)
        seen += cv2.resize(weight, (side, side), interpolation=cv2.INTER_AREA)
    inside = np.zeros((COARSE_SIDE, COARSE_SIDE), np.float32)
    inside[rows, columns] = 1
    inside = cv2.resize(inside, (side, side), interpolation=cv2.INTER_AREA) > 0.99
    known = inside & (seen > 0.1 * len(people))
    strength = np.sqrt(power / np.maximum(seen, 1e-6))
    strength[~known] = np.median(strength[known]) if known.any() else 0.0
    return strength.astype(np.float32)


def codes_of(space: FaceSpace, people: TrainingSet) -> np.ndarray:
    """The identity codes of people: float32 (n, code_size)."""
    return np.array([space.project(texture, shape, expression) for texture, shape, expression
                     in zip(people.textures, people.shapes, people.expressions)])


def encode(space: FaceSpace, frame: np.ndarray, mesh: np.ndarray, sex: str
           ) -> tuple[np.ndarray, np.ndarray, float]:
    """A person of a photograph: identity code, neutral shape and complexion.

    Args:
        frame: BGR uint8 (H, W, 3).
        mesh: float (468, 3) in pixels.
        sex: 'M', 'F' or '?'; a man's chin is drawn shaved.

    Returns:
        float32 (code_size,); float32 (468, 3) in model units, mean expression; the
        individual typology angle in degrees (``matcher.traits.COMPLEXION``).
    """
    level, _, yellow = skin.mean_skin(atlas.unwrap(frame, mesh)) * (100 / 255, 1, 1) - (0, 128, 128)
    texture, valid, shape, expression = see_face(frame, mesh, sex)
    texture = skin.tint(texture, (space.own_tone - 1) * (skin.mean_skin(texture) - space.tone))
    if expression[0] < skin.MOUTH_CLOSED:  # as in training
        texture, valid = skin.darken_mouth(texture), valid | skin.regions()["mouth"]
    code = space.project(texture, shape, expression, valid)
    return (code, geometry.apply_expression(shape, space.expression_mean).astype(np.float32),
            float(np.degrees(np.arctan2(level - 50, yellow))))
