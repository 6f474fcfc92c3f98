"""`deid db`: galleries from folders of portraits, tables and bad input.

The detector, mesh and extractor are stand-ins except in the last test, which
enrols a real photograph; the generator's face space is a stand-in throughout.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from deid_ros.cli import main
from deid_ros.detector import FaceMesh, create_detector
from deid_ros.errors import GalleryError
from deid_ros.extractor import create_extractor
from deid_ros.faces import DETECTION
from deid_ros.matcher import SCHEMA, Gallery
from deid_ros.training import database
from deid_ros.training.database import Portrait, Stages, build_gallery, read_portraits


def encode(frame, mesh, sex):
    """A stand-in for the face space: says what it was given."""
    code = np.array([frame.shape[0], frame.shape[1], frame[0, 0, 0], mesh[:, 0].mean()])
    shape = np.asarray(mesh, np.float32) - np.asarray(mesh, np.float32).mean(axis=0)
    return code.astype(np.float32), shape, 20.0


class Detector:
    """As many faces as the first pixel's blue says."""

    name = "stand-in"

    def detect(self, frame):
        found = np.zeros(int(frame[0, 0, 0]), DETECTION)
        found["box"] = [20, 20, 60, 60]
        return found


class Extractor:
    """An embedding that depends on the chip."""

    name, chip_size, dimensions = "vggface", 224, 8

    def embed(self, chips):
        means = chips.reshape(len(chips), 8, -1).mean(axis=2) + 1
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def locate(frame, detections):
    points = np.random.default_rng(0).uniform(20, 80, (468, 3))
    meshes = np.repeat(points[None], len(detections), axis=0).astype(np.float32)
    # The first pixel's green is the mesh's belief in per cent.
    return meshes, np.full(len(detections), frame[0, 0, 1] / 100, np.float32)


@pytest.fixture
def stages():
    return Stages(Detector(), locate, Extractor(), encode, "5e")


def picture(path, *, faces=1, belief=90, seed=0):
    frame = np.random.default_rng(seed).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    frame[0, 0] = faces, belief, 0
    assert cv2.imwrite(str(path), frame)
    return path


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "people"
    folder.mkdir()
    for seed, name in enumerate(["c", "a", "b"]):
        picture(folder / f"{name}.png", seed=seed)
    (folder / "notes.txt").write_text("not a portrait")
    return folder


def table(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def run(monkeypatch, stages, capsys):
    """Run `deid db ...` with stand-ins: (status, stdout, stderr)."""
    monkeypatch.setattr(database.Stages, "load", classmethod(lambda cls, **_: stages))

    def call(*words):
        status = main(["db", *map(str, words)])
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_build_without_a_table(run, folder, tmp_path):
    status, out, _ = run("build", folder, "-o", tmp_path / "new" / "g.npz")
    assert status == 0
    assert "3 identities from 3 portraits, 0 left out" in out
    gallery = Gallery.load(tmp_path / "new" / "g.npz")
    assert gallery.ids.tolist() == ["a", "b", "c"]
    assert gallery.sex.tolist() == ["?"] * 3 and gallery.usable.all()
    assert gallery.extractor == "vggface"
    for row, name in enumerate("abc"):
        data = (folder / f"{name}.png").read_bytes()
        assert gallery.sha256[row] == hashlib.sha256(data).hexdigest()
    np.testing.assert_allclose(gallery.codes[:, :3], [[100, 100, 1]] * 3)
    np.testing.assert_allclose(gallery.shapes.mean(axis=1), 0, atol=1e-4)
    assert len(np.unique(gallery.embeddings, axis=0)) == 3


def test_building_twice_gives_the_same_file(run, folder, tmp_path):
    for name in ("1.npz", "2.npz"):
        assert run("build", folder, "-o", tmp_path / name)[0] == 0
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()


def test_table_split_and_attributes(run, folder, tmp_path):
    people = table(tmp_path / "p.csv", "id,sex,year,split\na,M,1950,gallery\n"
                   "b,female,1960,gallery\nc,M,1970,probe\nzz,F,1980,gallery\n")
    marks = table(tmp_path / "m.csv", "id,glasses,beard,grey,occluded,turned\na,0,2,0,0,0\n"
                                      "b,0,0,0,0,1\n")
    status, out, err = run("build", folder, "--csv", people, "--split", "gallery",
                           "--attributes", marks, "-o", tmp_path / "g.npz")
    assert status == 0 and "2 identities" in out
    assert "warning: zz: no image of this id" in err
    gallery = Gallery.load(tmp_path / "g.npz")
    assert gallery.ids.tolist() == ["a", "b"]
    assert gallery.sex.tolist() == ["M", "F"]
    assert gallery.usable.tolist() == [False, True]


def test_people_without_attributes_are_usable_and_counted(folder, tmp_path):
    marks = table(tmp_path / "m.csv", "id,glasses,beard,grey,occluded\na,yes,no,0,0\n")
    lines = []
    people = read_portraits(folder, attributes=marks, warn=lines.append)
    assert [(person.id, person.usable) for person in people] == [
        ("a", False), ("b", True), ("c", True)]
    assert len(lines) == 1 and "nothing about 2 people (b, ...)" in lines[0]


def test_ages_stand_in_the_table(run, folder, tmp_path):
    people = table(tmp_path / "p.csv", "id,sex,age\na,M,24\nb,F,\nc,M,61.5\n")
    run("build", folder, "--csv", people, "-o", tmp_path / "g.npz")
    gallery = Gallery.load(tmp_path / "g.npz")
    np.testing.assert_array_equal(gallery.age, np.float32([24, np.nan, 61.5]))
    np.testing.assert_array_equal(gallery.complexion, np.float32([20, 20, 20]))
    status, out, _ = run("info", tmp_path / "g.npz")
    assert status == 0 and "24 to 62 years" in out and "20 to 20 degrees of complexion" in out
    for text in ("old", "-3", "nan", "500"):
        people = table(tmp_path / "p.csv", f"id,sex,age\na,M,{text}\n")
        status, _, err = run("build", folder, "--csv", people, "-o", tmp_path / "h.npz")
        assert status == 2 and f"'{text}' in column age of a" in err


def test_bad_portraits_are_named_and_left_out(run, folder, tmp_path):
    picture(folder / "d_none.png", faces=0)
    picture(folder / "e_two.png", faces=2)
    picture(folder / "f_unclear.png", belief=20)
    (folder / "g_broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder / "h_empty.png").write_bytes(b"")
    status, out, err = run("build", folder, "-o", tmp_path / "g.npz")
    assert status == 0
    assert "3 identities from 8 portraits, 5 left out" in out
    for words in ("d_none.png: no face found", "e_two.png: 2 faces found, expected one",
                  "f_unclear.png: no clear face mesh (confidence 0.20)",
                  "g_broken.jpg: not an image", "h_empty.png: not an image"):
        assert f"{words}" in err
    assert err.count("warning: ") == 5
    assert Gallery.load(tmp_path / "g.npz").ids.tolist() == ["a", "b", "c"]


def test_a_code_that_is_not_finite_is_left_out(folder, stages):
    broken = Stages(stages.detector, stages.locate, stages.extractor,
                    lambda frame, mesh, sex: (np.full(4, np.nan, np.float32), mesh, 20.0))
    lines = []
    with pytest.raises(GalleryError, match="None of 1 portraits"):
        build_gallery([Portrait("a", folder / "a.png")], broken, warn=lines.append)
    assert "cannot be described" in lines[0]


def test_nobody_enrolled(run, tmp_path):
    folder = tmp_path / "people"
    folder.mkdir()
    picture(folder / "a.png", faces=0)
    status, _, err = run("build", folder, "-o", tmp_path / "g.npz")
    assert status == 2 and "None of 1 portraits could be enrolled" in err
    assert not (tmp_path / "g.npz").exists()


@pytest.mark.parametrize(("content", "options", "words"), [
    ("id,split\na,gallery\n", ["--split", "gallery"], "lacks the column sex (it has id, split)"),
    ("name,split\na,gallery\n", ["--split", "gallery"], "lacks the columns id, sex"),
    ("id,sex\na,M\n", ["--split", "gallery"], "lacks the column split"),
    ("id,sex,split\na,M,gallery\nb,F,probe\n", ["--split", "train"],
     "is of split 'train'; it has gallery, probe"),
    ("id,sex\na,M\na,F\n", [], "'a' occurs twice"),
    ("id,sex\nx,M\n", [], "is named after an id"),
    ("", [], "lacks the columns id, sex (it has none)"),
])
def test_bad_tables(run, folder, tmp_path, content, options, words):
    people = table(tmp_path / "p.csv", content)
    status, _, err = run("build", folder, "--csv", people, *options, "-o", tmp_path / "g.npz")
    assert status == 2
    assert words in err.strip().splitlines()[-1]
    assert "Traceback" not in err


def test_bad_attributes(run, folder, tmp_path):
    for content, words in (("id,glasses\na,1\n", "lacks the columns beard, grey, occluded"),
                           ("id,glasses,beard,grey,occluded\na,maybe,0,0,0\n",
                            "says 'maybe' in column glasses of a")):
        marks = table(tmp_path / "m.csv", content)
        status, _, err = run("build", folder, "--attributes", marks, "-o", tmp_path / "g.npz")
        assert status == 2 and words in err


def test_bad_folders(run, folder, tmp_path):
    status, _, err = run("build", tmp_path / "nowhere", "-o", tmp_path / "g.npz")
    assert status == 2 and "nowhere cannot be read (No such file or directory)" in err
    (tmp_path / "empty").mkdir()
    status, _, err = run("build", tmp_path / "empty", "-o", tmp_path / "g.npz")
    assert status == 2 and "There are no images" in err
    picture(folder / "a.jpg")
    status, _, err = run("build", folder, "-o", tmp_path / "g.npz")
    assert status == 2 and "a.jpg and a.png" in err
    status, _, err = run("build", folder, "--split", "gallery", "-o", tmp_path / "g.npz")
    assert status == 2


def test_split_without_a_table(run, folder, tmp_path):
    status, _, err = run("build", folder, "--split", "gallery", "-o", tmp_path / "g.npz")
    assert status == 2 and "add --csv" in err


def test_output_that_cannot_be_written(run, folder, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "g.npz", folder):
        status, _, err = run("build", folder, "-o", place)
        assert status == 2 and f"cannot be written to {place}" in err
        assert "enrolling" not in err   # said before the work, not after


def test_info(run, folder, tmp_path):
    people = table(tmp_path / "p.csv", "id,sex\na,M\nb,F\nc,M\n")
    path = tmp_path / "g.npz"
    run("build", folder, "--csv", people, "-o", path)
    status, out, _ = run("info", path)
    assert status == 0
    lines = {name: value.strip() for name, value in
             (line.split("  ", 1) for line in out.splitlines())}
    assert lines["identities"] == "3 (2 M, 1 F, 0 of unknown sex)"
    assert lines["extractor"] == "vggface, 8 numbers"
    assert lines["face space"] == "SHA-256 5e, not that of the installed generator"
    assert lines["schema"] == str(SCHEMA) and lines["code size"] == "4" and lines["usable"] == "3"
    assert lines["SHA-256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    gallery = Gallery.load(path)
    assert f"{gallery.neighbour_distances.max():.4f}" in lines["nearest other"]
    status, _, err = run("info", tmp_path / "missing.npz")
    assert status == 2 and "no gallery at" in err


def test_info_without_any_sex_or_company(run, tmp_path):
    folder = tmp_path / "people"
    folder.mkdir()
    picture(folder / "only.png")
    run("build", folder, "-o", tmp_path / "g.npz")
    status, out, _ = run("info", tmp_path / "g.npz")
    assert status == 0 and "20 to 20 degrees" in out and "years" not in out


def test_a_real_photograph(astronaut, tmp_path):
    folder = tmp_path / "people"
    folder.mkdir()
    cv2.imwrite(str(folder / "astronaut.png"), astronaut[:300, 100:400])
    cv2.imwrite(str(folder / "flag.png"), astronaut[:200, :100])
    stages = Stages(create_detector("centerface"), FaceMesh().locate,
                    create_extractor("dlib_resnet"), encode)
    lines = []
    gallery, report = build_gallery(read_portraits(folder), stages, warn=lines.append)
    assert gallery.ids.tolist() == ["astronaut"] and gallery.embeddings.shape == (1, 128)
    assert (report.portraits, report.enrolled, len(report.warnings)) == (2, 1, 1)
    assert "flag.png: no face found" in lines[0]
