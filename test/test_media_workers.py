"""Workers end with the run that started them, and one that dies costs its job only."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killed_workers import hold, jobs, work

from deid_ros.media.lifetime import Lock
from deid_ros.media.workers import run_jobs

HERE = Path(__file__).parent


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def lock_of(path):
    return Lock(os.open(path, os.O_RDWR | os.O_CREAT))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_workers_of_a_killed_run_are_gone_and_its_lock_is_free(tmp_path, how):
    environment = os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parent}"}
    run = subprocess.Popen([sys.executable, HERE / "killed_workers.py", tmp_path,
                            tmp_path / "lock"], env=environment, stdout=subprocess.DEVNULL)
    notes = [tmp_path / "long1", tmp_path / "long2"]
    assert until(lambda: all(note.exists() for note in notes), 60)
    pids = [int(note.read_text()) for note in notes]
    assert len(set(pids)) == 2 and all(map(alive, pids))
    other = lock_of(tmp_path / "lock")
    assert not other.take()
    run.send_signal(how)
    run.wait(10)
    assert until(lambda: not any(map(alive, pids)), 5)
    assert until(other.take, 5)


def test_the_lock_lives_as_long_as_a_worker(tmp_path):
    lock, other = lock_of(tmp_path / "lock"), lock_of(tmp_path / "lock")
    assert lock.take()
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(lock, 60))
    process.start()
    os.close(lock.file)
    try:
        assert not until(other.take, 1)
    finally:
        process.kill()
        process.join()
    assert other.take()


def test_a_killed_worker_costs_its_job_and_nothing_is_left_of_it(tmp_path):
    heard = []
    part = tmp_path / ".out-long.0123abcd.part"

    def tell(event):
        heard.append(event)
        if event.job == 0 and not event.ended:
            assert until((tmp_path / "long").exists)
            part.touch()
            os.kill(int((tmp_path / "long").read_text()), signal.SIGKILL)

    run_jobs(jobs(tmp_path, "long", "a", "b", "c"), work(), tell, workers=2)
    ended = {event.job: event for event in heard if event.ended}
    assert sorted(ended) == [0, 1, 2, 3] and not part.exists()
    assert "ended with -9" in ended[0].error
    assert all(ended[job].outcome.frames == 1 for job in (1, 2, 3))


def test_jobs_are_named_when_no_worker_is_left(tmp_path):
    heard = []

    def tell(event):
        heard.append(event)
        if not event.ended:
            note = tmp_path / f"long{event.job}"
            assert until(note.exists)
            os.kill(int(note.read_text()), signal.SIGKILL)

    run_jobs(jobs(tmp_path, *(f"long{i}" for i in range(4))), work(), tell, workers=2)
    ended = {event.job: event.error for event in heard if event.ended}
    assert sorted(ended) == [0, 1, 2, 3]
    assert all("was not begun: no worker is left" in ended[job] for job in (2, 3))
