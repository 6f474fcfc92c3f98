"""The joiner and the rules of release: pure, with a clock that the test turns."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros.faces import empty_faces
from deid_ros.ros.joiner import Joiner
from deid_ros.ros.release import ReleaseQueue

NONE, ONE = empty_faces(0), empty_faces(1)


def joiner(capacity: int = 4, max_age: float = 1.0) -> Joiner:
    return Joiner(("a", "b"), capacity=capacity, max_age=max_age)


@pytest.mark.parametrize("first, second", [("a", "b"), ("b", "a")])
def test_parts_join_in_any_order(first, second):
    j = joiner()
    assert j.add(first, 5, 1, 0.0) is None
    assert j.add(second, 5, 2, 0.1) == {first: 1, second: 2}
    assert len(j) == 0 and not j.dropped.total()


def test_only_equal_keys_join():
    j = joiner()
    j.add("a", 1_000_000_000, "x", 0.0)
    assert j.add("b", 1_000_000_001, "y", 0.0) is None
    assert len(j) == 2


def test_three_slots():
    j = Joiner(("a", "b", "c"), capacity=2, max_age=1.0)
    assert j.add("c", 1, 3, 0) is None
    assert j.add("a", 1, 1, 0) is None
    assert j.add("b", 1, 2, 0) == {"a": 1, "b": 2, "c": 3}


def test_memory_is_bounded_in_frames_and_the_newest_win():
    j = joiner(capacity=3)
    for key in range(1000):
        assert j.add("a", key, key, 0.0) is None
        assert len(j) <= 3
    assert j.dropped == {"capacity": 997, "age": 0}
    assert j.add("b", 0, 0, 0.0) is None
    assert j.add("b", 999, 0, 0.0) == {"a": 999, "b": 0}


def test_memory_is_bounded_in_time():
    j = joiner(max_age=1.0)
    j.add("a", 1, "x", 0.0)
    assert j.add("b", 1, "y", 1.01) is None
    assert j.dropped["age"] == 1


def test_a_loop_that_jumps_back_does_not_stall():
    j = joiner()
    for lap in range(5):
        for stamp in range(100):
            now = lap * 10 + stamp / 10
            assert j.add("a", stamp, stamp, now) is None
            assert j.add("b", stamp, stamp, now) == {"a": stamp, "b": stamp}
    assert len(j) == 0 and not j.dropped.total()


def test_stamps_that_are_all_zero_join_one_to_one():
    j = joiner()
    joined = []
    for i in range(10):
        j.add("a", 0, i, 0.0)
        joined.append(j.add("b", 0, i, 0.0))
    assert joined == [{"a": i, "b": i} for i in range(10)]
    for i in range(3):
        assert j.add("a", 0, i, 0.0) is None
    assert [j.add("b", 0, i, 0.0) for i in range(3)] == [{"a": i, "b": i} for i in range(3)]


@pytest.mark.parametrize("options", [
    {"slots": ()}, {"slots": ("a", "a")}, {"capacity": 0}, {"max_age": 0.0}])
def test_senseless_joiners_are_refused(options):
    with pytest.raises(ValueError):
        Joiner(**{"slots": ("a",), "capacity": 1, "max_age": 1.0, **options})
    with pytest.raises(KeyError):
        joiner().add("z", 1, 1, 0.0)


# -- release -----------------------------------------------------------------


def queue(**options) -> ReleaseQueue:
    return ReleaseQueue(**{"capacity": 4, "deadline": 0.15, **options})


def outcomes(decisions) -> list[tuple]:
    """(frame, 'out' | 'flat' | 'withheld', cause) of each decision."""
    return [(d.frame, "withheld" if d.faces is None else
             "flat" if len(d.faces) and d.surrogates is None else "out", d.cause)
            for d in decisions]


def test_without_a_table_nothing_leaves():
    q = queue()
    q.put_frame("k", "f", 0.0)
    assert q.due(0.149) == []
    assert outcomes(q.due(0.15)) == [("f", "withheld", "deadline")]
    q.put_table("k", NONE, 0.2)  # too late
    assert q.due(0.2) == [] and len(q) == 0
    assert q.due(1.0) == [] and q.orphans == {"table": 1}


def test_the_table_of_another_frame_releases_nothing():
    q = queue()
    q.put_frame(("stamp", "size", 1), "f", 0.0)
    q.put_table(("stamp", "size", 2), NONE, 0.0)
    assert q.due(0.01) == []
    assert outcomes(q.due(0.2)) == [("f", "withheld", "deadline")]


@pytest.mark.parametrize("order", ["frame first", "table first"])
def test_a_frame_without_faces_leaves_at_once(order):
    q = queue()
    steps = [lambda: q.put_frame("k", "f", 0.0), lambda: q.put_table("k", NONE, 0.0)]
    for step in steps if order == "frame first" else reversed(steps):
        assert q.due(0.0) == []
        step()
    assert outcomes(q.due(0.0)) == [("f", "out", "")]


def test_faces_wait_for_surrogates_until_the_deadline():
    q = queue()
    for key in "ab":
        q.put_frame(key, key, 0.0)
        q.put_table(key, ONE, 0.01)
    assert q.due(0.1) == []
    q.put_surrogates("a", "s", 0.1)
    assert outcomes(q.due(0.1)) == [("a", "out", "")]
    assert outcomes(q.due(0.16)) == [("b", "flat", "deadline")]


def test_obfuscation_does_not_wait():
    q = queue(surrogates=False)
    q.put_frame("a", "a", 0.0)
    q.put_table("a", ONE, 0.0)
    q.put_surrogates("a", "s", 0.0)
    assert outcomes(q.due(0.0)) == [("a", "flat", "")]
    assert q.due(1.0) == [] and not q.orphans


def test_frames_leave_in_the_order_they_came():
    q = queue()
    for key in "abc":
        q.put_frame(key, key, 0.0)
    q.put_table("a", ONE, 0.0)
    q.put_table("b", NONE, 0.0)
    assert q.due(0.0) == []  # b is ready but a still waits for its surrogates
    q.put_surrogates("a", "s", 0.0)
    assert outcomes(q.due(0.0)) == [("a", "out", ""), ("b", "out", "")]


def test_what_the_detector_skipped_does_not_hold_up_the_others():
    q = queue()
    for key in "abc":
        q.put_frame(key, key, 0.0)
    q.put_table("c", NONE, 0.02)
    assert outcomes(q.due(0.02)) == [("a", "withheld", "no_table"), ("b", "withheld", "no_table"),
                                     ("c", "out", "")]


def test_what_the_generator_skipped_is_covered_flat_at_once():
    q = queue()
    for key in "ab":
        q.put_frame(key, key, 0.0)
        q.put_table(key, ONE, 0.0)
    q.put_surrogates("b", "s", 0.02)
    assert outcomes(q.due(0.02)) == [("a", "flat", "no_surrogates"), ("b", "out", "")]


def test_more_frames_than_the_queue_holds_drop_the_oldest():
    q = queue(capacity=2)
    for key in "abc":
        q.put_frame(key, key, 0.0)
    assert outcomes(q.due(0.0)) == [("a", "withheld", "queue")]
    q.put_table("b", ONE, 0.0)
    q.put_frame("d", "d", 0.0)
    assert outcomes(q.due(0.0)) == [("b", "flat", "queue")]
    assert len(q) == 2


def test_nothing_grows_whatever_comes():
    q = queue(capacity=3)
    rng = np.random.default_rng(0)
    out = 0
    for i in range(3000):
        now = i * 0.01
        key = int(rng.integers(0, 20))
        kind = rng.integers(0, 3)
        if kind == 0:
            q.put_frame(key, key, now)
        elif kind == 1:
            q.put_table(key, ONE if rng.random() < 0.5 else NONE, now)
        else:
            q.put_surrogates(key, "s", now)
        out += sum(d.faces is not None for d in q.due(now))
        assert len(q._joiner) <= 6
    assert out > 0


def test_identical_frames_leave_once_each():
    q = queue()
    for i in range(3):
        q.put_frame("same", i, 0.0)
        q.put_table("same", NONE, 0.0)
    assert outcomes(q.due(0.0)) == [(i, "out", "") for i in range(3)]
    q.put_frame("same", 3, 0.0)
    assert q.due(0.0) == []  # each release takes a table of its own


def test_clear_forgets_everything():
    q = queue()
    q.put_frame("a", "a", 0.0)
    q.put_table("b", NONE, 0.0)
    assert q.clear() == 1
    q.put_table("a", NONE, 0.0)
    assert q.due(0.0) == []


def test_time_left_is_that_of_the_first_frame():
    queue = ReleaseQueue(capacity=4, deadline=0.5)
    assert queue.left(0.0) is None
    queue.put_table(9, NONE, 0.0)
    assert queue.left(0.1) is None
    queue.put_frame(1, "f", 1.0)
    queue.put_frame(2, "g", 1.2)
    assert queue.left(1.3) == pytest.approx(0.2) and queue.left(9.0) == 0.0
    queue.adjust(deadline=1.0, surrogates=True)
    assert queue.left(1.3) == pytest.approx(0.7)
