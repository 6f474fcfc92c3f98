"""OFFLINE: train the generator on a set of portraits, ``deid train generator``.

Half of each batch are people with their own texture to reproduce; the other half
are blends of people, as the live path asks for, which only have to look real. The
losses: reconstruction of texels and of their differences where the skin was really seen,
a hinge loss of two patch discriminators with differentiable augmentation (Zhao et
al., NeurIPS 2020) and a lazy R1 penalty (Mescheder et al., ICML 2018; Karras et al.,
CVPR 2020), and, if asked for, feature matching. An exponential moving average of the weights is
what is kept.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from deid_ros.errors import TrainingError
from deid_ros.generator import skin
from deid_ros.generator.face_space import FaceSpace
from deid_ros.training.face_space import codes_of, fit_face_space, mirrored
from deid_ros.training.sheets import draw_losses, draw_sheet, forget_rows
from deid_ros.training.textures import TrainingSet

__all__ = ["GeneratorTraining", "TrainingOptions", "blend"]

_COLUMNS = ("step", "seconds", "reconstruction", "detail", "matching", "fooling",
            "discriminator", "penalty")


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; each has its default in ``config/training.yaml``.

    ``steps`` batches; ``batch`` textures each, half of them blends; ``seed``;
    ``learning_rate`` of both networks (Adam), falling to a tenth over the last third;
    ``warm_up`` steps of reconstruction alone; ``detail, matching, fooling`` weights of
    the losses against reconstruction's 1; ``penalty`` of R1, every ``penalty_every``
    steps; ``average`` decay of the moving average; ``precision`` a Keras policy;
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


def blend(codes: np.ndarray, sex: np.ndarray, rng: np.random.Generator, count: int,
          mix: int = 5) -> np.ndarray:
    """``count`` codes of nobody: blends of ``mix`` people of one sex, spread restored.

    Code = mean of the sex + sqrt(mix) * (blend - mean): a plain mean of people would
    be nearer to the average face than any of them.
    """
    out = np.empty((count, codes.shape[1]), np.float32)
    kinds, share = np.unique(sex, return_counts=True)
    for i in range(count):
        # As many women as men, however few the set holds.
        pool = np.flatnonzero(sex == kinds[rng.integers(len(kinds))])
        chosen = rng.choice(pool, min(mix, len(pool)), replace=False)
        mean = codes[pool].mean(0)
        out[i] = mean + np.sqrt(len(chosen)) * (codes[chosen].mean(0) - mean)
    return out


class GeneratorTraining:
    """A run in a folder: ``state/`` to resume from, ``losses.csv``, pictures.

    Args:
        people: the portraits.
        folder: where the run lives; made if missing.
        resume: go on from the folder's state.

    Raises:
        TrainingError: the folder holds another run and ``resume`` is false, or its
            options differ.
    """

    def __init__(self, people: TrainingSet, folder: Path, options: TrainingOptions, *,
                 resume: bool = False) -> None:
        import keras
        import tensorflow as tf

        from deid_ros.generator.network import build_discriminator, build_generator

        self._options, self._folder, self._tf = options, folder, tf
        folder.mkdir(parents=True, exist_ok=True)
        self._check_folder(resume)
        keras.mixed_precision.set_global_policy(options.precision)
        self.space, self._codes = self._fit(people, resume)
        everybody = mirrored(people)
        self._sex, self._expressions = everybody.sex, everybody.expressions
        self._textures = everybody.textures
        self._weights = self._loss_weights(everybody.valid)
        self._rng = np.random.default_rng(options.seed)
        self.network = build_generator(self.space, seed=options.seed)
        self._judge = build_discriminator(seed=options.seed + 1)
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(
            [int(options.steps * k) for k in (0.67, 0.85)],
            [options.learning_rate * k for k in (1.0, 0.3, 0.1)])
        self._make = keras.optimizers.Adam(rate, beta_1=0.5, beta_2=0.99)
        self._judging = keras.optimizers.Adam(rate, beta_1=0.5, beta_2=0.99)
        self._make.build(self.network.trainable_variables)
        self._judging.build(self._judge.trainable_variables)
        self._average = [np.array(w) for w in self.network.get_weights()]
        self.step = 0
        self._checkpoint = tf.train.Checkpoint(
            step=tf.Variable(0, dtype=tf.int64),
            variables=[*self.network.variables, *self._judge.variables,
                       *self._make.variables, *self._judging.variables],
            average=[tf.Variable(w) for w in self._average])
        # Interrupted before its first checkpoint, a run begins anew.
        if resume and (folder / "state.index").exists():
            self._restore()
        self._compiled = {k: tf.function(self._train, reduce_retracing=True)
                          for k in ("warm", "full", "penalty")}

    def _fit(self, people: TrainingSet, resume: bool) -> tuple[FaceSpace, np.ndarray]:
        """The space of the run and everybody's code in it, the same after a resume."""
        kept = self._folder / "face_space.npz"
        if not (resume and kept.exists()):
            fit_face_space(people).save(kept)
        # As it was written, as int8 steps: what the live path will read.
        space = FaceSpace.read(kept)
        return space, codes_of(space, mirrored(people))

    # -- the run ---------------------------------------------------------------

    def run(self, *, seconds: float | None = None,
            stop: Callable[[], bool] = lambda: False) -> None:
        """Train up to ``options.steps``, until ``seconds`` have passed or ``stop`` says so.

        Raises:
            TrainingError: the losses are no longer numbers.
        """
        start, options = time.monotonic(), self._options
        bar = tqdm(total=options.steps, initial=self.step, desc="generator", unit="step")
        log = self._folder / "losses.csv"
        fresh = not log.exists() or self.step == 0
        if not fresh:
            forget_rows(log, self.step)
        # Every 20 steps; a run of a few steps shows each of them.
        often = max(1, min(20, options.steps // 100))
        with open(log, "w" if fresh else "a", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            if fresh:
                writer.writerow(_COLUMNS)
            for batch in self._batches():
                if self.step >= options.steps or stop() or (
                        seconds is not None and time.monotonic() - start > seconds):
                    break
                kind = "warm" if self.step < options.warm_up else (
                    "penalty" if self.step % options.penalty_every == 0 else "full")
                losses = [float(v) for v in self._compiled[kind](*batch, kind)]
                if not np.isfinite(losses).all():
                    raise TrainingError(f"The losses are no longer numbers at step {self.step}; "
                                        "start again with a smaller learning_rate.")
                self.step += 1
                self._update_average()
                bar.update()
                if self.step % often == 0:
                    writer.writerow([self.step, round(time.monotonic() - start, 1),
                                     *(round(v, 5) for v in losses)])
                    stream.flush()
                    bar.set_postfix(rec=f"{losses[0]:.3f}", fool=f"{losses[3]:.2f}")
                if self.step % options.sheet_every == 0:
                    self.sheet()
                if self.step % options.save_every == 0:
                    self._save()
        bar.close()
        self._save()
        self.sheet()

    def averaged(self) -> object:
        """The network with the moving average of its weights, in full precision."""
        import keras

        from deid_ros.generator.network import build_generator
        keras.mixed_precision.set_global_policy("float32")
        network = build_generator(self.space, seed=self._options.seed)
        network.set_weights(self._average)
        keras.mixed_precision.set_global_policy(self._options.precision)
        return network

    def sheet(self) -> None:
        """Write ``sheet.png`` and ``losses.png``: how it looks and how it goes."""
        now = self.network.get_weights()
        self.network.set_weights(self._average)
        rng = np.random.default_rng(1)
        draw_sheet(self.network, self.space, blend(self._codes, self._sex, rng, 8),
                   self._codes[:8], self._expressions[:8], self._textures[:8],
                   self._folder / "sheet.png")
        self.network.set_weights(now)
        draw_losses(self._folder / "losses.csv", self._folder / "losses.png")

    # -- one batch ---------------------------------------------------------------

    def _batches(self) -> Iterator[tuple]:
        spread, whole = self.space.code_std, self._options.batch
        while True:
            # While nothing is judged yet, blends have nothing to learn from.
            count = whole if self.step < self._options.warm_up else whole // 2
            chosen = self._rng.choice(len(self._codes), count, p=self._balance())
            codes = self._codes[chosen]
            codes = codes + self._rng.normal(0, 0.05, codes.shape) * spread
            expressions = self._expressions[chosen]
            if count < whole:
                mixed = blend(self._codes, self._sex, self._rng, whole - count,
                              int(self._rng.integers(2, 7)))
                other = self._rng.choice(len(self._codes), whole - count)
                codes = np.concatenate([codes, mixed])
                expressions = np.concatenate([expressions, self._expressions[other]])
            real = self._textures[chosen].astype(np.float32) / 127.5 - 1
            judged = self._textures[self._rng.choice(len(self._codes), whole // 2,
                                                     p=self._balance())]
            yield (codes.astype(np.float32), expressions.astype(np.float32), real,
                   self._weights[chosen].astype(np.float32),
                   judged.astype(np.float32) / 127.5 - 1)

    def _balance(self) -> np.ndarray:
        """Chances with which people are drawn: half way to as many women as men."""
        kinds, where, share = np.unique(self._sex, return_inverse=True, return_counts=True)
        chance = 1 / np.sqrt(share[where])
        return chance / chance.sum()

    @staticmethod
    def _loss_weights(valid: np.ndarray) -> np.ndarray:
        """What was seen counts fully, what was filled a little, the rim, which is
        never shown, nothing; uint8 (n, 256, 256)."""
        return np.where(valid, 4, 1).astype(np.uint8) * skin.regions()["inner"]

    def _augment(self, images: object) -> object:
        """The same random colours and hidden squares for what the judge sees."""
        tf = self._tf
        count = tf.shape(images)[0]
        light = tf.random.uniform([count, 1, 1, 1], -0.15, 0.15)
        contrast = tf.random.uniform([count, 1, 1, 1], 0.85, 1.15)
        tint = tf.random.uniform([count, 1, 1, 3], -0.06, 0.06)
        place = tf.random.uniform([count, 2, 1], 0, 256)
        far = tf.abs(tf.range(256, dtype=tf.float32) - place) > 32
        hole = tf.cast(far[:, 0, :, None, None] | far[:, 1, None, :, None], tf.float32)
        return (images * contrast + light + tint) * hole

    def _train(self, codes, expressions, real, weights, judged, kind):
        """One step of both networks; the losses in the order of ``_COLUMNS``."""
        tf, options = self._tf, self._options
        count = real.shape[0]
        zero = tf.constant(0.0)
        face = tf.constant(skin.kept()[None, :, :, None])
        with tf.GradientTape() as tape:
            made = self.network([codes, expressions], training=True) * face
            real, judged = real * face, judged * face
            gap = made[:count] - real
            share = weights[..., None] / tf.reduce_mean(weights)
            rebuilt = tf.reduce_mean(tf.abs(gap) * share)
            across = (gap[:, :, 1:] - gap[:, :, :-1]) * share[:, :, 1:]
            down = (gap[:, 1:] - gap[:, :-1]) * share[:, 1:]
            detail = tf.reduce_mean(tf.abs(across)) + tf.reduce_mean(tf.abs(down))
            matching = fooling = zero
            if kind != "warm":
                # Without feature matching the judge need not look at the originals.
                shown = tf.concat([made, real], 0) if options.matching else made
                answers = self._judge(self._augment(shown), training=True)
                fooling = -sum(tf.reduce_mean(tf.cast(a[:options.batch], tf.float32))
                               for a in answers[:2]) / 2
                if options.matching:
                    maps = [tf.cast(a, tf.float32) for a in answers[2:]]
                    matching = sum(tf.reduce_mean(tf.abs(m[:count] - m[options.batch:]))
                                   for m in maps) / len(maps)
            loss = rebuilt + options.detail * detail
            loss += options.matching * matching + options.fooling * fooling
        variables = self.network.trainable_variables
        self._make.apply(tape.gradient(loss, variables), variables)
        judge_loss = penalty = zero
        if kind != "warm":
            judge_loss, penalty = self._train_judge(tf.stop_gradient(made), judged, kind)
        return rebuilt, detail, matching, fooling, judge_loss, penalty

    def _train_judge(self, made, judged, kind):
        tf, options = self._tf, self._options
        with tf.GradientTape() as tape:
            answers = self._judge(self._augment(tf.concat([made, judged], 0)), training=True)[:2]
            answers = [tf.cast(a, tf.float32) for a in answers]
            loss = sum(tf.reduce_mean(tf.nn.relu(1 + a[:options.batch]))
                       + tf.reduce_mean(tf.nn.relu(1 - a[options.batch:])) for a in answers) / 2
            penalty = tf.constant(0.0)
            if kind == "penalty":
                with tf.GradientTape() as inner:
                    inner.watch(judged)
                    scores = self._judge(judged, training=True)[:2]
                    total = sum(tf.reduce_sum(tf.reduce_mean(tf.cast(s, tf.float32), (1, 2, 3)))
                                for s in scores)
                slope = inner.gradient(total, judged)
                penalty = tf.reduce_mean(tf.reduce_sum(tf.square(slope), (1, 2, 3)))
            whole = loss + options.penalty * options.penalty_every * penalty
        variables = self._judge.trainable_variables
        self._judging.apply(tape.gradient(whole, variables), variables)
        return loss, penalty

    # -- keeping -------------------------------------------------------------------

    def _update_average(self) -> None:
        # A young average follows quickly, or it would remember the first guess.
        keep = min(self._options.average, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self._average, self.network.weights):
            mean *= keep
            mean += (1 - keep) * np.asarray(now)

    def _check_folder(self, resume: bool) -> None:
        note = self._folder / "options.json"
        mine = json.dumps(asdict(self._options), indent=1)
        if note.exists() and not resume:
            raise TrainingError(f"{self._folder} holds a training already; resume it with "
                                "--resume or give another --work folder.")
        if resume and not note.exists():
            raise TrainingError(f"There is no training to resume in {self._folder}.")
        if resume and note.read_text() != mine:
            raise TrainingError(f"The training in {self._folder} was started with other options "
                                f"({note}); resume with the same ones.")
        note.write_text(mine)

    def _save(self) -> None:
        self._checkpoint.step.assign(self.step)
        for variable, value in zip(self._checkpoint.average, self._average):
            variable.assign(value)
        self._checkpoint.write(str(self._folder / "state"))

    def _restore(self) -> None:
        self._checkpoint.read(str(self._folder / "state")).assert_consumed()
        self.step = int(self._checkpoint.step)
        self._average = [v.numpy() for v in self._checkpoint.average]
        # Batches after a resume differ from those already seen, and are the same
        # each time it is resumed from here.
        self._rng = np.random.default_rng((self._options.seed, self.step))
