"""OFFLINE: what every training run keeps: its folder, state, average, table and curves."""

from __future__ import annotations

import csv
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm

from deid_ros.errors import TrainingError
from deid_ros.training.backend import Engine
from deid_ros.training.sheets import draw_losses, forget_rows

__all__ = ["TrainingRun"]


class TrainingRun:
    """A run in a folder: ``state.npz`` to resume from, ``losses.csv``, ``losses.png``.

    A training derives from it: ``__init__`` makes the network and calls ``_keep``;
    ``_build`` makes an untrained network, ``_learn`` does one step and gives its
    losses, ``_after_step`` does what else is due. An exponential moving average of
    the network's weights is what is kept.

    Args:
        folder: where the run lives; made if missing.
        options: a frozen dataclass with ``steps, seed, average, precision, save_every``.
        resume: go on from the folder's state.

    Raises:
        TrainingError: the folder holds another run and ``resume`` is false, or its
            options differ.
    """

    name: ClassVar[str]
    #: Of ``losses.csv``, after step and seconds.
    columns: ClassVar[tuple[str, ...]]

    def __init__(self, folder: Path, options: Any, *, resume: bool) -> None:
        import keras

        self._folder, self._options, self._resume = folder, options, resume
        folder.mkdir(parents=True, exist_ok=True)
        self._check_folder()
        keras.mixed_precision.set_global_policy(options.precision)
        self.step = 0

    def _keep(self, network: Any, others: Sequence[Any]) -> None:
        """Take the network and the other variables of the state; resume where asked for.

        Raises:
            TrainingError: the state cannot be read or is another network's.
        """
        self.network = network
        self._state = [*network.variables, *others]
        self._average = [np.array(w) for w in network.get_weights()]
        self._engine = Engine(self._state)
        # Interrupted before its first checkpoint, a run begins anew.
        if self._resume and (self._folder / "state.npz").exists():
            self._restore()

    # -- what a training says --------------------------------------------------

    def _build(self) -> Any:
        """An untrained network."""
        raise NotImplementedError

    def _learn(self) -> Sequence[Any]:
        """One step; the numbers of ``columns``, or the first of them."""
        raise NotImplementedError

    def _after_step(self) -> Sequence[float]:
        """What is due after a step; the numbers of the ``columns`` that remain."""
        return ()

    # -- the run ---------------------------------------------------------------

    def run(self, *, seconds: float | None = None,
            stop: Callable[[], bool] = lambda: False) -> None:
        """Train up to ``options.steps``, until ``seconds`` have passed or ``stop`` says so.

        Raises:
            TrainingError: the losses are no longer numbers.
        """
        start, options = time.monotonic(), self._options
        log = self._folder / "losses.csv"
        fresh = not log.exists() or self.step == 0
        if not fresh:
            forget_rows(log, self.step)
        # Every 20 steps; a run of a few steps shows each of them.
        often = max(1, min(20, options.steps // 100))
        with (open(log, "w" if fresh else "a", newline="", encoding="utf-8") as stream,
              tqdm(total=options.steps, initial=self.step, desc=self.name, unit="step",
                   disable=None) as bar):
            writer = csv.writer(stream)
            if fresh:
                writer.writerow(("step", "seconds", *self.columns))
            while self.step < options.steps and not stop() and (
                    seconds is None or time.monotonic() - start <= seconds):
                losses = [float(v) for v in self._learn()]
                if not np.isfinite(losses).all():
                    raise TrainingError(f"The losses are no longer numbers at step {self.step}; "
                                        "start again with a smaller learning_rate.")
                self.step += 1
                self._update_average()
                bar.update()
                losses += self._after_step()
                if self.step % options.save_every == 0:
                    self._save()
                if self.step % often == 0 or self.step == options.steps:
                    writer.writerow([self.step, round(time.monotonic() - start, 1),
                                     *(round(v, 5) for v in losses)])
                    stream.flush()
                    bar.set_postfix({n: f"{v:.3f}" for n, v in zip(self.columns, losses) if v})
        self._save()
        draw_losses(log, self._folder / "losses.png")

    def averaged(self) -> Any:
        """The network with the moving average of its weights, in full precision."""
        import keras

        keras.mixed_precision.set_global_policy("float32")
        network = self._build()
        network.set_weights(self._average)
        keras.mixed_precision.set_global_policy(self._options.precision)
        return network

    @contextmanager
    def _average_weights(self) -> Iterator[None]:
        """The network with the moving average of its weights, for a while."""
        now = self.network.get_weights()
        self.network.set_weights(self._average)
        try:
            yield
        finally:
            self.network.set_weights(now)

    def _rng(self, what: int) -> np.random.Generator:
        """Chance, seeded by the step: a resumed run sees the batches it would have seen."""
        return np.random.default_rng((self._options.seed, what, self.step))

    # -- keeping ---------------------------------------------------------------

    def _update_average(self) -> None:
        # A young average follows quickly, or it would remember the first guess.
        keep = min(self._options.average, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self._average, self.network.weights):
            mean *= keep
            mean += (1 - keep) * np.asarray(now)

    def _check_folder(self) -> None:
        note, resume = self._folder / "options.json", self._resume
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
        arrays = {f"state_{i}": np.asarray(v) for i, v in enumerate(self._state)}
        arrays |= {f"average_{i}": v for i, v in enumerate(self._average)}
        draft = self._folder / ".state.npz"
        np.savez(draft, step=self.step, **arrays)
        os.replace(draft, self._folder / "state.npz")

    def _restore(self) -> None:
        path = self._folder / "state.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                for i, variable in enumerate(self._state):
                    variable.assign(file[f"state_{i}"])
                self._average = [file[f"average_{i}"] for i in range(len(self._average))]
                self.step = int(file["step"])
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise TrainingError(f"{path} cannot be read ({error}); begin again in another --work "
                                "folder.") from None
