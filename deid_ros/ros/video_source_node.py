"""A camera made of a file, a folder, a device or a photograph."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from rclpy.duration import Duration
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from deid_ros.config import as_list
from deid_ros.errors import ConfigError
from deid_ros.ros import topics
from deid_ros.ros.base import StageNode
from deid_ros.ros.camera import info_topic
from deid_ros.ros.codec import image_of
from deid_ros.ros.compressed import compress
from deid_ros.ros.qos import keep_last
from deid_ros.ros.runtime import run_node
from deid_ros.ros.sources import RATE, open_source, own_rate

__all__ = ["VideoSourceNode", "main"]


class VideoSourceNode(StageNode):
    """Publishes ``Image`` (or ``CompressedImage``) and ``CameraInfo`` at a set rate.

    Begins when the nodes of ``wait_for`` listen, so that none of them is still loading
    its models, or else anybody; at the latest after ``wait_s``. Frames are stamped by the
    node's clock. At the end of the source, or after ``frames``, ``finished`` is set.

    Args:
        source: frames uint8 (H, W, 3), BGR; by default as the parameters say.
        options: as for ``StageNode``.
    """

    NODE = "video_source"

    def __init__(self, *, source: Iterator[np.ndarray] | None = None,
                 **options: Any) -> None:
        super().__init__(**options)
        settings = self.options
        if source is None and not settings["source"]:
            raise ConfigError("video_source.source is empty; name a video, a folder of images, the "
                              "number of a camera or 'astronaut'.")
        self._frames = iter(source if source is not None else open_source(
            settings["source"], loop=settings["loop"], width=settings["width"],
            height=settings["height"]))
        topic = settings["image_topic"]
        self._compressed = topic.endswith("/compressed")
        self._image = self.output(CompressedImage if self._compressed else Image, topic,
                                  keep_last(5))
        self._info = self.output(CameraInfo, info_topic(topic), keep_last(5))
        self.finished = threading.Event()
        self._begin = time.monotonic() + settings["wait_s"]
        self._left = settings["frames"] or None
        self._started = False
        self._awaited = as_list(settings["wait_for"])
        rate = settings["rate"] or (own_rate(settings["source"]) if source is None else RATE)
        self._timer = self.every(1.0 / rate, self._tick)
        self.get_logger().info(f"{rate:g} frames a second"
                               + ("" if settings["rate"] else ", the source's own"))

    def _tick(self) -> None:
        if self.finished.is_set():
            return
        if not self._started:
            missing = self._missing()
            if missing and time.monotonic() < self._begin:
                return
            if missing:
                self.get_logger().warning(f"begins though nobody listens in {', '.join(missing)}")
            self._started = True
        frame = None if self._left == 0 else next(self._frames, None)
        if frame is None:
            self.finished.set()
            self._timer.cancel()
            return
        if self._left is not None:
            self._left -= 1
        self._publish(frame)

    def _missing(self) -> list[str]:
        """Who is waited for and does not listen yet."""
        if not self._awaited:
            return [] if self._image.get_subscription_count() else ["any node"]

        def listeners(topic: str) -> set[str]:
            return {end.node_name for end in self.get_subscriptions_info_by_topic(
                self.resolve_topic_name(topic)) if end.node_namespace == self.get_namespace()}
        camera, tables = listeners(self.options["image_topic"]), listeners(topics.FACES)
        hear = {"detector": camera, "recorder": camera, "replacer": camera & tables}
        return [name for name in self._awaited if name not in hear.get(name, tables)]

    def close(self) -> None:
        """Not before everybody has the last frame."""
        self._image.wait_for_all_acked(Duration(seconds=2))
        super().close()

    def _publish(self, frame: np.ndarray) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self.options["frame_id"])
        height, width = frame.shape[:2]
        self._info.publish(camera_info(header, width=width, height=height))
        self._image.publish(
            compress(frame, header, encoding="bgr8", quality=95)
            if self._compressed else image_of(frame, header))
        self.health.count("out")


def camera_info(header: Header, *, width: int, height: int) -> CameraInfo:
    """The camera info of a pinhole camera of 53 degrees that nobody calibrated."""
    focal, x, y = float(width), (width - 1) / 2, (height - 1) / 2
    return CameraInfo(
        header=header, width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5,
        k=[focal, 0.0, x, 0.0, focal, y, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[focal, 0.0, x, 0.0, 0.0, focal, y, 0.0, 0.0, 0.0, 1.0, 0.0])


def main(argv: list[str] | None = None) -> int:
    """Run the node until the source ends or it is told to stop."""
    return run_node(VideoSourceNode, argv)


if __name__ == "__main__":
    sys.exit(main())
