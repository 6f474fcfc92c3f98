"""From photograph to texture and back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deid_ros import geometry
from deid_ros.generator import atlas

POSE = geometry.Pose(0, 0, 0, 100, (160, 160))
SIZE = 320


def points_at(pose: geometry.Pose) -> np.ndarray:
    return geometry.project(geometry.with_skirt(geometry.reference_mesh()), pose)


def smooth_picture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (20, 20, 3)).astype(np.float32)
    return np.clip(cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC),
                   0, 255).astype(np.uint8)


def test_weights_are_barycentric_and_cover_most_of_the_texture():
    corners, weights = atlas.texel_weights()
    inside = weights.sum(-1) > 0.5
    assert corners.shape == weights.shape == (384, 384, 3)
    assert 0.4 < inside.mean() <= 1
    assert np.abs(weights[inside].sum(-1) - 1).max() < 1e-4
    assert not weights[~inside].any() and not corners[~inside].any()


def test_an_unwrapped_picture_renders_back_to_itself():
    picture = smooth_picture()
    pose = geometry.Pose(4, -3, 8, 95, (150, 165))
    mesh = geometry.project(geometry.reference_mesh(), pose)
    drawn = atlas.render(atlas.unwrap(picture, mesh), points_at(pose), SIZE)
    inner = cv2.erode(drawn[..., 3], np.ones((9, 9))) > 0
    gap = np.abs(drawn[..., :3].astype(int) - picture).max(-1)[inner]
    assert inner.sum() > 20_000
    assert gap.mean() < 2.5 and np.quantile(gap, 0.99) < 16
    assert not drawn[..., :3][drawn[..., 3] == 0].any()


def test_a_portrait_renders_back_to_itself(astronaut):
    mesh_of = pytest.importorskip("deid_ros.detector").FaceMesh().locate
    from deid_ros.faces import DETECTION

    box = np.array([((170, 60, 110, 140), 0.9, 0, 0, 0)], DETECTION)
    mesh = mesh_of(astronaut, box)[0][0]
    drawn = atlas.render(atlas.unwrap(astronaut, mesh), geometry.with_skirt(mesh), 512)
    inner = cv2.erode(drawn[..., 3], np.ones((9, 9))) > 0
    gap = np.abs(drawn[..., :3].astype(int) - astronaut).mean(-1)[inner]
    assert inner.sum() > 3_000
    assert np.median(gap) < 3 and gap.mean() < 6


def test_a_turned_head_hides_its_far_side():
    marked = np.zeros((384, 384, 3), np.uint8)
    marked[:, :192] = (255, 0, 0)
    marked[:, 192:] = (0, 0, 255)

    def share(yaw: float) -> float:
        drawn = atlas.render(marked, points_at(geometry.Pose(yaw, 0, 0, 100, (160, 160))), SIZE)
        left, right = (drawn[..., 0] > 128).sum(), (drawn[..., 2] > 128).sum()
        return left / (left + right)

    assert share(0) == pytest.approx(0.5, abs=0.03)
    # Turned to the right of the image, the left half of the face fills the view.
    assert share(40) > 0.6 and share(-40) < 0.4


@pytest.mark.parametrize("center", [(-500, 160), (160, 5000), (1e6, 1e6)])
def test_a_face_outside_the_picture_draws_nothing(center):
    drawn = atlas.render(np.full((384, 384, 3), 200, np.uint8),
                         points_at(geometry.Pose(0, 0, 0, 100, center)), 64)
    assert drawn.shape == (64, 64, 4) and not drawn.any()


def test_a_face_cut_by_the_edge_is_the_same_within():
    texture = atlas.unwrap(smooth_picture(), geometry.project(geometry.reference_mesh(), POSE))
    whole = atlas.render(texture, points_at(POSE), SIZE)
    moved = points_at(POSE) - [100, 100, 0]
    part = atlas.render(texture, moved, 160)
    both = (part[..., 3] > 0) & (whole[100:260, 100:260, 3] > 0)
    gap = np.abs(part[..., :3].astype(int) - whole[100:260, 100:260, :3])[both]
    assert both.sum() > 5_000 and np.quantile(gap, 0.999) <= 2


def test_a_tiny_face_renders():
    drawn = atlas.render(np.full((384, 384, 3), 200, np.uint8),
                         points_at(geometry.Pose(0, 0, 0, 3, (5, 5))), 10)
    assert drawn[5, 5, 3] == 255 and abs(int(drawn[5, 5, 0]) - 200) <= 1
