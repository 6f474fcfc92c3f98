"""``deid run`` and ``deid evaluate`` with each policy: what they say, write and refuse.

Detector, extractor and generator are stand-ins; matcher and gallery are real.
"""

from __future__ import annotations

import hashlib
import json

import cv2
import numpy as np
import pytest
from sample_faces import FakeFinder, FakeGenerator, make_face
from synthetic_gallery import DIMENSIONS, faces, make_gallery

from deid_ros.cli import main
from deid_ros.matcher import POLICIES
from deid_ros.parameters import POLICIES_IN_A_LINE
from deid_ros.pipeline import Pipeline


class Extractor:
    dimensions = DIMENSIONS

    def embed(self, chips):
        return np.repeat(faces("M", 1, 5), len(chips), axis=0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures, a gallery, enrolled people, and a generator's face space."""
    (tmp_path / "in").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (180, 200, 3), np.uint8)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), picture)
    (tmp_path / "face_space.npz").write_bytes(b"space")
    (tmp_path / "generator.onnx").write_bytes(b"")
    make_gallery(space=hashlib.sha256(b"space").hexdigest()).save(tmp_path / "gallery.npz")
    make_gallery(6, 5).save(tmp_path / "staff.npz")
    config = tmp_path / "my.yaml"
    config.write_text("/**:\n  ros__parameters:\n"
                      f"    gallery: {tmp_path}/gallery.npz\n"
                      f"    generator: {tmp_path}/generator.onnx\n", encoding="utf-8")
    init = Pipeline.__init__

    def with_stand_ins(self, config, **stages):
        init(self, config, finder=FakeFinder(make_face()), extractor=Extractor(),
             generator=FakeGenerator(), **stages)

    monkeypatch.setattr(Pipeline, "__init__", with_stand_ins)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def deid_run(capsys, *words):
    status = main(["run", "in", "-o", "out", "--config", "my.yaml", "--overwrite", *words])
    return (status, *capsys.readouterr())


@pytest.mark.parametrize("policy", POLICIES)
def test_the_policy_is_said_at_start(folder, capsys, policy):
    status, out, err = deid_run(capsys, "--policy", policy, "--enrolled", "staff.npz", "--k", "3")
    assert status == 0 and "2 faces covered (2 surrogate)" in out
    said = [line for line in err.splitlines() if line.startswith("deid run: policy ")]
    assert said == [f"deid run: policy {policy} {POLICIES_IN_A_LINE[policy]}; more in --help"]
    assert ("certificate:" in out) == (policy == "k_same")


def test_nothing_is_said_of_policies_where_there_are_no_surrogates(folder, capsys):
    status, _, err = deid_run(capsys, "--replace", "solid")
    assert status == 0 and "policy" not in err


def test_the_certificate_says_what_is_guaranteed_and_what_not(folder, capsys):
    words = "--policy", "k_same", "--enrolled", "staff.npz", "--k", "3", "--certificate", "c.json"
    status, out, _ = deid_run(capsys, *words)
    assert status == 0
    written = json.loads((folder / "c.json").read_text(encoding="utf-8"))
    assert written["k"] == 3 and written["enrolled"] == 11 and written["smallest_group"] >= 3
    assert f"certificate: {written['statement']}" in out
    for part in ("at most 1/3", "not enrolled", "does not hold for composites"):
        assert part in written["statement"]
    status, _, err = deid_run(capsys, *words)
    assert status == 2 and "exists already" in err


@pytest.mark.parametrize(("words", "says"), [
    (["--certificate", "c.json"], "no certificate where policy is 'independent'"),
    (["--certificate", "c.json", "--policy", "k_same", "--replace", "blur"], "replace is 'blur'"),
    (["--certificate", "x/c.json", "--policy", "k_same"], "there is no such folder"),
    (["--policy", "k_same"], "give enrolled a file"),
    (["--policy", "k_same", "--enrolled", "staff.npz", "--k", "12"], "k is 12, but 11 people"),
    (["--policy", "k_same", "--enrolled", "staff.npz", "--k", "1"], "matcher.k is 1"),
    (["--policy", "margin", "--min-distance", "3"], "matcher.min_distance is 3.0"),
])
def test_wrong_settings_are_refused_in_one_line_before_any_work(folder, capsys, words, says):
    status, out, err = deid_run(capsys, *words)
    assert status == 2 and says in err.splitlines()[-1] and out == ""
    assert not (folder / "out").exists() and not (folder / "c.json").exists()


def test_a_mix_of_one_is_warned_of(folder, capsys, caplog):
    status, _, err = deid_run(capsys, "--mix", "1")
    assert status == 0
    assert "mix is 1" in caplog.text + err


def test_a_gallery_of_another_face_space_is_refused(folder, capsys):
    (folder / "face_space.npz").write_bytes(b"trained anew")
    status, _, err = deid_run(capsys)
    assert status == 2 and "another face space" in err and "deid db build" in err


def test_evaluate_measures_margin_naively_and_by_the_parrot(shared, tmp_path, capsys):
    """The real stages on two portraits: both rank-1 are printed."""
    pytest.importorskip("dlib")
    from deid_ros.config import file_of

    for path in ("DB/gallery.npz", "models/generator.onnx"):
        if not file_of(path).is_file():
            pytest.skip(f"{path} has not been built")
    import shutil
    (tmp_path / "in").mkdir()
    for name in ("A000369", "B000575"):
        shutil.copyfile(shared / "data" / "portraits" / f"{name}.jpg",
                        tmp_path / "in" / f"{name}.jpg")
    assert main(["evaluate", str(tmp_path / "in"), "--keys", "1", "--policy", "margin", "--parrot",
                 "own", "--draws", "0"]) == 0
    out, err = capsys.readouterr()
    naive, parrot = (out[out.index(heading):] for heading in
                     ("Recognised by dlib's", "Parrot attack, descriptor"))
    assert "rank-1" in naive and "rank-1" in parrot
    assert "Strangers' faces" in out
    assert f"policy 'margin': {POLICIES['margin'].description}" in err
