"""Video topics of bags: covered picture by picture, packet for packet."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from bag_support import FACE, ROS2, SIZE, Maker, read_bag, write_bag, write_split
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg
from sample_faces import FakeFinder, make_face
from test_media_bags import run, solid
from video_support import (
    DECODERS,
    DEFINITIONS,
    FFMPEG,
    FORMATS,
    FOXGLOVE,
    START,
    can_encode,
    decoded,
    encoded,
    index_of,
    opened,
    picture,
    shows_canary,
    stamp_of,
    stream,
    video,
)

from deid_ros.cli import main
from deid_ros.config import defaults
from deid_ros.errors import DetectorError, MediaError
from deid_ros.media import TopicWishes, Writing, beside
from deid_ros.media.bags import Bag
from deid_ros.media.bags import video as coding
from deid_ros.media.bags.packets import video_in
from deid_ros.media.bags.scan import Damage
from deid_ros.media.bags.video_topics import VideoTopics
from deid_ros.pipeline import Pipeline
from deid_ros.replacer import Replacer

PICTURES = [picture(index) for index in range(14)]
KEYS = (0, 5, 9)
PLAIN = Writing()
FACES = make_face(FACE[:2], FACE[2], trusted=False)


def covered(target, topic="/video", codec="h264", ros1=False):
    """[(log time, message, pixels, key)] of a topic, nowhere with a face; it can be decoded
    from every key frame on."""
    found = [(message[2], opened(message, ros1)) for message in read_bag(target)[0]
             if message[0] == topic]
    packets = [bytes(message.data) for _, message in found]
    shown = decoded(packets, codec)
    for pixels, _ in shown:
        assert not shows_canary(pixels)
    for start, (pixels, key) in enumerate(shown):
        if key:
            again = decoded(packets[start:], codec)
            assert np.array_equal(again[0][0], pixels) and len(again) == len(shown) - start
    return [(*about, *seen) for about, seen in zip(found, shown, strict=True)]


def indices(found):
    """Which pictures they are, as the stamps say and as the pixels do."""
    said = [(stamp_of(message) - START) // 40_000_000 for _, message, _, _ in found]
    assert said == [index_of(pixels) for _, _, pixels, _ in found]
    return said


def lines(target):
    return [json.loads(line) for line in beside(target)[0].read_text().splitlines()]


def facts(target):
    return {entry["topic"]: entry
            for entry in json.loads(beside(target)[1].read_text())["topics"]}


def test_the_canary_is_seen_where_it_is():
    packets = encoded(PICTURES, KEYS)
    shown = decoded([packet for _, packet in packets])
    assert all(shows_canary(pixels) for pixels, _ in shown)
    assert [n for n, (_, key) in enumerate(shown) if key] == list(KEYS)
    assert [index_of(pixels) for pixels, _ in shown] == list(range(14))


@pytest.mark.parametrize("kind", ["mcap", "mcap_message", "sqlite", "sqlite_humble"])
@pytest.mark.parametrize("msgtype, label", [
    (FOXGLOVE, "h264"), (FFMPEG, "libx264"), (FFMPEG, "h264;yuv420p;bgr8;bgr8")])
def test_every_packet_comes_back_covered(tmp_path, kind, msgtype, label):
    packets = encoded(PICTURES, KEYS)
    source = write_bag(tmp_path / "in" / "bag", kind, stream("/video", packets, msgtype, label,
                                                             frame="front_left"))
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert outcome.faultless, outcome.problems
    assert (outcome.frames, outcome.covered["solid"]) == (14, 14)
    found = covered(target)
    assert indices(found) == list(range(14))
    assert [n for n, (*_, key) in enumerate(found) if key] == list(KEYS)
    (before, about), (after, still) = read_bag(source), read_bag(target)
    assert still == about and [m[:3] for m in before] == [m[:3] for m in after]
    for n, (old, new) in enumerate(zip(map(opened, before), map(opened, after), strict=True)):
        assert bytes(old.data) != bytes(new.data)
        if msgtype == FOXGLOVE:
            assert (old.timestamp, old.frame_id, old.format) == (
                new.timestamp, new.frame_id, new.format)
        else:
            assert (old.header, old.width, old.height, old.encoding, old.pts) == (
                new.header, new.width, new.height, new.encoding, new.pts)
            assert new.flags == (n in KEYS)
    assert [(line["topic"], line["index"], line["stamp_ns"]) for line in lines(target)] == [
        ("/video", n, START + n * 40_000_000) for n in range(14)]
    entry = facts(target)["/video"]
    assert (entry["modality"], entry["action"], entry["messages"], entry["codecs"]) == (
        "video", "made anonymous", 14, {"h264": "h264"})


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9", "libsvtav1"])
def test_codecs_stay(tmp_path, codec):
    if not can_encode(codec):
        pytest.skip(f"this PyAV has no {codec}")
    packets = encoded(PICTURES, KEYS, codec)
    source = write_bag(tmp_path / "in" / "bag", "mcap",
                       stream("/video", packets, label=FORMATS[codec])
                       + stream("/packets", packets, FFMPEG, codec))
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert outcome.faultless and outcome.frames == 28
    for topic in ("/video", "/packets"):
        found = covered(target, topic, DECODERS[codec])
        assert indices(found) == list(range(14))
        assert [n for n, (*_, key) in enumerate(found) if key] == list(KEYS)


@pytest.mark.parametrize("codec, form", [
    ("libx265", "yuv420p10le"), ("libx264", "yuv444p"), ("libx264", "yuvj420p"),
    ("libvpx-vp9", "yuv444p"), ("libx264", "gray")])
def test_kinds_of_pixels(tmp_path, codec, form):
    if not can_encode(codec):
        pytest.skip(f"this PyAV has no {codec}")
    packets = encoded(PICTURES, KEYS, codec, form)
    source = write_bag(tmp_path / "in" / "bag", "mcap",
                       stream("/video", packets, label=FORMATS[codec]))
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert outcome.faultless and outcome.frames == 14
    found = covered(target, codec=DECODERS[codec])
    assert indices(found) == list(range(14))
    assert [n for n, (*_, key) in enumerate(found) if key] == list(KEYS)
    before = decoded([packet for _, packet in packets], DECODERS[codec])
    x, y, size = (int(value) for value in FACE)
    for (old, _), (_, _, new, _) in zip(before, found, strict=True):
        difference = np.abs(old.astype(int) - new)
        assert difference[:, :20].mean() < 4
        assert difference[y, x].max() > 40 or form == "gray"    # the cover is as grey


def test_one_topic_of_two_types_is_two_streams(tmp_path):
    packets = encoded(PICTURES[:4])
    left, right = stream("/video", packets), stream("/video", packets, FFMPEG, "libx264")
    source = tmp_path / "bag"
    with Writer(source, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        made = {kind: writer.add_connection("/video", kind, typestore=ROS2)
                for kind in (FOXGLOVE, FFMPEG)}
        for pair in zip(left, right, strict=True):
            for _, kind, stamp, data in pair:
                writer.write(made[kind], stamp, data)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert outcome.faultless and outcome.frames == 8
    for kind in (FOXGLOVE, FFMPEG):
        after = decoded([bytes(opened(m).data) for m in read_bag(target)[0] if m[1] == kind])
        assert len(after) == 4 and not any(shows_canary(pixels) for pixels, _ in after)


def test_where_nothing_is_covered_pictures_stay(tmp_path):
    source = write_bag(tmp_path / "in" / "bag", "mcap", stream("/video", encoded(PICTURES, KEYS)))
    _, target = run(source, tmp_path, solid(FakeFinder(make_face((-90, -90), 8))), PLAIN)
    after = decoded([bytes(opened(m).data) for m in read_bag(target)[0]])
    before = decoded([bytes(opened(m).data) for m in read_bag(source)[0]])
    for (old, _), (new, _) in zip(before, after, strict=True):
        assert np.abs(old.astype(int) - new).mean() < 3


def test_without_an_encoder_it_becomes_h264_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(coding, "can_encode", lambda name: name == "libx264")
    packets = encoded(PICTURES[:4], codec="libvpx-vp9")
    source = write_bag(tmp_path / "in" / "bag", "mcap",
                       stream("/video", packets, label="vp9")
                       + stream("/packets", packets, FFMPEG, "libvpx-vp9")
                       + stream("/pixels", packets, FFMPEG, "vp9;yuv420p;bgr8"))
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert outcome.faultless and outcome.frames == 12
    for topic, label in (("/video", "h264"), ("/packets", "libx264"),
                         ("/pixels", "h264;yuv420p;bgr8")):
        found = covered(target, topic)
        assert {getattr(m, "format", "") or m.encoding for _, m, *_ in found} == {label}
        assert facts(target)[topic]["codecs"] == {"vp9": "h264"}
        assert any(f"{topic} was vp9 and becomes h264" in word for word in outcome.warnings)


def damage(content, at, packet=b"\x11" * 60):
    topic, kind, stamp, _ = content[at]
    content[at] = topic, kind, stamp, video(kind, stamp - 9, packet)


@pytest.mark.parametrize("packet", [b"\x11" * 60, b"", b"\0\0\0\1"])
def test_a_damaged_packet_costs_those_up_to_the_next_key_frame(tmp_path, packet):
    content = stream("/video", encoded(PICTURES, KEYS))
    damage(content, 2, packet)
    source = write_bag(tmp_path / "in" / "bag", "mcap", content)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    found = covered(target)
    lost = [2, 3, 4]
    assert indices(found) == [n for n in range(14) if n not in lost]
    assert [at for at, *_ in found] == [
        START + n * 40_000_000 + 9 for n in range(14) if n not in lost]
    assert outcome.withheld == len(lost) and not outcome.faultless
    assert any("is left out: it is damaged" in problem for problem in outcome.problems)
    assert any("before the next key frame" in problem for problem in outcome.problems)
    assert facts(target)["/video"]["left_out"] == len(lost)
    assert len(lines(target)) == 14 - len(lost)


def test_parameter_sets_may_come_in_packets_of_their_own(tmp_path):
    packets = encoded(PICTURES, KEYS)
    at = packets[5][1].index(b"\0\0\0\1\x65" if b"\0\0\0\1\x65" in packets[5][1]
                             else b"\0\0\1\x65")
    packets[5:6] = [(5, packets[5][1][:at]), (5, packets[5][1][at:])]
    source = write_bag(tmp_path / "in" / "bag", "mcap", stream("/video", packets))
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert indices(covered(target)) == list(range(14)) and outcome.withheld == 1
    assert any("holds no picture" in problem for problem in outcome.problems)


def test_a_truncated_packet_is_withheld(tmp_path):
    content = stream("/video", encoded(PICTURES, KEYS))
    damage(content, 7, bytes(opened(content[7]).data)[:-40])
    source = write_bag(tmp_path / "in" / "bag", "sqlite", content)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert indices(covered(target)) == [0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13]
    assert outcome.withheld == 2


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9"])
def test_a_stream_that_begins_without_a_key_frame_begins_with_the_first(tmp_path, codec):
    if not can_encode(codec):
        pytest.skip(f"this PyAV has no {codec}")
    content = stream("/video", encoded(PICTURES, KEYS, codec), label=FORMATS[codec])[2:]
    source = write_bag(tmp_path / "in" / "bag", "mcap", content)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    found = covered(target, codec=DECODERS[codec])
    assert indices(found) == list(range(5, 14)) and outcome.withheld == 3
    assert any("before the first key frame" in problem for problem in outcome.problems)


def test_a_stream_without_any_key_frame_is_dropped(tmp_path):
    content = stream("/video", encoded(PICTURES))[1:]
    make = Maker(False)
    content.append(("/imu", "sensor_msgs/msg/Imu", START + 10**9, make.imu(START, 1)))
    source = write_bag(tmp_path / "in" / "bag", "mcap", content)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert [message[0] for message in read_bag(target)[0]] == ["/imu"]
    assert outcome.withheld == 13 and facts(target)["/video"]["action"] == "dropped"


def test_undecodable_packets_are_not_copied_where_the_topic_is_kept(tmp_path):
    content = stream("/video", encoded(PICTURES, KEYS))[3:]
    source = write_bag(tmp_path / "in" / "bag", "mcap", content)
    asked = Writing(topics=TopicWishes(keep_unprocessed=frozenset(["/video"])))
    outcome, target = run(source, tmp_path, writing=asked)
    assert indices(covered(target)) == list(range(5, 14)) and outcome.withheld == 2


def test_b_frames_come_in_the_order_in_which_they_are_shown(tmp_path):
    packets = encoded(PICTURES, KEYS, preset="fast", bf="3", crf="12")
    assert [index for index, _ in packets] != list(range(14))
    make = Maker(False)
    between = [("/imu", "sensor_msgs/msg/Imu", START + n * 40_000_000 + 20, make.imu(n, n))
               for n in range(14)]
    content = sorted(stream("/video", packets) + between, key=lambda message: message[2])
    source = write_bag(tmp_path / "in" / "bag", "mcap", content)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert outcome.faultless, outcome.problems
    found = covered(target)
    assert indices(found) == list(range(14))
    # Places and log times stay those of the packets.
    assert [m[:3] for m in read_bag(target)[0]] == [m[:3] for m in content]


def test_topics_have_decoders_of_their_own(tmp_path):
    left = stream("/left", encoded(PICTURES, KEYS))
    right = stream("/right", encoded(PICTURES[::-1], (0, 3)), FFMPEG, "libx264")
    make = Maker(False)
    content = [m for pair in zip(left, right, strict=True) for m in pair]
    content.insert(9, ("/imu", "sensor_msgs/msg/Imu", content[8][2], make.imu(START, 1)))
    damage(content, 4)      # of the left one
    source = write_bag(tmp_path / "in" / "bag", "sqlite", content)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert indices(covered(target, "/left")) == [0, 1, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    found = covered(target, "/right")
    assert [index_of(pixels) for _, _, pixels, _ in found] == list(range(13, -1, -1))
    assert [n for n, (*_, key) in enumerate(found) if key] == [0, 3]
    kept = [message for n, message in enumerate(content) if n not in (4, 6, 8)]
    assert [m[:3] for m in read_bag(target)[0]] == [m[:3] for m in kept]
    assert {line["topic"] for line in lines(target)} == {"/left", "/right"}


def test_another_size_in_mid_stream_begins_anew(tmp_path):
    large = [picture(index, (2 * SIZE[0], SIZE[1])) for index in range(5)]
    packets = encoded(PICTURES[:5]) + encoded(large)
    content = stream("/video", packets[:5]) + stream("/video", packets[5:], first=5)
    source = write_bag(tmp_path / "in" / "bag", "mcap", content)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert outcome.faultless and outcome.frames == 10
    found = covered(target)
    assert [pixels.shape[1] for _, _, pixels, _ in found] == [SIZE[0]] * 5 + [2 * SIZE[0]] * 5
    assert [key for *_, key in found] == ([True] + 4 * [False]) * 2


def test_another_codec_in_mid_stream_begins_anew(tmp_path):
    second = encoded(PICTURES[:5], codec="libvpx-vp9")
    content = (stream("/video", encoded(PICTURES[:5]))
               + stream("/video", second, label="vp9", first=5))
    source = write_bag(tmp_path / "in" / "bag", "mcap", content)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert outcome.faultless and outcome.frames == 10
    after = [opened(message) for message in read_bag(target)[0]]
    assert [message.format for message in after] == ["h264"] * 5 + ["vp9"] * 5
    for part, codec in ((after[:5], "h264"), (after[5:], "vp9")):
        assert not any(shows_canary(pixels) for pixels, _ in decoded(
            [bytes(message.data) for message in part], codec))


def test_a_stream_goes_on_in_the_next_file(tmp_path):
    content = stream("/video", encoded(PICTURES, (0,)))
    source = write_split(tmp_path / "bag", "mcap", [content[:6], content[6:]])
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert outcome.faultless and indices(covered(target)) == list(range(14))


def test_a_missing_file_costs_what_follows_it(tmp_path):
    content = stream("/video", encoded(PICTURES, KEYS))
    source = write_split(tmp_path / "bag", "mcap", [content[:2], content[2:3], content[3:]])
    (source / "bag_1.mcap").unlink()
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert indices(covered(target)) == [0, 1, *range(5, 14)] and outcome.withheld == 2


def test_a_picture_that_is_withheld_hands_its_key_frame_on(tmp_path):
    class Failing(FakeFinder):
        def find(self, frame, **options):
            if index_of(frame) == 5:
                raise DetectorError("not this one")
            return super().find(frame, **options)

    content = stream("/video", encoded(PICTURES, KEYS))
    source = write_bag(tmp_path / "in" / "bag", "mcap", content)
    outcome, target = run(source, tmp_path, solid(Failing(FACES)), PLAIN)
    found = covered(target)
    assert indices(found) == [n for n in range(14) if n != 5] and outcome.withheld == 1
    assert [stamp for stamp, (*_, key) in zip(indices(found), found, strict=True) if key] == [
        0, 6, 9]


def test_a_limit_ends_in_the_middle_of_b_frames(tmp_path):
    packets = encoded(PICTURES, preset="fast", bf="3", crf="12")
    source = write_bag(tmp_path / "in" / "bag", "mcap", stream("/video", packets))
    outcome, target = run(source, tmp_path, writing=PLAIN, limit=4)
    assert outcome.frames == 4 and indices(covered(target)) == [0, 1, 2, 3]


def test_little_memory_does_not_stop_it(tmp_path, monkeypatch):
    from deid_ros.media.bags import medium

    monkeypatch.setattr(medium, "_MEMORY", 1000)
    packets = encoded(PICTURES, KEYS)
    source = write_bag(tmp_path / "in" / "bag", "mcap", stream("/video", packets))
    config = defaults()
    config["detector"]["carry_frames"] = 5
    pipeline = Pipeline(config, finder=FakeFinder(FACES), replacer=Replacer(replace="solid"))
    outcome, target = run(source, tmp_path, pipeline, PLAIN)
    assert outcome.faultless and indices(covered(target)) == list(range(14))
    # What a decoder holds back for B-frames is asked for, and costs those up to a key frame.
    packets = encoded(PICTURES, KEYS, preset="fast", bf="3", crf="12")
    source = write_bag(tmp_path / "in" / "more", "mcap", stream("/video", packets))
    outcome, target = run(source, tmp_path, pipeline, PLAIN)
    assert outcome.withheld and outcome.frames + outcome.withheld == 14
    assert len(indices(covered(target))) == outcome.frames


def test_nothing_waits_for_a_video_that_pauses(tmp_path):
    """What its decoder holds back comes out two seconds after the last packet."""
    packets = encoded(PICTURES[:6], preset="fast", bf="2", crf="12")
    make = Maker(False)
    content = stream("/video", packets) + [
        ("/imu", "sensor_msgs/msg/Imu", START + n * 500_000_000, make.imu(n, n))
        for n in range(1, 9)]
    content += stream("/video", encoded(PICTURES[:3]), first=100)
    content += stream("/video", encoded(PICTURES, (0, 6), preset="fast", bf="2")[1:], first=200)
    source = write_bag(tmp_path / "in" / "bag", "mcap", content)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    found = covered(target)
    said = [(stamp_of(message) - START) // 40_000_000 for _, message, *_ in found]
    assert said[:9] == [0, 1, 2, 3, 4, 5, 100, 101, 102]
    assert all(index_of(pixels) == at % 100 for at, (_, _, pixels, _) in
               zip(said, found, strict=True))
    (plan,) = [plan for plan in Bag(source).survey(TopicWishes(), scratch=tmp_path)
               if plan.topic == "/video"]
    assert plan.dropped == outcome.withheld == 22 - len(found)


def test_ros1(tmp_path):
    content = stream("/video", encoded(PICTURES, KEYS), ros1=True)
    source = write_bag(tmp_path / "in" / "bag", "ros1", content)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert outcome.faultless and indices(covered(target, ros1=True)) == list(range(14))


def test_without_definitions_the_names_count(tmp_path):
    import sqlite3
    source = write_bag(tmp_path / "bag", "sqlite_humble",
                       stream("/video", encoded(PICTURES, KEYS)))
    with sqlite3.connect(source / "bag.db3") as base:
        base.execute("DROP TABLE message_definitions")
        base.execute("DROP TABLE schema")
        base.execute("ALTER TABLE topics DROP COLUMN type_description_hash")
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert outcome.faultless, outcome.problems
    assert outcome.frames == 14
    with sqlite3.connect(target / "bag.db3") as base:
        rows = [bytes(row[0]) for row in base.execute("SELECT data FROM messages")]
    shown = decoded([bytes(ROS2.deserialize_cdr(row, FOXGLOVE).data) for row in rows])
    assert len(shown) == 14 and not any(shows_canary(pixels) for pixels, _ in shown)


@pytest.mark.parametrize("kind", ["mcap", "sqlite"])
def test_another_definition_is_denied(tmp_path, monkeypatch, kind):
    import bag_support
    from rosbags.typesys import Stores, get_typestore

    other = get_typestore(Stores.ROS2_HUMBLE)
    text = DEFINITIONS[FOXGLOVE].replace("string frame_id", "string frame_id\nstring more")
    other.register(get_types_from_msg(text, FOXGLOVE))
    time = other.types["builtin_interfaces/msg/Time"](1600000000, 0)
    content = [("/video", FOXGLOVE, START + n, bytes(other.serialize_cdr(
        other.types[FOXGLOVE](time, "camera", "", np.frombuffer(packet, np.uint8), "h264"),
        FOXGLOVE))) for n, packet in encoded(PICTURES)]
    content.append(("/imu", "sensor_msgs/msg/Imu", START + 10**9, Maker(False).imu(START, 1)))
    with monkeypatch.context() as patch:
        patch.setattr(bag_support, "ROS2", other)
        source = write_bag(tmp_path / "in" / "bag", kind, content)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert [message[0] for message in read_bag(target)[0]] == ["/imu"]
    assert not outcome.faultless and "not defined as" in facts(target)["/video"]["reason"]


@pytest.mark.parametrize("kind, label", [
    (FOXGLOVE, "theora"), (FFMPEG, "mjpeg"), (FFMPEG, "libx264" + "Zm9vYmFy" * 60)])
def test_another_codec_is_denied(tmp_path, kind, label):
    content = stream("/video", encoded(PICTURES[:3]), kind, label)
    content.append(("/imu", "sensor_msgs/msg/Imu", START + 10**9, Maker(False).imu(START, 1)))
    source = write_bag(tmp_path / "in" / "bag", "mcap", content)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert [message[0] for message in read_bag(target)[0]] == ["/imu"]
    assert not outcome.faultless


def test_bytes_behind_a_message_do_not_leave(tmp_path):
    content = stream("/video", encoded(PICTURES[:3]))
    topic, kind, stamp, data = content[1]
    content[1] = topic, kind, stamp, data + b"\xff" * 40
    source = write_bag(tmp_path / "in" / "bag", "mcap", content)
    outcome, target = run(source, tmp_path, writing=PLAIN)
    # What follows was made from what does not leave.
    assert indices(covered(target)) == [0] and outcome.withheld == 2


def test_plans_and_samples_say_the_same(tmp_path):
    content = stream("/video", encoded(PICTURES, KEYS))[2:]
    source = write_bag(tmp_path / "in" / "bag", "mcap", content)
    (plan,) = Bag(source).survey(TopicWishes(), scratch=tmp_path)
    assert (plan.action, plan.modality, plan.count, plan.dropped) == (
        "made anonymous", "video", 12, 3)
    assert "before the first key frame" in plan.reason
    found = list(Bag(source).samples(3, TopicWishes(), scratch=tmp_path))
    assert found and all(frame.shape == (SIZE[1], SIZE[0], 3) for frame in found)
    (plan,) = Bag(source).survey(TopicWishes(image_topics=frozenset(["/other"])),
                                 scratch=tmp_path)
    assert plan.action == "dropped"


def test_a_damaged_message_of_another_topic_costs_no_video(tmp_path):
    content = stream("/video", encoded(PICTURES[:4])) + stream("/bad", encoded(PICTURES[:2]))
    damage(content, 4)
    source = write_bag(tmp_path / "in" / "bag", "mcap", sorted(content, key=lambda m: m[2]))
    outcome, target = run(source, tmp_path, writing=PLAIN)
    assert indices(covered(target)) == [0, 1, 2, 3] and outcome.withheld == 2


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_damaged_no_packet_and_no_face_leaves(tmp_path, seed):
    rng = np.random.default_rng(seed)
    codec = ("libx264", "libx265", "libvpx-vp9", "bframes")[seed % 4]
    if codec != "bframes" and not can_encode(codec):
        pytest.skip(f"this PyAV has no {codec}")
    packets = (encoded(PICTURES, KEYS, preset="fast", bf="3", crf="12") if codec == "bframes"
               else encoded(PICTURES, KEYS, codec))
    content = stream("/video", packets, label=FORMATS.get(codec, "h264"))
    raw = {packet for _, packet in packets}
    for at in rng.choice(14, 3, replace=False):
        topic, kind, stamp, data = content[at]
        packet = bytes(opened(content[at]).data)
        packet = (rng.bytes(80), packet[:len(packet) // 2], packet[40:], b"\0" * 50)[
            rng.integers(4)]
        content[at] = topic, kind, stamp, video(kind, stamp, packet, FORMATS.get(codec, "h264"))
    source = write_bag(tmp_path / "in" / "bag", "mcap", content)
    try:
        outcome, target = run(source, tmp_path, writing=PLAIN)
    except MediaError as error:
        assert "no message that could be written" in str(error)
        return
    assert outcome.frames + outcome.withheld == 14
    after = [bytes(opened(message).data) for message in read_bag(target)[0]]
    assert len(after) == outcome.frames == len(lines(target)) and raw.isdisjoint(after)
    assert not any(shows_canary(pixels) for pixels, _ in decoded(
        after, DECODERS.get(codec, "h264")))


def test_where_the_file_is_damaged_packets_are_missing():
    class About:
        topic, msgtype = "/video", FOXGLOVE

    damaged = SimpleNamespace(damage=Damage())
    videos = VideoTopics(gaps=False)

    def push(number, packet):
        message = video_in(video(FOXGLOVE, START, packet), FOXGLOVE, ros1=False)
        return [*videos.watch(damaged, number), *videos.push(About, number, message)]

    found = []
    for number, packet in encoded(PICTURES, KEYS):
        if number == 2:
            damaged.damage.add("a chunk cannot be read")
        found += push(number, packet)
    said = [result.found for _, result in found]
    assert [n for n, each in enumerate(said) if isinstance(each, str)] == [2, 3, 4]
    assert all("damaged or missing" in each for each in said[2:5])


def test_a_dry_run_tells_of_videos(tmp_path, capsys, monkeypatch):
    content = stream("/video", encoded(PICTURES, KEYS))[2:] + stream(
        "/odd", encoded(PICTURES[:3]), label="theora")
    write_bag(tmp_path / "in" / "bag", "mcap", sorted(content, key=lambda m: m[2]))
    monkeypatch.chdir(tmp_path)
    main(["run", "in", "--dry-run"])
    said = capsys.readouterr().out
    assert ("/video: 12 messages, foxglove_msgs/msg/CompressedVideo: made anonymous (3 of 12 "
            "messages are left out: it comes before the first key frame") in said
    assert ("/odd: 3 messages, foxglove_msgs/msg/CompressedVideo: dropped (The codec "
            "'theora'") in said
    assert not (tmp_path / "out").exists()
