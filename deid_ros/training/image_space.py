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
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
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
from deid_ros.training.backend import slope
from deid_ros.training.face_space import codes_of, mirrored
from deid_ros.training.run import TrainingRun
from deid_ros.training.textures import TrainingSet, load_portraits, read_people

__all__ = ["Chips", "ImageOptions", "ImageTraining", "blended_chips", "main", "portrait_chips"]

_YAW, _PITCH = 45.0, 20.0


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


@dataclass(frozen=True)
class ImageOptions:
    """How to train: ``steps`` batches of ``batch`` chips, the first ``warm_up`` of them
    (a part of all) by reconstruction alone; each portrait in ``views``; ``blends``
    prepared; ``fooling``, weight of the adversarial loss; the rest as in
    ``training.generator.TrainingOptions``."""

    steps: int = 1600
    seed: int = 0
    batch: int = 12
    views: int = 6
    blends: int = 2000
    warm_up: float = 0.3
    fooling: float = 0.03
    penalty: float = 1.0
    penalty_every: int = 16
    learning_rate: float = 1e-3
    average: float = 0.998
    precision: str = "float32"
    sheet_every: int = 200
    save_every: int = 200


class ImageTraining(TrainingRun):
    """A run in a folder, with ``sheet.png``; see ``TrainingRun`` for what it keeps there.

    Args:
        people: the portraits.
        space: the face space of the product, whose codes the decoder takes.
        folder: where the run lives; made if missing.
        resume: go on from the folder's state.

    Raises:
        TrainingError: the folder holds another run and ``resume`` is false, or its
            options differ.
    """

    name = "image_space"
    columns = ("reconstruction", "detail", "fooling", "judge", "penalty")

    def __init__(self, people: TrainingSet, space: FaceSpace, folder: Path,
                 options: ImageOptions, *, resume: bool = False) -> None:
        import keras

        from deid_ros.generator.image_network import build_judge

        super().__init__(folder, options, resume=resume)
        self.space = space
        self._chips = portrait_chips(people, space, views=options.views, seed=options.seed)
        sex = np.repeat(np.concatenate([people.sex, people.sex]), options.views)
        self._blends = blended_chips(self._chips, sex, space, options.blends,
                                     seed=options.seed + 1)
        _, where, share = np.unique(sex, return_inverse=True, return_counts=True)
        # Half way to as many women as men.
        self._chance = 1 / np.sqrt(share[where])
        self._chance /= self._chance.sum()
        network, self._judge = self._build(), build_judge(seed=options.seed + 1)
        rate = keras.optimizers.schedules.PiecewiseConstantDecay
        makers = []
        # The judge begins late: its step size falls when the decoder's does.
        for late, model in ((0.0, network), (options.warm_up, self._judge)):
            falls = [int(options.steps * (k - late)) for k in (0.67, 0.85)]
            makers.append(keras.optimizers.Adam(
                rate(falls, [options.learning_rate * k for k in (1.0, 0.3, 0.1)]),
                beta_1=0.5, beta_2=0.99))
            makers[-1].build(model.trainable_variables)
        self._make, self._judging = makers
        self._keep(network, [*self._judge.variables, *self._make.variables,
                             *self._judging.variables])
        self._compiled = {kind: self._engine.compiled(partial(self._train, kind=kind))
                          for kind in ("warm", "full", "penalty")}

    def _build(self) -> Any:
        from deid_ros.generator.image_network import build_decoder

        return build_decoder(self.space, seed=self._options.seed)

    def _after_step(self) -> list[float]:
        if self.step % self._options.sheet_every == 0 or self.step == self._options.steps:
            self.sheet()
        return []

    def sheet(self) -> None:
        """Write ``sheet.png``: portraits, what the decoder makes of them, and of blends."""
        some = np.random.default_rng(5).choice(len(self._chips.codes), 8)
        with self._average_weights():
            rows = [self._chips.images[some], self._paint(self._chips, some),
                    self._paint(self._blends, np.arange(8)),
                    self._paint(self._blends, np.arange(8, 16))]
        cv2.imwrite(str(self._folder / "sheet.png"), np.vstack([np.hstack(row) for row in rows]))

    def _paint(self, chips: Chips, which: np.ndarray) -> np.ndarray:
        drawn = chips.geometry[which]
        out = np.asarray(self.network([chips.codes[which], chips.expressions[which],
                                       drawn / np.float32(255)], training=False))
        return np.clip((out + 1) * 127.5, 0, 255).astype(np.uint8) * (drawn[..., -1:] > 0)

    # -- one batch ---------------------------------------------------------------

    def _learn(self) -> tuple[Any, ...]:
        options = self._options
        kind = "warm" if self.step < options.warm_up * options.steps else (
            "penalty" if self.step % options.penalty_every == 0 else "full")
        return self._compiled[kind](self._batch(kind))

    def _batch(self, kind: str) -> dict[str, np.ndarray]:
        """Codes, expressions and drawings, people first; the images of these people and
        the weights of their pixels; other people's images for the judge; looks."""
        rng, whole = self._rng(4), self._options.batch
        chips, mixed = self._chips, self._blends
        # While nothing is judged yet, blends have nothing to learn from.
        count = whole if kind == "warm" else whole // 2
        some = rng.choice(len(chips.codes), count, p=self._chance)
        others = rng.integers(len(mixed.codes), size=whole - count)
        judged = rng.choice(len(chips.codes), whole // 2, p=self._chance)
        codes = np.concatenate([chips.codes[some], mixed.codes[others]])
        codes = codes + rng.normal(0, 0.05, codes.shape) * self.space.code_std
        expressions = np.concatenate([chips.expressions[some], mixed.expressions[others]])
        drawn = np.concatenate([chips.geometry[some], mixed.geometry[others]])
        seen = chips.weights[judged][..., None] > 0
        batch = {"codes": codes, "expressions": expressions, "drawn": drawn / np.float32(255),
                 "real": chips.images[some] / np.float32(127.5) - 1,
                 "weights": chips.weights[some][..., None],
                 "judged": chips.images[judged] / np.float32(127.5) - 1, "seen": seen,
                 "looks": rng.uniform(-1, 1, (2 * whole + whole // 2, 1, 1, 7)),
                 "noise": rng.normal(0, 0.01, (2 * whole + whole // 2, CHIP_SIDE, CHIP_SIDE, 1))}
        return {name: array.astype(np.float32) for name, array in batch.items()}

    def _train(self, batch: dict[str, Any], kind: str) -> tuple[Any, ...]:
        """One step of both networks; the losses in the order of ``columns``."""
        from keras import ops

        from deid_ros.training import losses

        options, zero = self._options, ops.zeros(())
        batch = {name: ops.convert_to_tensor(array) for name, array in batch.items()}
        count, whole = batch["real"].shape[0], batch["codes"].shape[0]
        face, looks, noise = batch["drawn"][..., -1:], batch["looks"], batch["noise"]
        share = batch["weights"] / ops.mean(batch["weights"])

        def made_loss() -> tuple[Any, Any]:
            made = self.network([batch["codes"], batch["expressions"], batch["drawn"]],
                                training=True)
            gap = (made[:count] - batch["real"]) * ops.sign(share)
            rebuilt = losses.texel_gap(gap, share)
            for size in (2, 4):
                rebuilt += ops.mean(ops.abs(ops.average_pool(gap * share, size)))
            detail, fooling = losses.detail_gap(gap, share), zero
            if kind != "warm":
                shown = _augment(made, looks[:whole], noise[:whole]) * face
                fooling = -ops.mean(self._judge(shown, training=True))
            return rebuilt + detail + options.fooling * fooling, (made, (rebuilt, detail, fooling))

        variables = self.network.trainable_variables
        (made, parts), slopes = self._engine.gradients(made_loss, variables)
        self._make.apply(slopes, variables)
        if kind == "warm":
            return *parts, zero, zero
        made, real, seen = ops.stop_gradient(made), batch["judged"], batch["seen"]

        def judge_loss() -> tuple[Any, Any]:
            fake = _augment(made, looks[whole:2 * whole], noise[whole:2 * whole]) * face
            true = _augment(real, looks[2 * whole:], noise[2 * whole:]) * seen
            loss = losses.judged([self._judge(fake, training=True)],
                                 [self._judge(true, training=True)])
            penalty = zero
            if kind == "penalty":
                steep = slope(lambda x: ops.sum(ops.mean(self._judge(x, training=True), (1, 2, 3))),
                              real * seen)
                penalty = ops.mean(ops.sum(ops.square(steep), (1, 2, 3)))
            return loss + options.penalty * options.penalty_every * penalty, (loss, penalty)

        variables = self._judge.trainable_variables
        judging, slopes = self._engine.gradients(judge_loss, variables)
        self._judging.apply(slopes, variables)
        return *parts, *judging


def _augment(images: Any, looks: Any, noise: Any) -> Any:
    """Light, also from one side, contrast, colour, blur and noise for what the judge sees.

    Args:
        images: (n, 128, 128, 3) in -1..1.
        looks: (n, 1, 1, 7) in -1..1: light, light from the side, contrast, blur, colours.
    """
    from keras import ops

    across = ops.linspace(-1.0, 1.0, CHIP_SIDE)[None, None, :, None]
    soft = ops.relu(looks[..., 3:4] - 0.4)
    images = images + soft * (ops.average_pool(images, 3, 1, "same") - images)
    light = 0.15 * (looks[..., 0:1] + across * looks[..., 1:2]) + 0.06 * looks[..., 4:7]
    return images * (1 + 0.15 * looks[..., 2:3]) + light + noise


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
    parser.add_argument("--work", metavar="FOLDER", type=Path,
                        default=Path("out/train", ImageTraining.name),
                        help=f"where the run lives [out/train/{ImageTraining.name}]")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --work")
    parser.add_argument("--steps", metavar="N", type=int, default=ImageOptions.steps,
                        help=f"batches [{ImageOptions.steps}]")
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
    training = ImageTraining(portraits, FaceSpace.load(), args.work,
                             ImageOptions(steps=args.steps, seed=args.seed), resume=args.resume)
    training.run()
    network = training.averaged()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    export_generator(network, args.output)
    shutil.copyfile(share_path("models", "face_space.npz"), args.output.with_name("face_space.npz"))
    size = args.output.stat().st_size / 1e6
    print(f"{args.output}: {size:.1f} MB, {network.count_params()} parameters, "
          f"{_milliseconds(ImageSpaceGenerator(args.output)):.1f} ms a face")
    return 0


if __name__ == "__main__":
    sys.exit(main())
