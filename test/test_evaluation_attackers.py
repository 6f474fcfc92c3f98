"""Attackers on faces whose answer is known: drawn, not photographed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from deid_ros.errors import EvaluationError
from deid_ros.evaluation import attackers as at
from deid_ros.evaluation.alignment import ARCFACE, aligned, five_points, similarity
from deid_ros.evaluation.recipe import BUILT_IN, Recipe, recipe_of
from deid_ros.evaluation.recogniser import Recogniser

cv2 = pytest.importorskip("cv2")


def points68(center, scale):
    """68 points of which the five that align lie as on an ArcFace picture."""
    points = np.zeros((68, 2))
    five = (ARCFACE - 56) * scale + center
    points[36:42], points[42:48] = five[0], five[1]
    points[30], points[48], points[54] = five[2:]
    return points


def person(seed, *, size=200, center=(100, 100), scale=1.0, light=0):
    """A frame with a blurred random pattern for a face, and its view."""
    rng = np.random.default_rng(seed)
    face = cv2.resize(rng.integers(40, 200, (14, 14, 3), np.uint8), (140, 140),
                      interpolation=cv2.INTER_CUBIC)
    side = round(140 * scale)
    frame = np.full((size, size, 3), 128, np.uint8)
    x, y = center[0] - side // 2, center[1] - side // 2
    frame[y:y + side, x:x + side] = cv2.resize(face, (side, side))
    frame = np.clip(frame.astype(int) + light, 0, 255).astype(np.uint8)
    points = points68(center, scale)
    return frame, SimpleNamespace(landmarks=points, five=five_points(points))


def test_similarity_finds_turn_scale_and_shift():
    angle = np.radians(30)
    matrix = 2 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    source = np.array([[0, 0], [4, 1], [2, 7.0]])
    found = similarity(source, source @ matrix.T + [5, -3])
    assert found == pytest.approx(np.column_stack([matrix, [5, -3]]))
    assert similarity(np.ones((3, 2)), np.zeros((3, 2)))[:, :2] == pytest.approx(np.eye(2))


def test_alignment_brings_a_face_to_the_same_picture():
    near, view = person(1)
    far, small = person(1, center=(90, 110), scale=0.8)
    assert five_points(view.landmarks) == pytest.approx(ARCFACE - 56 + 100)
    chips = [aligned(frame, five_points(v.landmarks), ARCFACE, (112, 112)).astype(int)
             for frame, v in ((near, view), (far, small))]
    assert np.abs(chips[0] - chips[1]).mean() < 6


@pytest.mark.parametrize("name", ["eigenfaces", "fisherfaces", "lbph"])
def test_classical_recognisers_know_people_again(name):
    pytest.importorskip("sklearn"), pytest.importorskip("skimage")
    [attacker] = at.create_attackers([name], None)
    known = np.stack([attacker.describe(*person(seed)) for seed in range(8)])
    # Elsewhere in the frame, of another size, in other light.
    probes = np.stack([attacker.describe(*person(seed, center=(95, 106), scale=0.85, light=25))
                       for seed in range(8)])
    distances = attacker.distances(probes, known, known=known)
    assert distances.shape == (8, 8) and attacker.name == name
    assert distances.argmin(axis=1).tolist() == list(range(8))
    # The same picture is at no distance, a missing one at none that is known.
    assert np.diag(attacker.distances(known, known, known=known)) == pytest.approx(0, abs=1e-6)
    probes[2] = np.nan
    distances = attacker.distances(probes, known, known=known)
    assert np.isnan(distances[2]).all() and np.isfinite(distances[[0, 1, 3]]).all()
    assert attacker.distances(np.full((1, known.shape[1]), np.nan), known,
                              known=known).shape == (1, 8)


@pytest.mark.parametrize("name", ["eigenfaces", "fisherfaces", "lbph"])
def test_nobody_and_one_person_known(name):
    pytest.importorskip("sklearn"), pytest.importorskip("skimage")
    [attacker] = at.create_attackers([name], None)
    rows = np.stack([attacker.describe(*person(0))])
    assert attacker.distances(rows[:0], rows[:0], known=rows[:0]).shape == (0, 0)
    assert attacker.distances(rows, rows, known=rows).tolist() == [[0.0]]


def test_chi_square_by_hand():
    from deid_ros.evaluation.appearance import chi_square

    assert chi_square([[1, 0, 3]], [[1, 0, 3], [3, 0, 1]]).tolist() == [[0, 2]]
    assert chi_square(np.zeros((0, 3)), np.ones((2, 3))).shape == (0, 2)


def test_lbp_histograms_of_a_flat_picture_hold_one_pattern():
    pytest.importorskip("skimage")
    [attacker] = at.create_attackers(["lbph"], None)
    row = attacker.histograms(np.full((80, 64), 9, np.uint8)).reshape(7, 7, 59)
    assert row.sum(axis=2) == pytest.approx(1.0)
    assert (row[1:-1, 1:-1].max(axis=2) == 1).all()      # the picture's edge is no flat place


def test_expression_is_all_that_the_expression_attacker_sees():
    from deid_ros.geometry import fit_pose, reference_mesh

    [attacker] = at.create_attackers(["expression"], None)
    rows = []
    for opening, scale, shift in ((0.0, 1, 0), (0.2, 1, 0), (0.2, 3, 40)):
        mesh = reference_mesh().astype(np.float64).copy()
        mesh[14, 1] += opening
        mesh = mesh * scale + shift
        rows.append(attacker.describe(None, SimpleNamespace(mesh=mesh, pose=fit_pose(mesh))))
    rows = np.stack(rows)
    assert rows.shape == (3, 7) and np.abs(rows[1] - rows[0]).max() > 0.1
    # Size and place in the picture are no expression.
    assert rows[2] == pytest.approx(rows[1], abs=1e-3)
    assert attacker.distances(rows[2:], rows[:2], known=rows[:2]).argmin() == 1


def recogniser(path, *, last=False, size=112):
    """An ONNX model whose features are the mean colours of the picture's quarters."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    shape = [1, size, size, 3] if last else [1, 3, size, size]
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])] if last else []
    nodes += [helper.make_node("AveragePool", ["t" if last else "x"], ["p"],
                               kernel_shape=[size // 8] * 2, strides=[size // 8] * 2),
              helper.make_node("Flatten", ["p"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 192])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("last", [False, True])
def test_a_recogniser_by_path(tmp_path, last):
    path = recogniser(tmp_path / "mine.onnx", last=last)
    [attacker] = at.create_attackers([str(path)], None)
    assert attacker.name == "mine"
    known = np.stack([attacker.describe(*person(seed)) for seed in range(5)])
    probes = np.stack([attacker.describe(*person(seed, center=(95, 104), scale=0.9))
                       for seed in range(5)])
    assert np.linalg.norm(known, axis=1) == pytest.approx(1.0)
    distances = attacker.distances(probes, known, known=known)
    assert distances.argmin(axis=1).tolist() == list(range(5))
    assert distances == pytest.approx(1 - probes @ known.T)


def test_files_that_are_no_recogniser(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"x")
    for path, message in ((tmp_path / "none.onnx", "There is no recogniser"),
                          (tmp_path / "bad.onnx", "cannot be loaded as an ONNX model")):
        with pytest.raises(EvaluationError, match=message):
            Recogniser(path)
    path = recogniser(tmp_path / "a.onnx")
    with pytest.raises(EvaluationError, match="given twice"):
        at.create_attackers([str(path), str(path)], None)
    with pytest.raises(EvaluationError, match="no attacker called 'eyes'.*ending in .onnx"):
        at.create_attackers(["eyes"], None)
    with pytest.raises(EvaluationError, match="holds 2 files"):
        Recogniser(tmp_path)


def test_a_recipe_says_what_goes_in(tmp_path):
    assert recipe_of(tmp_path / "mine.onnx") == Recipe()
    (tmp_path / "mine.yaml").write_text(
        "colour: bgr\nmean: [1, 2, 3]\nscale: 0.5\nsize: [16, 24]\nindependent: false\n"
        "name: mine-2\npoints: [[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.4, 0.8], [0.6, 0.8]]\n")
    found = recipe_of(tmp_path / "mine.onnx")
    chip = np.full((1, 1, 3), [11, 12, 13], np.uint8)
    assert found.prepare(chip).tolist() == [[[5, 5, 5]]]
    assert found.size == (16, 24) and found.name == "mine-2" and not found.independent
    # RGB is what most recognisers want; their levels are -1..1.
    assert Recipe().prepare(np.full((1, 1, 3), [0, 127, 255], np.uint8))[0, 0] == pytest.approx(
        [1, -0.5 / 127.5, -1])


@pytest.mark.parametrize("text, message", [
    ("points: [[1, 2]]", "says points: .*expected five pairs"), ("colour: hsv", "rgb or bgr"),
    ("size: 4", "8 to 1024"), ("mean: [1, 2]", "one number or three"), ("scale: x", "one number"),
    ("side: 3", "may say points, size"), ("- 1", "may say points"), ("a: [", "is not YAML"),
    ("independent: maybe", "true or false"), ("name: a.b", "letters, digits")])
def test_recipes_that_say_something_else(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(EvaluationError, match=message):
        recipe_of(tmp_path / "mine.onnx")


def test_a_recipe_and_its_model_must_agree(tmp_path):
    path = recogniser(tmp_path / "a.onnx")
    (tmp_path / "a.yaml").write_text("size: 64")
    with pytest.raises(EvaluationError, match="takes pictures of 112x112.*64x64"):
        Recogniser(path)


def test_an_openvino_recogniser_by_its_folder(tmp_path):
    openvino = pytest.importorskip("openvino")
    name = "face-reidentification-retail-0095"
    onnx = recogniser(tmp_path / "a.onnx", size=128)
    (tmp_path / name).mkdir()
    openvino.save_model(openvino.convert_model(str(onnx)), str(tmp_path / name / f"{name}.xml"))
    [attacker] = at.create_attackers([str(tmp_path / name)], None)
    assert attacker.name == "retail_0095" and attacker.recipe == BUILT_IN[name]
    assert attacker.independent and attacker.recogniser
    frame, view = person(3)
    row = attacker.describe(frame, view)
    # The quarters' mean colours: blue comes first, and nothing was scaled.
    chip = aligned(frame, five_points(view.landmarks), np.array(attacker.recipe.points) * 128,
                   (128, 128)).astype(float)
    cells = chip.reshape(8, 16, 8, 16, 3).mean(axis=(1, 3)).transpose(2, 0, 1).ravel()
    assert row == pytest.approx(cells / np.linalg.norm(cells), abs=1e-3)
    # An .xml that nobody has described is not guessed at.
    (tmp_path / name / f"{name}.xml").rename(tmp_path / "b.xml")
    with pytest.raises(EvaluationError, match="is not known; write .*b.yaml"):
        Recogniser(tmp_path / "b.xml")


def test_without_openvino_one_sentence_says_so(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    path = tmp_path / "face-reidentification-retail-0095.xml"
    path.write_text("<net/>")
    with pytest.raises(EvaluationError, match="needs OpenVINO; .*pip install openvino"):
        Recogniser(path)


def test_what_becomes_smaller_is_averaged_first():
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 254
    points = np.array([[100, 100], [300, 100], [200, 300.0]])
    chip = aligned(stripes, points, points / 8, (40, 40)).astype(int)
    assert np.abs(chip - 127).max() <= 12


def test_the_example_of_the_documents_is_the_default(tmp_path):
    from pathlib import Path

    text = (Path(__file__).parents[1] / "docs" / "privacy.md").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    found, default = recipe_of(tmp_path / "mine.onnx"), Recipe()
    assert np.array(found.points) == pytest.approx(np.array(default.points), abs=1e-4)
    assert found.scale == pytest.approx(default.scale, abs=1e-6)
    assert found.size == (112, 112) and found.mean == default.mean and found.independent
