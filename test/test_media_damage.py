"""Damaged bags yield what can be read, and say what was lost."""

from __future__ import annotations

import shutil

import pytest
import yaml
from bag_support import messages, read_bag, write_bag, write_split
from test_media_bags import IMAGES, assert_covered, run

from deid_ros.errors import MediaError


def image_count(path):
    return sum(m[1] in IMAGES for m in read_bag(path)[0])


def content(path):
    return [m for m in read_bag(path)[0] if m[0] != "/coloured"]


@pytest.mark.parametrize("kind, alone", [("mcap", False), ("mcap_chunks", False), ("mcap", True),
                                         ("mcap_message", False)])
def test_an_mcap_that_was_cut_off(tmp_path, kind, alone):
    source = write_bag(tmp_path / "bag", kind, messages(count=24))
    before = content(source)
    file = source / "bag.mcap"
    about = yaml.safe_load((source / "metadata.yaml").read_text())
    count = about["rosbag2_bagfile_information"]["message_count"]
    if alone:
        file = file.rename(tmp_path / "bag.mcap")
        source = file
    data = file.read_bytes()
    file.write_bytes(data[:len(data) * 3 // 4])
    outcome, target = run(source, tmp_path)
    after = content(target)
    assert not outcome.faultless and outcome.lost
    assert 0.3 * len(before) < len(after) < len(before)
    assert [m[:3] for m in after] == [m[:3] for m in before[:len(after)]]
    said = " ".join(outcome.problems)
    assert "bag.mcap" in said
    if not alone:  # the metadata says how many there were
        assert f"of {count} messages" in said
    for old, new in zip(before[:20], after[:20], strict=True):
        if old[1] in IMAGES:
            assert_covered(old, new)


def test_a_chunk_that_was_damaged_costs_no_other(tmp_path):
    source = write_bag(tmp_path / "bag", "mcap_chunks", messages(count=60))
    before = content(source)
    file = source / "bag.mcap"
    data = file.read_bytes()
    chunks = data.split(b"\x28\xb5\x2f\xfd")
    assert len(chunks) > 4
    middle = len(chunks) // 2
    file.write_bytes(b"\x28\xb5\x2f\xfd".join(chunks[:middle]) + b"\0\0\0\0"
                     + b"\x28\xb5\x2f\xfd".join(chunks[middle:]))
    outcome, target = run(source, tmp_path)
    after = content(target)
    assert not outcome.faultless and "chunk" in " ".join(outcome.problems)
    assert 0.3 * len(before) < len(after) < len(before)
    assert after[-1][:3] == before[-1][:3]


def test_a_sqlite_file_that_was_cut_off(tmp_path):
    source = write_bag(tmp_path / "bag", "sqlite", messages(count=20))
    before = content(source)
    file = source / "bag.db3"
    data = file.read_bytes()
    file.write_bytes(data[:len(data) * 2 // 3])
    outcome, target = run(source, tmp_path)
    after = content(target)
    assert not outcome.faultless and outcome.lost
    assert 0.3 * len(before) < len(after) < len(before)
    assert f"of {len(before) + 20} messages of bag.db3 could not be read" in (
        " ".join(outcome.problems))


@pytest.mark.parametrize("kind", ["ros1", "ros1_bz2"])
def test_a_ros1_bag_that_was_never_closed(tmp_path, kind):
    source = write_bag(tmp_path / "bag", kind, messages(True, count=24))
    before = content(source)
    data = bytearray(source.read_bytes())
    at = data.index(b"index_pos=") + 10
    data[at:at + 8] = bytes(8)
    source.write_bytes(data[:len(data) * 3 // 4])
    outcome, target = run(source, tmp_path)
    after = content(target)
    assert not outcome.faultless and outcome.lost
    assert 0.3 * len(before) < len(after) < len(before)
    assert [m[:3] for m in after] == [m[:3] for m in before[:len(after)]]
    assert "never closed" in " ".join(outcome.problems) or "beyond" in " ".join(outcome.problems)


def test_a_file_of_a_split_bag_is_missing(tmp_path):
    everything = messages(count=9)
    source = write_split(tmp_path / "bag", "mcap", [everything[:40], everything[40:80],
                                                    everything[80:]])
    (source / "bag_1.mcap").unlink()
    outcome, target = run(source, tmp_path)
    assert not outcome.faultless
    assert "the file bag_1.mcap is missing with 40 messages" in " ".join(outcome.problems)
    assert len(read_bag(target)[0]) == sum(
        m[0] != "/coloured" for m in everything[:40] + everything[80:])


def test_a_file_of_a_split_bag_is_rubbish(tmp_path):
    everything = messages(count=9)
    source = write_split(tmp_path / "bag", "mcap", [everything[:40], everything[40:]])
    (source / "bag_0.mcap").write_bytes(b"rubbish")
    outcome, target = run(source, tmp_path)
    assert not outcome.faultless and "bag_0.mcap" in " ".join(outcome.problems)
    assert image_count(target) == sum(m[1] in IMAGES for m in everything[40:])


def test_metadata_that_was_lost_is_made_again(tmp_path):
    source = write_bag(tmp_path / "bag", "sqlite", messages())
    (source / "metadata.yaml").write_text("{ not yaml")
    outcome, target = run(source, tmp_path)
    assert not outcome.faultless and "metadata.yaml cannot be read" in outcome.problems[0]
    assert len(read_bag(target)[0]) == 4 * 11


def test_a_journal_is_spoken_of(tmp_path):
    source = write_bag(tmp_path / "bag", "sqlite", messages())
    (source / "bag.db3-wal").write_bytes(b"x")
    outcome, _ = run(source, tmp_path)
    assert not outcome.faultless and "bag.db3-wal" in " ".join(outcome.problems)


def test_a_damaged_image_message_is_left_out(tmp_path):
    everything = messages(extra=False)
    broken = [(topic, kind, stamp, data[:-9]) if topic == "/bgr8/image" and i > 11 else
              (topic, kind, stamp, data) for i, (topic, kind, stamp, data) in enumerate(everything)]
    outcome, target = run(write_bag(tmp_path / "bag", "mcap", broken), tmp_path)
    assert outcome.withheld == 2 and not outcome.faultless
    assert "a message of /bgr8/image at" in " ".join(outcome.problems)
    assert sum(m[0] == "/bgr8/image" for m in read_bag(target)[0]) == 2


def test_nothing_that_can_be_read_is_no_bag(tmp_path):
    source = write_bag(tmp_path / "bag", "mcap", messages())
    (source / "bag.mcap").write_bytes(b"")
    with pytest.raises(MediaError):
        run(source, tmp_path)
    shutil.rmtree(source)
    assert list((tmp_path / "out").iterdir()) == []
