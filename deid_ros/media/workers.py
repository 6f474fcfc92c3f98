"""Several inputs at once, each by a process of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from deid_ros.config import Config
from deid_ros.errors import DeidError
from deid_ros.media.batch import Batch
from deid_ros.media.evidence import Recipe
from deid_ros.media.files import Job, beside
from deid_ros.media.lifetime import Lock, die_with_parent
from deid_ros.media.medium import Writing
from deid_ros.media.outcome import Outcome
from deid_ros.media.whole import sweep
from deid_ros.pipeline import Pipeline

__all__ = ["Event", "Work", "run_jobs"]


@dataclass(frozen=True, slots=True)
class Event:
    """What is heard of a job: ``frames`` done of ``total`` (0: unknown), and at its end
    the ``outcome`` or the ``error``."""

    job: int
    frames: int = 0
    total: int = 0
    outcome: Outcome | None = None
    error: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will be heard of it."""
        return self.outcome is not None or bool(self.error)


#: What a worker says when it is there: it has ended no job of anybody's.
_READY = Event(-1, error="ready")


@dataclass(frozen=True, slots=True)
class Work:
    """How inputs are processed, the same for all of them.

    ``consenting``: a folder with pictures of those who consented; ``recipe``: for the
    manifests.
    """

    config: Config
    writing: Writing
    overwrite: bool = False
    limit: int | None = None
    consenting: Path | None = None
    recipe: Recipe | None = None

    def batch(self, pipeline: Pipeline | None = None) -> Batch:
        """The batch that does it, its models loaded.

        Raises:
            DeidError: a model is missing; nobody can be recognised on a picture.
        """
        pipeline = pipeline or Pipeline(self.config)
        pipeline.prepare()
        if self.consenting is not None:
            from deid_ros.media.consent import Consent
            pipeline.consent = Consent.of_folder(self.consenting, pipeline)
        return Batch(pipeline, writing=self.writing, overwrite=self.overwrite, limit=self.limit,
                     recipe=self.recipe)


def run_jobs(jobs: Sequence[Job], work: Work, tell: Callable[[Event], None], *, workers: int,
             batch: Batch | None = None, lock: Lock | None = None) -> None:
    """Process inputs; one that fails does not stop the rest.

    Args:
        tell: is called, in this thread, with what happens.
        workers: processes; with 1 it is this one.
        batch: one that is ready, for this process.
        lock: what workers hold as long as they live.
    """
    if workers > 1 and len(jobs) > 1:
        _together(jobs, work, tell, min(workers, len(jobs)), lock)
        return
    batch = batch or work.batch()
    for number, job in enumerate(jobs):
        _process(number, job, batch, tell)


def _process(number: int, job: Job, batch: Batch, tell: Callable[[Event], None]) -> None:
    tell(Event(number))
    try:
        outcome = batch.process(job, lambda done, total: tell(Event(number, done, total)))
    except DeidError as error:
        tell(Event(number, error=str(error)))
    except Exception as error:
        # A fault of this program at one input must not cost the others.
        if os.environ.get("DEID_DEBUG"):
            raise
        words = " ".join(str(error).split())[:300]
        tell(Event(number, error=f"{job.source}: internal error, {type(error).__name__}: {words}"))
    else:
        tell(Event(number, outcome=outcome))


def _together(jobs: Sequence[Job], work: Work, tell: Callable[[Event], None],
              count: int, lock: Lock | None) -> None:
    waiting = deque(enumerate(jobs))
    workers: dict[Connection, _Worker] = {}
    try:
        for _ in range(count):
            worker = _Worker(work, count, lock)
            workers[worker.pipe] = worker
        while workers:
            for pipe in wait(list(workers)):
                worker = workers[pipe]
                event = worker.hear()
                if event is None:
                    del workers[pipe]
                    _bury(worker, jobs, tell)
                    continue
                if event.job >= 0:
                    tell(event)
                if event.ended:
                    worker.give(waiting.popleft() if waiting else None)
        for number, job in waiting:
            tell(Event(number, error=f"{job.source} was not begun: no worker is left."))
    finally:
        for worker in workers.values():
            worker.end()


def _bury(worker: _Worker, jobs: Sequence[Job], tell: Callable[[Event], None]) -> None:
    """A worker has ended: nothing is left of the job that it had."""
    worker.end()
    if worker.job is not None:
        job = jobs[worker.job]
        sweep((job.target, *beside(job.target)))
        tell(Event(worker.job, error=f"{job.source}: its process ended with "
                                     f"{worker.process.exitcode}; there may be too little memory "
                                     "for so many --workers."))


class _Worker:
    """A process that is given one job after another through a pipe of its own.

    Workers share nothing: one that is killed cannot leave a lock behind that the others
    wait for.
    """

    def __init__(self, work: Work, count: int, lock: Lock | None) -> None:
        # Not forked: the models' threads would not survive it.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.job: int | None = None
        self.process = context.Process(target=_serve, daemon=True,
                                       args=(work, count, theirs, os.getpid(), lock))
        self.process.start()
        theirs.close()

    def give(self, task: tuple[int, Job] | None) -> None:
        """Give it a job; None: there is no other."""
        self.job = task and task[0]
        with suppress(OSError):  # it has ended, which is heard next
            self.pipe.send(task)

    def hear(self) -> Event | None:
        """What it says; None when it has ended."""
        try:
            event: Event = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return event

    def end(self) -> None:
        """See that it is gone."""
        if self.job is not None and self.process.is_alive():
            self.process.terminate()
        self.pipe.close()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(work: Work, count: int, pipe: Connection, parent: int, lock: Lock | None) -> None:
    del lock  # held as long as this process lives
    die_with_parent(parent)
    import cv2

    cv2.setNumThreads(max(len(os.sched_getaffinity(0)) // count, 1))
    batch = None
    try:
        pipe.send(_READY)
        while (task := pipe.recv()) is not None:
            if batch is None:
                batch = work.batch()
            _process(*task, batch, pipe.send)
    except (KeyboardInterrupt, EOFError, OSError):
        pass  # the parent has heard it too, or is gone
