"""A rosbag2 being written: in a thread of its own, from a bounded queue."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from rclpy.qos import QoSProfile

from deid_ros.errors import MediaError

__all__ = ["BagWriter", "bag_qos"]

#: Messages that wait to be written; 64 frames of 1920x1080 are 400 MB.
_WAITING = 64


class BagWriter:
    """Writes raw CDR messages to a rosbag2 with the ``rosbags`` package.

    SQLite wants one thread to open, write and close; so everything is done by one.

    Args:
        path: folder to make.
        storage: ``mcap`` or ``sqlite3``.

    Raises:
        MediaError: the folder exists already or cannot be made.
    """

    def __init__(self, path: Path, *, storage: str) -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
        from rosbags.typesys import Stores, get_typestore
        distribution = f"ROS2_{os.environ.get('ROS_DISTRO', '').upper()}"
        self._types = get_typestore(getattr(Stores, distribution, Stores.LATEST))
        self._queue: queue.Queue[tuple[Callable[..., Any], tuple, Future] | None] = queue.Queue(
            _WAITING)
        self._thread = threading.Thread(target=self._work, name="bag", daemon=True)
        self._thread.start()
        try:
            self._writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
            self._do(self._writer.open).result()
        except (WriterError, OSError) as error:
            self._queue.put(None)
            said = str(error).rstrip(".")
            raise MediaError(f"{said}. Name another folder for the bag.") from None

    def add(self, topic: str, kind: str, qos: QoSProfile) -> Any:
        """A connection for a topic of type ``kind`` (``package/msg/Type``)."""
        return self._do(lambda: self._writer.add_connection(
            topic, kind, typestore=self._types, offered_qos_profiles=[bag_qos(qos)])).result()

    def write(self, connection: Any, stamp_ns: int, data: bytes) -> Future:
        """Queue one message; waits where the disk is slower than the messages."""
        return self._do(self._writer.write, connection, stamp_ns, data)

    def close(self) -> None:
        """Write everything, then the index and metadata; a second time does nothing."""
        if self._thread.is_alive():
            done = self._do(self._writer.close)
            self._queue.put(None)
            self._thread.join()
            done.result()

    def _do(self, call: Callable[..., Any], *arguments: Any) -> Future:
        future: Future = Future()
        self._queue.put((call, arguments, future))
        return future

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            call, arguments, future = item
            try:
                future.set_result(call(*arguments))
            except Exception as error:
                future.set_exception(error)


def bag_qos(qos: QoSProfile) -> Any:
    """A quality of service in the words of rosbags."""
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
