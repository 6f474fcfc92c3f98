"""Writes topics to a rosbag2, byte for byte as they came."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from rclpy.qos import QoSProfile
from rclpy.topic_endpoint_info import TopicEndpointInfo

from deid_ros.config import as_list
from deid_ros.errors import ConfigError, MediaError
from deid_ros.ros import topics
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
        from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
        from rosbags.typesys import Stores, get_typestore
        distribution = f"ROS2_{os.environ.get('ROS_DISTRO', '').upper()}"
        self._types = get_typestore(getattr(Stores, distribution, Stores.ROS2_KILTED))
        path = Path(settings["output"]).expanduser()
        try:
            self._writer: Any = Writer(path, version=9, storage_plugin={
                "mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[settings["storage"]])
            self._writer.open()
        except WriterError as error:
            raise MediaError(f"{error} Name another folder.") from None
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
        connection = self._writer.add_connection(
            topic, kind, typestore=self._types, offered_qos_profiles=[bag_qos(qos)])

        def write(data: bytes) -> None:
            if self._writer is not None:
                self._writer.write(connection, self.get_clock().now().nanoseconds, data)
                self.health.count("out")
        self.input(message_type(kind), topic, write, qos, raw=True)

    def close(self) -> None:
        """Write the bag's index and metadata."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        super().close()


def fitting(publishers: list[TopicEndpointInfo]) -> QoSProfile:
    """What receives from all of these publishers, reliably if all offer it."""
    from rclpy.qos import ReliabilityPolicy
    offers = {p.qos_profile.reliability for p in publishers}
    return keep_last(30, reliable=ReliabilityPolicy.BEST_EFFORT not in offers)


def bag_qos(qos: QoSProfile) -> Any:
    """The same quality of service in the words of rosbags."""
    from rosbags.interfaces import (
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )
    never = QosTime(9223372036, 854775807)
    return Qos(history=QosHistory(int(qos.history)), depth=qos.depth,
               reliability=QosReliability(int(qos.reliability)),
               durability=QosDurability(int(qos.durability)), deadline=never, lifespan=never,
               liveliness=QosLiveliness.AUTOMATIC, liveliness_lease_duration=never,
               avoid_ros_namespace_conventions=False)


def main(argv: list[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(RecorderNode, argv)


if __name__ == "__main__":
    sys.exit(main())
