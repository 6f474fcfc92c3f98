"""Several inputs at once, each by a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deid_ros.config import Config
from deid_ros.errors import DeidError
from deid_ros.media.batch import Batch
from deid_ros.media.files import Job
from deid_ros.media.medium import Writing
from deid_ros.media.outcome import Outcome
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


@dataclass(frozen=True, slots=True)
class Work:
    """How inputs are processed, the same for all of them.

    ``consenting``: a folder with pictures of those who consented; ``key_given``: whether
    the user knows the key of the random draws.
    """

    config: Config
    writing: Writing
    overwrite: bool = False
    limit: int | None = None
    consenting: Path | None = None
    key_given: bool = True

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
                     key_given=self.key_given)


def run_jobs(jobs: Sequence[Job], work: Work, tell: Callable[[Event], None], *, workers: int,
             batch: Batch | None = None) -> None:
    """Process inputs; one that fails does not stop the rest.

    Args:
        tell: is called, in this thread, with what happens.
        workers: processes; with 1 it is this one.
        batch: one that is ready, for this process.
    """
    if workers > 1 and len(jobs) > 1:
        _together(jobs, work, tell, min(workers, len(jobs)))
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
              count: int) -> None:
    # Not forked: the models' threads would not survive it.
    context = multiprocessing.get_context("spawn")
    tasks, events = context.Queue(), context.Queue()
    for item in [*enumerate(jobs), *[None] * count]:
        tasks.put(item)
    processes = [context.Process(target=_serve, args=(work, count, tasks, events), daemon=True)
                 for _ in range(count)]
    busy: dict[int, int] = {}           # process -> job
    left = set(range(len(jobs)))
    try:
        for process in processes:
            process.start()
        while left:
            try:
                pid, event = events.get(timeout=0.5)
            except queue.Empty:
                for event in _dead(processes, busy, jobs, left):
                    left.discard(event.job)
                    tell(event)
                continue
            busy[pid] = event.job
            if event.ended:
                left.discard(event.job)
                busy.pop(pid, None)
            tell(event)
    finally:
        for process in processes:
            if process.is_alive() and left:
                process.terminate()
            process.join(10)


def _dead(processes: Sequence[Any], busy: dict[int, int], jobs: Sequence[Job],
          left: set[int]) -> list[Event]:
    """The jobs that nobody will finish: their worker died, or all have."""
    found = []
    for process in processes:
        if process.exitcode and process.pid in busy:
            job = busy.pop(process.pid)
            found.append(Event(job, error=f"{jobs[job].source}: its process ended with "
                                          f"{process.exitcode}; there may be too little memory "
                                          "for so many --workers."))
    if not any(process.is_alive() for process in processes):
        ended = {event.job for event in found}
        found += [Event(job, error=f"{jobs[job].source} was not begun: no worker is left.")
                  for job in sorted(left - ended)]
    return found


def _serve(work: Work, count: int, tasks: Any, events: Any) -> None:
    import cv2

    cv2.setNumThreads(max(len(os.sched_getaffinity(0)) // count, 1))
    batch = None
    try:
        while (task := tasks.get()) is not None:
            if batch is None:
                batch = work.batch()
            _process(*task, batch, lambda event: events.put((os.getpid(), event)))
    except KeyboardInterrupt:
        pass  # the parent has heard it too
