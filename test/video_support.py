"""Streams of video packets, as robots record them, and what they show."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import PictureType
from bag_support import FACE, ROS1, ROS2, SIZE, Maker
from rosbags.typesys import get_types_from_msg

FOXGLOVE = "foxglove_msgs/msg/CompressedVideo"
FFMPEG = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
DEFINITIONS = {
    FOXGLOVE: """# A single frame of a compressed video bitstream
builtin_interfaces/Time timestamp
string frame_id
uint8[] data
string format
""",
    FFMPEG: """std_msgs/Header header
int32 width          # original image width
int32 height         # original image height
string encoding      # encoding used, e.g. libx264
uint64 pts           # packet pts
uint8 flags          # packet flags
bool is_bigendian    # true if machine stores in big endian format
uint8[] data         # ffmpeg compressed payload
"""}
for _kind, _text in DEFINITIONS.items():
    ROS2.register(get_types_from_msg(_text, _kind))
ROS1.register(get_types_from_msg("time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
                                 FOXGLOVE))

#: Colour of a face (BGR), which nothing else has.
CANARY = (250, 20, 240)
START = 1_600_000_000_000_000_000

_OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {"crf": "12", "preset": "superfast", "forced-idr": "1", "tune": "zerolatency"},
    "libx265": {"crf": "12", "preset": "superfast", "forced-idr": "1", "tune": "zerolatency",
                "x265-params": "log-level=error:pools=none:frame-threads=1"},
    "libvpx-vp9": {"crf": "12", "b": "0", "deadline": "realtime", "cpu-used": "8",
                   "lag-in-frames": "0"},
    "libsvtav1": {"crf": "20", "preset": "9", "svtav1-params": "pred-struct=1:lookahead=0:lp=1"}}
DECODERS = {"libx264": "h264", "libx265": "hevc", "libvpx-vp9": "vp9", "libsvtav1": "libdav1d"}
FORMATS = {"libx264": "h264", "libx265": "h265", "libvpx-vp9": "vp9", "libsvtav1": "av1"}


def can_encode(name: str) -> bool:
    try:
        av.codec.Codec(name, "w")
        return True
    except ValueError:
        return False


def picture(index: int, size: tuple[int, int] = SIZE, face: bool = True) -> np.ndarray:
    """A smooth background, a bright square that tells the index, and a face."""
    rng = np.random.default_rng(3)
    made = cv2.resize(rng.integers(60, 160, (5, 6, 3), np.uint8), size,
                      interpolation=cv2.INTER_CUBIC)
    made[:8, :] = 10
    made[:8, 4 * index:4 * index + 4] = 240
    if face:
        x, y, w = FACE
        cv2.circle(made, (int(x), int(y)), int(w * 0.4), CANARY, -1)
    return made


def index_of(pixels: np.ndarray) -> int:
    """The index of a picture, as its square tells."""
    return int(np.argmax(pixels[1:7].mean(axis=(0, 2)).reshape(-1, 4).mean(axis=1)))


def shows_canary(pixels: np.ndarray) -> bool:
    return bool((np.abs(pixels.astype(int) - CANARY).max(axis=2) < 60).any())


def encoded(pictures: Sequence[np.ndarray], keys: Collection[int] = (0,),
            codec: str = "libx264", form: str = "yuv420p",
            **options: str) -> list[tuple[int, bytes]]:
    """(index, packet) in the order in which they are decoded."""
    context = av.CodecContext.create(codec, "w")
    context.height, context.width = pictures[0].shape[:2]
    context.pix_fmt, context.time_base = form, Fraction(1, 25)
    context.framerate, context.gop_size, context.thread_count = Fraction(25), 1000, 1
    context.options = options or _OPTIONS[codec]
    found = []
    for index, pixels in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(pixels, format="bgr24").reformat(format=form)
        frame.pts = index
        frame.pict_type = PictureType.I if index in keys else PictureType.NONE
        found += [(packet.pts, bytes(packet)) for packet in context.encode(frame)]
    return found + [(packet.pts, bytes(packet)) for packet in context.encode(None)]


def video(kind: str, stamp: int, packet: bytes, label: str = "h264", *, ros1: bool = False,
          frame: str = "camera", pts: int = 0, size: tuple[int, int] = SIZE,
          key: bool = False) -> bytes:
    """A serialised message with a packet."""
    make = Maker(ros1)
    data = np.frombuffer(packet, np.uint8)
    if kind == FOXGLOVE:
        time = make.make("builtin_interfaces/msg/Time", *divmod(stamp, 1_000_000_000))
        return make.bytes_of(make.make(kind, time, frame, data, label), kind)
    return make.bytes_of(make.make(kind, make.header(stamp, frame), *size, label, pts, int(key),
                                   False, data), kind)


def stream(topic: str, packets: Sequence[tuple[int, bytes]], kind: str = FOXGLOVE,
           label: str = "h264", first: int = 0, **options: Any) -> list[Any]:
    """Messages of a topic; the stamp of each says which picture it is."""
    return [(topic, kind, START + (first + place) * 40_000_000 + 9,
             video(kind, START + (first + index) * 40_000_000, packet, label, pts=first + index,
                   **options))
            for place, (index, packet) in enumerate(packets)]


def opened(message: Any, ros1: bool = False) -> Any:
    """A message as rosbags reads it."""
    read = ROS1.deserialize_ros1 if ros1 else ROS2.deserialize_cdr
    return read(message[3], message[1])


def stamp_of(message: Any) -> int:
    """The stamp (ns) of an opened message."""
    time = message.timestamp if hasattr(message, "timestamp") else message.header.stamp
    return time.sec * 1_000_000_000 + time.nanosec


def decoded(packets: Sequence[bytes], codec: str = "h264") -> list[tuple[np.ndarray, bool]]:
    """(BGR uint8 (H, W, 3), key frame) of packets, each of which must give its picture."""
    context = av.CodecContext.create(codec, "r")
    context.thread_count = 1
    context.flags |= av.codec.context.Flags.low_delay
    found = []
    for packet in packets:
        (frame,) = context.decode(av.Packet(packet))
        found.append((frame.to_ndarray(format="bgr24"), bool(frame.key_frame)))
    assert not context.decode(None)
    return found
