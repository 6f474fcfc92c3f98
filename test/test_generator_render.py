"""Drawing a face: every pixel shows the place of the texture that lies there."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros import geometry
from deid_ros.generator import atlas


def placed(size: int, yaw: float, *, move: float = 0.0) -> np.ndarray:
    pose = geometry.Pose(yaw, 5.0, 10.0, size / 2.2, (size / 2 + move, size / 2))
    return geometry.project(geometry.with_skirt(geometry.reference_mesh()), pose)


@pytest.mark.parametrize("yaw", [0, 25, 45])
@pytest.mark.parametrize("size", [64, 200])
def test_every_pixel_shows_the_surface_that_lies_there(size, yaw):
    points = placed(size, yaw)
    left, top, where, inside = atlas.draw_map(points, size)
    assert (inside > 0).mean() > 0.3
    ys, xs = np.nonzero(inside)
    corners, weights = atlas.texel_weights()
    u, v = np.clip(np.round(where[ys, xs]).astype(int), 0, 383).T
    known = weights[v, u].sum(axis=1) > 0.5
    back = np.einsum("nk,nkc->nc", weights[v, u][known], points[corners[v, u][known]])[:, :2]
    off = np.linalg.norm(back - np.stack([xs[known] + left, ys[known] + top], 1), axis=1)
    # Half a texel of rounding, and half a pixel at the rim of each triangle.
    assert np.percentile(off, 99) < 1.2 + size / 128


@pytest.mark.parametrize("move", [-150.0, -60.0, 60.0, 150.0])
def test_a_face_across_the_edge_is_the_same_face_cut_off(move):
    whole = atlas.draw_map(placed(100, 0), 100)
    left, top, where, inside = atlas.draw_map(placed(100, 0, move=move), 100)
    assert 0 <= left <= 100 and left + inside.shape[1] <= 100
    if abs(move) > 100:
        assert not inside.any()
        return
    full = np.zeros((100, 300), np.uint8)
    full[whole[1]:whole[1] + whole[3].shape[0],
         100 + whole[0]:100 + whole[0] + whole[3].shape[1]] = whole[3]
    shown = np.zeros((100, 100), np.uint8)
    shown[top:top + inside.shape[0], left:left + inside.shape[1]] = inside
    assert (shown == full[:, 100 - int(move):200 - int(move)]).mean() > 0.995


def test_render_has_the_texture_inside_and_nothing_outside():
    drawn = atlas.render(np.full((384, 384, 2), (7, 200), np.uint8), placed(80, 20), 80)
    inside = drawn[..., 2] > 0
    assert (drawn[inside] == (7, 200, 255)).all()
    assert inside.any() and not drawn[~inside].any()


def test_the_nearest_surface_wins():
    """At 60 degrees the nose hides part of the far cheek."""
    points = placed(200, 60)
    left, top, where, inside = atlas.draw_map(points, 200)
    x, y = np.round(points[1, :2]).astype(int)   # the tip of the nose
    u, v = geometry.mesh_model()["uv"][1] * 384 - 0.5
    near = where[y - top - 1:y - top + 2, x - left - 2:x - left + 1].reshape(-1, 2)
    assert np.linalg.norm(near - (u, v), axis=1).min() < 9


@pytest.mark.parametrize("scale, side", [(300, 384), (107, 288), (108, 384), (60, 192), (50, 144),
                                         (30, 96), (10, 36), (1, 36)])
def test_far_faces_are_drawn_from_a_smaller_texture(scale, side):
    assert atlas.fitting_side(scale) == side


@pytest.mark.parametrize("count", [0, 1, 30])
def test_triangles_hold_their_pixels_and_the_last_lies_on_top(count):
    rng = np.random.default_rng(count)
    corners = rng.uniform(-8, 40, (count, 3, 2))
    if count:
        corners[0, 1:, 1] = corners[0, 0, 1]      # of no height
    index = np.full((24, 32), -1, np.intp)
    atlas._fill(index, corners, 100 + np.arange(count))
    expected, least = np.full(index.shape, -1), np.full(index.shape, -1)
    ys, xs = np.mgrid[:24, :32].astype(np.float64)
    for number, points in enumerate(corners, start=100):
        far = np.full(index.shape, np.inf)
        if np.linalg.det(points[1:] - points[0]) < 0:
            points = points[::-1]
        for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0)):
            far = np.minimum(far, ((bx - ax) * (ys - ay) - (by - ay) * (xs - ax))
                             / max(np.hypot(bx - ax, by - ay), 1e-9))
        expected[far > 1e-6] = number       # for certain
        least[far > -0.75] = number         # at most, with the rim
    # A pixel shows the last triangle that holds it, or one drawn later whose rim does.
    assert (index >= expected).all() and (index <= least).all()
