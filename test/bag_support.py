"""Tiny bags of every kind, and how to compare two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import Reader as Reader2
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

SIZE = (96, 72)          # width, height
FACE = (48.0, 36.0, 36.0)   # where the face is, and how large
ENCODINGS = ("bgr8", "rgb8", "mono8", "bgra8", "yuv422_yuy2")
QOS = Qos(QosHistory.KEEP_LAST, 7, QosReliability.BEST_EFFORT, QosDurability.TRANSIENT_LOCAL,
          QosTime(1, 2), QosTime(9223372036, 854775807), QosLiveliness.AUTOMATIC,
          QosTime(9223372036, 854775807), False)
OWN_TYPE = "robot_msgs/msg/Wheel"
ROS1, ROS2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_HUMBLE)
for _store in (ROS1, ROS2):
    _store.register(get_types_from_msg("float32 speed\nuint8[] raw\n", OWN_TYPE))

#: kind -> how it is written.
KINDS: dict[str, dict[str, Any]] = {
    "mcap": {"plugin": "mcap"},
    "mcap_chunks": {"plugin": "mcap", "mode": CompressionMode.STORAGE},
    "mcap_file": {"plugin": "mcap", "mode": CompressionMode.FILE},
    "mcap_message": {"plugin": "mcap", "mode": CompressionMode.MESSAGE},
    "sqlite": {"plugin": "sqlite3"},
    "sqlite_humble": {"plugin": "sqlite3", "version": 8},
    "sqlite_file": {"plugin": "sqlite3", "mode": CompressionMode.FILE},
    "sqlite_message": {"plugin": "sqlite3", "mode": CompressionMode.MESSAGE},
    "ros1": {}, "ros1_bz2": {"packing": "BZ2"}, "ros1_lz4": {"packing": "LZ4"},
}


def pixels(index: int, encoding: str = "bgr8") -> np.ndarray:
    """Random pixels (H, W * bytes) of an encoding."""
    wide = {"bgr8": 3, "rgb8": 3, "mono8": 1, "bgra8": 4, "yuv422_yuy2": 2}[encoding]
    rng = np.random.default_rng(index)
    found = rng.integers(1, 255, (SIZE[1], SIZE[0] * wide), np.uint8)
    if wide == 4:
        found[:, 3::4] = 255  # else it would be made opaque
    return found


class Maker:
    """Makes messages of one store."""

    def __init__(self, ros1: bool) -> None:
        self.ros1, self.store = ros1, ROS1 if ros1 else ROS2

    def make(self, kind: str, *fields: Any) -> Any:
        return self.store.types[kind](*fields)

    def header(self, stamp: int, frame: str = "camera") -> Any:
        time = self.make("builtin_interfaces/msg/Time", *divmod(stamp, 1_000_000_000))
        fields = (7, time, frame) if self.ros1 else (time, frame)
        return self.make("std_msgs/msg/Header", *fields)

    def bytes_of(self, message: Any, kind: str) -> bytes:
        write = self.store.serialize_ros1 if self.ros1 else self.store.serialize_cdr
        return bytes(write(message, kind))

    def image(self, stamp: int, index: int, encoding: str) -> bytes:
        data = pixels(index, encoding)
        kind = "sensor_msgs/msg/Image"
        return self.bytes_of(self.make(kind, self.header(stamp), SIZE[1], SIZE[0], encoding, 0,
                                       data.shape[1], data.reshape(-1)), kind)

    def compressed(self, stamp: int, index: int, suffix: str = "png") -> bytes:
        data = cv2.imencode(f".{suffix}", pixels(index).reshape(SIZE[1], SIZE[0], 3))[1]
        kind = "sensor_msgs/msg/CompressedImage"
        return self.bytes_of(self.make(kind, self.header(stamp, "odd"), f"{suffix}; made by me",
                                       data.reshape(-1)), kind)

    def imu(self, stamp: int, index: int) -> bytes:
        kind = "sensor_msgs/msg/Imu"
        vector = self.make("geometry_msgs/msg/Vector3", index / 3, 1.0, -2.0)
        turn = self.make("geometry_msgs/msg/Quaternion", 0.0, 0.0, 0.0, 1.0)
        nine = np.zeros(9)
        return self.bytes_of(self.make(kind, self.header(stamp, "imu"), turn, nine, vector, nine,
                                       vector, nine), kind)

    def camera_info(self, stamp: int) -> bytes:
        kind = "sensor_msgs/msg/CameraInfo"
        roi = self.make("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
        return self.bytes_of(self.make(
            kind, self.header(stamp), SIZE[1], SIZE[0], "plumb_bob", np.zeros(5), np.eye(3).ravel(),
            np.eye(3).ravel(), np.zeros(12), 0, 0, roi), kind)

    def cloud(self, stamp: int, names: tuple[str, ...]) -> bytes:
        kind = "sensor_msgs/msg/PointCloud2"
        fields = [self.make("sensor_msgs/msg/PointField", name, 4 * i, 7, 1)
                  for i, name in enumerate(names)]
        return self.bytes_of(self.make(kind, self.header(stamp), 1, 1, fields, False,
                                       4 * len(names), 4 * len(names),
                                       np.zeros(4 * len(names), np.uint8), True), kind)

    def wheel(self, index: int) -> bytes:
        return self.bytes_of(self.make(OWN_TYPE, float(index), np.full(3, index % 250, np.uint8)),
                             OWN_TYPE)


#: One message: topic, type, timestamp (ns), bytes.
Message = tuple[str, str, int, bytes]


def messages(ros1: bool = False, count: int = 4, extra: bool = True) -> list[Message]:
    """What a robot records: images in five encodings, a compressed one, and the rest."""
    make, found = Maker(ros1), []
    for i in range(count):
        at = 1_600_000_000_000_000_000 + i * 40_000_000
        for n, encoding in enumerate(ENCODINGS):
            found.append((f"/{encoding}/image", "sensor_msgs/msg/Image", at + n,
                          make.image(at - 5, 10 * i + n, encoding)))
        found.append(("/front/compressed", "sensor_msgs/msg/CompressedImage", at + 6,
                      make.compressed(at - 7, 100 + i)))
        # Two messages of one time: their order stays too.
        found += [("/imu", "sensor_msgs/msg/Imu", at + 7, make.imu(at, k)) for k in range(2)]
        found.append(("/camera_info", "sensor_msgs/msg/CameraInfo", at + 8, make.camera_info(at)))
        found.append(("/wheel", OWN_TYPE, at + 9, make.wheel(i)))
        found.append(("/points", "sensor_msgs/msg/PointCloud2", at + 10,
                      make.cloud(at, ("x", "y", "z"))))
        if extra:
            found.append(("/coloured", "sensor_msgs/msg/PointCloud2", at + 11,
                          make.cloud(at, ("x", "y", "rgb"))))
    return found


def write_bag(path: Path, kind: str, content: list[Message]) -> Path:
    """Write a bag of a kind; ROS 1 and single files get their ending."""
    options = KINDS[kind]
    if kind.startswith("ros1"):
        path = path.with_suffix(".bag")
        path.parent.mkdir(parents=True, exist_ok=True)
        writer: Any = Writer1(path)
        if "packing" in options:
            writer.set_compression(Writer1.CompressionFormat[options["packing"]])
        store, more = ROS1, {"callerid": "/driver", "latching": 1}
    else:
        writer = Writer2(path, version=options.get("version", 9),
                         storage_plugin=StoragePlugin[options["plugin"].upper()])
        writer.set_compression(options.get("mode", CompressionMode.NONE), CompressionFormat.ZSTD)
        store, more = ROS2, {"offered_qos_profiles": [QOS]}
    with writer:
        made: dict[str, Any] = {}
        for topic, msgtype, stamp, data in content:
            if topic not in made:
                made[topic] = writer.add_connection(topic, msgtype, typestore=store, **more)
            writer.write(made[topic], stamp, data)
    return path


def write_split(path: Path, kind: str, parts: list[list[Message]]) -> Path:
    """A rosbag2 whose messages lie in several files, as ``ros2 bag record`` splits them."""
    path.mkdir(parents=True)
    whole: dict[str, Any] = {}
    for number, content in enumerate(parts):
        one = write_bag(path / f"{path.name}_{number}", kind, content)
        (file,) = [f for f in one.iterdir() if f.name != "metadata.yaml"]
        info = yaml.safe_load((one / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        file.rename(path / file.name)
        (one / "metadata.yaml").unlink()
        one.rmdir()
        if not whole:
            whole = info
            continue
        for name in ("relative_file_paths", "files"):
            whole[name] += info[name]
        whole["message_count"] += info["message_count"]
        topics = {t["topic_metadata"]["name"]: t for t in whole["topics_with_message_count"]}
        for entry in info["topics_with_message_count"]:
            name = entry["topic_metadata"]["name"]
            if name in topics:
                topics[name]["message_count"] += entry["message_count"]
            else:
                whole["topics_with_message_count"].append(entry)
    (path / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": whole}))
    return path


def read_bag(path: Path) -> tuple[list[Message], dict[str, Any]]:
    """Every message as rosbags reads it, and what is known of each topic."""
    reader = Reader1(path) if path.suffix == ".bag" else Reader2(path)
    with reader:
        about = {c.topic: (c.msgtype, c.msgdef, c.digest, c.ext) for c in reader.connections}
        found = [(c.topic, c.msgtype, stamp, bytes(data)) for c, stamp, data in reader.messages()]
    return found, about
