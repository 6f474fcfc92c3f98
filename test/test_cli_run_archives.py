"""deid run for archives: dry run, preview, workers, topics, consent; deid verify."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from bag_support import FACE, SIZE, messages, read_bag, write_bag
from PIL import Image
from sample_faces import FakeFinder, make_face
from test_media_videos import read, write

from deid_ros import pipeline as module
from deid_ros.cli import main
from deid_ros.detector import Found
from deid_ros.faces import empty_faces
from deid_ros.media.consent import Consent
from deid_ros.media.exif import kept_exif


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    finder = FakeFinder(make_face(FACE[:2], FACE[2], trusted=False))
    monkeypatch.setattr(module.Pipeline, "finder", property(lambda self: finder))
    monkeypatch.setattr(module.Pipeline, "reset", lambda self, *, stream="": None)
    monkeypatch.chdir(tmp_path)


def run(*words) -> int:
    try:
        return main([*map(str, words)])
    except SystemExit as error:
        return int(error.code)


@pytest.fixture
def archive(tmp_path) -> Path:
    write_bag(tmp_path / "in" / "bag", "mcap", messages())
    write_bag(tmp_path / "in" / "old", "ros1", messages(True))
    write(tmp_path / "in" / "clip.mp4", range(0, 400, 40), size=SIZE, sound=True)
    cv2.imwrite("in/a.png", np.full((SIZE[1], SIZE[0], 3), 99, np.uint8))
    (tmp_path / "in" / "notes.txt").write_text("x")
    return tmp_path / "in"


def test_a_dry_run_says_everything_and_writes_nothing(archive, capsys):
    assert run("run", "--dry-run", "--drop", "/imu", "--topic-map", "/wheel:=/w") == 0
    out, _ = capsys.readouterr()
    for words in ("in/a.png -> out/a.png: picture, 96x72", "video, h264, 96x72, 10 frames",
                  "rosbag (mcap, 1 files)", "rosbag (ros1, 1 files)",
                  "/bgr8/image: 4 messages, sensor_msgs/msg/Image: made anonymous",
                  "/imu: 8 messages, sensor_msgs/msg/Imu: dropped (asked for)",
                  "/coloured: 4 messages, sensor_msgs/msg/PointCloud2: dropped (points with rgb",
                  "robot_msgs/msg/Wheel: copied as /w", "in/notes.txt: left out",
                  "nothing was written"):
        assert words in out
    assert not Path("out").exists()


def test_a_whole_archive(archive, capsys):
    assert run("run", "--replace", "solid") == 1
    out, err = capsys.readouterr()
    assert "4 of 4 inputs to out; 59 frames" in out and "1 other files left out" in out
    assert err.count("warning:") == 2 and "/coloured is dropped" in err
    assert "say --drop TOPIC or --keep-unprocessed TOPIC" in err
    assert run("run", "--replace", "solid", "--overwrite", "--drop", "/coloured") == 0
    assert len(read_bag(Path("out/old.bag"))[0]) == 44
    with av.open("out/clip.mp4") as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_a_preview_shows_frames_of_everything_and_no_face(archive, capsys):
    assert run("run", "--preview", "7", "--replace", "solid") == 0
    said = capsys.readouterr().out
    assert "out/preview.png: 6 frames" in said
    # As many as test_a_whole_archive counts.
    assert "everything, 59 frames in 4 inputs, takes at most about " in said
    assert [path.name for path in Path("out").iterdir()] == ["preview.png"]
    assert cv2.imread("out/preview.png").shape[1] > 1200
    sheet = Path("out/preview.png").read_bytes()
    assert run("run", "--preview", "2", "--replace", "solid") == 2
    assert "out/preview.png exists already" in capsys.readouterr().err
    assert Path("out/preview.png").read_bytes() == sheet
    assert run("run", "--preview", "2", "--replace", "solid", "--overwrite") == 0
    assert Path("out/preview.png").read_bytes() != sheet


def test_a_preview_takes_no_output_s_place(archive, capsys):
    cv2.imwrite("in/preview.png", np.full((SIZE[1], SIZE[0], 3), 99, np.uint8))
    for words in ((), ("in/preview.png", "--overwrite")):
        if words:
            assert run("run", *words, "--replace", "solid") == 0
            before = Path("out/preview.png").read_bytes()
        assert run("run", "in/a.png", *words, "--preview", "2", "--replace", "solid") == (
            2 if words else 0)
        if not words:
            Path("out/preview.png").unlink()
    assert "would take the place of out/preview.png" in capsys.readouterr().err
    assert Path("out/preview.png").read_bytes() == before


@pytest.mark.parametrize("words, says", [
    (["--drop", "/typo"], "No bag has the topic '/typo'"),
    (["--topic-map", "wheel=w"], "of the form /old:=/new"),
    (["--topic-map", "/wheel:=/imu"], "cannot be renamed to '/imu'"),
    (["--crf", "99"], "--crf is 99"), (["--workers", "0"], "whole number from 1"),
])
def test_wrong_wishes_are_refused(archive, capsys, words, says):
    assert run("run", *words) == 2
    assert says in capsys.readouterr().err and not Path("out").exists()


def test_sound_is_kept_on_request_only(archive, capsys):
    assert run("run", "in/clip.mp4", "--replace", "solid", "--keep-audio", "--codec", "mpeg4",
               "--crf", "5") == 0
    with av.open("out/clip.mp4") as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert container.streams.video[0].codec_context.codec.canonical_name == "mpeg4"
        packets = [p for p in container.demux(container.streams.audio[0]) if p.dts is not None]
    with av.open("in/clip.mp4") as container:
        before = [p for p in container.demux(container.streams.audio[0]) if p.dts is not None]
    # Encoded again, and as long as before.
    lasts = [float((ps[-1].pts - ps[0].pts) * ps[0].time_base) for ps in (packets, before)]
    assert abs(lasts[0] - lasts[1]) < 0.1
    assert len(read(Path("out/clip.mp4"))[1]) == 10
    assert json.loads(Path("out/clip.mp4.manifest.json").read_text())["sound"] == "encoded again"
    assert run("run", "in/clip.mp4", "-o", "b", "--replace", "solid", "--codec", "nonsense") == 1
    assert "no encoder 'nonsense'" in capsys.readouterr().err


def secret_jpeg() -> bytes:
    """A photograph as a phone takes it: place, device, serial number, thumbnail."""
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (72, 96, 3), np.uint8),
                               (0, 0), 3)
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112], exif[0x0132] = "Maker", "Model", 1, "2020:01:02"
    exif[0x8769] = {0x829A: 0.01, 0xA431: "Serial12", 0x927C: b"MakerNoteSecret",
                    0x9286: b"CommentSecret"}
    exif[0x8825] = {1: "N", 2: (51.0, 30.0, 0.0), 29: "2020:01:03"}
    stream, small = io.BytesIO(), io.BytesIO()
    Image.fromarray(picture[::4, ::4]).save(small, "JPEG")
    Image.fromarray(picture).save(stream, "JPEG", exif=exif.tobytes() + small.getvalue())
    assert small.getvalue() in stream.getvalue()
    return stream.getvalue()


def test_place_device_and_thumbnail_are_gone(tmp_path):
    Path("a.jpg").write_bytes(secret_jpeg())
    assert Image.open("a.jpg").getexif().get_ifd(0x8825)
    assert run("run", "a.jpg", "--replace", "solid") == 0
    data = Path("out/a.jpg").read_bytes()
    with Image.open("out/a.jpg") as image:
        assert dict(image.getexif()) == {} and not image.getexif().get_ifd(0x8825)
    for word in (b"Exif", b"Maker", b"Model", b"Serial12", b"Secret", b"2020", b"GPS"):
        assert word not in data
    assert data.count(b"\xff\xd8\xff") == 1


def test_metadata_that_is_kept_shows_neither_place_nor_pictures(tmp_path):
    Path("a.jpg").write_bytes(secret_jpeg())
    assert run("run", "a.jpg", "--replace", "solid", "--keep-metadata") == 0
    data = Path("out/a.jpg").read_bytes()
    with Image.open("out/a.jpg") as image:
        exif = image.getexif()
        assert exif[0x010F] == "Maker" and exif[0x0132] == "2020:01:02"
        assert exif.get_ifd(0x8769)[0xA431] == "Serial12"
        assert not exif.get_ifd(0x8825) and 0x0112 not in exif
    assert b"Secret" not in data and b"2020:01:03" not in data
    assert data.count(b"\xff\xd8\xff") == 1
    assert kept_exif(Image.new("L", (2, 2))) == b""


def found(tracks, embeddings):
    faces = empty_faces(len(tracks))
    faces["track_id"], faces["chip"] = tracks, np.arange(len(tracks))
    return Found(faces, np.array(embeddings, np.float32)), type("E", (), {
        "embed": staticmethod(lambda chips: chips / np.linalg.norm(chips, axis=1, keepdims=True)),
        "dimensions": 3})


def test_only_who_consented_is_kept_and_only_once_a_frame():
    consent = Consent(np.eye(3, dtype=np.float32)[:1], np.array([0]), threshold=0.05)
    seen, extractor = found([1, 2, 3], [[1, 0.2, 0], [1, 0.01, 0], [0, 1, 0]])
    screened = consent.screen(seen, extractor)
    assert screened.kept["track_id"].tolist() == [2]
    assert screened.faces["track_id"].tolist() == [1, 3]
    seen.faces["carried"] = 1   # not seen in this frame: covered
    assert len(consent.screen(seen, extractor).kept) == 0
    nobody, extractor = found([], np.zeros((0, 3)))
    assert len(consent.screen(nobody, extractor).faces) == 0


def test_an_unclear_face_is_covered():
    consent = Consent(np.eye(3, dtype=np.float32)[:1], np.array([0]), threshold=0.05)
    seen, extractor = found([1], [[1, 0.5, 0]])
    assert len(consent.screen(seen, extractor).kept) == 0


@pytest.mark.parametrize("like, says", [(1.0, False), (0.0, True)])
def test_consent_that_keeps_nobody_is_said(monkeypatch, capsys, like, says):
    """For instance because the pictures are too small: everybody was covered."""
    class Extractor:
        @staticmethod
        def embed(chips):
            return np.tile(np.array([[1.0, 0, 0]], np.float32), (len(chips), 1))
    known = np.array([[like, 1 - like, 0]], np.float32)
    monkeypatch.setattr(Consent, "of_folder", classmethod(lambda cls, folder, pipeline: Consent(
        known, np.array([0]), threshold=0.05)))
    monkeypatch.setattr(module.Pipeline, "extractor", property(lambda self: Extractor))
    finder = FakeFinder(make_face(FACE[:2], FACE[2], trusted=False))
    find = finder.find

    def with_chip(*args, **options):
        seen = find(*args, **options)
        seen.faces["chip"] = np.arange(len(seen.faces))
        return Found(seen.faces, np.zeros((len(seen.faces), 4, 4, 3), np.uint8))
    finder.find = with_chip
    monkeypatch.setattr(module.Pipeline, "finder", property(lambda self: finder))
    Path("in").mkdir()
    Path("staff").mkdir()
    cv2.imwrite("in/a.png", np.full((SIZE[1], SIZE[0], 3), 99, np.uint8))
    assert run("run", "--replace", "solid", "--keep-face", "staff") == 0
    out, err = capsys.readouterr()
    assert ("--keep-face kept nobody" in err) == says
    assert ("1 faces kept by consent" in out) == (not says)


class Sees:
    """A second detector that finds these boxes in every frame."""

    boxes: list = []

    def detect(self, frame):
        from deid_ros.faces import DETECTION
        rows = np.zeros(len(self.boxes), DETECTION)
        rows["box"], rows["score"] = np.array(self.boxes).reshape(-1, 4), 0.9
        return rows


@pytest.fixture
def eyes(monkeypatch):
    """The second detector, a mesh that believes everything, a descriptor for one person."""
    from deid_ros.evaluation.verify import Verifier
    monkeypatch.setattr(Verifier, "_detector", lambda self, name: Sees())

    def judge(self, frame, rows, line, verdict, known):
        from deid_ros.evaluation.verify import Bare
        known[:] = [np.ones(1)]
        verdict.bare += [Bare(line["topic"], line["index"], (0, 0, 1, 1), 1.0) for _ in rows]
    monkeypatch.setattr(Verifier, "_judge", judge)
    return Sees


def test_verify_reports_faces_that_were_never_covered(archive, capsys, eyes):
    assert run("run", "--replace", "solid", "--drop", "/coloured") == 0
    eyes.boxes = [[int(FACE[0]) - 10, int(FACE[1]) - 10, 20, 20]]
    assert run("verify", "out") == 0
    assert "4 outputs, 59 frames seen by ssd; 59 faces found, 0 never covered" in (
        capsys.readouterr().out)
    eyes.boxes = [[0, 0, 8, 8]]
    assert run("verify", "out/bag", "--json", "found.json") == 1
    out, err = capsys.readouterr()
    assert "24 faces were never covered, of about 1 people, in the frames 0, 1, 2, 3" in err
    assert len(json.loads(Path("found.json").read_text())[0]["bare"]) == 24
    eyes.boxes = []
    with open("out/clip.mp4", "ab") as stream:
        stream.write(b"x")
    assert run("verify") == 1
    assert "out/clip.mp4 is not what was written" in capsys.readouterr().err
    assert run("verify", "in") == 2


def test_two_workers_do_what_one_does(shared, tmp_path, monkeypatch, capsys):
    """With the real stages: workers are processes of their own."""
    pytest.importorskip("dlib")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("A000369", "B000575"):
        data = (shared / "data" / "portraits" / f"{name}.jpg").read_bytes()
        (tmp_path / "in" / f"{name}.jpg").write_bytes(data)
    words = ["run", "in", "--key", "k", "--preset", "fast", "--replace", "pixelate"]
    assert run(*words, "-o", "two", "--workers", "2") == 0
    assert run(*words, "-o", "one") == 0
    for name in ("A000369", "B000575"):
        one, two = (Path(f"{folder}/{name}.jpg").read_bytes() for folder in ("one", "two"))
        assert one == two != (tmp_path / "in" / f"{name}.jpg").read_bytes()
