"""OFFLINE: train the decoder in image space that the product is compared with.

    python -m deid_ros.training.image_space PORTRAITS --csv people.csv --split gallery \\
        --attributes DB/attributes.csv -o out/decoder.image.onnx
    deid evaluate PORTRAITS --csv people.csv --split probe --keys 4 \\
        --generator out/decoder.image.onnx

Its data are the product's: each portrait's texture and mesh, drawn frontally and turned
(yaw to 45, pitch to 20 degrees) by the product's renderer. Losses: reconstruction at
three scales and of differences, inside the face alone; later a hinge loss of a patch
discriminator with differentiable augmentation (light, colour, blur, noise), for which
half of each batch are blends of people on blended meshes.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from deid_ros import geometry
from deid_ros.errors import DeidError, TrainingError
from deid_ros.generator import atlas, skin
from deid_ros.generator.face_space import FaceSpace, apply_expression
from deid_ros.generator.image_decoder import (
    CHIP_SIDE,
    IMAGE_SPACE,
    ImageSpaceGenerator,
    chip_pose,
    draw_geometry,
)
from deid_ros.resources import share_path
from deid_ros.training.face_space import codes_of, mirrored
from deid_ros.training.textures import TrainingSet, load_portraits, read_people

__all__ = ["Chips", "ImageTraining", "blended_chips", "main", "portrait_chips"]

_YAW, _PITCH = 45.0, 20.0
_COLUMNS = ("step", "seconds", "reconstruction", "detail", "fooling", "judge")


@dataclass(frozen=True)
class Chips:
    """Drawings of faces; ``images`` and ``weights`` are empty for blends.

    codes float32 (n, code_size); expressions float32 (n, 7); geometry uint8
    (n, 128, 128, 8); images uint8 (n, 128, 128, 3) BGR; weights uint8 (n, 128, 128),
    4 on skin that was seen, 1 on what was filled, 0 outside the face.
    """

    codes: np.ndarray
    expressions: np.ndarray
    geometry: np.ndarray
    images: np.ndarray
    weights: np.ndarray


def portrait_chips(people: TrainingSet, space: FaceSpace, *, views: int = 6,
                   seed: int = 0) -> Chips:
    """Everybody and their mirror images: one frontal view, the others turned at random."""
    rng, both = np.random.default_rng(seed), mirrored(people)
    count = len(both) * views
    out = Chips(np.repeat(codes_of(space, both), views, axis=0),
                np.repeat(both.expressions, views, axis=0).astype(np.float32),
                np.empty((count, CHIP_SIDE, CHIP_SIDE, 8), np.uint8),
                np.empty((count, CHIP_SIDE, CHIP_SIDE, 3), np.uint8),
                np.empty((count, CHIP_SIDE, CHIP_SIDE), np.uint8))
    inner = skin.regions()["inner"]
    for k in tqdm(range(count), desc="views", unit="view", disable=None):
        i, view = divmod(k, views)
        yaw, pitch = rng.uniform(-1, 1, 2) * (_YAW, _PITCH) * (1 if view else 0.1)
        shape = both.shapes[i]
        seen = np.where(both.valid[i] & inner, 200, 50).astype(np.uint8)
        layered = np.dstack([skin.smooth_rim(both.textures[i]), seen])
        points = geometry.project(geometry.with_skirt(shape), chip_pose(yaw, pitch, 2 * CHIP_SIDE))
        drawn = cv2.resize(atlas.render(layered, points, 2 * CHIP_SIDE), (CHIP_SIDE,) * 2,
                           interpolation=cv2.INTER_AREA)
        out.geometry[k] = draw_geometry(shape, yaw, pitch)
        out.images[k] = drawn[..., :3]
        out.weights[k] = np.where(drawn[..., 4] == 255, np.maximum(drawn[..., 3] // 50, 1), 0)
    return out


def blended_chips(chips: Chips, sex: np.ndarray, space: FaceSpace, count: int, *,
                  seed: int = 0) -> Chips:
    """Blends of 2 to 6 people of one sex on their own meshes, at any pose."""
    from deid_ros.training.generator import blend

    rng = np.random.default_rng(seed)
    codes = np.concatenate([blend(chips.codes, sex, rng, 1, int(rng.integers(2, 7)))
                            for _ in range(count)])
    expressions = chips.expressions[rng.integers(len(chips.codes), size=count)]
    drawn = np.empty((count, *chips.geometry.shape[1:]), np.uint8)
    for k in tqdm(range(count), desc="blends", unit="face", disable=None):
        yaw, pitch = rng.uniform(-1, 1, 2) * (_YAW, _PITCH)
        drawn[k] = draw_geometry(apply_expression(space.shape(codes[k]), expressions[k]),
                                 yaw, pitch)
    return Chips(codes, expressions, drawn, chips.images[:0], chips.weights[:0])


class ImageTraining:
    """One training in a folder: ``losses.csv``, ``sheet.png``, ``average.weights.h5``.

    Args:
        people: the portraits.
        space: the face space of the product, whose codes the decoder takes.
        folder: made if missing; what is there is overwritten.
        steps: batches of ``batch`` chips; the discriminator joins after three tenths.
        fooling: weight of the adversarial loss.
    """

    def __init__(self, people: TrainingSet, space: FaceSpace, folder: Path, *, steps: int,
                 batch: int = 12, views: int = 6, blends: int = 2000, fooling: float = 0.03,
                 learning_rate: float = 1e-3, seed: int = 0) -> None:
        import keras
        import tensorflow as tf

        from deid_ros.generator.image_network import build_decoder, build_judge

        self._tf, self._folder, self._space = tf, folder, space
        folder.mkdir(parents=True, exist_ok=True)
        self._steps, self._batch, self._fooling = steps, batch, fooling
        self._rate = learning_rate
        self._chips = portrait_chips(people, space, views=views, seed=seed)
        self._sex = np.repeat(np.concatenate([people.sex, people.sex]), views)
        self._blends = blended_chips(self._chips, self._sex, space, blends, seed=seed + 1)
        kinds, where, share = np.unique(self._sex, return_inverse=True, return_counts=True)
        # Half way to as many women as men.
        self._chance = 1 / np.sqrt(share[where])
        self._chance /= self._chance.sum()
        self._rng = np.random.default_rng(seed)
        self.network, self._judge = build_decoder(space, seed=seed), build_judge(seed=seed + 1)
        self._make, self._judging = (keras.optimizers.Adam(learning_rate, beta_1=0.5, beta_2=0.99)
                                     for _ in range(2))
        self._make.build(self.network.trainable_variables)
        self._judging.build(self._judge.trainable_variables)
        self._average = [np.array(w) for w in self.network.get_weights()]
        self._compiled = {kind: tf.function(self._train) for kind in ("warm", "full", "penalty")}

    def run(self, *, seconds: float = np.inf, sheet_every: int = 200) -> None:
        """Train; the network then has the moving average of its weights.

        Args:
            seconds: end after so long; the schedule shrinks with the steps that it leaves.
            sheet_every: steps between sheets.

        Raises:
            TrainingError: the losses are no longer numbers.
        """
        start = time.monotonic()
        with open(self._folder / "losses.csv", "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(_COLUMNS)
            for step in tqdm(range(self._steps), desc="decoder", unit="step", mininterval=10):
                done = max(step / self._steps, (time.monotonic() - start) / seconds)
                if done >= 1:
                    break
                kind = "warm" if done < 0.3 else "penalty" if step % 16 == 0 else "full"
                for optimizer in (self._make, self._judging):
                    optimizer.learning_rate.assign(
                        self._rate * (1 if done < 0.67 else 0.3 if done < 0.85 else 0.1))
                losses = [float(v) for v in self._compiled[kind](*self._next(kind), kind)]
                if not np.isfinite(losses).all():
                    raise TrainingError(f"The losses are no longer numbers at step {step}.")
                keep = min(0.998, (1 + step) / (10 + step))
                for mean, now in zip(self._average, self.network.weights):
                    mean *= keep
                    mean += (1 - keep) * np.asarray(now)
                if step % 20 == 0:
                    writer.writerow([step, round(time.monotonic() - start, 1),
                                     *(round(v, 4) for v in losses)])
                    stream.flush()
                if step % sheet_every == sheet_every - 1:
                    self._keep()
        self._keep()
        self.network.set_weights(self._average)

    def _keep(self) -> None:
        """Write the average's weights, and a sheet of what it makes of some faces."""
        now = self.network.get_weights()
        self.network.set_weights(self._average)
        self.network.save_weights(str(self._folder / "average.weights.h5"))
        rng = np.random.default_rng(5)
        some = rng.choice(len(self._chips.codes), 8)
        rows = [self._chips.images[some], self._paint(self._chips, some),
                self._paint(self._blends, np.arange(8)), self._paint(self._blends,
                                                                     np.arange(8, 16))]
        cv2.imwrite(str(self._folder / "sheet.png"),
                    np.vstack([np.hstack(row) for row in rows]))
        self.network.set_weights(now)

    def _paint(self, chips: Chips, which: np.ndarray) -> np.ndarray:
        drawn = chips.geometry[which]
        out = np.asarray(self.network([chips.codes[which], chips.expressions[which],
                                       drawn / np.float32(255)], training=False))
        face = drawn[..., -1:] > 0
        return np.clip((out + 1) * 127.5, 0, 255).astype(np.uint8) * face

    # -- one batch ---------------------------------------------------------------

    def _next(self, kind: str) -> tuple[np.ndarray, ...]:
        """Codes, expressions and drawings; images and weights of the first of them; and
        images for the judge."""
        count = self._batch if kind == "warm" else self._batch // 2
        chips, mixed = self._chips, self._blends
        some = self._rng.choice(len(chips.codes), count, p=self._chance)
        others = self._rng.integers(len(mixed.codes), size=self._batch - count)
        judged = self._rng.choice(len(chips.codes), self._batch // 2, p=self._chance)
        codes = np.concatenate([chips.codes[some], mixed.codes[others]])
        codes += self._rng.normal(0, 0.05, codes.shape) * self._space.code_std
        return (codes, np.concatenate([chips.expressions[some], mixed.expressions[others]]),
                np.concatenate([chips.geometry[some], mixed.geometry[others]]),
                chips.images[some], chips.weights[some], chips.images[judged],
                (chips.weights[judged] > 0).astype(np.uint8))

    def _augment(self, images: Any) -> Any:
        """Random light, contrast, colour, blur and noise for what the judge sees."""
        tf = self._tf
        count = tf.shape(images)[0]
        tint = tf.random.uniform([count, 1, 1, 3], -0.06, 0.06)
        light = tf.random.uniform([count, 1, 1, 1], -0.15, 0.15)
        side = tf.random.uniform([count, 1, 1, 1], -0.15, 0.15)
        across = tf.linspace(-1.0, 1.0, CHIP_SIDE)[None, None, :, None]
        contrast = tf.random.uniform([count, 1, 1, 1], 0.85, 1.15)
        soft = tf.random.uniform([count, 1, 1, 1], 0.0, 1.0)
        soft = tf.maximum(soft - 0.7, 0.0) * 2
        images = images * (1 - soft) + tf.nn.avg_pool2d(images, 3, 1, "SAME") * soft
        noise = tf.random.normal(tf.shape(images), stddev=0.01)
        return images * contrast + light + tint + side * across + noise

    def _train(self, codes, expressions, drawn, images, weights, judged, judged_face, kind):
        """One step of both networks; the losses in the order of ``_COLUMNS``."""
        tf = self._tf
        count = images.shape[0]
        drawn = tf.cast(drawn, tf.float32) / 255
        face = drawn[..., -1:]
        real = tf.cast(images, tf.float32) / 127.5 - 1
        share = tf.cast(weights, tf.float32)[..., None]
        share /= tf.reduce_mean(share)
        with tf.GradientTape() as tape:
            made = self.network([tf.cast(codes, tf.float32), tf.cast(expressions, tf.float32),
                                 drawn], training=True)
            gap = (made[:count] - real) * share
            rebuilt = tf.reduce_mean(tf.abs(gap))
            for scale in (2, 4):
                rebuilt += tf.reduce_mean(tf.abs(tf.nn.avg_pool2d(gap, scale, scale, "VALID")))
            inside = tf.minimum(share[:, :, 1:], share[:, :, :-1])
            plain = made[:count] - real
            detail = tf.reduce_mean(tf.abs(plain[:, :, 1:] - plain[:, :, :-1]) * inside)
            inside = tf.minimum(share[:, 1:], share[:, :-1])
            detail += tf.reduce_mean(tf.abs(plain[:, 1:] - plain[:, :-1]) * inside)
            fooling = tf.constant(0.0)
            if kind != "warm":
                fooling = -tf.reduce_mean(self._judge(self._augment(made) * face, training=True))
            loss = rebuilt + detail + self._fooling * fooling
        variables = self.network.trainable_variables
        self._make.apply(tape.gradient(loss, variables), variables)
        judging = tf.constant(0.0)
        if kind != "warm":
            known = tf.cast(judged_face, tf.float32)[..., None]
            judging = self._train_judge(tf.stop_gradient(made), face,
                                        tf.cast(judged, tf.float32) / 127.5 - 1, known, kind)
        return rebuilt, detail, fooling, judging

    def _train_judge(self, made, face, judged, known, kind):
        tf = self._tf
        with tf.GradientTape() as tape:
            fake = self._judge(self._augment(made) * face, training=True)
            true = self._judge(self._augment(judged) * known, training=True)
            loss = (tf.reduce_mean(tf.nn.relu(1 + fake)) + tf.reduce_mean(tf.nn.relu(1 - true)))
            whole = loss
            if kind == "penalty":
                shown = judged * known
                with tf.GradientTape() as inner:
                    inner.watch(shown)
                    total = tf.reduce_sum(tf.reduce_mean(self._judge(shown, training=True),
                                                         (1, 2, 3)))
                slope = inner.gradient(total, shown)
                whole += 16 * tf.reduce_mean(tf.reduce_sum(tf.square(slope), (1, 2, 3)))
        variables = self._judge.trainable_variables
        self._judging.apply(tape.gradient(whole, variables), variables)
        return loss


def _milliseconds(generator: ImageSpaceGenerator, runs: int = 30) -> float:
    """Median wall time of painting one chip, drawing of the mesh included."""
    space, walls = generator.space, []
    for k in range(runs):
        start = time.perf_counter()
        generator.paint(0.1 * space.code_std, space.expression_mean, k, 0)
        walls.append(time.perf_counter() - start)
    return 1e3 * float(np.median(walls))


def main(argv: Sequence[str] | None = None) -> int:
    """Train, export, and say how long the decoder takes; 0, or 2 after an error."""
    parser = argparse.ArgumentParser(prog="python -m deid_ros.training.image_space",
                                     description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("folder", metavar="PORTRAITS", type=Path, help="folder of portraits")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True,
                        help=f"the decoder to write, *{IMAGE_SPACE}")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="table of id, sex, split")
    parser.add_argument("--split", metavar="NAME", help="only rows of the table of this split")
    parser.add_argument("--attributes", metavar="FILE", type=Path,
                        help="table of who wears glasses or a beard: left out")
    parser.add_argument("--prepared", metavar="FILE", type=Path,
                        help="textures and meshes that deid train generator has kept "
                             "(data-*.npz), of which those in the table are used")
    parser.add_argument("--steps", metavar="N", type=int, default=4000, help="batches [4000]")
    parser.add_argument("--seconds", metavar="S", type=float, default=np.inf,
                        help="end after so long, with fewer batches if need be")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="[0]")
    args = parser.parse_args(argv)
    try:
        if not args.output.name.endswith(IMAGE_SPACE):
            raise TrainingError(f"The output is {args.output}; give a name that ends in "
                                f"{IMAGE_SPACE}.")
        people = read_people(args.folder, table=args.csv, split=args.split,
                             attributes=args.attributes)
        portraits = _prepared(args.prepared, people) if args.prepared else load_portraits(people)
        return _train(portraits, args)
    except DeidError as error:
        print(f"image_space: {error}", file=sys.stderr)
        return 2


def _prepared(path: Path, people: Sequence[Any]) -> TrainingSet:
    everybody = TrainingSet.load(path)
    chosen = np.isin(everybody.ids, [person.id for person in people])
    return TrainingSet(**{name: getattr(everybody, name)[chosen]
                          for name in TrainingSet.__dataclass_fields__})


def _train(portraits: TrainingSet, args: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from deid_ros.training.export import export_generator

    print(f"{len(portraits)} portraits")
    training = ImageTraining(portraits, FaceSpace.load(), args.output.parent, steps=args.steps,
                             seed=args.seed)
    training.run(seconds=args.seconds)
    export_generator(training.network, args.output)
    shutil.copyfile(share_path("models", "face_space.npz"), args.output.with_name("face_space.npz"))
    size = args.output.stat().st_size / 1e6
    print(f"{args.output}: {size:.1f} MB, {training.network.count_params()} parameters, "
          f"{_milliseconds(ImageSpaceGenerator(args.output)):.1f} ms a face")
    return 0


if __name__ == "__main__":
    sys.exit(main())
