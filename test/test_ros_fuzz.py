"""Thousands of malformed and random messages for every subscription of every node.

Nothing may crash, nothing may leave, and memory must stay what it is. What a node
makes of a message does not depend on how it came, so most are handed to the callbacks
of the subscriptions; a part goes over real topics, also as bytes that are no message
at all.
"""

from __future__ import annotations

import gc
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy")

import cv2  # noqa: E402
from ros_fakes import FakeMatcher, fake_cores, scene  # noqa: E402
from ros_support import context_fixture, header, running, wait  # noqa: E402, F401
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2  # noqa: E402

from deid_ros.bench.machine import rss_mb  # noqa: E402
from deid_ros.faces import CHIP_NONE, FACE, empty_faces, match_dtype  # noqa: E402
from deid_ros.ros import topics  # noqa: E402
from deid_ros.ros.codec import FrameTag, bytes_array, image_of, tag_of  # noqa: E402
from deid_ros.ros.graph import NODES  # noqa: E402
from deid_ros.ros.qos import keep_last  # noqa: E402
from deid_ros.ros.tables import to_stack, to_table  # noqa: E402

pytestmark = pytest.mark.ros

NUMBER = 2000
#: MiB that a process may grow by while a subscription is fuzzed.
GROWTH = 24.0

ENCODINGS = ["rgb8", "bgr8", "mono8", "rgba8", "bgra8", "mono16", "yuv422", "yuv422_yuy2",
             "bayer_rggb8", "bayer_gbrg8", "32FC1", "nv21", "", "bgr8 ", "\x00", "é" * 40]
SIZES = [0, 1, 2, 3, 7, 16, 33, 64, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1]
STAMPS = [0, 1, 10**9, 2**31 * 10**9 - 1]


def some(rng, values):
    return values[int(rng.integers(len(values)))]


def noise(rng, most: int = 2000):
    return bytes_array(rng.integers(0, 256, int(rng.integers(0, most)), np.uint8))


def cut(rng, data):
    """Something that was all right, shortened, lengthened or with other bytes in it."""
    data = data[:]
    how = int(rng.integers(4))
    if how == 0:
        return data[:int(rng.integers(0, len(data) + 1))]
    if how == 1:
        data.extend(noise(rng, 64))
    elif how == 2:
        for place in rng.integers(0, max(len(data), 1), 8 if len(data) else 0):
            data[int(place)] = int(rng.integers(256))
    return data


def any_image(rng, i: int) -> Image:
    frame = scene(i % 50, faces=int(rng.integers(0, 3)), height=66, width=160)
    msg = image_of(frame, header(some(rng, STAMPS)))
    for _ in range(int(rng.integers(0, 4))):
        what = int(rng.integers(7))
        if what == 0:
            msg.encoding = some(rng, ENCODINGS)
        elif what == 1:
            msg.height = some(rng, SIZES)
        elif what == 2:
            msg.width = some(rng, SIZES)
        elif what == 3:
            msg.step = some(rng, SIZES)
        elif what == 4:
            msg.data = cut(rng, msg.data)
        elif what == 5:
            msg.is_bigendian = int(rng.integers(256))
        else:
            msg.data = noise(rng)
    return msg


def any_compressed(rng, i: int) -> CompressedImage:
    frame = scene(i % 50, faces=1, height=66, width=64)
    kind = some(rng, [".jpg", ".png", ".bmp"])
    data = bytes_array(cv2.imencode(kind, frame)[1])
    if rng.random() < 0.8:
        data = cut(rng, data) if rng.random() < 0.8 else noise(rng)
    return CompressedImage(header=header(some(rng, STAMPS)), data=data,
                           format=some(rng, ["jpeg", "png", "bgr8; jpeg compressed bgr8", "", "gif",
                                             "16UC1; compressedDepth"]))


def any_rows(rng, dtype, most: int = 4) -> np.ndarray:
    """Rows of random bytes, or of sensible ones with some senseless numbers."""
    rows = np.frombuffer(rng.bytes(dtype.itemsize * int(rng.integers(0, most))), dtype).copy()
    if rng.random() < 0.5 and dtype == FACE:
        rows = empty_faces(len(rows))
        rows["track_id"], rows["chip"], rows["trusted"] = 1 + np.arange(len(rows)), CHIP_NONE, 1
        rows["width"] = rows["height"] = 20
        rows["scale"] = some(rng, [1.0, 0.0, -1.0, np.nan, np.inf, 1e30])
        rows["yaw"] = some(rng, [0.0, 90.0, np.nan, -np.inf])
        rows["x_offset"] = some(rng, [0, 5, -50, 2**31 - 1, -2**31])
        rows["width"] = some(rng, [20, 0, -1, 2**31 - 1, 3000])
    return rows


def any_table(rng, dtype, tagged: bool) -> PointCloud2:
    tag = FrameTag(*(int(n) for n in rng.integers(0, 2**32, 3))) if tagged else None
    msg = to_table(any_rows(rng, dtype), header(some(rng, STAMPS)), tag)
    for _ in range(int(rng.integers(0, 3))):
        what = int(rng.integers(8))
        if what == 0:
            msg.data = cut(rng, msg.data)
        elif what == 1:
            msg.width = some(rng, SIZES)
        elif what == 2:
            msg.height = some(rng, SIZES)
        elif what == 3:
            msg.point_step = some(rng, SIZES)
        elif what == 4:
            msg.row_step = some(rng, SIZES)
        elif what == 5:
            msg.fields = msg.fields[:int(rng.integers(0, len(msg.fields) + 1))]
        elif what == 6 and msg.fields:
            msg.fields[0].count = some(rng, SIZES)
        else:
            msg.data = noise(rng)
    return msg


def any_stack(rng, channels: int) -> Image:
    side = int(rng.integers(1, 24))
    pictures = rng.integers(0, 256, (int(rng.integers(1, 3)), side, side, channels), np.uint8)
    msg = to_stack(pictures, header(some(rng, STAMPS)),
                   FrameTag(*(int(n) for n in rng.integers(0, 2**32, 3))))
    for _ in range(int(rng.integers(0, 3))):
        name = some(rng, ["height", "width", "step", "encoding", "data"])
        setattr(msg, name, some(rng, ENCODINGS) if name == "encoding" else
                cut(rng, msg.data) if name == "data" else some(rng, SIZES))
    return msg


def any_info(rng, _: int) -> CameraInfo:
    return CameraInfo(header=header(int(rng.integers(0, 2**50))), width=some(rng, SIZES),
                      height=some(rng, SIZES), d=[float("nan")] * int(rng.integers(0, 9)))


MATCHES = [match_dtype(3), match_dtype(1), match_dtype(129)]

#: node, callback, kind of message.
SUBSCRIPTIONS = {
    "detector image": ("detector", "_on_image", any_image),
    "detector compressed": ("detector", "_on_image", any_compressed),
    "detector matches": ("detector", "_on_matches",
                         lambda rng, _: any_table(rng, some(rng, MATCHES), False)),
    "matcher faces": ("matcher", "_on_faces", lambda rng, _: any_table(rng, FACE, True)),
    "matcher chips": ("matcher", "_on_chips", lambda rng, _: any_stack(rng, 3)),
    "generator matches": ("generator", "_on_matches",
                          lambda rng, _: any_table(rng, some(rng, MATCHES), False)),
    "generator faces": ("generator", "_on_faces", lambda rng, _: any_table(rng, FACE, True)),
    "replacer image": ("replacer", "_on_image", any_image),
    "replacer compressed": ("replacer", "_on_image", any_compressed),
    "replacer faces": ("replacer", "_on_faces", lambda rng, _: any_table(rng, FACE, True)),
    "replacer surrogates": ("replacer", "_on_surrogates", lambda rng, _: any_stack(rng, 4)),
    "replacer info": ("replacer", "_on_info", any_info),
}


class Recorder:
    """Keeps count of what a node publishes on the public topics."""

    def __init__(self, node) -> None:
        self.number = 0
        for name in ("_image", "_compressed", "_info", "_regions"):
            if hasattr(node, name):
                setattr(node, name, self)

    def publish(self, _) -> None:
        self.number += 1

    def get_subscription_count(self) -> int:
        return 1


@pytest.mark.parametrize("name", SUBSCRIPTIONS)
def test_whatever_comes_nothing_leaves(context, name):
    node_name, method, make = SUBSCRIPTIONS[name]
    cores = fake_cores()[node_name]
    if node_name == "replacer":
        from deid_ros.replacer import Replacer
        cores = {"replacer": Replacer()}
    node = NODES[node_name](context=context, **cores)
    node.complain = lambda *_: None   # thousands of log lines prove nothing
    out = Recorder(node)
    callback = node.guarded(getattr(node, method))
    rng = np.random.default_rng(sum(map(ord, name)))
    for i in range(200):              # whatever is made once is made
        callback(make(rng, i))
    gc.collect()
    before = rss_mb()
    for i in range(NUMBER):
        callback(make(rng, i))
    gc.collect()
    assert rss_mb() - before < GROWTH
    assert out.number == 0
    values = node.health.values()
    if name not in ("replacer info",):
        assert sum(number for key, number in values.items()
                   if key.startswith(("failed.", "dropped."))) or "_on_matches" in method \
            or node_name == "replacer", values
    node.destroy_node()


def test_senseless_rows_for_the_right_frame_cover_or_withhold(context):
    """The table is that of the frame, but its rows are noise: no error gets past the proof."""
    from deid_ros.replacer import Replacer
    node = NODES["replacer"](context=context, replacer=Replacer(),
                             overrides={"deadline_ms": 1000.0})
    node.complain = lambda *_: None
    sent = []
    node._publish = lambda output, faces: sent.append((output, faces))
    rng = np.random.default_rng(5)
    for i in range(400):
        msg = image_of(scene(i % 20, height=66, width=64), header(i + 1))
        tag = tag_of(msg)
        rows = any_rows(rng, FACE)
        pictures = rng.integers(0, 256, (max(len(rows), 1), 16, 16, 4), np.uint8)
        node.guarded(node._on_image)(msg)
        node.guarded(node._on_faces)(to_table(rows, header(i + 1), tag))
        node.guarded(node._on_surrogates)(to_stack(pictures, header(i + 1), tag))
        output, faces = sent.pop() if sent else (None, ())
        if len(faces):
            for face in faces:
                x, y = int(face["x_offset"]), int(face["y_offset"])
                w, h = int(face["width"]), int(face["height"])
                part = np.s_[max(y, 0):max(min(y + h, 66), 0), max(x, 0):max(min(x + w, 64), 0)]
                before = np.frombuffer(msg.data, np.uint8).reshape(66, 64, 3)[part]
                after = np.frombuffer(output.image.data, np.uint8).reshape(66, 64, 3)[part]
                assert not before.size or (before != after).any()
    values = node.health.values()
    assert values["out"] > 100
    assert values["out"] + node.health.total("withheld.") + len(node._queue) == 400
    node.destroy_node()


def test_the_real_stages_survive_senseless_tables(context):
    from deid_ros.config import file_of
    if not file_of("models/generator.onnx").is_file():
        pytest.skip("models/generator.onnx has not been built")
    node = NODES["generator"](context=context)
    node.complain = lambda *_: None
    stacks = []
    node._surrogates = SimpleNamespace(publish=stacks.append)
    rng = np.random.default_rng(9)
    before = rss_mb()
    for _ in range(300):
        rows = any_rows(rng, FACE, 3)
        tag = FrameTag(1, 2, 3)
        node.guarded(node._on_faces)(to_table(rows, header(1), tag))
    assert len(stacks) >= 5 and node.health.total("failed.") > 100
    assert rss_mb() - before < 500
    node.destroy_node()


def test_over_topics_also_what_is_no_message(context):
    """Random bytes where a message should be: every node lives on and goes on working."""
    cores = fake_cores()
    cores["matcher"]["matcher"] = FakeMatcher()
    with running(context, cores, overrides={"replacer": {"deadline_ms": 300.0}}) as (
            graph, probe):
        rng = np.random.default_rng(3)
        topic = {topics.FACES: PointCloud2, topics.MATCHES: PointCloud2, topics.CHIPS: Image,
                 topics.SURROGATES: Image}
        strays = [probe.create_publisher(kind, name, keep_last(10)) for name, kind in topic.items()]
        strays.append(probe.camera)
        time.sleep(0.3)
        for i in range(150):
            for stray in strays:
                size = int(rng.integers(0, 200))
                stray.publish(b"\x00\x01\x00\x00" * bool(i % 3) + rng.bytes(size))
            if i % 10 == 0:
                time.sleep(0.005)
        time.sleep(0.3)
        assert not probe.images
        assert all(runner.alive for runner in graph.runners.values())
        for i in range(5):
            probe.send(scene(i, faces=0), 10**8 * (i + 1))
            time.sleep(0.05)
        assert wait(lambda: len(probe.images) >= 3)
