"""OFFLINE: a small Keras network that has learned what dlib's extractor sees in a face.

A generator cannot learn from dlib itself, which gives no gradients. Distilled
(Hinton et al., "Distilling the knowledge in a neural network", 2015) into a student
that looks at the texture and knows the shape's part of the code, it can: that one
identity stays one when its expression moves, and that a blend is none of those it
was blended from. The student never measures anything: the generator has learned to
please it.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from deid_ros import geometry
from deid_ros.errors import TrainingError
from deid_ros.generator import atlas, skin
from deid_ros.generator.face_space import FaceSpace, apply_expression, window
from deid_ros.training.blends import LARGEST_MIX, blend_and_say
from deid_ros.training.textures import TrainingSet

__all__ = ["SIDE", "Lessons", "Marks", "build_student", "linear_texture", "make_lessons",
           "measure_student", "reduce_textures", "train_student"]

#: Side of the textures that the student looks at.
SIDE = 64
_HELD_OUT = 0.15       # of the people
_BATCH = 64
_LEARNING_RATE = 2e-3
_PICTURE, _SCALE = 256, 107.0  # of the faces that dlib sees, px and px per model unit


@dataclass(frozen=True)
class Lessons:
    """What the student learns from, n faces.

    textures uint8 (n, 64, 64, 3) BGR; shapes float32 (n, s), the shape's part of the
    codes; embeddings float32 (n, 128), dlib's; owner int (n,), whose face it is, a
    person and its mirror image being one, or -1 for a blend; portrait bool (n,): the
    texture of a photograph; apart bool (n,), never learned from, and neither is
    anything else of these people.
    """

    textures: np.ndarray
    shapes: np.ndarray
    embeddings: np.ndarray
    owner: np.ndarray
    portrait: np.ndarray
    apart: np.ndarray

    def save(self, path: Path) -> None:
        """Keep them as one npz: dlib needs a tenth of a second for each."""
        np.savez(path, **{name: getattr(self, name) for name in self.__dataclass_fields__})

    @classmethod
    def load(cls, path: Path) -> Lessons:
        """Read what ``save`` wrote.

        Raises:
            TrainingError: the file is torn.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{name: file[name] for name in cls.__dataclass_fields__})
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise TrainingError(f"{path} cannot be read ({error}); begin again in another "
                                "--work folder.") from None


@dataclass(frozen=True)
class Marks:
    """How well the student does on people it has not learned from.

    ``correlation`` of its likeness (cosine) of different faces with dlib's; ``area``
    under the ROC curve when its embedding of a portrait's texture is compared with
    dlib's of the same person (the mirror image) and of others; ``faces`` and
    ``people`` that were held out. NaN where they are too few.
    """

    correlation: float
    area: float
    faces: int
    people: int

    def __str__(self) -> str:
        if np.isnan(self.area):
            return "student: too few people to hold any out"
        return (f"student: on {self.faces} faces held out its likeness correlates with dlib's by "
                f"{self.correlation:.2f}; ROC area {self.area:.3f} for {self.people} people")


def linear_texture(space: FaceSpace, code: np.ndarray, expression: np.ndarray) -> np.ndarray:
    """What the generator makes before it has learned: BGR uint8 (256, 256, 3)."""
    part = space.split(code)[0] + (expression - space.expression_mean) @ space.texture_moves
    rows, columns = window()
    texture = space.texture_mean.copy()
    texture[rows, columns] += (space.texture_unit * (part @ space.texture_basis)).reshape(
        rows.stop - rows.start, columns.stop - columns.start, 3)
    return cv2.resize(np.clip(texture, 0, 255).astype(np.uint8),
                      (atlas.TEXTURE_SIDE,) * 2, interpolation=cv2.INTER_LINEAR)


def make_lessons(space: FaceSpace, people: TrainingSet, codes: np.ndarray, *, count: int,
                 seed: int) -> Lessons:
    """Show faces to dlib: everybody's own texture, and blends with other expressions.

    Args:
        people: everybody and then their mirror images, with their ``codes``.
        count: blends, a sixth of them of one person alone.

    Raises:
        ExtractorError, ModelError: dlib or one of its models is missing.
    """
    from deid_ros.extractor import create_extractor

    rng = np.random.default_rng((seed, 5))
    half = len(people) // 2
    held_out = np.isin(np.arange(half), rng.permutation(half)[:round(_HELD_OUT * half)])
    held_out = np.concatenate([held_out, held_out])
    faces = [(people.textures[i], codes[i], people.expressions[i], i % half, held_out[i])
             for i in range(len(people))]
    for _ in range(count):
        apart = bool(held_out.any() and rng.random() < _HELD_OUT)
        mix = int(rng.integers(1, LARGEST_MIX + 1))
        mixed, who = blend_and_say(codes, people.sex, rng, 1, mix, among=held_out == apart)
        expression = people.expressions[rng.integers(len(people))]
        owner = int(who[0, 0]) % half if len(set(who[0])) == 1 else -1
        faces.append((linear_texture(space, mixed[0], expression), mixed[0], expression, owner,
                      apart))
    extractor = create_extractor("dlib_resnet")
    embeddings = [extractor.embed(_chip(space, texture, code, expression)[None])[0]
                  for texture, code, expression, _, _ in
                  tqdm(faces, desc="student", unit="face", disable=None)]
    textures = [cv2.resize(face[0], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for face in faces]
    return Lessons(np.array(textures), np.array([space.split(face[1])[1] for face in faces]),
                   np.array(embeddings), np.array([face[3] for face in faces]),
                   np.arange(len(faces)) < len(people), np.array([face[4] for face in faces]))


def _chip(space: FaceSpace, texture: np.ndarray, code: np.ndarray,
          expression: np.ndarray) -> np.ndarray:
    """The face rendered from the front as the live path does, aligned for dlib."""
    from deid_ros.detector.chips import cut_chips

    shape = apply_expression(space.shape(code), expression)
    pose = geometry.Pose(0, 0, 0, _SCALE, (_PICTURE / 2, _PICTURE / 2))
    points = geometry.project(geometry.with_skirt(shape), pose)
    drawn = atlas.render(skin.smooth_rim(texture), points, _PICTURE)
    drawn[drawn[..., 3] == 0] = 128
    mesh = points[:len(shape)]
    box = np.r_[mesh[:, :2].min(0), np.ptp(mesh[:, :2], axis=0)]
    return cut_chips(np.ascontiguousarray(drawn[..., :3]), box[None], mesh[None], "dlib_resnet")[0]


def build_student(mean: np.ndarray, shape_size: int, *, width: int = 24, seed: int = 0) -> Any:
    """Texture (n, 64, 64, 3) in -1..1, 0 outside ``skin.kept``, and the shape's part of
    the code (n, shape_size) to unit rows (n, 128).

    Args:
        mean: of the embeddings to be learned, float32 (128,): where it starts.
    """
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    texture = keras.Input((SIDE, SIDE, 3), name="texture")
    shape = keras.Input((shape_size,), name="shape")
    x = texture
    for factor in (1, 2, 4, 4):
        x = layers.LeakyReLU(0.1)(layers.Conv2D(factor * width, 3, strides=2, padding="same")(x))
    x = layers.Dropout(0.2, seed=seed)(layers.Flatten()(x))
    x = layers.Concatenate()([x, layers.LeakyReLU(0.1)(layers.Dense(64)(shape))])
    x = layers.LeakyReLU(0.1)(layers.Dense(256)(x))
    x = layers.Dense(len(mean), bias_initializer=keras.initializers.Constant(10 * mean))(x)
    return keras.Model([texture, shape], layers.UnitNormalization(name="embedding")(x),
                       name="student")


def reduce_textures(textures: np.ndarray) -> np.ndarray:
    """uint8 (n, side, side, 3) as the student sees them: float32 (n, 64, 64, 3)."""
    small = np.array([cv2.resize(t, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
                      for t in textures], np.float32).reshape(-1, SIDE, SIDE, 3)
    return (small / np.float32(127.5) - 1) * _mask()


def _mask() -> np.ndarray:
    return cv2.resize(skin.kept(), (SIDE, SIDE), interpolation=cv2.INTER_AREA)[..., None]


def _augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other light, colour, blur and noise: what a texture looks like, not who it is."""
    def draw(low: float, high: float, channels: int = 1) -> np.ndarray:
        return rng.uniform(low, high, (len(images), 1, 1, channels)).astype(np.float32)

    ramp = np.linspace(-1, 1, SIDE, dtype=np.float32)[:, None]
    out = images * draw(0.8, 1.2) + draw(-0.15, 0.15) + draw(-0.06, 0.06, 3)
    out += draw(-0.15, 0.15) * ramp + draw(-0.1, 0.1) * ramp[:, None]
    out += rng.normal(0, 1, out.shape).astype(np.float32) * draw(0, 0.03)
    for i in np.flatnonzero(rng.random(len(out)) < 0.3):
        out[i] = cv2.GaussianBlur(out[i], (0, 0), rng.uniform(0.3, 1.2))
    return (out * _mask()).astype(np.float32)


def train_student(lessons: Lessons, *, steps: int, seed: int) -> Any:
    """The student after ``steps`` batches of 64 faces that are not held out."""
    import keras
    from keras import ops

    from deid_ros.training.backend import Engine

    rng = np.random.default_rng((seed, 6))
    rows = np.flatnonzero(~lessons.apart)
    student = build_student(lessons.embeddings[rows].mean(0), lessons.shapes.shape[1],
                            seed=seed + 2)
    adam = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps),
                                  weight_decay=0.01)
    variables = student.trainable_variables
    adam.build(variables)
    engine = Engine([*student.variables, *adam.variables])

    def learn(textures: Any, shapes: Any, embeddings: Any) -> Any:
        def loss() -> tuple[Any, Any]:
            guess = student([textures, shapes], training=True)
            gap = 1 - ops.mean(ops.sum(guess * embeddings, axis=-1))
            return gap, gap

        gap, slopes = engine.gradients(loss, variables)
        adam.apply(slopes, variables)
        return gap

    compiled = engine.compiled(learn)
    images = reduce_textures(lessons.textures)
    with tqdm(range(steps), desc="student", unit="step", disable=None) as bar:
        for step in bar:
            some = rng.choice(rows, _BATCH)
            gap = compiled(_augment(images[some], rng), lessons.shapes[some],
                           lessons.embeddings[some])
            if step % 20 == 0:
                bar.set_postfix(gap=f"{float(gap):.4f}")
    return student


def measure_student(student: Any, lessons: Lessons) -> Marks:
    """How well the student does on the people that were held out."""
    rows = np.flatnonzero(lessons.apart)
    owner, theirs = lessons.owner[rows], lessons.embeddings[rows]
    people = len(set(owner[owner >= 0]))
    if people < 2:
        return Marks(float("nan"), float("nan"), len(rows), people)
    ours = np.concatenate([np.asarray(student(
        [reduce_textures(lessons.textures[part]), lessons.shapes[part]], training=False))
        for part in np.array_split(rows, -(-len(rows) // _BATCH))])
    others = (owner[:, None] != owner) | (owner < 0)
    pairs = others & np.triu(np.ones_like(others), 1)
    correlation = np.corrcoef((ours @ ours.T)[pairs], (theirs @ theirs.T)[pairs])[0, 1]
    portraits = lessons.portrait[rows]
    likeness = ours[portraits] @ theirs[portraits].T
    same = owner[portraits][:, None] == owner[portraits]
    mirrored = same & ~np.eye(len(same), dtype=bool)
    ranks = np.concatenate([likeness[mirrored], likeness[~same]]).argsort().argsort() + 1.0
    own, wrong = int(mirrored.sum()), int((~same).sum())
    area = (ranks[:own].sum() - own * (own + 1) / 2) / (own * wrong)
    return Marks(float(correlation), float(area), len(rows), people)
