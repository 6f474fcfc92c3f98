"""Counting CPU time, by process and by thread."""

from __future__ import annotations

import threading
import time

from deid_ros.bench.machine import Usage, cores, machine_line, rss_mb


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_cpu_time_is_counted_and_sleep_is_not():
    usage = Usage()
    time.sleep(0.05)
    burn(0.05)
    spent = usage.spent()
    assert spent.wall >= 0.1
    assert 0.05 <= spent.cpu < spent.wall


def test_each_thread_has_its_own_time():
    go, done, end = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        burn(0.02)   # before it is counted
        go.wait()
        burn(0.08)
        done.set()
        end.wait()

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    time.sleep(0.1)
    usage = Usage()
    go.set()
    assert done.wait(10)
    spent = usage.spent()
    end.set()
    thread.join()
    assert 0.08 <= spent.threads["worker"] < 0.0999
    assert spent.threads["MainThread"] < 0.05


def test_a_thread_that_came_later_counts_from_zero():
    usage = Usage()
    end, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (burn(0.05), done.set(), end.wait()), name="late")
    thread.start()
    assert done.wait(10)
    assert usage.spent().threads["late"] >= 0.05
    end.set()
    thread.join()


def test_the_machine_in_one_line():
    idle = {"cores": 2, "load": 0.123, "others_cores": 0.0}
    assert machine_line(idle) == ("2 cores, machine load 0.1, other processes kept 0.0 cores busy")
    busy = machine_line({"cores": 2, "load": 2.81, "others_cores": 1.25})
    assert "machine load 2.8" in busy and "judge by CPU time" in busy
    assert "other" not in machine_line({"cores": 2, "load": 1.0, "others_cores": None})


def test_cores_and_memory_are_plausible():
    assert cores() >= 1
    assert rss_mb() > 5
    assert Usage().spent().machine().keys() == {"cores", "load", "others_cores"}
