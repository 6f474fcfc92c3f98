"""A camera and a listener on real topics, and isolated contexts for ROS tests."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from deid_ros.config import load  # noqa: E402
from deid_ros.ros import topics  # noqa: E402
from deid_ros.ros.codec import image_of, stamp_ns, to_bgr  # noqa: E402
from deid_ros.ros.graph import Graph  # noqa: E402
from deid_ros.ros.qos import keep_last  # noqa: E402
from deid_ros.ros.runtime import Runner, ros_context  # noqa: E402

#: One domain for each test process, so that two runs beside each other never meet.
DOMAIN = 1 + os.getpid() % 100
CAMERA = "/camera/image_raw"
#: Generous: most tests are about what leaves, not about how fast this machine is.
PATIENT = {"replacer": {"deadline_ms": 5000.0, "queue": 100}, "detector": {"queue": 100}}


def wait(condition: Callable[[], Any], timeout: float = 8.0) -> bool:
    """Whether the condition came true in time."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def header(stamp: int, frame_id: str = "camera") -> Header:
    return Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id=frame_id)


class Probe(Node):
    """Publishes what a test sends and keeps what leaves.

    ``images``, ``compressed`` and ``infos`` hold the output messages in order.
    """

    def __init__(self, context: Context, *, topic: str = CAMERA, namespace: str = "",
                 compressed: bool = False, reliable: bool = True, outputs: bool = True) -> None:
        super().__init__("probe", context=context, namespace=namespace)
        kind = CompressedImage if topic.endswith("/compressed") else Image
        self.camera = self.create_publisher(kind, topic, keep_last(10, reliable=reliable))
        self.info = self.create_publisher(
            CameraInfo, topic.rsplit("/", 2 if kind is CompressedImage else 1)[0] + "/camera_info",
            keep_last(10))
        self.images: list[Image] = []
        self.compressed: list[CompressedImage] = []
        self.infos: list[CameraInfo] = []
        self.sent: dict[int, Any] = {}
        if outputs:
            self.create_subscription(Image, topics.IMAGE, self.images.append, keep_last(50))
            self.create_subscription(CameraInfo, topics.CAMERA_INFO, self.infos.append,
                                     keep_last(50))
        if compressed:
            self.create_subscription(CompressedImage, topics.IMAGE_COMPRESSED,
                                     self.compressed.append, keep_last(50))

    def close(self) -> None:
        """Nothing to finish."""

    def connected(self, *, listeners: int = 2) -> bool:
        """Whether the graph listens to the camera and publishes to us."""
        return (self.camera.get_subscription_count() >= listeners
                and self.count_publishers(self.resolve_topic_name(topics.IMAGE)) > 0)

    def send(self, msg: Any, stamp: int) -> None:
        """Publish a camera message, or a frame uint8 (H, W, 3), BGR, with this stamp (ns)."""
        if isinstance(msg, np.ndarray):
            msg = image_of(msg, header(stamp))
        else:
            msg.header = header(stamp)
        self.sent[stamp] = msg
        self.camera.publish(msg)

    def stamps(self) -> list[int]:
        """Stamps of the images that left (ns)."""
        return [stamp_ns(msg.header) for msg in list(self.images)]

    def frames(self) -> list[np.ndarray]:
        """The images that left, BGR."""
        return [to_bgr(msg) for msg in list(self.images)]


@pytest.fixture(name="context")
def context_fixture() -> Iterator[Context]:
    """An initialised context on the isolated domain, host only."""
    with ros_context(network="host", domain_id=DOMAIN) as made:
        yield made


@contextmanager
def running(context: Context, cores: dict | None = None, *, overrides: dict | None = None,
            probe: dict | None = None, namespace: str = "",
            **options: Any) -> Iterator[tuple[Graph, Probe]]:
    """A started graph and a probe that is connected to it.

    ``overrides`` are laid over ``PATIENT``.
    """
    settings = {node: {**PATIENT.get(node, {}), **(overrides or {}).get(node, {})}
                for node in {*PATIENT, *(overrides or {})}}
    graph = Graph(load(overrides=settings), context=context, cores=cores, namespace=namespace,
                  **options)
    listener = Runner(Probe(context, namespace=namespace, **(probe or {})))
    try:
        listener.start()
        with graph:
            assert wait(listener.node.connected), "the graph did not connect"
            yield graph, listener.node
    finally:
        listener.stop()


def settled(graph: Graph, frames: int, timeout: float = 8.0) -> bool:
    """Whether so many frames have left or been withheld."""
    health = graph.node("replacer").health
    return wait(lambda: health.total("out") + health.total("withheld.") >= frames, timeout)


class Fault:
    """Raises in place of a core call, for as long as it is ``on``.

    ``calls`` counts how often it did, so that a test cannot pass because the
    fault was never met.
    """

    def __init__(self, method: Callable, *, on: bool = True) -> None:
        self.method, self.on, self.calls = method, on, 0
        self.lock = threading.Lock()

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self.on:
            with self.lock:
                self.calls += 1
            raise RuntimeError("injected")
        return self.method(*args, **options)
