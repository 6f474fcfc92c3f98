"""Streams as robots have them: no clock, bags in a loop, listeners that come late or sleep."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("rclpy")

from ros_fakes import canary, fake_cores, leaks  # noqa: E402
from ros_support import context_fixture, running, settled, wait  # noqa: E402, F401
from sensor_msgs.msg import Image  # noqa: E402

from deid_ros.ros import topics  # noqa: E402
from deid_ros.ros.qos import keep_last  # noqa: E402
from deid_ros.ros.topics import IMAGE  # noqa: E402

pytestmark = pytest.mark.ros

STEP = 100_000_000


def test_simulated_time_without_a_clock_stops_nothing(context):
    """No /clock: timers of the node's clock would never fire; deadlines must."""
    sim = {node: {"use_sim_time": True} for node in ("detector", "matcher", "generator")}
    cores = fake_cores()
    find = cores["detector"]["finder"].find
    with running(context, cores, overrides={
            **sim, "replacer": {"use_sim_time": True, "deadline_ms": 200.0}}) as (graph, probe):
        for i in range(4):
            probe.send(canary(i), STEP * (i + 1))
            time.sleep(0.03)
        assert settled(graph, 4) and wait(lambda: probe.images)
        before = len(probe.images)
        cores["detector"]["finder"].find = lambda *_, **__: 1 / 0
        probe.send(canary(5), STEP * 9)
        assert wait(lambda: graph.node("replacer").health.values().get("withheld.deadline"))
        cores["detector"]["finder"].find = find
        assert len(probe.images) == before


def test_a_bag_in_a_loop_goes_on_and_on(context):
    """The same frames with the same stamps, three times."""
    with running(context, fake_cores()) as (graph, probe):
        for turn in range(3):
            for i in range(6):
                probe.send(canary(i), STEP * (i + 1))
                time.sleep(0.03)
            assert settled(graph, 6 * (turn + 1))
        assert wait(lambda: len(probe.images) == 18)
        assert not any(leaks(frame, stamp // STEP - 1)
                       for stamp, frame in zip(probe.stamps(), probe.frames()))


def test_listeners_that_come_late_or_never_read(context):
    """A sleeper holds up nobody; who comes late gets what comes from then on."""
    with running(context, fake_cores()) as (graph, probe):
        sleeper = context_node(context, "sleeper")   # never spun: reads nothing
        sleeper.create_subscription(Image, IMAGE, print, keep_last(1))
        for i in range(10):
            probe.send(canary(i), STEP * (i + 1))
            time.sleep(0.02)
        assert wait(lambda: len(probe.images) == 10)
        late = []
        probe.create_subscription(Image, topics.IMAGE, late.append, keep_last(5))
        time.sleep(0.3)
        for i in range(10, 16):
            probe.send(canary(i), STEP * (i + 1))
            time.sleep(0.03)
        assert wait(lambda: len(late) == 6) and len(probe.images) == 16
        sleeper.destroy_node()


def context_node(context, name: str):
    from rclpy.node import Node
    return Node(name, context=context)
