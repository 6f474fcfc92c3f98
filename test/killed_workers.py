"""A program for ``test_media_workers``: a run of two workers that take their time.

Arguments: folder for the notes, lock file. Every job leaves its process id in the folder.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from deid_ros.config import defaults
from deid_ros.media.files import Job
from deid_ros.media.lifetime import Lock
from deid_ros.media.medium import Writing
from deid_ros.media.outcome import Outcome
from deid_ros.media.workers import Work, run_jobs


class Idle:
    """Instead of a batch."""

    def process(self, job, progress=None):
        note = job.target.with_name(job.name)
        note.with_suffix(".new").write_text(str(os.getpid()))
        note.with_suffix(".new").rename(note)
        time.sleep(60 if job.name.startswith("long") else 0)
        return Outcome(frames=1)


class IdleWork(Work):
    """Work that needs no models."""

    def batch(self, pipeline=None):
        return Idle()


def jobs(folder, *names):
    return [Job(folder / f"in-{name}", folder / f"out-{name}", name) for name in names]


def work():
    return IdleWork(defaults(), Writing())


def hold(lock, seconds):
    """Be a process that holds a lock."""
    assert lock.file > 2
    time.sleep(seconds)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    lock = Lock(os.open(sys.argv[2], os.O_RDWR | os.O_CREAT))
    assert lock.take()
    run_jobs(jobs(folder, "long1", "long2"), work(), print, workers=2, lock=lock)
