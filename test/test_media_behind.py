"""Work done in a thread of its own: in order, bounded, and what fails is told."""

from __future__ import annotations

import threading
import time

import pytest

from deid_ros.errors import MediaError
from deid_ros.media.behind import Behind


def test_nothing_to_do_is_nothing_to_wait_for():
    behind = Behind("idle")
    behind.finish()
    behind.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("idle")]


def test_things_are_done_in_order_and_few_wait():
    behind, done, most = Behind("writer", waiting=2), [], 0

    def work(number):
        time.sleep(0.002 * (number % 3))
        done.append(number)

    for number in range(20):
        behind.do(work, number)
        most = max(most, number + 1 - len(done))
    behind.finish()
    behind.close()
    assert done == list(range(20)) and most <= 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("writer")]


def test_what_fails_is_told_and_nothing_is_done_after_it():
    behind, done = Behind("writer"), []

    def work(number):
        if number == 3:
            raise MediaError("no space left")
        done.append(number)

    with pytest.raises(MediaError, match="no space"):
        for number in range(20):
            behind.do(work, number)
        behind.finish()
    behind.close()
    assert done == [0, 1, 2]


def test_who_closes_early_leaves_the_rest_undone():
    behind, done, begun, go = Behind("writer"), [], threading.Event(), threading.Event()

    def work(number):
        begun.set()
        go.wait(5)
        done.append(number)

    for number in range(2):
        behind.do(work, number)
    assert begun.wait(5)
    threading.Timer(0.05, go.set).start()
    behind.close()
    assert done == [0]
