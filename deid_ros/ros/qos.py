"""Quality of service, and a camera subscription that fits what the camera offers.

Best-effort subscriptions to large images over default transports lose nearly
every frame, and a reliable subscription to a best-effort camera receives
nothing: so the subscription is reliable if every publisher offers it, else best
effort, and changes when the publishers change. Likewise for the message type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from deid_ros.errors import ConfigError
from deid_ros.ros.base import StageNode

__all__ = ["CameraSubscription", "OUTPUT", "keep_last", "latched"]

#: Seconds between two looks at who publishes the camera topic.
_LOOK_S = 0.5
_RELIABILITY = {"reliable": ReliabilityPolicy.RELIABLE,
                "best_effort": ReliabilityPolicy.BEST_EFFORT}
_TYPES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}


def keep_last(depth: int, *, reliable: bool = True) -> QoSProfile:
    """The newest ``depth`` messages; older ones are dropped, so the newest wins."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth, durability=DurabilityPolicy.VOLATILE,
        reliability=(ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT))


def latched(depth: int) -> QoSProfile:
    """Reliable, and kept for subscribers that come later."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth,
        durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE)


#: Public topics.
OUTPUT = keep_last(5)


class CameraSubscription:
    """A subscription to ``Image`` or ``CompressedImage`` that adapts itself.

    The parameters ``qos_overrides.TOPIC.subscription.reliability`` (adaptive,
    reliable, best_effort) and ``.depth`` of the node override it.
    """

    def __init__(self, node: StageNode, topic: str, callback: Callable[[Any], None], *,
                 depth: int) -> None:
        self._node, self._callback = node, callback
        self.topic = node.resolve_topic_name(topic)
        prefix = f"qos_overrides.{self.topic}.subscription."
        self._wish = node.declare_parameter(prefix + "reliability", "adaptive").value
        if self._wish not in ("adaptive", *_RELIABILITY):
            raise ConfigError(f"{prefix}reliability is {self._wish!r} but must be one of "
                              f"adaptive, {', '.join(_RELIABILITY)}.")
        self._depth = node.declare_parameter(prefix + "depth", depth).value
        self._state: tuple[type, ReliabilityPolicy] | None = None
        self._subscription: Any = None
        self._look()
        self._timer = node.every(_LOOK_S, self._look)

    def _look(self) -> None:
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        kinds = {_TYPES[p.topic_type] for p in publishers if p.topic_type in _TYPES}
        if len(kinds) == 1:
            kind = kinds.pop()
        elif self._state:
            kind = self._state[0]
        else:
            kind = CompressedImage if self.topic.endswith("/compressed") else Image
        reliability = _RELIABILITY.get(self._wish)
        if reliability is None:
            offers = {p.qos_profile.reliability for p in publishers}
            reliability = (ReliabilityPolicy.BEST_EFFORT
                           if ReliabilityPolicy.BEST_EFFORT in offers
                           else ReliabilityPolicy.RELIABLE)
        if (kind, reliability) != self._state:
            self._subscribe(kind, reliability)

    def _subscribe(self, kind: type, reliability: ReliabilityPolicy) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription = self._node.input(
            kind, self.topic, self._callback,
            keep_last(self._depth, reliable=reliability == ReliabilityPolicy.RELIABLE))
        self._state = kind, reliability
