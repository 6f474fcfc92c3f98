"""A camera of marked frames that looks for the marks in everything that leaves."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any, NamedTuple

import cv2
import numpy as np
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from visualization_msgs.msg import ImageMarker

from deid_ros.ros import topics
from deid_ros.ros.codec import stamp_ns, to_bgr
from deid_ros.ros.driver import Driver
from deid_ros.ros.qos import keep_last

__all__ = ["Came", "Watcher"]

#: Marks of so many frames sent last are looked for, beside the frame's own.
_WINDOW = 6
_REMEMBERED = 2000   # frames


class Came(NamedTuple):
    """An image that left: when its frame was sent, when it came (s, monotonic), and whether
    a face in it was of one colour."""

    sent: float
    came: float
    flat: bool


class Watcher(Driver):
    """A ``Driver`` that subscribes to every public topic and searches what comes.

    Args:
        canary: ``frames``, ``found`` and ``flat`` of ``bench.canary.Canary``.
        options: as for ``Driver``.

    ``leaks`` says what was found; ``searched`` counts images, ``came`` holds those
    of the raw topic.
    """

    def __init__(self, canary: Any, **options: Any) -> None:
        super().__init__(canary.frames, **options)
        self._canary = canary
        self._numbers: OrderedDict[int, tuple[int, float]] = OrderedDict()
        self._next = 0
        self.leaks: list[str] = []
        self.searched = 0
        self.came: list[Came] = []
        self.create_subscription(CompressedImage, topics.IMAGE_COMPRESSED, self._on_compressed,
                                 keep_last(10))
        for kind, topic in ((ImageMarker, topics.REGIONS), (CameraInfo, topics.CAMERA_INFO)):
            self.create_subscription(kind, topic, lambda _: None, keep_last(10))

    def _sending(self, stamp: int) -> None:
        # Before it is published: the output may be here before ``publish`` returns.
        self._numbers[stamp] = self._next, time.monotonic()
        self._next = (self._next + 1) % len(self._canary)
        if len(self._numbers) > _REMEMBERED:
            self._numbers.popitem(last=False)

    def _on_image(self, data: bytes) -> None:
        super()._on_image(data)
        msg = deserialize_message(data, Image)
        assert isinstance(msg, Image)
        self._search(to_bgr(msg), stamp_ns(msg.header), topics.IMAGE)

    def _on_compressed(self, msg: CompressedImage) -> None:
        image = cv2.imdecode(np.frombuffer(msg.data, np.uint8), cv2.IMREAD_COLOR)
        self._search(image, stamp_ns(msg.header), topics.IMAGE_COMPRESSED)

    def _search(self, image: np.ndarray, stamp: int, topic: str) -> None:
        now = time.monotonic()
        with self._lock:
            number, sent = self._numbers.get(stamp, (None, 0.0))
            others = {number for number, _ in list(self._numbers.values())[-_WINDOW:]}
        self.searched += 1
        if number is None:
            self.leaks.append(f"{topic}: an image of the stamp {stamp}, which was never sent")
        elif self._canary.found(image, number):
            self.leaks.append(f"{topic}: frame {number} shows a face")
        for other in others - {number}:
            if self._canary.found(image, other, whole=True):
                self.leaks.append(f"{topic}: frame {number} shows a face of frame {other}")
        if topic == topics.IMAGE and number is not None:
            self.came.append(Came(sent, now, self._canary.flat(image, number)))
