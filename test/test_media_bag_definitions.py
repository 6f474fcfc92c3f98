"""What stands around the messages of a bag: names, definitions, metadata, also of empty topics."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest
from bag_support import OWN_TYPE, QOS, ROS1, Maker, messages, read_bag, write_bag
from modalities_support import files, texts
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from test_media_bag_structure import (
    HELLO,
    STRING,
    channel,
    mcap,
    message,
    record,
    schema,
    word,
)
from test_media_bags import IMAGES, run

from deid_ros.media import TopicWishes, Writing, beside
from deid_ros.media.bags import Bag
from deid_ros.media.bags.definitions import _blob_sign, definition_sign

JPEG = files()["JPEG"]
PLAIN = base64.b64encode(JPEG).decode()
HASH = "RIHS01_" + 64 * "1"


def pieces(text: str, size: int) -> list[str]:
    return [text[i:i + size] for i in range(0, len(text), size)]


#: The same picture as the text of a definition, in ways that a parser of definitions takes.
DEFINITIONS = {
    "comment": f"# {PLAIN}\nstring data\n",
    "comments": "".join(f"# {piece}\n" for piece in pieces(PLAIN, 60)) + "string data\n",
    "small comments": "".join(f"# {piece}\n" for piece in pieces(PLAIN, 12)) + "string data\n",
    "hex": "".join(f"# {piece}\n" for piece in pieces(JPEG.hex(), 40)) + "string data\n",
    "names": "".join(f"string a{piece}\n" for piece in pieces(JPEG.hex(), 40)) + "string data\n",
    "constants": "".join(f"string A{i}={piece}\n" for i, piece in enumerate(pieces(PLAIN, 100)))
    + "string data\n",
    "numbers": "".join(f"# {', '.join(map(str, row))}\n" for row in pieces(JPEG, 40))
    + "string data",
    "latin": "# " + JPEG.decode("latin1").replace("\n", " ") + "\nstring data\n"}


def canaries(data: bytes, ways: dict[str, str]) -> bool:
    """Whether a part of the picture is in a file, in any of the ways."""
    return any(text[at:at + 12].encode() in data for text in ways.values()
               for at in (40, len(text) // 2)) or JPEG[40:56] in data


WAYS = {"base64": PLAIN, "hex": JPEG.hex(), "numbers": ", ".join(map(str, JPEG))}


def listed_in(target):
    """The topics of the manifest, by their names."""
    return {entry["topic"]: entry
            for entry in json.loads(beside(target)[1].read_text())["topics"]}


def assert_gone(target, ways=WAYS):
    files = [target] if target.is_file() else sorted(target.iterdir())
    for file in [*files, *beside(target)]:
        assert not canaries(file.read_bytes(), ways), file


@pytest.mark.parametrize("way", DEFINITIONS)
@pytest.mark.parametrize("case", ["empty", "later", "first", "image"])
def test_no_definition_carries_a_picture_out(tmp_path, way, case):
    bad = schema(2, IMAGES[0].encode() if case == "image" else b"own_msgs/msg/Note",
                 data=DEFINITIONS[way].encode())
    good = [schema(1, STRING), channel(1, 1, b"/s"), message(1, HELLO)]
    records = {"empty": [*good, bad, channel(2, 2, b"/empty")],
               "later": [*good, bad, channel(2, 2, b"/s"), message(2, HELLO)],
               "first": [bad, channel(2, 2, b"/s"), message(2, HELLO), *good],
               "image": [*good, bad, channel(2, 2, b"/cam"),
                         message(2, Maker(False).image(9, 1, "bgr8"))]}[case]
    source = mcap(tmp_path / "a.mcap", *records)
    outcome, target = run(source, tmp_path)
    assert_gone(target)
    assert not outcome.faultless and "what defines it" in " ".join(outcome.warnings)
    assert HELLO in target.read_bytes()


@pytest.mark.parametrize("kind", ["mcap", "sqlite", "ros1"])
def test_no_definition_of_an_empty_topic_leaves_unseen(tmp_path, kind):
    """Written by rosbags, with a summary; the topic has no message at all."""
    text = DEFINITIONS["comments"]
    if kind == "ros1":
        path = tmp_path / "a.bag"
        with Writer1(path) as writer:
            said = writer.add_connection("/s", "std_msgs/msg/String", typestore=ROS1)
            writer.write(said, 5, b"\x05\0\0\0hello")
            writer.add_connection("/empty", "own_msgs/msg/Note", msgdef=text, md5sum="1" * 32)
    else:
        path = tmp_path / "bag"
        with Writer2(path, version=9, storage_plugin=StoragePlugin[
                {"mcap": "MCAP", "sqlite": "SQLITE3"}[kind]]) as writer:
            said = writer.add_connection("/s", "std_msgs/msg/String", msgdef="string data\n",
                                         rihs01=HASH)
            writer.write(said, 5, HELLO)
            writer.add_connection("/empty", "own_msgs/msg/Note", msgdef=text, rihs01=HASH)
    outcome, target = run(path, tmp_path)
    assert_gone(target)
    assert set(read_bag(target)[1]) == {"/s"} and not outcome.faultless
    plans = {plan.topic: plan for plan in Bag(path).survey(TopicWishes(), scratch=tmp_path)}
    listed = listed_in(target)
    for found in (plans["/empty"].action, listed["/empty"]["action"]):
        assert found == "dropped"
    asked = Writing(topics=TopicWishes(drop=frozenset(["/empty"])))
    (tmp_path / "asked").mkdir()
    assert run(path, tmp_path / "asked", writing=asked)[0].faultless


@pytest.mark.parametrize("where", ["topic", "type", "callerid", "md5sum", "latching"])
def test_no_name_of_ros1_carries_a_picture_out(tmp_path, where):
    about = {"topic": "/s", "type": "std_msgs/msg/String", "callerid": "/node", "md5sum": "1" * 32}
    about[where] = PLAIN if where != "latching" else ""
    path = tmp_path / "a.bag"
    with Writer1(path) as writer:
        said = writer.add_connection(
            about["topic"], "own_msgs/msg/" + PLAIN if where == "type" else about["type"],
            msgdef="string data", md5sum=about["md5sum"], callerid=about["callerid"],
            latching=int.from_bytes(JPEG[40:300], "big") if where == "latching" else 1)
        writer.write(said, 5, b"\x05\0\0\0hello")
    _, target = run(path, tmp_path)
    assert_gone(target, WAYS | {"digits": str(int.from_bytes(JPEG[40:300], "big"))})


@pytest.mark.parametrize("where", ["schema", "schema encoding", "message encoding", "topic",
                                   "profile", "key", "value", "keys", "values", "blob"])
@pytest.mark.parametrize("filled", [True, False])
def test_no_word_around_mcap_messages_carries_a_picture_out(tmp_path, where, filled):
    canary = PLAIN.encode()

    def put(name, plain):
        return canary if where == name else plain
    entries = {"key": [(canary, b"v")], "value": [(b"k", canary)],
               "keys": [(piece.encode(), b"v") for piece in pieces(PLAIN, 100)],
               "values": [(b"k%d" % i, piece.encode())
                          for i, piece in enumerate(pieces(PLAIN, 100))]}.get(where, [])
    metadata = b"".join(word(k) + word(v) for k, v in entries)
    blob = b"\x0a" + struct.pack("<B", 4) + b"note"
    if where == "blob":
        blob += b"".join(b"\x12" + bytes([len(piece)]) + piece for piece in pieces(JPEG, 100))
    source = mcap(
        tmp_path / "a.mcap",
        schema(1, put("schema", b"acme.Note"), put("schema encoding", b"protobuf"), blob),
        channel(1, 1, put("topic", b"/note"), put("message encoding", b"protobuf"), metadata),
        *([message(1, b"\x0a\x02hi")] if filled else []),
        schema(2, STRING), channel(2, 2, b"/s"), message(2, HELLO), profile=put("profile", b"ros2"))
    _, target = run(source, tmp_path)
    assert_gone(target)
    assert HELLO in target.read_bytes()
    kept = where in ("profile", "key", "value", "keys", "values")
    assert (b"acme.Note" in target.read_bytes()) == kept


@pytest.mark.parametrize("encoding", [PLAIN, JPEG.hex(), "a b " * 200])
def test_no_reason_quotes_what_it_dropped(tmp_path, encoding):
    make, kind = Maker(False), IMAGES[0]
    raw = make.bytes_of(make.make(kind, make.header(3), 72, 96, encoding, 0, 96,
                                  np.zeros(72 * 96, np.uint8)), kind)
    attached = record(9, struct.pack("<QQ", 1, 1) + word(encoding.encode()) + word(b"image/jpeg")
                      + struct.pack("<Q", 3) + b"abc" + bytes(4))
    source = mcap(tmp_path / "a.mcap", schema(1, IMAGES[0].encode()), channel(1, 1, b"/cam"),
                  message(1, raw), schema(2, STRING), channel(2, 2, b"/s"), message(2, HELLO),
                  attached)
    _, target = run(source, tmp_path)
    for file in (target, *beside(target)):
        assert encoding.encode()[:40] not in file.read_bytes()


@pytest.mark.parametrize("field", ["frame", "format"])
@pytest.mark.parametrize("text", [PLAIN, PLAIN[:200], JPEG[:100].hex(), JPEG.decode("latin1"),
                                  "a quiet word " * 40, "front\x01\x02"])
def test_no_text_of_an_image_carries_anything_out(tmp_path, field, text):
    make = Maker(False)
    kind = IMAGES[1]
    data = np.frombuffer(files()["PNG"], np.uint8)
    good = make.bytes_of(make.make(kind, make.header(3, "front_camera"), "png", data), kind)
    bad = make.bytes_of(make.make(kind, make.header(9, text if field == "frame" else "front"),
                                  text if field == "format" else "png", data), kind)
    source = write_bag(tmp_path / "bag", "mcap", [("/c", kind, 1, good), ("/c", kind, 2, bad)])
    outcome, target = run(source, tmp_path)
    ((_, _, stamp, _),) = read_bag(target)[0]
    assert stamp == 1 and outcome.withheld == 1
    assert text.encode()[:30] not in (target / "bag.mcap").read_bytes()


def test_no_quality_of_service_carries_a_picture_out(tmp_path):
    long = QOS._replace(depth=int.from_bytes(JPEG[:400], "big"))
    packed = [QOS._replace(depth=int.from_bytes(JPEG[i:i + 7], "big")) for i in range(0, 700, 7)]
    with Writer2(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        for topic, qos in (("/s", [QOS]), ("/rosout", [QOS] * 150), ("/long", [long]),
                           ("/packed", packed)):
            said = writer.add_connection(topic, "std_msgs/msg/String", msgdef="string data\n",
                                         rihs01=HASH, offered_qos_profiles=qos)
            writer.write(said, 5, HELLO)
    _, target = run(tmp_path / "bag", tmp_path)
    assert set(read_bag(target)[1]) == {"/s", "/rosout"}
    assert str(long.depth) not in (target / "metadata.yaml").read_text()


@pytest.mark.parametrize("where", ["ros_distro", "offered_qos_profiles", "type_description_hash"])
@pytest.mark.parametrize("way", ["one", "lines", "nested"])
def test_no_value_of_metadata_yaml_carries_a_picture_out(tmp_path, where, way):
    import yaml
    source = write_bag(tmp_path / "bag", "sqlite", messages(extra=False, count=1))
    whole = yaml.safe_load((source / "metadata.yaml").read_text())
    info = whole["rosbag2_bagfile_information"]
    place = info if where == "ros_distro" else info["topics_with_message_count"][0][
        "topic_metadata"]
    place[where] = {"one": PLAIN, "lines": texts(JPEG)["lines"],
                    "nested": [{"a": piece} for piece in pieces(PLAIN, 50)]}[way]
    (source / "metadata.yaml").write_text(yaml.safe_dump(whole))
    _, target = run(source, tmp_path)
    assert_gone(target)


def test_definitions_of_all_types_that_ros_defines_are_plain():
    for store in (ROS1, Maker(False).store):
        for name in store.fielddefs:
            try:
                text, _ = store.generate_msgdef(name)
            except Exception:       # of a type without fields
                continue
            found = MessageDefinition(MessageDefinitionFormat.MSG, text)
            assert not definition_sign(Connection(
                1, "/robot/topic", name, found, HASH, 0, ConnectionExtRosbag2("cdr", [QOS]),
                None)), name


def _block(number: int, data: bytes) -> bytes:
    size = bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 127 | 128, len(data) >> 7])
    return bytes([number << 3 | 2]) + size + data


def descriptor(numbers):
    """A Protobuf descriptor: a file with messages of 40 fields, of these numbers."""
    fields = [_block(2, _block(1, b"a_field_%d" % i) + bytes([24])
                     + (bytes([number]) if number < 128 else bytes([number & 127 | 128, 1]))
                     + b"\x20\x01\x28\x05" + _block(10, b"aField%d" % i))
              for i, number in enumerate(numbers)]
    inner = [_block(4, _block(1, b"Part%d" % i) + b"".join(fields[i:i + 40]))
             for i in range(0, len(fields), 40)]
    return _block(1, b"acme/thing.proto") + b"".join(inner)


def test_a_descriptor_stays_and_a_picture_as_field_numbers_goes(tmp_path):
    for name, numbers, kept in (("plain", [i % 18 + 1 for i in range(1200)], True),
                                ("picture", [value | 1 for value in files()["grey"]], False)):
        source = mcap(tmp_path / f"{name}.mcap",
                      schema(1, b"acme.Thing", b"protobuf", descriptor(numbers)),
                      channel(1, 1, b"/thing", b"protobuf"), message(1, b"\x0a\x02hi"))
        outcome, target = run(source, tmp_path)
        assert outcome.faultless == kept, outcome.problems
        assert (descriptor(numbers) in target.read_bytes()) == kept


def test_the_descriptor_of_descriptors_is_plain():
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    whole = descriptor_pb2.FileDescriptorSet()
    descriptor_pb2.DESCRIPTOR.CopyToProto(whole.file.add())
    assert not _blob_sign(whole.SerializeToString())


def test_channels_of_one_topic_with_different_schemas_stay_apart(tmp_path):
    source = mcap(
        tmp_path / "a.mcap",
        schema(1, b"own_msgs/msg/Count", data=b"uint32 count"), channel(1, 1, b"/n"),
        message(1, b"\0\1\0\0" + struct.pack("<I", 7)),
        schema(2, b"own_msgs/msg/Count", data=b"string text"), channel(2, 2, b"/n"),
        message(2, HELLO, 6), message(1, b"\0\1\0\0" + struct.pack("<I", 8), 7))
    outcome, target = run(source, tmp_path)
    assert outcome.faultless, outcome.problems
    scan = Bag(target).open(0, scratch=tmp_path)
    found = [(scan.raw[number].schema[2], data) for number, _, data in scan.messages()]
    assert found == [(b"uint32 count", b"\0\1\0\0\7\0\0\0"), (b"string text", HELLO),
                     (b"uint32 count", b"\0\1\0\0\x08\0\0\0")]


def test_connections_of_one_ros1_topic_with_different_definitions_stay_apart(tmp_path):
    path = tmp_path / "a.bag"
    content = [("uint32 count", b"\7\0\0\0"), ("string text", b"\5\0\0\0hello")]
    with Writer1(path) as writer:
        for number, (text, data) in enumerate(content):
            made = writer.add_connection("/n", "own_msgs/msg/Count", msgdef=text,
                                         md5sum=str(number) * 32)
            writer.write(made, 5 + number, data)
    outcome, target = run(path, tmp_path)
    assert outcome.faultless, outcome.problems
    scan = Bag(target).open(0, scratch=tmp_path)
    assert [(scan.by_id[number].msgdef.data, scan.by_id[number].digest, data)
            for number, _, data in scan.messages()] == [
        (text, str(number) * 32, data) for number, (text, data) in enumerate(content)]


@pytest.mark.parametrize("topic, encoding, modality", [
    ("/cam/depth/image_raw", "mono16", "depth or geometry"),
    ("/cam/depth/image_raw", "mono8", "depth or geometry"),
    ("/tof_left/image", "mono8", "depth or geometry"),
    ("/infra/image", "16UC1", "depth or geometry"), ("/a/b", "32FC1", "depth or geometry"),
    ("/long_range/image", "mono8", "picture"), ("/orange_camera/image", "mono16", "picture"),
    ("/stoff/image", "8UC1", "picture"), ("/depth/camera/front/image", "mono8", "picture"),
    ("/is_depth_wrong/image/left", "bgr8", "picture")])
def test_depth_is_known_by_encoding_and_grey_depth_by_a_word(tmp_path, topic, encoding, modality):
    size = {"mono8": 1, "8UC1": 1, "mono16": 2, "16UC1": 2, "bgr8": 3, "32FC1": 4}[encoding]
    make, kind = Maker(False), IMAGES[0]
    raw = make.bytes_of(make.make(kind, make.header(3), 72, 96, encoding, 0, 96 * size,
                                  np.arange(72 * 96 * size).astype(np.uint8)), kind)
    source = write_bag(tmp_path / "bag", "mcap", [(topic, kind, 3, raw),
                                                  ("/wheel", OWN_TYPE, 4, make.wheel(3))])
    _, target = run(source, tmp_path)
    listed = listed_in(target)
    assert listed[topic]["modality"] == modality
    assert listed[topic]["left_out"] == int(modality != "picture")
