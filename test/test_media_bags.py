"""Bags: images leave covered, everything else byte for byte, in its order."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import yaml
from bag_support import (
    ENCODINGS,
    FACE,
    KINDS,
    ROS1,
    ROS2,
    Maker,
    messages,
    read_bag,
    write_bag,
    write_split,
)
from sample_faces import FakeFinder, make_face

from deid_ros.config import defaults
from deid_ros.errors import DetectorError, MediaError
from deid_ros.faces import boxes_of
from deid_ros.media import Job, TopicWishes, Writing, beside, process
from deid_ros.messages import ENCODINGS as CONVERSIONS
from deid_ros.pipeline import Pipeline
from deid_ros.replacer import Replacer

PERSON = make_face(FACE[:2], FACE[2], trusted=False)
IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


def solid(finder=None) -> Pipeline:
    return Pipeline(defaults(), finder=finder or FakeFinder(PERSON),
                    replacer=Replacer(replace="solid"))


#: What is dropped in most tests, said beforehand.
ASKED = Writing(topics=TopicWishes(drop=frozenset(["/coloured"])))


def run(source, tmp_path, pipeline=None, writing=ASKED, **options):
    job = Job(source, tmp_path / "out" / source.name, source.name)
    return process(job, pipeline or solid(), writing=writing, **options), job.target


def frame_of(msgtype, data, ros1=False):
    """(header, BGR frame) as another program reads them."""
    store = ROS1 if ros1 else ROS2
    msg = (store.deserialize_ros1 if ros1 else store.deserialize_cdr)(data, msgtype)
    if msgtype == IMAGES[1]:
        return msg.header, cv2.imdecode(msg.data, cv2.IMREAD_COLOR)
    rows = msg.data.reshape(msg.height, msg.step)
    return msg.header, CONVERSIONS[msg.encoding].to_bgr(rows, False)


def assert_covered(before, after, ros1=False):
    """The face is gone, the rest and every field are as they were."""
    assert before[:3] == after[:3]
    header, frame = frame_of(*before[1::2], ros1)
    again, covered = frame_of(*after[1::2], ros1)
    assert header == again
    x, y, w, h = boxes_of(PERSON)[0]
    inside = np.s_[y + h // 3:y + 2 * h // 3, x + w // 3:x + 2 * w // 3]
    assert np.ptp(covered[inside].astype(int), axis=(0, 1)).max() < 8
    assert np.ptp(frame[inside].astype(int), axis=(0, 1)).min() > 100
    outside = np.ones(frame.shape[:2], bool)
    outside[max(y - 4, 0):y + h + 4, max(x - 4, 0):x + w + 4] = False
    assert np.array_equal(frame[outside], covered[outside])
    # Up to the data of a raw image nothing changes, not even padding between fields.
    if before[1] == IMAGES[0]:
        assert len(before[3]) == len(after[3]) and before[3][:60] == after[3][:60]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bag_comes_back_whole_but_for_the_faces(tmp_path, kind):
    ros1 = kind.startswith("ros1")
    source = write_bag(tmp_path / "in" / "bag", kind, messages(ros1))
    outcome, target = run(source, tmp_path)
    assert outcome.faultless, outcome.problems
    assert (outcome.frames, outcome.covered["solid"]) == (24, 24)
    (before, about), (after, still) = read_bag(source), read_bag(target)
    before = [message for message in before if message[0] != "/coloured"]
    assert [message[:3] for message in before] == [message[:3] for message in after]
    for old, new in zip(before, after, strict=True):
        if old[1] in IMAGES:
            assert_covered(old, new, ros1)
        else:
            assert old == new
    # Types, definitions, hashes and QoS (or callerid and latching) too.
    assert still == {topic: known for topic, known in about.items() if topic != "/coloured"}
    if not ros1:
        old, new = (yaml.safe_load((path / "metadata.yaml").read_text())[
            "rosbag2_bagfile_information"] for path in (source, target))
        for key in ("version", "storage_identifier", "compression_mode", "compression_format",
                    "relative_file_paths", "ros_distro"):
            assert old[key] == new[key], key
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        target.name, target.name + ".faces.jsonl", target.name + ".manifest.json"]


@pytest.mark.parametrize("suffix", [".mcap", ".db3"])
def test_a_single_file_is_a_bag_too(tmp_path, suffix):
    folder = write_bag(tmp_path / "bag", "mcap" if suffix == ".mcap" else "sqlite", messages())
    source = folder / f"bag{suffix}"
    outcome, target = run(source, tmp_path)
    assert outcome.faultless and target.is_file()
    assert len(read_bag(target)[0]) == len(read_bag(source)[0]) - 4


@pytest.mark.parametrize("kind", ["mcap", "sqlite", "sqlite_file", "mcap_message"])
def test_a_split_bag_stays_split(tmp_path, kind):
    content = messages(count=9)
    source = write_split(tmp_path / "bag", kind, [content[:37], content[37:60], content[60:]])
    outcome, target = run(source, tmp_path)
    assert outcome.faultless and outcome.frames == 54
    assert sorted(p.name for p in target.iterdir()) == sorted(p.name for p in source.iterdir())
    before, after = read_bag(source)[0], read_bag(target)[0]
    assert [m[:3] for m in before if m[0] != "/coloured"] == [m[:3] for m in after]
    files = [yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
             ["files"] for path in (source, target)]
    for old, new in zip(*files, strict=True):
        assert old["path"] == new["path"] and old["starting_time"] == new["starting_time"]
    assert sum(entry["message_count"] for entry in files[1]) == len(after)


def test_without_definitions_none_is_invented(tmp_path):
    """As Humble and older write SQLite: types by name alone."""
    import sqlite3
    source = write_bag(tmp_path / "bag", "sqlite_humble", messages())
    with sqlite3.connect(source / "bag.db3") as base:
        base.execute("DROP TABLE message_definitions")
        base.execute("DROP TABLE schema")
        base.execute("ALTER TABLE topics DROP COLUMN type_description_hash")
    outcome, target = run(source, tmp_path)
    assert outcome.faultless, outcome.problems
    with sqlite3.connect(target / "bag.db3") as base:
        assert base.execute("SELECT count(*) FROM message_definitions").fetchone() == (0,)
        assert set(base.execute("SELECT type_description_hash FROM topics")) == {("",)}
    assert len(read_bag(target)[0]) == len(read_bag(source)[0]) - 4


class Counts(FakeFinder):
    """Notes the frames that each of its kind has seen."""

    def __init__(self):
        super().__init__(PERSON)
        self.sizes = []

    def find(self, frame, *, stamp_ns=0):
        self.sizes.append((frame.shape, stamp_ns))
        return super().find(frame)


def test_every_topic_has_a_tracker_of_its_own(tmp_path, monkeypatch):
    made = []

    def finder(self):
        if "_own" not in self.__dict__:
            self._own = Counts()
            made.append(self._own)
        return self._own
    monkeypatch.setattr(Pipeline, "finder", property(finder))
    monkeypatch.setattr(Pipeline, "reset", lambda self, *, stream="": None)
    run(write_bag(tmp_path / "bag", "mcap", messages()), tmp_path,
        Pipeline(defaults(), replacer=Replacer(replace="solid")))
    assert len(made) == len(ENCODINGS) + 1
    for finder in made:
        stamps = [stamp for _, stamp in finder.sizes]
        assert len(stamps) == 4 and np.all(np.diff(stamps) == 40_000_000)


def test_topics_are_chosen_renamed_and_dropped(tmp_path):
    wishes = TopicWishes(image_topics=frozenset(["/bgr8/image"]), drop=frozenset(["/imu"]),
                         keep_unprocessed=frozenset(["/coloured"]),
                         names={"/bgr8/image": "/anonymous", "/wheel": "/w"})
    source = write_bag(tmp_path / "bag", "mcap", messages())
    outcome, target = run(source, tmp_path, writing=Writing(topics=wishes))
    assert outcome.frames == 4
    after, about = read_bag(target)
    assert set(about) == {"/anonymous", "/w", "/camera_info", "/points", "/coloured"}
    listed = yaml.safe_load((target / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert {t["topic_metadata"]["name"] for t in listed["topics_with_message_count"]} == set(about)
    assert {m[0] for m in after} == set(about)
    said = " ".join(outcome.warnings)
    assert "/rgb8/image is dropped" in said and "/coloured is copied: UNPROCESSED" in said
    assert "/imu" not in said


def test_image_topics_that_cannot_be_processed_are_dropped_with_a_warning(tmp_path):
    content = messages(extra=False)
    odd = [("/depth", IMAGES[0], t, data.replace(b"bgr8", b"32FC1"[:4]))
           for topic, kind, t, data in content if topic == "/bgr8/image"]
    source = write_bag(tmp_path / "bag", "mcap", content + odd)
    outcome, target = run(source, tmp_path)
    assert "/depth" not in read_bag(target)[1]
    assert "/depth is dropped" in " ".join(outcome.warnings) and outcome.withheld == 4
    assert not outcome.faultless and "--drop TOPIC" in " ".join(outcome.problems)


def test_what_holds_an_image_is_dropped(tmp_path):
    from rosbags.rosbag2 import StoragePlugin, Writer
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = writer.add_connection("/scene", "own_msgs/msg/Scene", typestore=ROS2)\
            if "own_msgs/msg/Scene" in ROS2.fielddefs else writer.add_connection(
                "/scene", "own_msgs/msg/Scene", rihs01="RIHS01_" + 64 * "1", msgdef=(
                    "sensor_msgs/Image view\n" + 80 * "=" + "\nMSG: sensor_msgs/Image\nuint8 x"))
        writer.write(topic, 5, b"\0\1\0\0secret")
        imu = writer.add_connection("/imu", "sensor_msgs/msg/Imu", typestore=ROS2)
        writer.write(imu, 6, Maker(False).imu(6, 1))
    outcome, target = run(tmp_path / "bag", tmp_path)
    assert set(read_bag(target)[1]) == {"/imu"}
    assert "cannot be decoded" in " ".join(outcome.warnings) and not outcome.faultless
    assert b"secret" not in (target / "bag.mcap").read_bytes()


def test_jpegs_keep_their_quality_and_lose_what_is_hidden_in_them(tmp_path):
    import io

    from PIL import Image
    make = Maker(False)
    picture = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (72, 96, 3), np.uint8),
                               (0, 0), 3)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=63, subsampling=0, comment=b"SecretPlace")
    kind = IMAGES[1]
    data = make.bytes_of(make.make(kind, make.header(9), "jpeg", np.frombuffer(
        stream.getvalue(), np.uint8)), kind)
    source = write_bag(tmp_path / "bag", "mcap", [("/c", kind, 10, data)])
    _, target = run(source, tmp_path)
    written = ROS2.deserialize_cdr(read_bag(target)[0][0][3], kind)
    assert b"SecretPlace" not in written.data.tobytes() and written.format == "jpeg"
    with Image.open(stream) as before, Image.open(io.BytesIO(written.data.tobytes())) as after:
        assert before.quantization == after.quantization


def test_frames_that_cannot_be_made_anonymous_are_withheld(tmp_path):
    class Flaky(FakeFinder):
        calls = 0

        def find(self, frame, *, stamp_ns=0):
            self.calls += 1
            if self.calls % 3 == 0:
                raise DetectorError("injected")
            return super().find(frame)

    source = write_bag(tmp_path / "bag", "sqlite", messages())
    outcome, target = run(source, tmp_path, solid(Flaky(PERSON)))
    assert (outcome.frames, outcome.withheld) == (16, 8) and not outcome.faultless
    before, after = read_bag(source)[0], read_bag(target)[0]
    assert sum(m[1] in IMAGES for m in after) == 16
    assert [m for m in before if m[1] not in IMAGES and m[0] != "/coloured"] == [
        m for m in after if m[1] not in IMAGES]
    for message in after:
        if message[1] in IMAGES:
            assert_covered(next(m for m in before if m[:3] == message[:3]), message)


def test_too_much_that_waits_lets_frames_go_early(tmp_path, monkeypatch):
    monkeypatch.setattr("deid_ros.media.bags.medium._MEMORY", 50_000)
    source = write_bag(tmp_path / "bag", "mcap", messages(count=8))
    outcome, target = run(source, tmp_path)
    assert outcome.frames == 48
    assert [m[:3] for m in read_bag(source)[0] if m[0] != "/coloured"] == [
        m[:3] for m in read_bag(target)[0]]


def test_the_evidence_has_the_agreed_form(tmp_path):
    source = write_bag(tmp_path / "bag", "mcap", messages())
    _, target = run(source, tmp_path)
    faces, manifest = beside(target)
    lines = [json.loads(line) for line in faces.read_text().splitlines()]
    assert len(lines) == 24
    for line in lines:
        assert list(line) == ["index", "stamp_ns", "topic", "faces"]
        (face,) = line["faces"]
        assert list(face) == ["track_id", "box", "score", "carried", "covered_by"]
        assert face["box"] == boxes_of(PERSON)[0].tolist() and face["covered_by"] == "solid"
    mine = [line for line in lines if line["topic"] == "/bgr8/image"]
    assert [line["index"] for line in mine] == [0, 1, 2, 3]
    assert mine[1]["stamp_ns"] - mine[0]["stamp_ns"] == 40_000_000
    paper = json.loads(manifest.read_text())
    assert paper["frames"] == 24 and paper["faces"] == 24 and paper["flatly_covered"] == 24
    assert (paper["withheld"], paper["carried"], paper["lost"]) == (0, 0, 0)
    assert set(paper["output"]["files"]) == {"bag.mcap", "metadata.yaml"}
    assert all(len(digest) == 64 for digest in paper["tool"]["files"].values())
    actions = {entry["topic"]: entry["action"] for entry in paper["topics"]}
    assert actions["/imu"] == "copied" and actions["/coloured"] == "dropped"
    assert paper["settings"]["matcher"]["key"] == "random"


@pytest.mark.parametrize("content", [b"", b"nothing of the kind" * 10])
@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.bag"])
def test_what_is_no_bag_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError) as error:
        run(tmp_path / name, tmp_path)
    assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


