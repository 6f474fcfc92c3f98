"""OFFLINE: train an extractor on chips of identities, ``deid train extractor``.

A residual network (He et al., "Deep residual learning for image recognition", CVPR
2016) with an additive angular margin, ArcFace (Deng et al., "ArcFace: additive
angular margin loss for deep face recognition", CVPR 2019), or a plain softmax over
the identities. An exponential moving average of the weights is what is kept.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from deid_ros.errors import TrainingError
from deid_ros.training.identities import ChipSet, augment
from deid_ros.training.sheets import draw_losses, forget_rows

__all__ = ["ExtractorOptions", "ExtractorTraining", "build_extractor", "hold_out", "margin_logits"]

_COLUMNS = ("step", "seconds", "loss", "accuracy", "held_out")
# Chips looked at when the held-out ones are measured.
_MEASURED, _REFERENCES = 512, 1024
_BATCH = 64


@dataclass(frozen=True)
class ExtractorOptions:
    """How to train; each has its default in ``config/training.yaml``.

    ``steps`` batches of ``batch`` chips; ``seed``; ``head`` 'arcface' or 'softmax';
    ``dimensions`` of the embedding; ``width`` of the first stage; ``learning_rate``
    (Adam), falling to nothing along half a cosine; ``margin`` (rad) and ``scale`` of
    ArcFace; ``average`` decay of the moving average; ``held_out`` part of each
    identity's chips; ``precision`` a Keras policy; ``save_every`` steps.
    """

    steps: int
    batch: int
    seed: int
    head: str
    dimensions: int
    width: int
    learning_rate: float
    margin: float
    scale: float
    average: float
    held_out: float
    precision: str
    save_every: int


def build_extractor(*, size: int, dimensions: int, width: int, seed: int = 0) -> Any:
    """The network: BGR float32 (n, size, size, 3) in 0..255 to unit rows (n, dimensions)."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)

    def convolve(x: Any, channels: int, strides: int, name: str, kernel: int = 3) -> Any:
        x = layers.Conv2D(channels, kernel, strides=strides, padding="same", use_bias=False,
                          name=f"{name}_conv")(x)
        return layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)

    chips = keras.Input((size, size, 3), name="chips")
    x = layers.Rescaling(1 / 127.5, -1, name="scale")(chips)
    x = layers.LeakyReLU(0.1)(convolve(x, width, 2, "stem"))
    for stage, factor in enumerate((1, 2, 4, 8), start=1):
        # Not a convolution in strides: oneDNN's gradient of a strided 1x1 one writes
        # beyond its memory in TensorFlow 2.21 and kills the process.
        short = layers.AveragePooling2D(2, padding="same")(x)
        short = convolve(short, factor * width, 1, f"stage{stage}_short", 1)
        y = layers.LeakyReLU(0.1)(convolve(x, factor * width, 2, f"stage{stage}_a"))
        y = convolve(y, factor * width, 1, f"stage{stage}_b")
        x = layers.LeakyReLU(0.1)(layers.Add()([short, y]))
    x = layers.Flatten()(x)
    x = layers.Dense(dimensions, use_bias=False, name="features")(x)
    x = layers.BatchNormalization(momentum=0.9, name="features_norm", dtype="float32")(x)
    return keras.Model(chips, layers.UnitNormalization(dtype="float32", name="embedding")(x),
                       name="extractor")


def margin_logits(cosines: Any, labels: Any, *, margin: float, scale: float) -> Any:
    """ArcFace's logits: ``scale * cos(angle + margin)`` for the right identity.

    Args:
        cosines: float tensor (n, classes), between embeddings and class centres.
        labels: int tensor (n,).
        margin: in radians; where angle + margin would pass 180 degrees the cosine
            falls on in a straight line, as in the authors' code.
    """
    from keras import ops

    cosines = ops.clip(cosines, -1 + 1e-6, 1 - 1e-6)
    sines = ops.sqrt(1 - ops.square(cosines))
    moved = cosines * np.cos(margin) - sines * np.sin(margin)
    moved = ops.where(cosines > -np.cos(margin), moved, cosines - np.sin(margin) * margin)
    right = ops.one_hot(labels, cosines.shape[-1], dtype=cosines.dtype)
    return scale * (right * moved + (1 - right) * cosines)


def hold_out(labels: np.ndarray, part: float, seed: int) -> np.ndarray:
    """bool (n,): which chips are never learned from.

    Of each identity the given part, rounded; at least one of its chips stays.
    """
    rng = np.random.default_rng((seed, 1))
    out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        out[rows[:min(round(part * len(rows)), len(rows) - 1)]] = True
    return out


class ExtractorTraining:
    """A run in a folder: ``state`` to resume from, ``losses.csv``, ``losses.png``.

    Args:
        people: the chips.
        folder: where the run lives; made if missing.
        resume: go on from the folder's state.
        weights: a ``.keras`` file of an earlier extractor to begin with; layers whose
            shape fits are taken over.

    Raises:
        TrainingError: the folder holds another run and ``resume`` is false, its
            options differ, or ``weights`` do not fit at all.
    """

    def __init__(self, people: ChipSet, folder: Path, options: ExtractorOptions, *,
                 resume: bool = False, weights: Path | None = None) -> None:
        import keras
        import tensorflow as tf

        self._options, self._folder, self._tf, self._people = options, folder, tf, people
        folder.mkdir(parents=True, exist_ok=True)
        self._check_folder(resume)
        keras.mixed_precision.set_global_policy(options.precision)
        self._apart = hold_out(people.labels, options.held_out, options.seed)
        self._rows = [np.flatnonzero((people.labels == k) & ~self._apart)
                      for k in range(len(people.names))]
        self.network = self._build()
        self.taken_over = _take_over(self.network, weights) if weights else 0
        shape = (options.dimensions, len(people.names))
        self._centres = keras.Variable(
            keras.initializers.RandomNormal(stddev=0.1, seed=options.seed + 1)(shape),
            dtype="float32")
        self._variables = [*self.network.trainable_variables, self._centres]
        self._adam = keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(options.learning_rate, options.steps))
        self._adam.build(self._variables)
        self._average = [np.array(w) for w in self.network.get_weights()]
        self.step = 0
        self._checkpoint = tf.train.Checkpoint(
            step=tf.Variable(0, dtype=tf.int64), average=[tf.Variable(w) for w in self._average],
            variables=[v.value for v in (*self.network.variables, self._centres,
                                         *self._adam.variables)])
        if resume and (folder / "state.index").exists():
            self._restore()
        self._compiled = tf.function(self._train)

    def _build(self) -> Any:
        options = self._options
        return build_extractor(size=self._people.chips.shape[1], dimensions=options.dimensions,
                               width=options.width, seed=options.seed)

    def run(self, *, seconds: float | None = None,
            stop: Callable[[], bool] = lambda: False) -> None:
        """Train up to ``options.steps``, until ``seconds`` have passed or ``stop`` says so.

        Raises:
            TrainingError: the loss is no longer a number.
        """
        start, options = time.monotonic(), self._options
        log = self._folder / "losses.csv"
        fresh = not log.exists() or self.step == 0
        if not fresh:
            forget_rows(log, self.step)
        often = max(1, min(20, options.steps // 100))
        measured = self.measure() if self.step < options.steps else 0.0
        with (open(log, "w" if fresh else "a", newline="", encoding="utf-8") as stream,
              tqdm(total=options.steps, initial=self.step, desc="extractor", unit="step",
                   disable=None) as bar):
            writer = csv.writer(stream)
            if fresh:
                writer.writerow(_COLUMNS)
            while self.step < options.steps and not stop() and (
                    seconds is None or time.monotonic() - start <= seconds):
                loss, accuracy = (float(v) for v in self._compiled(*self._batch()))
                if not np.isfinite(loss):
                    raise TrainingError(f"The loss is no longer a number at step {self.step}; "
                                        "start again with a smaller learning_rate.")
                self.step += 1
                self._update_average()
                bar.update()
                if self.step % options.save_every == 0 or self.step == options.steps:
                    measured = self.measure()
                    self._save()
                if self.step % often == 0 or self.step == options.steps:
                    writer.writerow([self.step, round(time.monotonic() - start, 1),
                                     round(loss, 5), round(accuracy, 4), round(measured, 4)])
                    stream.flush()
                    bar.set_postfix(loss=f"{loss:.3f}", held_out=f"{measured:.2f}")
        self._save()
        draw_losses(log, self._folder / "losses.png")

    def measure(self) -> float:
        """Share of the held-out chips whose nearest other chip is the same person's.

        0 where nothing is held out.
        """
        labels = self._people.labels
        rng = np.random.default_rng((self._options.seed, 2))
        apart = rng.permutation(np.flatnonzero(self._apart))[:_MEASURED]
        known = rng.permutation(np.flatnonzero(~self._apart))[:_REFERENCES]
        if not len(apart):
            return 0.0
        likeness = self._embed(apart) @ self._embed(known).T
        return float((labels[known[likeness.argmax(1)]] == labels[apart]).mean())

    def averaged(self) -> Any:
        """The network with the moving average of its weights, in full precision."""
        import keras

        keras.mixed_precision.set_global_policy("float32")
        network = self._build()
        network.set_weights(self._average)
        keras.mixed_precision.set_global_policy(self._options.precision)
        return network

    def _embed(self, rows: np.ndarray) -> np.ndarray:
        chips = self._people.chips
        now = self.network.get_weights()
        self.network.set_weights(self._average)
        parts = [np.asarray(self.network(chips[rows[k:k + _BATCH]].astype(np.float32),
                                         training=False))
                 for k in range(0, len(rows), _BATCH)]
        self.network.set_weights(now)
        return np.concatenate(parts)

    def _batch(self) -> tuple[np.ndarray, np.ndarray]:
        # Seeded by the step: a resumed run sees the batches that it would have seen.
        rng = np.random.default_rng((self._options.seed, 3, self.step))
        labels = rng.integers(len(self._rows), size=self._options.batch)
        rows = [self._rows[label][rng.integers(len(self._rows[label]))] for label in labels]
        return augment(self._people.chips[rows], rng), labels

    def _train(self, chips: Any, labels: Any) -> tuple[Any, Any]:
        tf, options = self._tf, self._options
        with tf.GradientTape() as tape:
            embedding = self.network(chips, training=True)
            centres = tf.convert_to_tensor(self._centres)
            if options.head == "arcface":
                cosines = embedding @ tf.math.l2_normalize(centres, axis=0)
                logits = margin_logits(cosines, labels, margin=options.margin, scale=options.scale)
            else:
                logits = cosines = options.scale * embedding @ centres
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        self._adam.apply(tape.gradient(loss, self._variables), self._variables)
        right = tf.argmax(cosines, 1) == tf.cast(labels, tf.int64)
        return loss, tf.reduce_mean(tf.cast(right, tf.float32))

    def _update_average(self) -> None:
        # A young average follows quickly, or it would remember the first guess.
        keep = min(self._options.average, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self._average, self.network.get_weights()):
            mean *= keep
            mean += (1 - keep) * now

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


def _take_over(network: Any, path: Path) -> int:
    """Copy the weights of layers with the same name and shapes; how many layers."""
    import keras

    try:
        old = keras.models.load_model(path, compile=False)
    except (OSError, ValueError) as error:
        problem = str(error).split("\n")[0]
        raise TrainingError(f"The weights {path} cannot be read ({problem}); give a .keras file "
                            "that 'deid train extractor' wrote.") from None
    theirs = {layer.name: layer.get_weights() for layer in old.layers}
    taken = 0
    for layer in network.layers:
        mine, other = layer.get_weights(), theirs.get(layer.name, [])
        if mine and [w.shape for w in mine] == [w.shape for w in other]:
            layer.set_weights(other)
            taken += 1
    if not taken:
        raise TrainingError(f"No layer of {path} fits the extractor; train it with the same "
                            "--width.")
    return taken
