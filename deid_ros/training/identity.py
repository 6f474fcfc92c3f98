"""OFFLINE: what the generator learns about identity from the student of dlib's extractor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.generator.face_space import FaceSpace
from deid_ros.training.student import (
    SIDE,
    Lessons,
    make_lessons,
    measure_student,
    reduce_textures,
    train_student,
)
from deid_ros.training.textures import TrainingSet

__all__ = ["IdentityLoss"]

# Two people of one sex are less alike than this part of all such pairs.
_STRANGERS = 0.95
_BATCH = 64


class IdentityLoss:
    """A blend stays itself when its expression moves, and is none of its people.

    Likeness is the cosine of the student's embeddings about their mean, for all
    faces are alike about zero.

    Args:
        people: everybody and then their mirror images, with their ``codes``.
        folder: where ``student.npz``, what it learned from, and ``student.keras``
            are kept, and looked for.
        faces: blends that dlib is shown.
        steps: batches that the student learns in.

    Attributes:
        marks: how well the student does on people it has not learned from.
    """

    def __init__(self, space: FaceSpace, people: TrainingSet, codes: np.ndarray, folder: Path, *,
                 faces: int, steps: int, seed: int) -> None:
        import keras

        policy = keras.mixed_precision.global_policy()
        keras.mixed_precision.set_global_policy("float32")
        kept = folder / "student.npz"
        if kept.exists():
            lessons = Lessons.load(kept)
        else:
            lessons = make_lessons(space, people, codes, count=faces, seed=seed)
            _whole(kept, lessons.save)
        network = folder / "student.keras"
        if network.exists():
            self._student = keras.models.load_model(network, compile=False)
        else:
            self._student = train_student(lessons, steps=steps, seed=seed)
            _whole(network, self._student.save)
        self._student.trainable = False
        keras.mixed_precision.set_global_policy(policy)
        self.marks = measure_student(self._student, lessons)
        self._split = len(space.texture_basis)
        seen = np.concatenate([np.asarray(self._student(
            [reduce_textures(people.textures[k:k + _BATCH]), codes[k:k + _BATCH, self._split:]],
            training=False)) for k in range(0, len(people), _BATCH)])
        self._mean = seen.mean(0)
        self._known = seen - self._mean
        self._known /= np.maximum(np.linalg.norm(self._known, axis=1, keepdims=True), 1e-6)
        self._limit = self._strangers(people)

    def _strangers(self, people: TrainingSet) -> float:
        """How alike two people of one sex may be."""
        half = len(people) // 2
        pairs = np.triu(people.sex[:half, None] == people.sex[:half], 1)
        likeness = (self._known[:half] @ self._known[:half].T)[pairs]
        return float(np.quantile(likeness, _STRANGERS)) if len(likeness) else 1.0

    def known(self, people: np.ndarray) -> np.ndarray:
        """The embeddings of people (b, k): float32 (b, k, 128), about the mean."""
        return self._known[people].astype(np.float32)

    def __call__(self, textures: Any, codes: Any, known: Any) -> Any:
        """The loss of b blends.

        Args:
            textures: float32 (b, 256, 256, 3) in -1..1, 0 outside ``skin.kept``; each
                two that follow each other are one blend with two expressions.
            codes: (b, code_size).
            known: of the people in each, see ``known``.
        """
        from keras import ops

        part = textures.shape[1] // SIDE
        small = ops.average_pool(textures, part, strides=part)
        shapes = ops.convert_to_tensor(codes[:, self._split:])
        guess = self._student([small, shapes], training=False) - self._mean
        guess = ops.normalize(guess, axis=-1)
        closer = ops.mean(ops.relu(ops.sum(guess[:, None] * known, axis=-1) - self._limit))
        count = guess.shape[0] // 2 * 2
        if not count:
            return closer
        steady = ops.sum(guess[0:count:2] * guess[1:count:2], axis=-1)
        return closer + ops.mean(1 - steady)


def _whole(target: Path, write: Any) -> None:
    """Have ``write`` make a file that becomes ``target`` when it is whole."""
    draft = target.with_name(f".{target.name}").with_suffix(target.suffix)
    write(draft)
    os.replace(draft, target)
