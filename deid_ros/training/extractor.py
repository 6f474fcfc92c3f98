"""OFFLINE: train an extractor on chips of identities, ``deid train extractor``.

A residual network (He et al., "Deep residual learning for image recognition", CVPR
2016) with an additive angular margin, ArcFace (Deng et al., "ArcFace: additive
angular margin loss for deep face recognition", CVPR 2019), or a plain softmax over
the identities. An exponential moving average of the weights is what is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import TrainingError
from deid_ros.training.identities import ChipSet, augment
from deid_ros.training.run import TrainingRun

__all__ = ["ExtractorOptions", "ExtractorTraining", "build_extractor", "hold_out", "margin_logits"]

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


class ExtractorTraining(TrainingRun):
    """A run in a folder; see ``TrainingRun`` for what it keeps there.

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

    name = "extractor"
    columns = ("loss", "accuracy", "held_out")

    def __init__(self, people: ChipSet, folder: Path, options: ExtractorOptions, *,
                 resume: bool = False, weights: Path | None = None) -> None:
        import keras

        super().__init__(folder, options, resume=resume)
        self._people = people
        self._apart = hold_out(people.labels, options.held_out, options.seed)
        self._rows = [np.flatnonzero((people.labels == k) & ~self._apart)
                      for k in range(len(people.names))]
        network = self._build()
        self.taken_over = _take_over(network, weights) if weights else 0
        shape = (options.dimensions, len(people.names))
        self._centres = keras.Variable(
            keras.initializers.RandomNormal(stddev=0.1, seed=options.seed + 1)(shape),
            dtype="float32")
        self._variables = [*network.trainable_variables, self._centres]
        self._adam = keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(options.learning_rate, options.steps))
        self._adam.build(self._variables)
        self._keep(network, [self._centres, *self._adam.variables])
        self._compiled = self._engine.compiled(self._train)

    def _build(self) -> Any:
        options = self._options
        return build_extractor(size=self._people.chips.shape[1], dimensions=options.dimensions,
                               width=options.width, seed=options.seed)

    def run(self, *, seconds: float | None = None,
            stop: Callable[[], bool] = lambda: False) -> None:
        """See ``TrainingRun.run``; the held-out chips are measured with each checkpoint."""
        self._measured = self.measure() if self.step < self._options.steps else 0.0
        super().run(seconds=seconds, stop=stop)

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

    def _embed(self, rows: np.ndarray) -> np.ndarray:
        chips = self._people.chips
        with self._average_weights():
            return np.concatenate([
                np.asarray(self.network(chips[rows[k:k + _BATCH]].astype(np.float32),
                                        training=False)) for k in range(0, len(rows), _BATCH)])

    def _learn(self) -> tuple[Any, ...]:
        rng = self._rng(3)
        labels = rng.integers(len(self._rows), size=self._options.batch)
        rows = [self._rows[label][rng.integers(len(self._rows[label]))] for label in labels]
        return self._compiled(augment(self._people.chips[rows], rng), labels)

    def _after_step(self) -> list[float]:
        options = self._options
        if self.step % options.save_every == 0 or self.step == options.steps:
            self._measured = self.measure()
        return [self._measured]

    def _train(self, chips: Any, labels: Any) -> tuple[Any, Any]:
        from keras import ops

        options = self._options

        def loss() -> tuple[Any, Any]:
            embedding = self.network(chips, training=True)
            centres = ops.convert_to_tensor(self._centres)
            if options.head == "arcface":
                cosines = embedding @ ops.normalize(centres, axis=0)
                logits = margin_logits(cosines, labels, margin=options.margin, scale=options.scale)
            else:
                logits = cosines = options.scale * embedding @ centres
            loss = ops.mean(ops.sparse_categorical_crossentropy(labels, logits, from_logits=True))
            right = ops.argmax(cosines, 1) == ops.cast(labels, "int32")
            return loss, (loss, ops.mean(ops.cast(right, "float32")))

        losses, slopes = self._engine.gradients(loss, self._variables)
        self._adam.apply(slopes, self._variables)
        return losses


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
