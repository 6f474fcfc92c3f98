"""The face mesh: where the points are, from boxes that sit well and badly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deid_ros.detector.mesh import (
    FaceMesh,
    crop_square,
    detection_squares,
    mesh_squares,
    posed_mesh,
)
from deid_ros.faces import DETECTION
from deid_ros.geometry import CALM, fit_pose, measure_expression

BOX = (175.0, 62.0, 100.0, 114.0)


def detection(*boxes):
    rows = np.zeros(len(boxes), DETECTION)
    for row, box in zip(rows, boxes, strict=True):
        row["box"], row["angle"] = box[:4], box[4] if len(box) > 4 else 0.0
    return rows


@pytest.fixture(scope="module")
def face_mesh():
    return FaceMesh()


@pytest.fixture(scope="module")
def truth(face_mesh, astronaut):
    meshes, confidence = face_mesh.locate(astronaut, detection(BOX))
    assert confidence[0] > 0.9
    return meshes[0]


def error(mesh, truth):
    """Mean distance of the points as a part of the distance between the eyes."""
    return float(np.hypot(*(mesh - truth)[:, :2].T).mean()
                 / np.hypot(*(truth[263] - truth[33])[:2]))


def test_no_faces(face_mesh, astronaut):
    meshes, confidence = face_mesh.locate(astronaut, detection())
    assert meshes.shape == (0, 468, 3) and confidence.shape == (0,)
    assert mesh_squares(meshes).shape == (0, 4)
    assert detection_squares(detection()).shape == (0, 4)


def test_points_lie_on_the_face(truth, astronaut):
    # Pupils, nose tip and mouth of the photograph, within 4 px.
    for indices, place in {(33, 133): (203, 101), (362, 263): (246, 102), (1,): (222, 126),
                           (13, 14): (222, 143)}.items():
        assert np.hypot(*(truth[list(indices), :2].mean(axis=0) - place)) < 4
    assert truth[1, 2] < truth[152, 2] < truth[234, 2] + 40   # the nose is nearest
    assert truth[1, 2] < truth[[33, 263], 2].min()


@pytest.mark.parametrize("box, limit", [
    ((190, 80, 100, 114), 0.04),         # shifted by a seventh
    ((160, 50, 100, 114), 0.04),
    ((190, 80, 75, 85), 0.04),           # too small
    ((150, 40, 150, 170), 0.06),         # too large
    ((175, 62, 100, 114, 25), 0.05),     # turned the wrong way
    ((175, 62, 100, 114, -25), 0.05),
])
def test_badly_placed_boxes_give_the_same_points(face_mesh, astronaut, truth, box, limit):
    meshes, confidence = face_mesh.locate(astronaut, detection(box))
    assert confidence[0] > 0.9
    assert error(meshes[0], truth) < limit


@pytest.mark.parametrize("scale, limit", [(0.12, 0.12), (0.3, 0.05), (3, 0.03), (10, 0.03)])
def test_faces_from_12_to_1200_pixels(face_mesh, astronaut, truth, scale, limit):
    frame = cv2.resize(astronaut[:300, :400], None, fx=scale, fy=scale,
                       interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    meshes, _ = face_mesh.locate(frame, detection(tuple(v * scale for v in BOX)))
    assert error(meshes[0] / scale, truth) < limit


def test_a_face_cut_by_the_edge(face_mesh, astronaut, truth):
    cut = 215   # the left eye is outside
    x, y, w, h = BOX
    meshes, confidence = face_mesh.locate(np.ascontiguousarray(astronaut[:, cut:]),
                                          detection((x - cut, y, w, h)))
    assert confidence[0] > 0.5
    right = truth[:, 0] > cut + 5
    moved = np.hypot(*(meshes[0][right] + [cut, 0, 0] - truth[right])[:, :2].T).mean()
    assert moved < 0.2 * np.hypot(*(truth[263] - truth[33])[:2])


def test_a_turned_face_needs_its_angle(face_mesh, astronaut, truth):
    matrix = cv2.getRotationMatrix2D((225, 118), -70, 1.0)
    frame = cv2.warpAffine(astronaut, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    meshes, _ = face_mesh.locate(frame, detection((*BOX, 70.0)))
    turned = truth.copy()
    turned[:, :2] = truth[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    assert error(meshes[0], turned) < 0.04


def test_a_known_square_is_used(face_mesh, astronaut, truth):
    far = detection((400, 400, 50, 50))
    square = mesh_squares(truth[None])
    meshes, _ = face_mesh.locate(astronaut, far, squares=square)
    assert error(meshes[0], truth) < 0.02
    unknown = np.full((1, 4), np.nan, np.float32)
    meshes, _ = face_mesh.locate(astronaut, detection(BOX), squares=unknown)
    assert error(meshes[0], truth) < 1e-6


def test_no_face_no_confidence(face_mesh):
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    _, confidence = face_mesh.locate(frame, detection((50, 50, 80, 80)))
    assert confidence[0] < 0.3


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (-900, -900, 50, 50), (10, 10, 1e5, 1e5),
                                 (np.nan, 0, 10, 10)])
def test_nonsense_boxes_do_not_crash(face_mesh, astronaut, box):
    meshes, confidence = face_mesh.locate(astronaut, detection(box))
    assert np.isfinite(meshes).all() and np.isfinite(confidence).all()


def test_squares_of_meshes_turn_with_them(truth):
    square = mesh_squares(truth[None])[0]
    assert abs(square[3]) < 8
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])   # by 90 degrees clockwise in the image
    turned = mesh_squares((truth[:, :2] @ turn)[None])[0]
    np.testing.assert_allclose(turned[3] - square[3], 90, atol=1e-3)
    np.testing.assert_allclose(turned[2], square[2], rtol=1e-4)
    np.testing.assert_allclose(turned[:2], square[:2] @ turn, rtol=1e-3)


@pytest.mark.parametrize("side", [64, 100, 520, 900])
def test_crops_put_every_pixel_where_it_belongs(side):
    # A frame whose value is its place: the crop's must be where they were cut.
    y, x = np.mgrid[0:200, 0:200]
    frame = np.stack([x, y, x], axis=-1).astype(np.uint8)
    crop = crop_square(frame, np.array([100.0, 90.0, side, 0.0]), 64).astype(float)
    place = (np.arange(64) + 0.5 - 32) * side / 64
    inside = np.flatnonzero(np.abs(place) < 85 - side / 64)
    row = crop[32][inside]
    np.testing.assert_allclose(row[:, 0], 100 + place[inside], atol=1.25)
    column = crop[inside, 32]
    np.testing.assert_allclose(column[:, 1], 90 + place[inside], atol=1.25)


def test_a_posed_mesh_is_calm():
    """Of far faces nobody knows the expression; the mean portrait smiles."""
    row = np.zeros(1, DETECTION)[0]
    row["box"] = 10, 20, 30, 40
    mesh = posed_mesh(row)
    assert np.abs(measure_expression(mesh, fit_pose(mesh)) - CALM)[:3].max() < 0.02
