"""Who publishes images, for those who wait for them."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier

from deid_ros.ros import environment
from deid_ros.ros.runtime import ros_context
from deid_ros.ros.voice import Voice

__all__ = ["Seen", "image_topics", "look", "similar", "voice_of"]

_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_MOST = 4


class Seen(NamedTuple):
    """What is seen of a camera: ``publishers`` of ``topic``, and ``similar`` in words."""

    topic: str
    publishers: int
    similar: str
    middleware: str
    domain: str
    network: str


def image_topics(node: Node) -> list[str]:
    """The topics with images that somebody publishes, without those between the stages."""
    return sorted(name for name, kinds in node.get_topic_names_and_types()
                  if set(kinds) & set(_IMAGES) and node.count_publishers(name)
                  and not any(part.startswith("_") for part in name.split("/"))
                  and "/deidentified/" not in name)


def similar(topic: str, others: Iterable[str]) -> str:
    """'similar topics: ...' in a line, the most similar first."""
    others = [name for name in others if name != topic]
    close = difflib.get_close_matches(topic, others, n=_MOST, cutoff=0.3)
    close += [name for name in others if name not in close][:_MOST - len(close)]
    return "similar topics: " + ", ".join(close) if close else "no images are seen at all"


def voice_of(node: Any, topic: str, paused: Callable[[], bool]) -> Voice:
    """A voice that speaks in a node's log and looks every second.

    Args:
        node: a ``StageNode`` with the parameter ``deadline_ms``.
        topic: of the camera, in full.
        paused: whether nothing is to leave.
    """
    voice = Voice(topic, lambda: (node.count_publishers(topic),
                                  similar(topic, image_topics(node))),
                  say=node.get_logger().info, warn=node.get_logger().warning)

    def speak() -> None:
        voice.look(time.monotonic(), deadline=node.options["deadline_ms"] / 1e3, paused=paused())
    node.every(1.0, speak)
    return voice


def look(image_topic: str, *, seconds: float, network: str | None = None) -> Seen:
    """Look for a camera for a while, at most until it is there."""
    where = environment.prepare(network)
    with ros_context(network=network) as context:
        node = Node("deid_doctor", context=context, enable_rosout=False,
                    start_parameter_services=False)
        topic = node.resolve_topic_name(image_topic)
        end = time.monotonic() + seconds
        while not node.count_publishers(topic) and time.monotonic() < end:
            time.sleep(0.1)
        seen = Seen(topic, node.count_publishers(topic), similar(topic, image_topics(node)),
                    get_rmw_implementation_identifier(), os.environ.get("ROS_DOMAIN_ID", "0"),
                    where)
        node.destroy_node()
    return seen
