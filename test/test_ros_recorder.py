"""The recorder: a rosbag2 that opens anywhere, byte for byte what was published."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy")

from ros_fakes import fake_cores, scene  # noqa: E402
from ros_support import CAMERA, context_fixture, running, wait  # noqa: E402, F401
from rosbags.highlevel import AnyReader  # noqa: E402

from deid_ros.ros.codec import stamp_ns  # noqa: E402
from deid_ros.ros.recorder_node import RecorderNode  # noqa: E402
from deid_ros.ros.runtime import Runner  # noqa: E402

pytestmark = pytest.mark.ros

STEP = 100_000_000


def read(bag) -> dict[str, list]:
    with AnyReader([bag]) as reader:
        messages: dict[str, list] = {c.topic: [] for c in reader.connections}
        for connection, _, data in reader.messages():
            messages[connection.topic].append(reader.deserialize(data, connection.msgtype))
    return messages


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_of_output_and_input(context, tmp_path, storage):
    bag = tmp_path / "bag"
    overrides = {"recorder": {"output": str(bag), "storage": storage,
                              "topics": f"deidentified/image,deidentified/regions,{CAMERA}"}}
    with running(context, fake_cores(), overrides=overrides, record=True) as (graph, probe):
        assert wait(lambda: probe.connected(listeners=3))
        for i in range(10):
            probe.send(scene(i), STEP * (i + 1))
            time.sleep(0.03)
        assert wait(lambda: len(probe.images) == 10)
        assert wait(lambda: graph.node("recorder").health.total("out") == 30)
    messages = read(bag)
    came = messages["/deidentified/image"]
    assert {stamp_ns(m.header) for m in came} == {STEP * (i + 1) for i in range(10)}
    assert {stamp_ns(m.header) for m in messages[CAMERA]} == {stamp_ns(m.header) for m in came}
    for message, image in zip(came, probe.images):
        np.testing.assert_array_equal(message.data, np.frombuffer(image.data, np.uint8))
        assert message.header.frame_id == "camera" and message.encoding == "bgr8"
    assert len(messages["/deidentified/regions"][0].points) == 8
    with AnyReader([bag]) as reader:
        connection = next(c for c in reader.connections if c.topic == CAMERA)
        assert connection.msgtype == "sensor_msgs/msg/Image" and connection.msgdef
        assert connection.digest.startswith("RIHS01_")
        assert connection.ext.offered_qos_profiles[0].reliability.name == "RELIABLE"


def test_a_bag_without_messages_is_a_bag_too(context, tmp_path):
    recorder = Runner(RecorderNode(context=context, overrides={"output": str(tmp_path / "bag")}))
    recorder.start()
    recorder.stop()
    assert (tmp_path / "bag" / "metadata.yaml").is_file()


def test_the_folder_of_another_bag_is_left_alone(context, tmp_path):
    from deid_ros.errors import MediaError
    (tmp_path / "bag").mkdir()
    with pytest.raises(MediaError, match="exists already.*another folder"):
        RecorderNode(context=context, overrides={"output": str(tmp_path / "bag")})
