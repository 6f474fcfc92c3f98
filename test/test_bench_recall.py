"""Composed scenes and the recall bench."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros.bench.composed import BACKGROUNDS, Look, background, compose, film, load_heads, turned
from deid_ros.bench.recall import covered
from deid_ros.cli import main
from deid_ros.errors import MediaError

pytest.importorskip("skimage")


@pytest.fixture(scope="module")
def heads():
    return load_heads()


def test_no_faces_and_no_boxes():
    none, some = np.zeros((0, 4)), np.array([[0.0, 0, 10, 10]])
    assert covered(none, some).shape == (0,)
    assert covered(some, none).tolist() == [False]


def test_what_counts_as_found():
    face = np.array([[10.0, 10, 20, 20]])
    for box, fits in (((8, 8, 24, 24), True), ((10, 16, 20, 20), False), ((0, 0, 60, 60), False),
                      ((10, 14, 20, 20), True)):
        assert covered(face, np.array([box], float)).tolist() == [fits], box


def test_heads_of_a_folder(tmp_path, astronaut):
    import cv2
    cv2.imwrite(str(tmp_path / "a.png"), astronaut)
    cv2.imwrite(str(tmp_path / "b.png"), astronaut[:, ::-1])
    cv2.imwrite(str(tmp_path / "c.png"), np.zeros((50, 50, 3), np.uint8))
    (tmp_path / "t.csv").write_text("id,split\na,gallery\nb,probe\nc,gallery\n")
    assert len(load_heads(tmp_path)) == 2
    assert len(load_heads(tmp_path, table=tmp_path / "t.csv", split="gallery")) == 1
    with pytest.raises(MediaError, match="no folder"):
        load_heads(tmp_path / "none")
    with pytest.raises(MediaError, match="no portrait"):
        load_heads(tmp_path, table=tmp_path / "t.csv", split="none")


def test_boxes_are_the_truth(heads):
    """The mesh network, shown the box, finds the same face there."""
    from deid_ros.detector import FaceMesh
    from deid_ros.detector.boxes import iou, make_detections
    from deid_ros.detector.finder import mesh_box

    mesher = FaceMesh()
    for look in (Look(60), Look(100, roll=25), Look(40)):
        scene = compose(heads, look, faces=3, seed=3)
        assert len(scene.boxes) and scene.frame.shape == (480, 640, 3)
        meshes, confidence = mesher.locate(scene.frame, make_detections(
            scene.boxes, np.ones(len(scene.boxes)), 0.0))
        assert (confidence > 0.7).all()
        for box, mesh in zip(scene.boxes, meshes, strict=True):
            assert iou(box, mesh_box(mesh))[0, 0] > 0.7


@pytest.mark.parametrize("yaw", [-45, 30])
def test_turned_heads_look_aside(heads, yaw):
    from deid_ros.detector import FaceMesh
    from deid_ros.detector.boxes import make_detections
    from deid_ros.geometry import fit_pose

    head = turned(heads[0], yaw)
    picture = (head.pixels[..., :3] * head.pixels[..., 3:]).clip(0, 255).astype(np.uint8)
    meshes, confidence = FaceMesh().locate(picture, make_detections(head.box[None], [1.0]))
    assert confidence[0] > 0.7
    # The network's own estimate falls short by nearly a half.
    assert 0.35 < fit_pose(meshes[0]).yaw / yaw < 1.2


def test_scenes_follow_from_the_seed(heads):
    first, again, other = (compose(heads, Look(30), seed=s, size=(160, 120)) for s in (1, 1, 2))
    assert (first.frame == again.frame).all() and (first.boxes == again.boxes).all()
    assert (first.frame != other.frame).any()


def test_a_film_drifts_over_a_wall_that_stays(heads):
    scenes = film(heads, Look(30, noise=0.0), 3, size=(160, 120), faces=1, where="gradient")
    assert (scenes[0].boxes != scenes[2].boxes).any()
    changed = (scenes[0].frame != scenes[2].frame).any(axis=2)
    assert 0 < changed.mean() < 0.5


@pytest.mark.parametrize("hidden", ["eyes", "mouth", "side"])
def test_hidden_and_cut_faces(heads, hidden):
    plain, covered_ = (compose(heads, Look(60, hidden=h, noise=0), faces=1, size=(160, 120),
                               where="gradient") for h in ("", hidden))
    assert (plain.boxes == covered_.boxes).all() and (plain.frame != covered_.frame).any()
    cut = compose(heads, Look(60, cut=0.35), faces=1, size=(160, 120)).boxes[0]
    assert cut[2] < 0.8 * plain.boxes[0, 2] or cut[3] < 0.8 * plain.boxes[0, 3]


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_backgrounds(name):
    frame = background(name, 700, 90, seed=1)
    assert frame.shape == (90, 700, 3) and frame.dtype == np.uint8 and frame.std() > 1
    assert (frame == background(name, 700, 90, seed=1)).all()


def test_the_command(tmp_path, capsys):
    import json
    path, plot = tmp_path / "r.json", tmp_path / "r.png"
    assert main(["bench", "recall", "--subjects", "ssd", "--groups", "yaw", "--faces", "1",
                 "--size", "320x240", "--json", str(path), "--plot",
                 str(plot)]) == 0
    out = capsys.readouterr().out
    assert "yaw 45" in out
    row = json.loads(path.read_text())["subjects"]["ssd"]
    assert row["recall"]["yaw"]["yaw 25"]["faces"] >= 1
    assert plot.stat().st_size > 5000
    assert main(["bench", "recall", "--subjects", "haar"]) == 2
    assert "haar" in capsys.readouterr().err
