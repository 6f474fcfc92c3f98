"""A camera and a listener in one node, for measuring what lies between."""

from __future__ import annotations

import itertools
import struct
import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from deid_ros.ros import topics
from deid_ros.ros.codec import image_of
from deid_ros.ros.qos import keep_last

__all__ = ["Driver"]

_TICK_S = 0.02
#: Where a serialised Image has its stamp: behind four bytes of encapsulation.
_STAMP = struct.Struct("<iI")


class Driver(Node):
    """Publishes frames and times how long they take to come back covered.

    Args:
        frames: BGR uint8 (H, W, 3), published over and over.
        topic: of the camera images.
        context, namespace: as for ``rclpy.node.Node``.
        rate: frames a second; 0: the next one when a former one came back.
        window: frames under way at most, where ``rate`` is 0.
        patience: a frame that is not back after so many seconds counts as lost.
    """

    def __init__(self, frames: Sequence[np.ndarray], *, topic: str, context: Context,
                 namespace: str = "", rate: float = 0.0, window: int = 2,
                 patience: float = 1.0) -> None:
        super().__init__("driver", context=context, namespace=namespace)
        # Ready to be published: making them must not cost time while it is measured.
        messages: list[Image] = []
        for frame in frames:
            image = image_of(frame, Header(frame_id="camera"))
            assert isinstance(image.data, array)
            messages.append(image)
        self._messages = itertools.cycle(messages)
        self._rate, self._window, self._patience = rate, window, patience
        self._lock = threading.Lock()
        self._under_way: OrderedDict[int, float] = OrderedDict()
        self._driving = False
        self._sent = self._lost = 0
        self._latencies: list[float] = []
        self._image = self.create_publisher(Image, topic, keep_last(10))
        self.create_subscription(Image, topics.IMAGE, self._on_image, keep_last(10), raw=True)
        self.create_timer(1.0 / rate if rate else _TICK_S, self._tick,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))

    def connected(self, listeners: int = 2) -> bool:
        """Whether the pipeline listens to the camera and publishes to this node."""
        return (self._image.get_subscription_count() >= listeners
                and self.count_publishers(self.resolve_topic_name(topics.IMAGE)) > 0)

    def drive(self, on: bool = True) -> None:
        """Begin or stop to publish."""
        self._driving = on

    @property
    def under_way(self) -> int:
        """Frames that were published and are neither back nor lost."""
        return len(self._under_way)

    def begin(self) -> None:
        """Count from here on."""
        with self._lock:
            self._sent = self._lost = 0
            self._latencies = []

    def counts(self) -> tuple[int, int, list[float]]:
        """Since ``begin``: frames sent, lost, and the latency (s) of each that came back."""
        with self._lock:
            return self._sent, self._lost, list(self._latencies)

    def _tick(self) -> None:
        self._give_up()
        if self._driving and self._rate:
            self._send()
        elif self._driving:
            self._fill()

    def _fill(self) -> None:
        while self._driving and len(self._under_way) < self._window:
            self._send()

    def _send(self) -> None:
        message = next(self._messages)
        now = self.get_clock().now().nanoseconds
        message.header.stamp = Time(sec=now // 10**9, nanosec=now % 10**9)
        with self._lock:
            self._under_way[now] = time.monotonic()
            self._sent += 1
            self._sending(now)
        self._image.publish(message)

    def _sending(self, stamp: int) -> None:
        """A frame is about to be published with this stamp (ns); holds the lock."""

    def _on_image(self, data: bytes) -> None:
        sec, nanosec = _STAMP.unpack_from(data, 4)
        with self._lock:
            since = self._under_way.pop(sec * 10**9 + nanosec, None)
            if since is not None:
                self._latencies.append(time.monotonic() - since)
        if not self._rate:
            self._fill()

    def _give_up(self) -> None:
        now = time.monotonic()
        with self._lock:
            while self._under_way:
                stamp, since = next(iter(self._under_way.items()))
                if now - since < self._patience:
                    break
                del self._under_way[stamp]
                self._lost += 1

    def close(self) -> None:
        """Nothing to finish."""
