"""Whatever fails, no face leaves: a fault in each stage in turn, on real topics.

Each frame carries a random pattern of its own where its face is; every message
that leaves is searched for it. A leaky replacer shows that the search would find
one.
"""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from ros_fakes import FakeReplacer, canary, fake_cores, leaks  # noqa: E402
from ros_support import (  # noqa: E402
    Fault,
    context_fixture,  # noqa: F401
    header,
    running,
    settled,
    wait,
)
from sensor_msgs.msg import PointCloud2  # noqa: E402

from deid_ros.faces import empty_faces  # noqa: E402
from deid_ros.ros.codec import FrameTag, tag_of, to_bgr  # noqa: E402
from deid_ros.ros.qos import keep_last  # noqa: E402
from deid_ros.ros.replacer_node import ReplacerNode  # noqa: E402
from deid_ros.ros.tables import to_table  # noqa: E402
from deid_ros.ros.topics import FACES  # noqa: E402

pytestmark = pytest.mark.ros

STEP = 100_000_000

#: What has no table is given up soon.
SOON = {"replacer": {"deadline_ms": 300.0}}

#: node, core object, method: where a fault is injected.
STAGES = [
    ("detector", "finder", "find"),
    ("matcher", "extractor", "embed"),
    ("matcher", "matcher", "match"),
    ("generator", "generator", "learn"),
    ("generator", "generator", "generate"),
    ("replacer", "replacer", "apply"),
]
WITHHOLDING = ("find",)


def send(probe, first: int, number: int, *, pause: float = 0.025) -> None:
    for i in range(first, first + number):
        probe.send(canary(i), STEP * (i + 1))
        time.sleep(pause)


def leaked(probe) -> list[int]:
    """Frames whose pattern can be seen in what left, raw or compressed."""
    shown = [(stamp // STEP - 1, frame) for stamp, frame in zip(probe.stamps(), probe.frames())]
    shown += [(msg.header.stamp.sec * 10 + msg.header.stamp.nanosec // STEP - 1,
               cv2.imdecode(np.array(msg.data), cv2.IMREAD_COLOR)) for msg in probe.compressed]
    return [index for index, frame in shown if leaks(frame, index)]


def test_the_search_finds_what_is_there_and_nothing_else():
    for i in range(20):
        assert leaks(canary(i), i)
        assert not leaks(canary(i + 1), i)
        assert leaks(cv2.GaussianBlur(canary(i), (0, 0), 0.6), i)
        covered = FakeReplacer().apply(canary(i), fake_cores()["detector"]["finder"].find(
            canary(i)).faces).frame
        assert not leaks(covered, i)


@pytest.mark.parametrize("node, core, method", STAGES, ids=[s[2] for s in STAGES])
def test_a_stage_that_raises_lets_no_face_out(context, node, core, method):
    cores = fake_cores()
    fault = Fault(getattr(cores[node][core], method), on=False)
    setattr(cores[node][core], method, fault)
    # Only a detector that says nothing costs frames; it alone is not waited for.
    overrides = SOON if method in WITHHOLDING else None
    with running(context, cores, overrides=overrides, probe={"compressed": True}) as (
            graph, probe):
        fault.on = True
        send(probe, 0, 12)
        assert settled(graph, 12)
        assert fault.calls > 0, "the fault was never met"
        time.sleep(0.05)
        assert leaked(probe) == []
        assert graph.node(node).health.total("failed.") > 0
        if method in WITHHOLDING:
            assert not probe.images
            assert graph.node("replacer").health.total("withheld.") == 12
        else:
            assert wait(lambda: len(probe.images) == 12)
            assert leaked(probe) == []
        # The node lives on: without the fault the stream is back, covered.
        fault.on = False
        before = len(probe.images)
        send(probe, 12, 8)
        assert wait(lambda: len(probe.images) >= before + 4)
        assert leaked(probe) == []
        assert all(runner.alive for runner in graph.runners.values())


def test_faults_that_come_and_go_in_every_stage_at_once(context):
    cores = fake_cores()
    faults = []
    for node, core, method in STAGES:
        fault = Fault(getattr(cores[node][core], method))
        setattr(cores[node][core], method, fault)
        faults.append(fault)
    rng = np.random.default_rng(7)
    with running(context, cores, overrides=SOON, probe={"compressed": True}) as (graph, probe):
        for i in range(60):
            for fault in faults:
                fault.on = bool(rng.random() < 0.3)
            send(probe, i, 1, pause=0.02)
        assert settled(graph, 60)
        time.sleep(0.05)
        assert probe.images and leaked(probe) == []


class LyingReplacer:
    """Says that everything is covered, and covers nothing."""

    def __init__(self, mask: int) -> None:
        self.mask, self.calls = mask, 0

    def apply(self, frame, faces, surrogates=None):
        from types import SimpleNamespace
        self.calls += 1
        return SimpleNamespace(frame=frame.copy(), covered_by=["surrogate"] * len(faces),
                               mask=np.full(frame.shape[:2], self.mask, np.uint8))


@pytest.mark.parametrize("mask", [0, 255])
def test_a_replacer_that_covers_nothing_is_found_out(context, mask):
    cores = fake_cores()
    liar = cores["replacer"]["replacer"] = LyingReplacer(mask)
    with running(context, cores) as (graph, probe):
        send(probe, 0, 8)
        assert settled(graph, 8)
        assert liar.calls == 8 and leaked(probe) == []
        # The node covers them itself.
        assert wait(lambda: len(probe.images) == 8)
        assert graph.node("replacer").health.values()["faces.solid"] == 8


def test_when_nothing_can_cover_the_frame_is_withheld(context, monkeypatch):
    monkeypatch.setattr("deid_ros.release.last_look.cover_solid", Fault(lambda: None))
    cores = fake_cores()
    cores["replacer"]["replacer"] = LyingReplacer(0)
    with running(context, cores) as (graph, probe):
        send(probe, 0, 8)
        assert settled(graph, 8)
        assert not probe.images
        assert graph.node("replacer").health.values()["withheld.failed"] == 8


def test_tables_of_other_frames_release_nothing(context):
    """A stray publisher of empty tables: same stamp, but another size or other bytes."""
    cores = fake_cores()
    cores["detector"]["finder"].find = Fault(lambda: None)
    with running(context, cores, overrides=SOON) as (graph, probe):
        stray = probe.create_publisher(PointCloud2, FACES, keep_last(20))
        assert wait(lambda: stray.get_subscription_count() >= 2)
        for i in range(8):
            stamp = STEP * (i + 1)
            probe.send(canary(i), stamp)
            tag = tag_of(probe.sent[stamp])
            for other in (FrameTag(tag.height, tag.width, tag.crc ^ 1),
                          FrameTag(tag.height + 1, tag.width, tag.crc)):
                stray.publish(to_table(empty_faces(0), header(stamp), other))
            stray.publish(to_table(empty_faces(0), header(stamp + 1), tag))
            time.sleep(0.03)
        assert settled(graph, 8)
        assert not probe.images
        assert graph.node("replacer").health.total("withheld.") == 8


class LeakyReplacerNode(ReplacerNode):
    """What must never be: a frame without its table leaves as it came."""

    def _release(self, decision) -> None:
        if decision.faces is None:
            self._image.publish(decision.frame.msg)
        else:
            super()._release(decision)


def test_the_canary_would_find_a_leak(context, monkeypatch):
    from deid_ros.ros import graph as graph_module
    monkeypatch.setitem(graph_module.NODES, "replacer", LeakyReplacerNode)
    cores = fake_cores()
    cores["detector"]["finder"].find = Fault(lambda: None)
    with running(context, cores, overrides=SOON) as (_, probe):
        send(probe, 0, 6)
        assert wait(lambda: len(probe.images) == 6)
        assert leaked(probe) == list(range(6))


def test_malformed_camera_messages_are_withheld_and_named(context):
    from deid_ros.ros.codec import image_of
    with running(context, fake_cores()) as (graph, probe):
        bad = []
        for name, value in (("encoding", "nv21"), ("step", 3), ("height", 0), ("width", 10_000),
                            ("data", [])):
            msg = image_of(canary(1), header(0))
            setattr(msg, name, value)
            bad.append(msg)
        for i, msg in enumerate(bad):
            probe.send(msg, STEP * (i + 1))
            time.sleep(0.02)
        send(probe, 10, 3)
        assert wait(lambda: len(probe.images) == 3)
        assert graph.node("replacer").health.values()["withheld.bad_frame"] == len(bad)
        assert leaked(probe) == []
        assert [to_bgr(msg).shape for msg in probe.images] == [(120, 160, 3)] * 3
