"""Writes topics to a rosbag2, byte for byte as they came."""

from __future__ import annotations

import importlib
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from rclpy.qos import QoSProfile
from rclpy.topic_endpoint_info import TopicEndpointInfo

from deid_ros.config import as_list
from deid_ros.errors import ConfigError
from deid_ros.ros import topics
from deid_ros.ros.bag import BagWriter
from deid_ros.ros.base import StageNode
from deid_ros.ros.qos import keep_last
from deid_ros.ros.runtime import run_node

__all__ = ["RecorderNode", "main"]


def message_type(name: str) -> type:
    """The Python class of ``package/msg/Type``."""
    package, _, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), kind)


class RecorderNode(StageNode):
    """Topics in, a rosbag2 out (MCAP or SQLite); the bag is finished by ``close``.

    Messages are taken and written as raw CDR. Public topics of this package are
    subscribed to at once, others as soon as somebody publishes them. A topic that
    is not public carries raw faces: it is recorded if asked for, with a warning.

    Raises:
        ConfigError: no folder is named.
        MediaError: the folder exists already.
    """

    NODE = "recorder"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        settings = self.options
        if not settings["output"]:
            raise ConfigError("recorder.output is empty; name a folder for the rosbag2.")
        self._bag: BagWriter | None = BagWriter(Path(settings["output"]).expanduser(),
                                                storage=settings["storage"])
        public = {self.resolve_topic_name(name): kind for name, kind in topics.PUBLIC.items()}
        self._waiting = []
        for name in as_list(settings["topics"]):
            topic = self.resolve_topic_name(name)
            if topic in public:
                self._record(topic, public[topic], keep_last(30))
            else:
                self.get_logger().warning(f"{topic} is recorded as it is: nothing in it is "
                                          "de-identified by this package")
                self._waiting.append(topic)
        self._look()
        self.every(0.25, self._look)

    def _look(self) -> None:
        for topic in list(self._waiting):
            publishers = self.get_publishers_info_by_topic(topic)
            if publishers:
                self._waiting.remove(topic)
                self._record(topic, publishers[0].topic_type, fitting(publishers))

    def _record(self, topic: str, kind: str, qos: QoSProfile) -> None:
        assert self._bag is not None
        connection = self._bag.add(topic, kind, qos)

        def write(data: bytes) -> None:
            if self._bag is not None:
                self._bag.write(connection, self.get_clock().now().nanoseconds,
                                data).add_done_callback(self._written)
        self.input(message_type(kind), topic, write, qos, raw=True)

    def _written(self, done: Future) -> None:
        error = done.exception()
        if isinstance(error, Exception):
            self.failed("write", error)
        else:
            self.health.count("out")

    def close(self) -> None:
        """Write the bag's index and metadata."""
        bag, self._bag = self._bag, None
        if bag is not None:
            bag.close()
        super().close()


def fitting(publishers: list[TopicEndpointInfo]) -> QoSProfile:
    """What receives from all of these publishers, reliably if all offer it."""
    from rclpy.qos import ReliabilityPolicy
    offers = {p.qos_profile.reliability for p in publishers}
    return keep_last(30, reliable=ReliabilityPolicy.BEST_EFFORT not in offers)


def main(argv: list[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(RecorderNode, argv)


if __name__ == "__main__":
    sys.exit(main())
