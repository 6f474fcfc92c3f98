"""The node behind ``deid view``: it listens to images and hands them on to be shown."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage

from deid_ros.errors import ConfigError
from deid_ros.ros import codec, compressed, topics
from deid_ros.ros.codec import stamp_ns
from deid_ros.ros.qos import CameraSubscription

__all__ = ["Viewer", "bgr_of"]

#: Only the newest image is of interest.
_DEPTH = 1
#: Older or younger than this (s), a stamp is of another clock: a bag's, or none at all.
_SAME_CLOCK_S = 4.0
#: What a node said of itself so long ago (s) is no news.
_NOTE_S = 3.0


def bgr_of(msg: Any) -> np.ndarray:
    """The frame of an ``Image`` or ``CompressedImage``: BGR uint8 (H, W, 3).

    Raises:
        FrameError: it cannot be read safely.
    """
    return compressed.decode(msg) if isinstance(msg, CompressedImage) else codec.to_bgr(msg)


class Viewer(Node):
    """Subscribes to the output, and to the camera only where it is asked for.

    Args:
        context, namespace: as for ``rclpy.node.Node``.
        camera_topic: of the raw camera.
        show_input: listen to it too.
        use_compressed: listen to the compressed output.

    ``topics`` holds the full names, ``output`` first; ``connect`` begins; ``problems``
    counts messages that could not be taken.

    Raises:
        ConfigError: what is to be shown as output is the camera, or a topic between the
            stages.
    """

    def __init__(self, *, context: Context, camera_topic: str, namespace: str = "",
                 show_input: bool = False, use_compressed: bool = False) -> None:
        super().__init__("deid_view", context=context, namespace=namespace or None,
                         enable_rosout=False, start_parameter_services=False)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        wanted = {"output": topics.IMAGE_COMPRESSED if use_compressed else topics.IMAGE}
        camera = self.resolve_topic_name(camera_topic)
        self.topics = {name: self.resolve_topic_name(topic) for name, topic in wanted.items()}
        output = self.topics["output"]
        plain = {name.removesuffix("/compressed") for name in (output, camera)}
        if len(plain) == 1 or any(part.startswith("_") for part in output.split("/")):
            self.destroy_node()
            raise ConfigError(f"The output to be shown is remapped to {output}, which carries raw "
                              "faces; --show-input shows the camera beside the output.")
        if show_input:
            self.topics["input"] = camera
        self._streams: dict[str, Any] = {}
        self.problems = 0
        # It says why frames are withheld.
        self._replacer = f"{self.get_namespace().rstrip('/')}/replacer"
        self._noted = 0.0

    def connect(self, streams: dict[str, Any]) -> None:
        """Hand every image of a topic to its ``viewer.Stream``, from now on."""
        self._streams = streams
        self._subscriptions_of = [
            CameraSubscription(self, self.topics[name], functools.partial(self._on_image, stream),
                               depth=_DEPTH) for name, stream in streams.items()]
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._count()
        self.every(0.5, self._count)

    def _on_image(self, stream: Any, msg: Any) -> None:
        age = (self.get_clock().now().nanoseconds - stamp_ns(msg.header)) / 1e9
        stream.put(msg, age if 0 <= age < _SAME_CLOCK_S else None)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            if status.name == self._replacer and "output" in self._streams:
                well = status.level == DiagnosticStatus.OK
                self._streams["output"].note = "" if well else f"{status.name}: {status.message}"
                self._noted = time.monotonic()

    def _count(self) -> None:
        for name, stream in self._streams.items():
            stream.publishers = self.count_publishers(self.topics[name])
            if time.monotonic() - self._noted > _NOTE_S:
                stream.note = ""

    # What CameraSubscription and Runner ask of a node.

    def every(self, seconds: float, callback: Callable[[], None]) -> Any:
        """A timer on the steady clock."""
        return self.create_timer(seconds, callback, clock=self._steady)

    def input(self, kind: type, topic: str, callback: Callable[[Any], None],
              qos: QoSProfile) -> Any:
        """A subscription to one of ``topics`` and to nothing else."""
        made = self.create_subscription(kind, topic, callback, qos)
        # A name that was remapped once may be remapped again.
        name = made.topic_name
        if name not in self.topics.values():
            self.destroy_subscription(made)
            raise ConfigError(f"{topic} is remapped twice, to {name} in the end; remap it to "
                              "where it is published at once.")
        return made

    def failed(self, what: str, error: Exception) -> None:
        """A message that could not even be taken is left out."""
        self.problems += 1

    def close(self) -> None:
        """Nothing to finish."""
