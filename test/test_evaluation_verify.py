"""Faults planted in finished outputs, all of which deid verify must find."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_support import FACE, SIZE, Maker, pixels, read_bag, write_bag
from sample_faces import FakeFinder, make_face
from test_media_files import closed
from test_media_videos import write
from video_support import FFMPEG, encoded, picture, stream, video

from deid_ros import pipeline as module
from deid_ros.cli import main
from deid_ros.evaluation import verify as verifying
from deid_ros.evaluation.against import shows_original
from deid_ros.evaluation.outputs import outputs_of, strays
from deid_ros.media.evidence import fingerprint
from deid_ros.media.files import beside
from deid_ros.media.images import picture_frames
from deid_ros.media.resume import STATE

BOX = [int(FACE[0]) - 18, int(FACE[1]) - 18, 36, 36]


class Sees:
    """A second detector that finds what lies in ``boxes``."""

    boxes: list[list[int]] = []

    def detect(self, frame):
        rows = np.zeros(len(self.boxes), [("box", np.float32, 4), ("score", np.float32)])
        rows["box"], rows["score"] = np.array(self.boxes).reshape(-1, 4), 0.9
        return rows


@pytest.fixture(autouse=True)
def done(tmp_path, monkeypatch):
    """Outputs of a picture, a video and a bag, each with one face a frame."""
    finder = FakeFinder(make_face(FACE[:2], FACE[2], trusted=False))
    monkeypatch.setattr(module.Pipeline, "finder", property(lambda self: finder))
    monkeypatch.setattr(module.Pipeline, "reset", lambda self, *, stream="": None)
    monkeypatch.setattr(verifying.Verifier, "_detector", lambda self, name: Sees())

    def judge(self, frame, rows, line, verdict, known):
        verdict.bare += [verifying.Bare(line["topic"], line["index"], (0, 0, 1, 1), 1.0)
                         for _ in rows]
    monkeypatch.setattr(verifying.Verifier, "_judge", judge)
    monkeypatch.setattr(Sees, "boxes", [BOX])
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    cv2.imwrite("in/a.png", cv2.resize(pixels(1).reshape(SIZE[1], SIZE[0], 3), SIZE))
    write(Path("in/clip.mp4"), range(0, 400, 40), size=SIZE)
    make = Maker(False)
    write_bag(Path("in/bag"), "mcap", [
        (topic, "sensor_msgs/msg/Image", 10**9 * (i + 1), make.image(i + 1, 3, "bgr8"))
        for i in range(4) for topic in ("/left", "/right")])
    assert main(["run", "in", "-o", "out", "--replace", "solid", "--topic-map",
                 "/left:=/links"]) == 0


def verdict(capsys, *words):
    capsys.readouterr()
    status = main(["verify", "out", *words])
    out, err = capsys.readouterr()
    return status, out, err


def rewrite(output):
    """Make the manifest say that what lies there was written."""
    faces, manifest = beside(Path(output))
    said = json.loads(manifest.read_text())
    for key, path in (("output", Path(output)), ("evidence", faces)):
        said[key] |= {"sha256": fingerprint(path)["sha256"]}
    manifest.write_text(json.dumps(said))


def plant(name):
    """Put the input in the place of the output."""
    source, output = Path("in", name), Path("out", name)
    if source.is_dir():
        shutil.rmtree(output)
        shutil.copytree(source, output)
    else:
        shutil.copy(source, output)
    rewrite(output)


def test_nothing_is_found_where_nothing_is_wrong(capsys):
    status, out, err = verdict(capsys, "--against", "in")
    assert (status, err) == (0, "") and "19 boxes compared, 0 still show the input" in out
    assert verdict(capsys)[0] == 0


@pytest.mark.parametrize("name, frames", [("a.png", 1), ("clip.mp4", 10)])
def test_a_raw_face_inside_its_box_is_found(capsys, name, frames):
    plant(name)
    assert verdict(capsys)[0] == 0      # which is why the inputs are needed
    status, out, err = verdict(capsys, "--against", f"in/{name}", "--against", "in")
    assert status == 1
    assert f"out/{name}: {frames} boxes that are said to be covered still show the input" in err
    assert f"19 boxes compared, {frames} still" in out


def test_a_raw_frame_of_a_renamed_topic_is_found(capsys):
    shutil.rmtree("out/bag")
    make = Maker(False)
    write_bag(Path("out/bag"), "mcap", [
        (topic, "sensor_msgs/msg/Image", 10**9 * (i + 1),
         make.image(i + 1, 3 if topic == "/links" and i == 2 else 50 + i, "bgr8"))
        for i in range(4) for topic in ("/links", "/right")])
    rewrite("out/bag")
    status, out, err = verdict(capsys, "--against", "in")
    assert status == 1 and "out/bag: 1 boxes" in err and "in the frames 2" in err


def test_inputs_that_are_others_are_said(capsys):
    shutil.copy("in/clip.mp4", "in/a.png")
    status, _, err = verdict(capsys, "--against", "in")
    assert status == 1 and "a.png was not compared, in/a.png is another file" in err
    shutil.rmtree("in/bag")
    status, _, err = verdict(capsys, "--against", "in/clip.mp4")
    assert status == 1 and "bag was not compared, it is not there" in err
    assert main(["verify", "out", "--against", "nowhere"]) == 2


@pytest.mark.parametrize("change, word", [
    (lambda: Path("out/a.png").write_bytes(Path("in/a.png").read_bytes()),
     "out/a.png is not what was written"),
    (lambda: Path("out/a.png").unlink(), "out/a.png is missing"),
    (lambda: Path("out/a.png.faces.jsonl").unlink(), "out/a.png.faces.jsonl is missing"),
    (lambda: Path("out/a.png").write_bytes(b"\x89PNG"), "out/a.png is no picture"),
    (lambda: Path("out/a.png.manifest.json").write_text("{"), "a.png.manifest.json cannot be"),
    (lambda: Path("out/a.png.manifest.json").write_bytes(b"\xff\xfe"), "manifest.json cannot be"),
    (lambda: Path("out/a.png.manifest.json").write_text(
        '{"tool": 1, "input": 1, "output": 1, "frames": 1}'), "out/a.png is not bound"),
    (lambda: Path("out/bag/bag.mcap").write_bytes(b"x" * 99), "out/bag is not what was written"),
    (lambda: Path("out/bag/metadata.yaml").unlink(), "out/bag is not what was written"),
    (lambda: Path("out/clip.mp4").write_bytes(Path("out/clip.mp4").read_bytes()[:-900]),
     "out/clip.mp4 is not what was written")])
def test_a_fault_of_one_output_is_said_and_the_others_are_seen(capsys, change, word):
    change()
    Sees.boxes = [[0, 0, 8, 8]]
    status, out, err = verdict(capsys)
    assert status == 1 and word in err and "3 outputs" in out
    for name in ("a.png", "clip.mp4", "bag"):
        if not word.startswith(f"out/{name}") and name not in word:
            assert f"out/{name}: " in err and "never covered" in err


@pytest.mark.parametrize("line", [
    '{"index":0,"topic":null,"faces":[{"box":[1,2]}]}', "[]", "{", "7", "\\ud800", '{"index":0}',
    '{"index":0,"topic":null,"faces":[{"box":[1,2,3,NaN],"covered_by":"solid"}]}',
    '{"index":0,"topic":null,"faces":[{"box":[1,2,3,1%s],"covered_by":"solid"}]}' % ("0" * 400),
    '{"index":0,"topic":[],"faces":[]}', "[" * 100000])
def test_a_line_that_is_none_covers_nothing(capsys, line):
    for name in ("a.png", "clip.mp4"):
        path = Path(f"out/{name}.faces.jsonl")
        path.write_text("\n".join([line, *path.read_text().splitlines()[1:], ""]))
        rewrite(f"out/{name}")
    status, _, err = verdict(capsys)
    assert status == 1
    assert "a.png.faces.jsonl: line 1 cannot be read" in err
    assert "out/a.png: 1 faces were never covered" in err
    assert "out/clip.mp4: 1 faces were never covered" in err


@pytest.mark.parametrize("change, word", [
    (lambda lines: lines[:-1], "has more frames than its evidence"),
    (lambda lines: [*lines, lines[-1]], "has 1 frames less than its evidence")])
def test_frames_and_evidence_are_as_many(capsys, change, word):
    for name in ("clip.mp4", "bag"):
        path = Path(f"out/{name}.faces.jsonl")
        path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
        rewrite(f"out/{name}")
    status, _, err = verdict(capsys)
    assert status == 1 and err.count(word) == 2


def test_files_without_evidence_are_listed(capsys):
    Path("out/more").mkdir()
    for name in ("raw.png", "more/raw.jpg", ".raw.png", ".a.png.0123abcd.part", "x.manifest",
                 "b.png.faces.jsonl"):
        Path("out", name).write_bytes(b"x")
    Path("out", STATE).touch()
    Path("out/link").symlink_to("../in")
    status, out, err = verdict(capsys)
    assert status == 1 and "7 files without evidence" in out
    assert err.count("has no evidence") == 7 and STATE not in err
    assert main(["verify", "out/a.png"]) == 0
    assert strays(Path("out/bag"), outputs_of(Path("out/bag"))) == []


def test_folders_that_cannot_be_read_are_named(capsys, monkeypatch, tmp_path):
    locked = tmp_path / "out" / "more"
    locked.mkdir()
    closed(monkeypatch, locked)
    status, _, err = verdict(capsys)
    assert status == 1 and "The folder out/more cannot be read (Permission denied)" in err


def test_a_preview_is_said_to_be_one(capsys):
    shutil.copy("in/a.png", "out/preview.png")
    status, out, err = verdict(capsys)
    assert status == 1 and "1 files without evidence" in out
    assert "out/preview.png is called as the contact sheet" in err and "remove it" in err


@pytest.fixture
def deep():
    """A picture of 16 bits, with a face drawn in its transparency too, and no suffix."""
    grey = np.full((SIZE[1], SIZE[0]), 300, np.uint16)
    grey[::7, ::5] = 900
    grey[0, 0] = 65535      # a stuck pixel: by its highest value the picture is black
    cv2.imwrite("deep.png", cv2.merge([grey, grey, grey, grey[::-1]]))
    Path("deep.png").rename("deep")
    assert main(["run", "deep", "-o", "out", "--replace", "solid"]) == 0
    return Path("out/deep")


@pytest.mark.parametrize("every", ["1", "2"])
def test_a_picture_is_seen_as_the_run_has_seen_it(deep, monkeypatch, every):
    seen = []
    monkeypatch.setattr(Sees, "detect", lambda self, frame: (seen.append(frame), [])[1])
    assert main(["verify", "out/deep", "--every", every]) == 0
    shown = [frame.pixels for frame in picture_frames(deep)]
    assert len(shown) == 2 and shown[0].std() > 10
    for frame, other in zip(seen, shown, strict=True):
        np.testing.assert_array_equal(frame, other)


def test_a_face_in_transparency_is_not_covered_by_a_box_of_the_colours(deep, capsys):
    path = beside(deep)[0]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["topic"] for line in lines] == [None, "alpha"]
    lines[1]["faces"] = []
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rewrite(deep)
    status, _, err = verdict(capsys)
    assert status == 1 and "out/deep: 1 faces were never covered" in err


def test_transparency_that_has_become_even_is_no_missing_frame(deep):
    picture = cv2.imdecode(np.frombuffer(deep.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    picture[..., 3] = 65535
    deep.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    rewrite(deep)
    assert main(["verify", "out/deep"]) == 0


def test_somebody_looks_though_all_had_a_part(capsys):
    manifest = Path("out/a.png.manifest.json")
    said = json.loads(manifest.read_text())
    said["settings"]["detector"]["detector"] = ["centerface", "ssd", "dlib_hog", "viola_jones"]
    manifest.write_text(json.dumps(said))
    status, out, err = verdict(capsys)
    assert status == 0 and "every detector had a part" in err and "seen by ssd" in out


def noise(seed):
    small = np.random.default_rng(seed).integers(0, 255, (30, 30, 3), np.uint8)
    return cv2.resize(small, (120, 120), interpolation=cv2.INTER_CUBIC)


def test_details_tell_what_is_still_there():
    a, b, box = noise(0), noise(1), [10, 10, 100, 100]
    jpeg = cv2.imdecode(cv2.imencode(".jpg", a, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1)
    half = np.vstack([a[:60], b[60:]])
    for other in (a, jpeg, half, np.hstack([b[:, :60], a[:, 60:]]),
                  cv2.convertScaleAbs(a, alpha=0.7, beta=40)):
        assert shows_original(a, other, box)
    for other in (b, np.full_like(a, 99), cv2.GaussianBlur(a, (0, 0), 15)):
        assert not shows_original(a, other, box)
    dim = cv2.GaussianBlur(a, (0, 0), 15)
    assert shows_original(dim, dim, box) and not shows_original(dim, np.full_like(a, 99), box)
    assert not shows_original(a, a, [200, 200, 10, 10])
    assert not shows_original(a, a, [5, 5, 0, 0])


@pytest.mark.parametrize("damaged", [False, True])
def test_videos_of_bags_are_looked_at_picture_by_picture(capsys, damaged):
    pictures = [picture(index) for index in range(14)]
    content = stream("/video", encoded(pictures, (0, 5, 9)))
    content += stream("/more", encoded(pictures, (0, 5), preset="fast", bf="2", crf="12"), FFMPEG,
                      "libx264")
    if damaged:     # begins without a key frame; a packet is cut off
        topic, kind, stamp, data = content[10]
        content[10] = topic, kind, stamp, video(kind, stamp, b"\x11" * 60)
        del content[0]
    write_bag(Path("films/bag"), "mcap", sorted(content, key=lambda m: m[2]))
    assert main(["run", "films", "-o", "out/films", "--replace", "solid", "--topic-map",
                 "/video:=/covered"]) == damaged
    shown = 5 if damaged else 14
    words = ("verify", "out/films", "--against", "films")
    capsys.readouterr()
    assert main([*words]) == 0
    out, err = capsys.readouterr()
    assert err == "" and f"{shown + 14} boxes compared, 0 still show the input" in out
    # The input in the place of the output.
    shutil.rmtree("out/films/bag")
    shutil.copytree("films/bag", "out/films/bag")
    rewrite("out/films/bag")
    manifest = beside(Path("out/films/bag"))[1]
    manifest.write_text(manifest.read_text().replace('"/covered"', '"/video"'))
    faces = beside(Path("out/films/bag"))[0]
    faces.write_text(faces.read_text().replace('"/covered"', '"/video"'))
    rewrite("out/films/bag")
    assert main([*words]) == 1
    err = capsys.readouterr().err
    assert "boxes that are said to be covered still show the input" in err
    # Without the packets that were withheld nothing else is said than where it shows.
    assert damaged or err.count("\n") == 1 and "28 boxes" in err


def test_a_packet_that_shows_nothing_is_found(capsys):
    pictures = [picture(index) for index in range(6)]
    write_bag(Path("films/bag"), "mcap", stream("/video", encoded(pictures)))
    assert main(["run", "films", "-o", "out/films", "--replace", "solid"]) == 0
    content = read_bag(Path("out/films/bag"))[0]
    topic, kind, stamp, data = content[3]
    content[3] = topic, kind, stamp, video(kind, stamp, b"\x11" * 60)
    shutil.rmtree("out/films/bag")
    write_bag(Path("out/films/bag"), "mcap", content)
    rewrite("out/films/bag")
    capsys.readouterr()
    assert main(["verify", "out/films"]) == 1
    assert "frame 3 cannot be read" in capsys.readouterr().err
