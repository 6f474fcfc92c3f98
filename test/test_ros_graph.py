"""The composed graph on real topics: what leaves, when, and what it looks like."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from ros_fakes import RED, fake_cores, scene  # noqa: E402
from ros_support import (  # noqa: E402
    CAMERA,
    context_fixture,  # noqa: F401
    header,
    running,
    settled,
    wait,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402

from deid_ros.messages.encodings import ENCODINGS  # noqa: E402
from deid_ros.ros.codec import bytes_array, covered_image  # noqa: E402

pytestmark = pytest.mark.ros

#: A tenth of a second, in the future of no clock.
STEP = 100_000_000


def play(probe, frames, *, first: int = STEP, step: int = STEP, pause: float = 0.03) -> list[int]:
    """Send frames at a camera's pace; their stamps (ns)."""
    stamps = []
    for i, frame in enumerate(frames):
        probe.send(frame, first + i * step)
        stamps.append(first + i * step)
        time.sleep(pause)
    return stamps


def red_pixels(frame: np.ndarray) -> int:
    return int(((frame[..., 2] > 200) & (frame[..., 1] < 80)).sum())


def test_every_frame_leaves_covered_with_its_own_header(context):
    with running(context, fake_cores()) as (graph, probe):
        stamps = play(probe, [scene(i, faces=i % 3) for i in range(30)])
        assert settled(graph, 30) and wait(lambda: len(probe.images) == 30)
        assert probe.stamps() == stamps
        for i, (msg, frame) in enumerate(zip(probe.images, probe.frames())):
            assert msg.header == probe.sent[stamps[i]].header
            assert red_pixels(scene(i, faces=i % 3)) == (i % 3) * 400
            assert red_pixels(frame) == 0
        values = graph.values()
        assert values["replacer"]["faces.surrogate"] >= 20
        assert not any(name.startswith("failed") for v in values.values() for name in v)


def test_a_frame_without_faces_is_published_unchanged(context):
    with running(context, fake_cores(), probe={"compressed": True}) as (graph, probe):
        stamps = play(probe, [scene(i, faces=0) for i in range(5)])
        assert wait(lambda: len(probe.images) == 5)
        assert [msg == probe.sent[stamp] for msg, stamp in zip(probe.images, stamps)] == [True] * 5
        assert wait(lambda: len(probe.compressed) == 5)
        assert probe.compressed[0].header == probe.images[0].header


def test_outside_of_the_faces_every_byte_stays(context):
    with running(context, fake_cores()) as (graph, probe):
        play(probe, [scene(3, faces=2)])
        assert wait(lambda: len(probe.images) == 1)
        before, after = scene(3, faces=2), probe.frames()[0]
        changed = (before != after).any(axis=2)
        assert 700 < changed.sum() <= 800
        assert red_pixels(after) == 0


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if "mono" not in name])
def test_encodings_stay_what_they_are(context, encoding):
    frame = np.full((40, 60, 3), 110, np.uint8)
    frame[10:30, 20:40] = RED
    size = ENCODINGS[encoding].pixel_bytes
    step = 60 * size + 4 * (encoding != "nv24")
    rows = int(40 * ENCODINGS[encoding].planes)
    blank = Image(height=40, width=60, encoding=encoding, step=step,
                  data=bytes_array(np.zeros((rows, step), np.uint8)))
    msg = covered_image(blank, frame, np.full((40, 60), 255, np.uint8))
    with running(context, fake_cores(), overrides={"replacer": {"replace": "solid"}}) as (
            graph, probe):
        play(probe, [msg])
        assert wait(lambda: len(probe.images) == 1)
        assert (probe.images[0].encoding, probe.images[0].step) == (encoding, msg.step)
        assert red_pixels(probe.frames()[0][12:28, 22:38]) == 0
        assert set(graph.runners) == {"detector", "replacer"}  # all that this needs


def test_compressed_camera(context):
    topic = CAMERA + "/compressed"
    overrides = {node: {"image_topic": topic} for node in ("detector", "replacer")}
    with running(context, fake_cores(), overrides=overrides,
                 probe={"topic": topic, "compressed": True}) as (_, probe):
        for i, faces in enumerate((0, 1)):
            data = cv2.imencode(".png", scene(i, faces=faces))[1]
            probe.send(CompressedImage(format="png", data=bytes_array(data)), STEP * (i + 1))
        assert wait(lambda: len(probe.compressed) == 2 and len(probe.images) == 2)
        assert probe.compressed[0] == probe.sent[STEP]
        shown = cv2.imdecode(np.array(probe.compressed[1].data), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(shown, probe.frames()[1])
        assert red_pixels(shown) == 0


def test_camera_info_leaves_with_its_frame_and_never_without(context):
    with running(context, fake_cores()) as (_, probe):
        for i in range(1, 4):
            probe.info.publish(CameraInfo(header=header(STEP * i), width=160, height=120))
        time.sleep(0.3)
        assert not probe.infos
        play(probe, [scene(i) for i in range(2)])
        assert wait(lambda: len(probe.infos) == 2)
        assert [info.header for info in probe.infos] == [msg.header for msg in probe.images]


def test_stamps_that_repeat_jump_back_or_are_zero(context):
    with running(context, fake_cores()) as (graph, probe):
        stamps = [0, 0, 0, 5 * STEP, 6 * STEP, STEP, STEP, 2 * STEP, 0]
        for i, stamp in enumerate(stamps):
            probe.send(scene(i), stamp)
            time.sleep(0.03)
        assert wait(lambda: len(probe.images) == len(stamps))
        assert probe.stamps() == stamps
        assert not any(red_pixels(frame) for frame in probe.frames())


def test_resolution_and_encoding_change_in_mid_stream(context):
    with running(context, fake_cores()) as (_, probe):
        frames = [scene(0), scene(1, height=90, width=200), scene(2)[:, :100].copy(), scene(3)]
        play(probe, frames)
        assert wait(lambda: len(probe.images) == 4)
        assert [(m.height, m.width) for m in probe.images] == [f.shape[:2] for f in frames]


def test_best_effort_camera(context):
    with running(context, fake_cores(), probe={"reliable": False}) as (_, probe):
        play(probe, [scene(i) for i in range(8)])
        assert wait(lambda: len(probe.images) >= 6)


def test_two_cameras_in_two_namespaces_do_not_meet(context):
    overrides = {node: {"image_topic": "image_raw"} for node in ("detector", "replacer")}
    with running(context, fake_cores(), overrides=overrides, namespace="left",
                 probe={"topic": "image_raw"}) as (_, left), \
            running(context, fake_cores(), overrides=overrides, namespace="right",
                    probe={"topic": "image_raw"}) as (_, right):
        for i in range(5):
            left.send(scene(i, faces=1), STEP * (i + 1))
            right.send(scene(i, faces=2), STEP * (i + 1))
            time.sleep(0.04)
        assert wait(lambda: len(left.images) == len(right.images) == 5)
        for probe in (left, right):
            assert not any(red_pixels(frame) for frame in probe.frames())
        assert (left.frames()[0] != right.frames()[0]).any()


def test_what_the_detector_does_not_get_is_withheld(context):
    """More frames than it can take: the newest win, and none leaves unseen."""
    cores = fake_cores()
    find = cores["detector"]["finder"].find

    def slow(*args, **options):
        time.sleep(0.1)
        return find(*args, **options)
    cores["detector"]["finder"].find = slow
    newest_wins = {"detector": {"queue": 1}, "replacer": {"queue": 30}}
    with running(context, cores, overrides=newest_wins) as (graph, probe):
        play(probe, [scene(i) for i in range(30)], pause=0.02)
        assert settled(graph, 30)
        time.sleep(0.3)
        withheld = graph.node("replacer").health.total("withheld.")
        assert 0 < len(probe.images) == 30 - withheld < 30
        assert not any(red_pixels(frame) for frame in probe.frames())
        stamps = probe.stamps()
        assert stamps == sorted(stamps)
        # The newest frames are those that leave: the backlog does not grow.
        assert stamps[-1] >= 28 * STEP


def test_a_matcher_that_comes_late_still_gives_every_face_a_surrogate(context):
    cores = fake_cores()
    fault = cores["matcher"]["extractor"].embed
    broken = {"on": True}

    def embed(chips):
        if broken["on"]:
            raise RuntimeError("not yet")
        return fault(chips)
    cores["matcher"]["extractor"].embed = embed
    with running(context, cores) as (graph, probe):
        play(probe, [scene(i) for i in range(10)], pause=0.02)
        broken["on"] = False
        health = graph.node("replacer").health
        for i in range(10, 200):
            probe.send(scene(i), STEP * i)
            time.sleep(0.03)
            if health.values().get("faces.surrogate", 0):
                break
        assert health.values()["faces.surrogate"] > 0
