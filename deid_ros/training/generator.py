"""OFFLINE: train the generator on a set of portraits, ``deid train generator``.

Half of each batch are people with their own texture to reproduce; the other half
are blends of people, as the live path asks for, which only have to look real. The
losses: reconstruction of texels and of their differences where the skin was really seen,
a hinge loss of two patch discriminators with differentiable augmentation (Zhao et
al., NeurIPS 2020) and a lazy R1 penalty (Mescheder et al., ICML 2018; Karras et al.,
CVPR 2020) and, if asked for, feature matching. No recogniser is among them: what is
trained against one proves nothing about others. An exponential moving average of the
weights is what is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.generator import skin
from deid_ros.generator.face_space import FaceSpace
from deid_ros.training.backend import slope
from deid_ros.training.blends import LARGEST_MIX, blend
from deid_ros.training.face_space import codes_of, fit_face_space, mirrored
from deid_ros.training.run import TrainingRun
from deid_ros.training.sheets import draw_losses, draw_sheet
from deid_ros.training.textures import TrainingSet

__all__ = ["GeneratorTraining", "TrainingOptions", "blend"]


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; each has its default in ``config/training.yaml``.

    ``steps`` batches; ``batch`` textures each, half of them blends; ``seed``;
    ``learning_rate`` of both networks (Adam), falling to a tenth over the last third;
    ``warm_up`` steps of reconstruction alone; ``detail, matching, fooling`` weights of
    the losses against reconstruction's 1; ``penalty`` of R1, every
    ``penalty_every`` steps; ``average`` decay of the moving average; ``precision`` a Keras policy;
    ``sheet_every`` and ``save_every`` steps.
    """

    steps: int
    batch: int
    seed: int
    learning_rate: float
    warm_up: int
    detail: float
    matching: float
    fooling: float
    penalty: float
    penalty_every: int
    average: float
    precision: str
    sheet_every: int
    save_every: int


class GeneratorTraining(TrainingRun):
    """A run in a folder, with ``sheet.png``; see ``TrainingRun`` for what it keeps there.

    Args:
        people: the portraits.
        folder: where the run lives; made if missing.
        resume: go on from the folder's state.

    Raises:
        TrainingError: the folder holds another run and ``resume`` is false, or its
            options differ.
    """

    name = "generator"
    columns = ("reconstruction", "detail", "matching", "fooling", "discriminator", "penalty")

    def __init__(self, people: TrainingSet, folder: Path, options: TrainingOptions, *,
                 resume: bool = False) -> None:
        import keras

        from deid_ros.generator.network import build_discriminator

        super().__init__(folder, options, resume=resume)
        self.space, self._codes = self._fit(people)
        everybody = mirrored(people)
        self._sex, self._expressions = everybody.sex, everybody.expressions
        self._textures = everybody.textures
        self._weights = self._loss_weights(everybody.valid)
        network = self._build()
        self._judge = build_discriminator(seed=options.seed + 1)
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(
            [int(options.steps * k) for k in (0.67, 0.85)],
            [options.learning_rate * k for k in (1.0, 0.3, 0.1)])
        self._make = keras.optimizers.Adam(rate, beta_1=0.5, beta_2=0.99)
        self._judging = keras.optimizers.Adam(rate, beta_1=0.5, beta_2=0.99)
        self._make.build(network.trainable_variables)
        self._judging.build(self._judge.trainable_variables)
        self._keep(network, [*self._judge.variables, *self._make.variables,
                             *self._judging.variables])
        self._compiled = {kind: self._engine.compiled(partial(self._train, kind=kind))
                          for kind in ("warm", "full", "penalty")}

    def _fit(self, people: TrainingSet) -> tuple[FaceSpace, np.ndarray]:
        """The space of the run and everybody's code in it, the same after a resume."""
        kept = self._folder / "face_space.npz"
        if not (self._resume and kept.exists()):
            fit_face_space(people).save(kept)
        # As it was written, as int8 steps: what the live path will read.
        space = FaceSpace.read(kept)
        return space, codes_of(space, mirrored(people))

    def _build(self) -> Any:
        from deid_ros.generator.network import build_generator

        return build_generator(self.space, seed=self._options.seed)

    # -- the run ---------------------------------------------------------------

    def run(self, *, seconds: float | None = None,
            stop: Callable[[], bool] = lambda: False) -> None:
        """See ``TrainingRun.run``; a last sheet is drawn."""
        super().run(seconds=seconds, stop=stop)
        self.sheet()

    def sheet(self) -> None:
        """Write ``sheet.png``: how it looks."""
        with self._average_weights():
            draw_sheet(self.network, self.space,
                       blend(self._codes, self._sex, np.random.default_rng(1), 8),
                       self._codes[:8], self._expressions[:8], self._textures[:8],
                       self._folder / "sheet.png")

    def _after_step(self) -> list[float]:
        if self.step % self._options.sheet_every == 0:
            self.sheet()
            draw_losses(self._folder / "losses.csv", self._folder / "losses.png")
        return []

    # -- one batch ---------------------------------------------------------------

    def _learn(self) -> tuple[Any, ...]:
        options = self._options
        kind = "warm" if self.step < options.warm_up else (
            "penalty" if self.step % options.penalty_every == 0 else "full")
        return self._compiled[kind](self._batch())

    def _batch(self) -> dict[str, np.ndarray]:
        """Codes and expressions, people first and then blends; the textures of these
        people, the weights of their texels; other people's textures for the judge;
        looks."""
        from deid_ros.training.losses import draw_looks

        rng, whole = self._rng(4), self._options.batch
        # While nothing is judged yet, blends have nothing to learn from.
        count = whole if self.step < self._options.warm_up else whole // 2
        chosen = rng.choice(len(self._codes), count, p=self._balance())
        codes = self._codes[chosen]
        codes = codes + rng.normal(0, 0.05, codes.shape) * self.space.code_std
        expressions = self._expressions[chosen]
        if count < whole:
            mix = int(rng.integers(2, LARGEST_MIX + 1))
            mixed = blend(self._codes, self._sex, rng, whole - count, mix)
            other = rng.choice(len(self._codes), whole - count)
            codes = np.concatenate([codes, mixed])
            expressions = np.concatenate([expressions, self._expressions[other]])
        judged = rng.choice(len(self._codes), whole // 2, p=self._balance())
        batch = {"codes": codes, "expressions": expressions,
                 "real": self._textures[chosen] / np.float32(127.5) - 1,
                 "weights": self._weights[chosen],
                 "judged": self._textures[judged] / np.float32(127.5) - 1,
                 # For what fools, what is matched, what is judged as made and as real.
                 "looks": draw_looks(rng, 2 * whole + count + whole // 2)}
        return {name: array.astype(np.float32) for name, array in batch.items()}

    def _balance(self) -> np.ndarray:
        """Chances with which people are drawn: half way to as many women as men."""
        kinds, where, share = np.unique(self._sex, return_inverse=True, return_counts=True)
        chance = 1 / np.sqrt(share[where])
        return chance / chance.sum()

    @staticmethod
    def _loss_weights(valid: np.ndarray) -> np.ndarray:
        """What was seen counts fully, what was filled a little, the rim, which is
        never shown, nothing; uint8 (n, 384, 384)."""
        return np.where(valid, 4, 1).astype(np.uint8) * skin.regions()["inner"]

    def _train(self, batch: dict[str, Any], kind: str) -> tuple[Any, ...]:
        """One step of both networks; the losses in the order of ``columns``."""
        from keras import ops

        from deid_ros.training import losses

        options = self._options
        zero = ops.zeros(())
        face = skin.kept()[None, :, :, None]
        real, judged = batch["real"] * face, batch["judged"] * face
        count, whole = real.shape[0], batch["codes"].shape[0]
        split = whole + count if options.matching else whole

        def made_loss() -> tuple[Any, Any]:
            made = self.network([batch["codes"], batch["expressions"]], training=True) * face
            gap = made[:count] - real
            share = batch["weights"][..., None] / ops.mean(batch["weights"])
            rebuilt = losses.texel_gap(gap, share)
            detail = losses.detail_gap(gap, share)
            matching = fooling = zero
            if kind != "warm":
                # Without feature matching the judge need not look at the originals.
                shown = ops.concatenate([made, real], 0) if options.matching else made
                answers = self._look(losses.augment(shown, batch["looks"][:split]))
                fooling = -sum(ops.mean(a[:whole]) for a in answers[:2]) / 2
                if options.matching:
                    maps = answers[2:]
                    matching = sum(ops.mean(ops.abs(m[:count] - m[whole:]))
                                   for m in maps) / len(maps)
            loss = (rebuilt + options.detail * detail + options.matching * matching
                    + options.fooling * fooling)
            return loss, (made, (rebuilt, detail, matching, fooling))

        variables = self.network.trainable_variables
        (made, parts), slopes = self._engine.gradients(made_loss, variables)
        self._make.apply(slopes, variables)
        if kind == "warm":
            return *parts, zero, zero
        made = ops.stop_gradient(made)

        def judge_loss() -> tuple[Any, Any]:
            shown = ops.concatenate([made, judged], 0)
            answers = self._look(losses.augment(shown, batch["looks"][whole + count:]))[:2]
            loss = losses.judged([a[:whole] for a in answers], [a[whole:] for a in answers])
            penalty = zero
            if kind == "penalty":
                steep = slope(lambda x: sum(ops.sum(ops.mean(a, (1, 2, 3)))
                                            for a in self._look(x)[:2]), judged)
                penalty = ops.mean(ops.sum(ops.square(steep), (1, 2, 3)))
            return loss + options.penalty * options.penalty_every * penalty, (loss, penalty)

        variables = self._judge.trainable_variables
        judging, slopes = self._engine.gradients(judge_loss, variables)
        self._judging.apply(slopes, variables)
        return *parts, *judging

    def _look(self, images: Any) -> list[Any]:
        """What the judge says, in full precision: two score maps, then the hidden maps."""
        from keras import ops

        return [ops.cast(a, "float32") for a in self._judge(images, training=True)]
