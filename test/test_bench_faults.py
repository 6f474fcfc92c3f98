"""Processes killed and stopped in short: no face leaks, the stream comes back; and the soak."""

from __future__ import annotations

import argparse
import json
import time

import cv2
import numpy as np
import pytest

pytest.importorskip("skimage")

from deid_ros.bench import faults, soak  # noqa: E402
from deid_ros.bench.canary import Canary  # noqa: E402
from deid_ros.config import file_of, load  # noqa: E402
from deid_ros.errors import ConfigError  # noqa: E402

SSD = {"detector": {"detector": ["ssd"]}, "replacer": {"deadline_ms": 1000.0}}


@pytest.fixture(scope="module")
def canary() -> Canary:
    return Canary(320, 240, 2)


@pytest.fixture
def isolated(monkeypatch):
    pytest.importorskip("rclpy")
    from ros_support import DOMAIN
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))


@pytest.fixture
def models():
    for path in ("DB/gallery.npz", "models/generator.onnx"):
        if not file_of(path).is_file():
            pytest.skip(f"{path} has not been built")


def test_the_pattern_is_found_in_its_own_frame_only(canary):
    for index, frame in enumerate(canary.frames):
        assert canary.found(frame, index)
        assert not canary.found(frame, (index + 1) % len(canary))
        assert not canary.flat(frame, index)


def test_a_part_of_a_face_and_a_compressed_one_are_found(canary):
    left, top, side = canary._squares[0][1]
    frame = np.full_like(canary.frames[0], 90)
    assert not canary.found(frame, 0) and canary.flat(frame, 0)
    half = np.s_[top:top + side, left:left + side // 2]
    frame[half] = canary.frames[0][half]
    assert canary.found(frame, 0)
    done, data = cv2.imencode(".jpg", canary.frames[3], [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert done and canary.found(cv2.imdecode(data, cv2.IMREAD_COLOR), 3)


def test_other_sizes_and_no_faces():
    empty = Canary(160, 120, 0)
    assert not empty.found(empty.frames[0], 0) and not empty.flat(empty.frames[0], 0)
    canary = Canary(160, 120, 1)
    assert not canary.found(np.zeros((40, 50, 3), np.uint8), 0)


@pytest.mark.ros
def test_the_watcher_finds_what_a_leaky_pipeline_lets_out(isolated, canary):
    """A 'pipeline' that publishes what it gets, and one that covers: told apart."""
    from ros_support import wait
    from sensor_msgs.msg import Image

    from deid_ros.ros import topics
    from deid_ros.ros.driver import Driver
    from deid_ros.ros.qos import keep_last
    from deid_ros.ros.runtime import Runner, ros_context
    from deid_ros.ros.watcher import Watcher
    with ros_context(network="host") as context:
        watcher = Runner(Watcher(canary, topic="camera/image_raw", context=context, rate=20.0,
                                 namespace="leak"))
        other = Runner(Driver([canary.frames[0]], topic="unused", context=context,
                              namespace="leak", rate=1.0))
        out = other.node.create_publisher(Image, topics.IMAGE, keep_last(10))
        leaky, stale = [True], []

        def through(msg: Image) -> None:
            stale.append(msg)
            if not leaky[0]:
                msg.data = bytes(len(msg.data))
            out.publish(msg)
        other.node.create_subscription(Image, "camera/image_raw", through, keep_last(10))
        watcher.start()
        other.start()
        try:
            node = watcher.node
            assert wait(lambda: node.connected(1))
            node.drive()
            assert wait(lambda: len(node.came) >= 5)
            assert len(node.leaks) >= 5 and "shows a face" in node.leaks[0]
            leaky[0] = False
            time.sleep(0.3)
            node.leaks.clear()
            seen = len(node.came)
            assert wait(lambda: len(node.came) >= seen + 5)
            assert not node.leaks and node.came[-1].flat
            # Pixels of one frame under the stamp of another.
            node.drive(False)
            mixed = stale[-1]
            index = node._numbers[next(reversed(node._numbers))][0]
            mixed.data = canary.frames[(index - 2) % len(canary)].tobytes()
            out.publish(mixed)
            assert wait(lambda: node.leaks) and "of frame" in node.leaks[0]
        finally:
            watcher.stop()
            other.stop()


@pytest.mark.ros
def test_each_process_killed_and_stopped(isolated, models):
    args = argparse.Namespace(runs=1, seconds=0.0, size=(320, 240), faces=1, rate=8.0, hold=1.5,
                              within=60.0)
    result = faults.measure(load(overrides=SSD), args)
    json.dumps(result)
    print(faults.text(result))
    assert result["leaks"] == [] and result["passed"]
    (run,) = result["runs"]
    nodes = ["detector", "matcher", "generator", "replacer"]
    assert [(f["kind"], f["node"]) for f in run["faults"]] == [
        (kind, node) for kind in ("kill", "stop") for node in nodes]
    assert run["restarts"] == dict.fromkeys(nodes, 1)
    assert all(f["stream_s"] is not None and f["surrogates_s"] is not None
               for f in run["faults"])
    assert run["searched"] > 50 and run["withheld"]
    assert "slowest" in faults.text(result)


@pytest.mark.ros
@pytest.mark.parametrize("runtime", ["composed", "processes"])
def test_a_short_soak(isolated, runtime):
    config = load(overrides={**SSD, "replacer": {"replace": "solid", "deadline_ms": 5000.0}})
    result = soak.measure(config, argparse.Namespace(
        runtime=runtime, seconds=4.0, size=(160, 120), faces=1, rate=8.0))
    json.dumps(result)
    names = {"composed"} if runtime == "composed" else {"detector", "replacer"}
    assert set(result["processes"]) == names
    for process in result["processes"].values():
        assert process["rss_mb"][0] > 10 and process["files"][0] > 3
        assert abs(process["growth"]) < 0.2
    assert result["frames_out"] > 5 and len(result["samples"][min(names)]) >= 5
    assert "open files" in soak.text(result)


@pytest.mark.parametrize("bench, changes", [(faults, {"runs": 0}), (faults, {"faces": 0}),
                                            (faults, {"hold": 0}), (soak, {"seconds": 1})])
def test_options_out_of_range_are_refused(bench, changes):
    parser = argparse.ArgumentParser()
    bench.add_options(parser)
    args = parser.parse_args([])
    vars(args).update(changes)
    with pytest.raises(ConfigError, match=next(iter(changes))):
        bench.measure(load(), args)
