"""Messages of video packets, read and written anew."""

from __future__ import annotations

import numpy as np
import pytest
from bag_support import ROS2, Maker
from modalities_support import connection
from video_support import DEFINITIONS, FFMPEG, FOXGLOVE, opened, video

from deid_ros.errors import FrameError
from deid_ros.media.bags.packets import VIDEOS, is_known, video_in

TIME = "=" * 80 + "\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
HEADER = ("=" * 80 + "\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
          + TIME)


@pytest.mark.parametrize("ros1", [False, True])
@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("kind", VIDEOS)
def test_every_field_but_the_packet_stays(kind, little, ros1):
    if ros1 and (kind == FFMPEG or not little):
        pytest.skip("there is none in ROS 1")
    for frame in ("", "a", "ab", "abc", "camera_left"):
        for label in ("h264", "libx264", "h264;yuv420p;bgr8;x"):
            if kind == FOXGLOVE and label != "h264":
                continue
            raw = video(kind, 12_000_000_034, b"\1\2\3", label, ros1=ros1, frame=frame, pts=1 << 40,
                        key=True)
            if not ros1 and not little:
                raw = bytes(ROS2.serialize_cdr(ROS2.deserialize_cdr(raw, kind), kind,
                                               little_endian=False))
            found = video_in(raw, kind, ros1=ros1)
            assert (found.stamp_ns, found.frame_id, found.codec, found.packet) == (
                12_000_000_034, frame, "h264", b"\1\2\3")
            for packet in (b"", b"x", b"12345678"):
                again = found.with_packet(packet, codec="h264", size=(32, 16), key=False)
                new, old = (opened((0, kind, 0, data), ros1) for data in (again, raw))
                assert bytes(new.data) == packet
                names = ({"timestamp", "frame_id", "format"} if kind == FOXGLOVE
                         else {"header", "encoding", "pts", "is_bigendian"})
                for name in names:
                    assert getattr(new, name) == getattr(old, name)
                if kind == FFMPEG:
                    assert (new.width, new.height, new.flags) == (32, 16, 0)


@pytest.mark.parametrize("kind", VIDEOS)
def test_a_message_ends_where_its_definition_does(kind):
    raw = video(kind, 1, b"\1\2\3")
    for length in range(len(raw)):
        with pytest.raises(FrameError):
            video_in(raw[:length], kind, ros1=False)
    for more in (b"\1", bytes(8)):
        with pytest.raises(FrameError, match="explains"):
            video_in(raw + more, kind, ros1=False)
    assert video_in(raw + bytes(3), kind, ros1=False).packet == b"\1\2\3"


@pytest.mark.parametrize("label, codec", [
    ("h264_nvenc", "h264"), ("libx265", "hevc"), ("hevc;yuv420p;bgr8;bgr8", "hevc"),
    ("h264_vaapi", "h264"), ("libsvtav1", "av1"), ("libvpx-vp9", "vp9")])
def test_encoders_name_their_codec(label, codec):
    assert video_in(video(FFMPEG, 1, b"\1", label), FFMPEG, ros1=False).codec == codec


@pytest.mark.parametrize("kind, frame, label", [
    (FOXGLOVE, "a", "jpeg"), (FOXGLOVE, "a", ""), (FFMPEG, "a", "mjpeg"), (FFMPEG, "a", ""),
    (FOXGLOVE, "iVBORw0KGgoAAAANSUhEUgAA" * 20, "h264"), (FFMPEG, "a" * 300, "libx264"),
    (FFMPEG, "a", "libx264" + "iVBORw0KGgoAAAANSUhEUgAA" * 20)])
def test_what_has_no_known_codec_or_no_name_is_refused(kind, frame, label):
    with pytest.raises(FrameError):
        video_in(video(kind, 1, b"\1", label, frame=frame), kind, ros1=False)


def test_only_the_known_definitions_are_taken():
    for kind, rest in ((FOXGLOVE, TIME), (FFMPEG, HEADER)):
        text = DEFINITIONS[kind] + rest
        assert is_known(connection(kind, text), ros1=False)
        assert is_known(connection(kind), ros1=False)       # by its name alone
        assert not is_known(connection(kind, form="json"), ros1=False)
        assert not is_known(connection(kind, "string a\n"), ros1=False)
        assert not is_known(connection(kind, "no definition %"), ros1=False)
        for old, new in (("string frame_id", "string frame_id\nuint8[] more"),
                         ("uint32 nanosec", "uint64 nanosec"), ("uint8[] data", "uint16[] data"),
                         ("uint8[] data", "uint8[3] data")):
            if old in text:
                assert not is_known(connection(kind, text.replace(old, new)), ros1=False)


def test_numbers_of_a_packet_are_few():
    """``flags`` and ``is_bigendian`` say yes or no, whatever stood there."""
    make = Maker(False)
    raw = bytearray(make.bytes_of(make.make(
        FFMPEG, make.header(1), 4, 4, "libx264", 7, 255, True,
        np.frombuffer(b"\1", np.uint8)), FFMPEG))
    at = bytes(raw).rindex(b"\xff\1")
    raw[at + 1] = 0xEE
    again = video_in(bytes(raw), FFMPEG, ros1=False).with_packet(
        b"\2", codec="h264", size=(4, 4), key=True)
    assert again[at:at + 2] == b"\1\1"
