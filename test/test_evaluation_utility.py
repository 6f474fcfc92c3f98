"""What is left of a picture, on shapes with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros.evaluation import utility as u


@pytest.fixture
def face():
    """68 points on a grid, the outer eye corners 100 px apart."""
    points = np.stack([np.arange(68) % 10 * 10.0, np.arange(68) // 10 * 10.0], axis=1)
    points[36], points[45] = (0, 50), (100, 50)
    return points


def test_overlaps():
    box = np.array([0, 0, 10, 10])
    assert u.overlaps(box, np.zeros((0, 4))).shape == (0,)
    assert u.best_overlap(box, np.zeros((0, 4))) == (-1, 0.0)
    boxes = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [10, 0, 10, 10], [0, 0, 0, 0]])
    assert u.overlaps(box, boxes) == pytest.approx([1, 1 / 3, 0, 0])
    assert u.best_overlap(box, boxes[1:]) == (0, pytest.approx(1 / 3))


def test_landmark_error_is_in_eye_distances(face):
    assert u.landmark_error(face, face) == 0.0
    assert u.landmark_error(face, face + [3, 4]) == pytest.approx(0.05)
    assert u.landmark_error(10 * face, 10 * face + [3, 4]) == pytest.approx(0.005)
    assert u.landmark_error(face, None) == np.inf


def test_openings(face):
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        face[lower] = face[upper] + [0, 20]
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        face[lower] = face[upper] + [0, 10]
    assert u.mouth_opening(face) == pytest.approx(0.2)
    assert u.eye_opening(face) == pytest.approx(0.1)
    assert u.mouth_opening(3 * face) == pytest.approx(0.2)


def test_the_shape_attack_sees_neither_eyelids_nor_mouth():
    assert len(u.shape_points) == 36 and u.shape_points.max() < 36


def test_pose_difference_goes_round():
    assert u.pose_difference(np.array([0, 10, 179.0]), np.array([5, -10, -179.0])).tolist() \
        == [5, 20, 2]
    assert np.isinf(u.pose_difference(np.zeros(3), None)).all()


def test_sharpness_ratio():
    rng = np.random.default_rng(0)
    frame = np.repeat(rng.integers(0, 256, (40, 40, 1), np.uint8), 3, axis=2)
    region = np.zeros((40, 40), bool)
    region[5:35, 5:35] = True
    flat = np.full_like(frame, 100)
    assert u.sharpness_ratio(frame, frame, region) == 1.0
    assert u.sharpness_ratio(frame, flat, region) == 0.0
    assert u.sharpness_ratio(frame, None, region) == 0.0
    assert np.isnan(u.sharpness_ratio(flat, frame, region))
    assert np.isnan(u.sharpness_ratio(frame, frame, np.zeros_like(region)))
    # Half the contrast is a quarter of the variance.
    half = (frame.astype(int) // 2).astype(np.uint8)
    assert u.sharpness_ratio(frame, half, region) == pytest.approx(0.25, rel=0.05)


def test_face_region():
    corners = np.array([[10, 10], [20, 10], [20, 30], [10, 30]] * 17, float)
    region = u.face_region(corners, (40, 50))
    assert region.shape == (40, 50)
    assert region.sum() == 11 * 21 and region[10:31, 10:21].all()
    assert not u.face_region(corners - 1000, (40, 50)).any()


def test_outside_change():
    before = np.zeros((10, 10, 3), np.uint8)
    after = before.copy()
    after[2:6, 2:6] = 200
    box = np.array([[2, 2, 4, 4]])
    assert u.outside_change(before, before) == (0.0, 0.0)
    assert u.outside_change(before, after, boxes=box) == (0.0, 0.0)
    assert u.outside_change(before, after)[0] == pytest.approx(0.16)
    assert u.outside_change(before, after)[1] == pytest.approx(200 * 0.16)
    after[0, 0, 1] = 30
    share, difference = u.outside_change(before, after, boxes=box)
    assert share == pytest.approx(1 / 84) and difference == pytest.approx(10 / 84)
    mask = np.zeros((10, 10), np.uint8)
    mask[2:6, 2:6], mask[0, 0] = 255, 255
    assert u.outside_change(before, after, mask=mask) == (0.0, 0.0)
    assert u.outside_change(before, None, boxes=box) == (1.0, 255.0)
    assert np.isnan(u.outside_change(before, after, boxes=np.array([[-5, -5, 50, 50]]))).all()
    # A box wholly outside of the frame covers nothing.
    assert u.outside_change(before, after, boxes=np.array([[-9, -9, 3, 3]]))[0] > 0


def test_grow_boxes():
    assert u.grow_boxes(np.zeros((0, 4)), 0.5).shape == (0, 4)
    assert u.grow_boxes(np.array([[10, 20, 4, 8]]), 0.5).tolist() == [[8, 16, 8, 16]]
