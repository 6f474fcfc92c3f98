"""Which input becomes which output; outputs are whole or not there."""

from __future__ import annotations

import os

import pytest

from deid_ros.errors import MediaError
from deid_ros.media import beside, plan, whole
from deid_ros.media.bags import Bag
from deid_ros.media.whole import sweep, whole_set


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def targets(planned, out):
    return sorted(job.target.relative_to(out).as_posix() for job in planned.jobs)


def test_folders_keep_their_shape(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    touch(source / "a.jpg", source / "b" / "a.PNG", source / "b" / "c.mp4", source / "notes.txt",
          source / ".hidden.jpg", source / ".git" / "x.png")
    planned = plan([source], out)
    assert targets(planned, out) == ["a.jpg", "b/a.PNG", "b/c.mp4"]
    assert sorted(job.name for job in planned.jobs) == ["a.jpg", "b/a.PNG", "b/c.mp4"]
    assert planned.refused == [] and [p.name for p in planned.left_out] == ["notes.txt"]


def test_one_file_may_name_its_output(tmp_path):
    touch(tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert plan([tmp_path / "a.jpg"], tmp_path / "c.jpg").jobs[0].target == tmp_path / "c.jpg"
    assert plan([tmp_path / "a.jpg"], tmp_path / "c").jobs[0].target == tmp_path / "c" / "a.jpg"
    two = plan([tmp_path / "a.jpg", tmp_path / "b.jpg"], tmp_path / "c.jpg")
    assert two.jobs[0].target == tmp_path / "c.jpg" / "a.jpg"


def test_two_inputs_never_share_an_output(tmp_path):
    touch(tmp_path / "x" / "a.jpg", tmp_path / "y" / "a.jpg", tmp_path / "y" / "A.JPG")
    planned = plan([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    assert len(planned.jobs) == 1
    assert len(planned.refused) == 2 and all("same output" in s for s in planned.refused)


def test_an_input_given_twice_is_done_once(tmp_path):
    touch(tmp_path / "x" / "a.jpg")
    planned = plan([tmp_path / "x", tmp_path / "x" / "a.jpg"], tmp_path / "out")
    assert len(planned.jobs) == 1 and planned.refused == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_inputs_are_never_overwritten(tmp_path, overwrite):
    touch(tmp_path / "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path)
    os.link(tmp_path / "a.jpg", tmp_path / "hard.jpg")
    for source, out in ((tmp_path / "a.jpg", tmp_path), (tmp_path / "a.jpg", tmp_path / "link"),
                        (tmp_path / "a.jpg", tmp_path / "hard.jpg"), (tmp_path, tmp_path)):
        planned = plan([source], out, overwrite=overwrite)
        assert planned.jobs == []
        assert all("overwrite an input" in sentence for sentence in planned.refused)
        assert planned.refused


def test_existing_outputs_stay(tmp_path):
    touch(tmp_path / "in" / "a.jpg", tmp_path / "out" / "a.jpg")
    planned = plan([tmp_path / "in"], tmp_path / "out")
    assert planned.jobs == [] and "--overwrite" in planned.refused[0]
    assert len(plan([tmp_path / "in"], tmp_path / "out", overwrite=True).jobs) == 1


def test_outputs_inside_the_input_are_no_inputs(tmp_path):
    touch(tmp_path / "a.jpg", tmp_path / "out" / "b.jpg")
    assert targets(plan([tmp_path], tmp_path / "out"), tmp_path / "out") == ["a.jpg"]


@pytest.mark.parametrize("name, word", [("missing.jpg", "no file or folder"),
                                        ("empty", "holds no")])
def test_what_cannot_be_done_is_said(tmp_path, name, word):
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "good.jpg")
    planned = plan([tmp_path / name, tmp_path / "good.jpg"], tmp_path / "out")
    assert len(planned.jobs) == 1
    assert len(planned.refused) == 1 and word in planned.refused[0]
    assert str(tmp_path / name) in planned.refused[0]


def test_a_bag_is_one_input_wherever_it_lies(tmp_path):
    touch(tmp_path / "in" / "a" / "metadata.yaml", tmp_path / "in" / "a" / "a_0.mcap",
          tmp_path / "in" / "b.bag", tmp_path / "in" / "c.mcap", tmp_path / "in" / "d.db3")
    planned = plan([tmp_path / "in"], tmp_path / "out")
    assert targets(planned, tmp_path / "out") == ["a", "b.bag", "c.mcap", "d.db3"]
    assert planned.jobs[0].is_bag and planned.refused == [] == planned.left_out
    alone = plan([tmp_path / "in" / "a"], tmp_path / "out").jobs[0]
    assert (alone.target, alone.name) == (tmp_path / "out" / "a", "a")


@pytest.mark.parametrize("order", [1, -1])
def test_no_output_lies_within_another(tmp_path, order):
    touch(tmp_path / "x" / "a" / "metadata.yaml", tmp_path / "x" / "a" / "a.db3",
          tmp_path / "y" / "a" / "b.jpg")
    planned = plan([tmp_path / "x", tmp_path / "y"][::order], tmp_path / "out")
    assert len(planned.jobs) == 1 and "same output" in planned.refused[0]


def test_what_is_done_is_not_done_again(tmp_path):
    touch(tmp_path / "in" / "a.jpg", tmp_path / "in" / "b.jpg", tmp_path / "out" / "a.jpg",
          tmp_path / "out" / "b.jpg")
    planned = plan([tmp_path / "in"], tmp_path / "out",
                   fault=lambda job: None if job.name == "a.jpg" else "")
    assert [job.name for job in planned.done] == ["a.jpg"]
    assert planned.jobs == [] and "b.jpg exists already" in planned.refused[0]


def test_out_that_is_a_file_is_refused(tmp_path):
    touch(tmp_path / "a.jpg", tmp_path / "out")
    with pytest.raises(MediaError, match="is a file"):
        plan([tmp_path / "a.jpg"], tmp_path / "out")


def test_an_output_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "new" / "a.jpg"
    with whole(target) as part:
        part.write_bytes(b"half")
        assert not target.exists() and part.name.startswith(".") and part.parent == target.parent
        part.write_bytes(b"whole")
    assert target.read_bytes() == b"whole" and os.listdir(target.parent) == ["a.jpg"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_unfinished_output_is_removed(tmp_path, error):
    with pytest.raises(error), whole(tmp_path / "a.jpg") as part:
        part.write_bytes(b"half")
        raise error
    assert os.listdir(tmp_path) == []


def test_an_output_made_meanwhile_is_kept(tmp_path):
    target = tmp_path / "a.jpg"
    with pytest.raises(MediaError, match="exists already"), whole(target) as part:
        part.write_bytes(b"mine")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs" and os.listdir(tmp_path) == ["a.jpg"]
    with whole(target, overwrite=True) as part:
        part.write_bytes(b"mine")
    assert target.read_bytes() == b"mine"


def test_an_output_comes_after_its_evidence(tmp_path, monkeypatch):
    seen = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(b.name), replace(a, b)))
    target = tmp_path / "a.jpg"
    with whole_set(target, beside(target)) as (part, faces, manifest):
        for path in (part, faces, manifest):
            path.write_text(path.name)
        assert not any(not path.name.startswith(".") for path in tmp_path.iterdir())
    assert seen == ["a.jpg.manifest.json", "a.jpg.faces.jsonl"] and target.is_file()
    assert len(os.listdir(tmp_path)) == 3


def test_only_a_bag_folder_is_overwritten(tmp_path):
    touch(tmp_path / "holiday" / "mine.jpg", tmp_path / "bag" / "metadata.yaml",
          tmp_path / "bag" / "old.mcap")
    for name in ("holiday", "bag"):
        target = tmp_path / name
        try:
            with whole_set(target, beside(target), folder=True, overwrite=True) as (part, *_):
                (part / "metadata.yaml").write_text("new")
        except MediaError as error:
            assert "no rosbag" in str(error) and name == "holiday"
    assert os.listdir(tmp_path / "holiday") == ["mine.jpg"]
    assert os.listdir(tmp_path / "bag") == ["metadata.yaml"]


def test_what_a_killed_run_left_is_swept(tmp_path):
    touch(tmp_path / ".a.jpg.0123abcd.part", tmp_path / ".b.jpg.0123abcd.part",
          tmp_path / ".a.0123abcd.part" / "x.mcap", tmp_path / ".a.jpg.part")
    sweep([tmp_path / "a.jpg", tmp_path / "a", tmp_path / "none" / "c"])
    assert sorted(os.listdir(tmp_path)) == [".a.jpg.part", ".b.jpg.0123abcd.part"]


def test_an_unwritable_place_is_said(tmp_path):
    touch(tmp_path / "file")
    with pytest.raises(MediaError, match="cannot be written"), \
            whole(tmp_path / "file" / "a.jpg"):
        pass


def test_fifos_are_refused_at_once(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    touch(folder / "a.jpg", folder / "bag" / "metadata.yaml", folder / "bag" / "b.mcap")
    for name in ("b.jpg", "c.mp4", "d.bag", "pipe", "bag/a.mcap"):
        os.mkfifo(folder / name)
    (folder / "e.png").symlink_to("/dev/zero")
    (folder / "f.png").symlink_to("nowhere")
    planned = plan([folder, folder / "b.jpg", "/dev/zero"], out)
    assert targets(planned, out) == ["a.jpg"]
    assert [path.name for path in planned.left_out] == ["pipe"]
    said = "\n".join(planned.refused)
    for name in ("b.jpg is a FIFO", "c.mp4 is a FIFO", "d.bag is a FIFO", "bag/a.mcap is a FIFO",
                 "e.png is a device", "f.png is a link that leads nowhere",
                 "/dev/zero is neither"):
        assert name in said


def test_folders_that_are_not_entered_are_named(tmp_path):
    folder, other = tmp_path / "in", tmp_path / "other"
    touch(folder / "a.jpg", folder / "b" / "c.jpg", other / "d.jpg", folder / "locked" / "e.jpg")
    (folder / "link").symlink_to(other)
    (folder / "latest").symlink_to("b")
    (folder / "locked").chmod(0)
    try:
        planned = plan([folder], tmp_path / "out")
    finally:
        (folder / "locked").chmod(0o700)
    said = "\n".join(planned.refused)
    assert f"{folder / 'link'} is a link, it is not followed" in said and "latest" not in said
    assert "locked cannot be read" in said or os.geteuid() == 0
    assert targets(planned, tmp_path / "out")[:2] == ["a.jpg", "b/c.jpg"]


@pytest.mark.parametrize("name, content, word", [
    ("a.mp4.zst", b"x", "is packed"), ("a.mcap.gz", b"x", "is packed"),
    ("a.mp4.part", b"x", "not complete"),
    ("IMG_0001", b"\xff\xd8\xff\xe0", "is not called as one"),
    ("a.m4a", b"\0\0\0 ftypM4A ", "called as sound"), ("a.ogg", b"OggS\0", "called as sound"),
    ("a.nef", b"II*\0", "is not called as one"), ("clip.dat", b"\x1aE\xdf\xa3", "not called")])
def test_what_may_show_people_and_is_left_out_is_refused(tmp_path, name, content, word):
    touch(tmp_path / "in" / "b.jpg")
    (tmp_path / "in" / name).write_bytes(content)
    planned = plan([tmp_path / "in"], tmp_path / "out")
    assert targets(planned, tmp_path / "out") == ["b.jpg"] and planned.left_out == []
    assert len(planned.refused) == 1 and word in planned.refused[0] and name in planned.refused[0]


def test_other_files_in_the_folder_of_a_bag_are_named(tmp_path):
    bag = tmp_path / "in" / "bag"
    touch(bag / "metadata.yaml", bag / "a_0.db3", bag / "a_0.db3-wal", bag / "photo.jpg",
          bag / "b.txt", bag / "more" / "clip.mp4")
    for inputs in ([tmp_path / "in"], [bag]):
        planned = plan(inputs, tmp_path / "out")
        assert [job.source for job in planned.jobs] == [bag]
        assert [path.name for path in planned.left_out] == ["b.txt"]
        assert ["clip.mp4" in planned.refused[0], "photo.jpg" in planned.refused[1]] == [True] * 2


@pytest.mark.parametrize("text", ["name: faces\n", "", "about: 'no rosbag2_bagfile_information'",
                                  "- a\n- b\n"])
def test_a_folder_that_only_looks_like_a_bag_is_a_folder(tmp_path, text):
    folder = tmp_path / "in" / "data"
    touch(folder / "images" / "a.jpg", folder / "b.png")
    (folder / "metadata.yaml").write_text(text)
    for inputs in ([folder], [tmp_path / "in"]):
        planned = plan(inputs, tmp_path / "out")
        assert [job.source.name for job in planned.jobs] == ["b.png", "a.jpg"]
        assert planned.refused == [] and [p.name for p in planned.left_out] == ["metadata.yaml"]


@pytest.mark.parametrize("end", [".faces.jsonl", ".manifest.json"])
def test_evidence_that_exists_is_not_replaced(tmp_path, end):
    target = tmp_path / "a.jpg"
    mine = target.with_name(target.name + end)
    with pytest.raises(MediaError, match=f"{mine} exists already"), \
            whole_set(target, beside(target)) as (part, faces, manifest):
        mine.write_text("mine")
    assert os.listdir(tmp_path) == [mine.name] and mine.read_text() == "mine"
    with whole_set(target, beside(target), overwrite=True):
        pass
    assert mine.read_text() == "" and len(os.listdir(tmp_path)) == 3


def test_files_that_a_bag_does_not_name_are_said(tmp_path):
    bag = tmp_path / "bag"
    touch(bag / "a_0.mcap", bag / "a_1.mcap.zstd", bag / "a_2.mcap")
    (bag / "metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n  relative_file_paths: [a_0.mcap, a_1.mcap]\n")
    planned = plan([bag], tmp_path / "out")
    assert len(planned.jobs) == 1 and len(planned.refused) == 1
    assert "a_2.mcap is not named in the metadata.yaml" in planned.refused[0]


@pytest.mark.parametrize("about", [
    "rosbag2_bagfile_information:\n  relative_file_paths: [xa_0.mcap, A_1.MCAP]\n",
    "rosbag2_bagfile_information:\n  relative_file_paths: [a_0.mcap\n",
    "rosbag2_bagfile_information:\n  relative_file_paths: 7\n",
    "rosbag2_bagfile_information: [relative_file_paths]\n", "{ not yaml"])
def test_what_is_planned_of_a_bag_is_what_is_read_of_it(tmp_path, about):
    bag = tmp_path / "in" / "bag"
    names = ["a_0.mcap", "xa_0.mcap", "A_1.MCAP", "a_2.mcap.zstd"]
    touch(*(bag / name for name in names))
    (bag / "metadata.yaml").write_text(about)
    planned = plan([tmp_path / "in"], tmp_path / "out")
    assert len(planned.jobs) == 1
    found = Bag(bag)
    read = {path.name for path in found.files}
    refused = {name for name in names if any(f"/{name} is not" in s for s in planned.refused)}
    left = {name for name in names if any(s.startswith(f"{name} lies") for s in found.notes)}
    assert read | refused == set(names) and not read & refused and refused == left
    assert read == ({"xa_0.mcap", "A_1.MCAP"} if "[xa" in about else set(names))


def closed(monkeypatch, folder):
    """Make a folder one that cannot be read, by whomever."""
    scandir = os.scandir

    def refuse(path="."):
        if os.path.abspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)
    monkeypatch.setattr(os, "scandir", refuse)


def test_folders_of_a_bag_that_are_not_entered_are_named(tmp_path, monkeypatch):
    bag = tmp_path / "in" / "bag"
    touch(bag / "metadata.yaml", bag / "a_0.db3", bag / "locked" / "b.jpg", tmp_path / "c" / "d")
    (bag / "link").symlink_to(tmp_path / "c")
    closed(monkeypatch, bag / "locked")
    planned = plan([tmp_path / "in"], tmp_path / "out")
    said = "\n".join(planned.refused)
    assert len(planned.jobs) == 1 and not planned.left_out
    assert f"{bag / 'locked'} is no file" in said and f"{bag / 'link'} is no file" in said
