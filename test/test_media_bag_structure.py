"""Bags whose structure lies, and what lies beside their topics."""

from __future__ import annotations

import json
import sqlite3
import struct

import numpy as np
import pytest
import yaml
from bag_support import Maker, messages, read_bag, write_bag
from modalities_support import files
from test_media_bags import IMAGES, run

from deid_ros.media import TopicWishes, Writing, beside
from deid_ros.media.bags import Bag

MAKE = Maker(False)



def record(op: int, body: bytes) -> bytes:
    return bytes([op]) + struct.pack("<Q", len(body)) + body


def word(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def schema(number: int, name: bytes, form: bytes = b"ros2msg", data: bytes = b"") -> bytes:
    return record(3, struct.pack("<H", number) + word(name) + word(form) + word(data))


def channel(number: int, about: int, topic: bytes, form: bytes = b"cdr",
            metadata: bytes = b"") -> bytes:
    return record(4, struct.pack("<HH", number, about) + word(topic) + word(form) + word(metadata))


def message(number: int, data: bytes, stamp: int = 5) -> bytes:
    return record(5, struct.pack("<HIQQ", number, 0, stamp, stamp) + data)


def mcap(path, *records: bytes, profile: bytes = b"ros2"):
    """A file without summary, of whatever records."""
    magic = b"\x89MCAP0\r\n"
    path.write_bytes(b"".join([magic, record(1, word(profile) + word(b"")), *records,
                               record(15, bytes(4)), record(2, bytes(20)), magic]))
    return path


STRING, IMAGE = b"std_msgs/msg/String", IMAGES[0].encode()
HELLO = b"\0\1\0\0\x06\0\0\0hello\0"


@pytest.mark.parametrize("name", [STRING, b"sensor_msgs/msg/Imu", b"a/msg/B", b"sensor_msgs/String",
                                  b"", b"nav_msgs/msg/Odometry"])
@pytest.mark.parametrize("again", [False, True])
def test_a_channel_that_lies_about_its_type(tmp_path, name, again):
    raw = MAKE.image(9, 1, "bgr8")
    records = [schema(1, name), channel(1, 1, b"/s"), message(1, HELLO), message(1, raw)]
    if again:       # the same number is defined anew
        records[3:] = [schema(1, IMAGE), channel(1, 1, b"/cam"), message(1, raw)]
    source = mcap(tmp_path / "lie.mcap", *records)
    outcome, target = run(source, tmp_path)
    pixels = MAKE.store.deserialize_cdr(raw, IMAGES[0]).data.tobytes()
    assert pixels[:60] not in target.read_bytes() or again
    assert pixels not in target.read_bytes()
    assert outcome.frames == int(again)
    assert again or not outcome.faultless


def test_foreign_definitions_leave_as_they_came(tmp_path):
    metadata = word(b"qos") + word(b"reliable") + word(b"photo") + word(b"QUJD" * 200)
    source = mcap(tmp_path / "a.mcap",
                  schema(7, b"acme.Log", b"protobuf", b"\x0a\x05bytes\xff\xfe"),
                  channel(3, 7, b"/log", b"protobuf", metadata), message(3, b"\x0a\x02hi"),
                  schema(8, b"acme.State", b"jsonschema", b"{}"),
                  channel(4, 8, b"/state", b"json"), message(4, b'{"a": 1}'), profile=b"own")
    outcome, target = run(source, tmp_path)
    assert outcome.faultless, outcome.problems
    scan = Bag(target).open(0, scratch=tmp_path)
    assert scan.profile == "own"
    raw = {about.topic: scan.raw[about.id] for about in scan.connections}
    assert raw["/log"].schema == ("acme.Log", "protobuf", b"\x0a\x05bytes\xff\xfe")
    assert raw["/state"].schema == ("acme.State", "jsonschema", b"{}")
    assert raw["/log"].metadata == (("qos", "reliable"),)
    assert [data for _, _, data in scan.messages()] == [b"\x0a\x02hi", b'{"a": 1}']


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("form, big", [
    (b"json", json.dumps({"a": [1, 2, {"x": files()["JPEG"].hex()}]}).encode()),
    (b"protobuf", b"\x12" + b"\x90\x03" + files()["raw"][:400]),
    (b"cbor", b"\xa1aa" + files()["grey"])])
def test_any_message_of_a_topic_may_be_the_large_one(tmp_path, rank, form, big):
    contents = [b'{"a": 1}' if form == b"json" else b"\x0a\x02hi"] * 2
    contents.insert(rank, big)
    source = mcap(tmp_path / "a.mcap", schema(1, b"acme.T", form), channel(1, 1, b"/t", form),
                  *(message(1, data, 5 + i) for i, data in enumerate(contents)))
    outcome, target = run(source, tmp_path)
    assert big[-50:] not in target.read_bytes() and not outcome.faultless
    (entry,) = json.loads(beside(target)[1].read_text())["topics"]
    assert entry["messages"] == 2 and entry["left_out"] == 1 and "1 of 3" in entry["reason"]
    wishes = TopicWishes(keep_unprocessed=frozenset(["/t"]))
    (tmp_path / "kept").mkdir()
    outcome, target = run(source, tmp_path / "kept", writing=Writing(topics=wishes))
    assert outcome.faultless and big in target.read_bytes()
    assert "UNPROCESSED" in outcome.warnings[0]


def test_metadata_and_attachments_of_mcap_are_named(tmp_path):
    attached = record(9, struct.pack("<QQ", 1, 1) + word(b"photo.jpg") + word(b"image/jpeg")
                      + struct.pack("<Q", 3) + b"abc" + bytes(4))
    source = mcap(tmp_path / "a.mcap", schema(1, STRING), channel(1, 1, b"/s"), message(1, HELLO),
                  attached, record(12, word(b"site") + word(word(b"who") + word(b"Alice"))))
    outcome, target = run(source, tmp_path)
    said = " ".join(outcome.problems)
    assert "photo.jpg" in said and "site" in said and not outcome.faultless
    assert b"Alice" not in target.read_bytes() and b"photo" not in target.read_bytes()
    asked = Writing(topics=TopicWishes(drop=frozenset(["metadata", "attachment"])))
    (tmp_path / "asked").mkdir()
    assert run(source, tmp_path / "asked", writing=asked)[0].faultless


@pytest.mark.parametrize("where", ["custom_data", "own_key", "topic"])
def test_nothing_of_ones_own_in_metadata_yaml_leaves(tmp_path, where):
    source = write_bag(tmp_path / "bag", "sqlite", messages(extra=False))
    whole = yaml.safe_load((source / "metadata.yaml").read_text())
    info = whole["rosbag2_bagfile_information"]
    place = {"custom_data": info, "own_key": info,
             "topic": info["topics_with_message_count"][0]["topic_metadata"]}[where]
    place[where] = {"operator": "Alice", "photo": files()["JPEG"].hex()}
    (source / "metadata.yaml").write_text(yaml.safe_dump(whole))
    _, target = run(source, tmp_path)
    assert "Alice" not in (target / "metadata.yaml").read_text()
    assert len(read_bag(target)[0]) == len(messages(extra=False))


def test_rows_of_sqlite_with_another_type(tmp_path):
    source = write_bag(tmp_path / "bag", "sqlite", messages(extra=False))
    with sqlite3.connect(source / "bag.db3") as base:
        base.execute("UPDATE topics SET type = 'std_msgs/msg/String' WHERE name = '/bgr8/image'")
        base.execute("UPDATE messages SET data = 'a text' WHERE id = 2")
    outcome, target = run(source, tmp_path)
    assert not outcome.faultless and "holds no message" in " ".join(outcome.problems)
    assert "/bgr8/image" not in read_bag(target)[1]
    first = MAKE.store.deserialize_cdr(messages()[0][3], IMAGES[0]).data.tobytes()
    assert first[:60] not in (target / "bag.db3").read_bytes()


def test_a_dry_run_and_the_manifest_agree(tmp_path):
    source = write_bag(tmp_path / "bag", "mcap", messages())
    plans = {plan.topic: plan for plan in Bag(source).survey(TopicWishes(), scratch=tmp_path)}
    _, target = run(source, tmp_path, writing=Writing())
    listed = json.loads(beside(target)[1].read_text())["topics"]
    assert {entry["topic"]: (entry["action"], entry["left_out"], entry.get("reason", ""))
            for entry in listed} == {
        topic: (plan.action, plan.dropped, plan.reason) for topic, plan in plans.items()}
    assert plans["/coloured"].modality == "depth or geometry"


def test_other_files_of_the_folder_are_named(tmp_path):
    source = write_bag(tmp_path / "bag", "mcap", messages(extra=False))
    (source / "photo.jpg").write_bytes(files()["JPEG"])
    outcome, target = run(source, tmp_path)
    assert "photo.jpg lies in the folder" in " ".join(outcome.problems)
    assert not (target / "photo.jpg").exists() and not outcome.faultless


def test_depth_as_grey_is_dropped(tmp_path):
    depth = np.arange(96 * 72, dtype=np.uint16)
    kind = IMAGES[0]
    raw = MAKE.bytes_of(MAKE.make(kind, MAKE.header(3), 72, 96, "mono16", 0, 192,
                                  depth.view(np.uint8)), kind)
    source = write_bag(tmp_path / "bag", "mcap", [("/cam/depth/image_raw", kind, 3, raw),
                                                  ("/infra/image", kind, 4, raw)])
    outcome, target = run(source, tmp_path)
    assert set(read_bag(target)[1]) == {"/infra/image"} and not outcome.faultless
