"""The fine mesh's detail is measured in turns and added to every quick mesh."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros import geometry
from deid_ros.detector.refine import Refiner
from deid_ros.detector.tracker import Track

FRAME = np.zeros((480, 640, 3), np.uint8)


def mesh_at(x: float, roll: float = 0.0, *, mouth: float = 0.0) -> np.ndarray:
    """A mesh in pixels with the lower lip ``mouth`` model units lower."""
    shape = geometry.reference_mesh().copy()
    shape[14, 1] += mouth
    return geometry.project(shape, geometry.Pose(10.0, 5.0, roll, 80.0, (x, 200.0))).astype("f4")


class Fine:
    """Sees each face as it was told, and counts its looks."""

    def __init__(self, *meshes: np.ndarray, belief: float = 1.0) -> None:
        self.meshes, self.belief, self.looks = meshes, belief, 0

    def locate(self, frame, detections, *, squares):
        self.looks += 1
        near = min(self.meshes, key=lambda m: abs(m[:, 0].mean() - squares[0, 0]))
        return near[None].copy(), np.array([self.belief], np.float32)


def track(number: int) -> Track:
    return Track(number, np.array([0.0, 0, 10, 10]), 1.0)


def test_nobody():
    fine = Fine(mesh_at(200))
    out = Refiner(every=1, mesh=fine).refine(FRAME, [], np.zeros((0, 468, 3), np.float32),
                                             np.zeros(0))
    assert out.shape == (0, 468, 3) and fine.looks == 0


def test_the_first_frame_shows_the_fine_mesh():
    quick, fine = mesh_at(200), mesh_at(200, mouth=0.1)
    out = Refiner(every=3, mesh=Fine(fine)).refine(FRAME, [track(1)], quick[None], np.ones(1))
    assert np.abs(out[0] - fine)[:, :2].max() < 0.1


def test_the_detail_goes_with_the_head_between_looks():
    net, one = Fine(mesh_at(200, mouth=0.1)), track(1)
    refiner = Refiner(every=3, mesh=net)
    refiner.refine(FRAME, [one], mesh_at(200)[None], np.ones(1))
    out = refiner.refine(FRAME, [one], mesh_at(260, 30.0)[None], np.ones(1))
    assert net.looks == 1
    assert np.abs(out[0] - mesh_at(260, 30.0, mouth=0.1))[:, :2].max() < 0.2


def test_one_face_a_frame_takes_its_turn():
    net = Fine(mesh_at(100), mesh_at(300), mesh_at(500))
    refiner, tracks = Refiner(every=2, mesh=net), [track(i) for i in (1, 2, 3)]
    quick = np.stack([mesh_at(x) for x in (100, 300, 500)])
    refiner.refine(FRAME, tracks, quick, np.ones(3))
    assert net.looks == 3
    for _ in range(12):
        before = net.looks
        refiner.refine(FRAME, tracks, quick, np.ones(3))
        assert net.looks - before <= 1
    assert net.looks >= 12 and max(t.detail_age for t in tracks) <= 4


def test_a_quick_mesh_that_lies_on_its_side_is_replaced():
    fine, one = mesh_at(200), track(1)
    out = Refiner(every=3, mesh=Fine(fine)).refine(FRAME, [one], mesh_at(200, 40.0)[None],
                                                   np.ones(1))
    assert np.array_equal(out[0], fine) and one.detail is None


@pytest.mark.parametrize("belief", [0.0, 0.3])
def test_what_the_fine_mesh_does_not_believe_is_not_taken(belief):
    net, one, quick = Fine(mesh_at(200, mouth=0.2), belief=belief), track(1), mesh_at(200)
    refiner = Refiner(every=3, mesh=net)
    for _ in range(3):
        assert np.array_equal(refiner.refine(FRAME, [one], quick[None], np.ones(1))[0], quick)
    assert net.looks == 1
