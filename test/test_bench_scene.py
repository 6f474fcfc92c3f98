"""The frames that benches send: right size, moving, and with the faces asked for."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros.bench.scene import MAX_FACES, _places, frames_of, texture
from deid_ros.errors import ConfigError

pytest.importorskip("skimage")


def test_no_faces_is_the_texture_alone():
    frames = frames_of(96, 64, 0)
    assert len(frames) >= 12
    assert all(f.shape == (64, 96, 3) and f.dtype == np.uint8 for f in frames)


def test_frames_move_and_close_the_loop():
    frames = [f.astype(int) for f in frames_of(320, 240, 1)]
    steps = [np.abs(a - b).mean() for a, b in zip(frames, frames[1:] + frames[:1], strict=True)]
    assert min(steps) > 0.5
    assert steps[-1] < 2 * np.median(steps), "the loop jumps where it begins again"


def test_the_same_seed_makes_the_same_frames():
    first, again, other = (frames_of(160, 120, 1, seed=seed)[3] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("size", [(640, 480), (1920, 1080), (480, 640)])
@pytest.mark.parametrize("faces", [1, 2, 5, 10])
def test_faces_lie_within_the_frame_and_apart(size, faces):
    places = _places(*size, faces, 110)
    assert len(places) == faces
    for x, y, room, face in places:
        assert 24 <= face <= 110 and room >= 0
        assert face / 2 < x < size[0] - face / 2 and face / 2 < y < size[1] - face / 2
    middles = np.array([place[:2] for place in places])
    far = np.linalg.norm(middles[:, None] - middles[None], axis=2) + 1e9 * np.eye(faces)
    assert far.min() > places[0][3]


def test_two_faces_in_vga_are_110_px():
    assert [place[3] for place in _places(640, 480, 2, 110)] == [110, 110]


@pytest.mark.parametrize("faces", [-1, MAX_FACES + 1])
def test_a_number_of_faces_out_of_range_is_refused(faces):
    with pytest.raises(ConfigError, match=str(faces)):
        frames_of(640, 480, faces)


def test_faces_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="do not fit"):
        frames_of(64, 48, 9)


def test_texture_is_rough_and_repeats_by_seed():
    wall = texture(64, 48, seed=3)
    assert wall.shape == (48, 64, 3) and wall.std() > 10
    assert (wall == texture(64, 48, seed=3)).all()


def test_a_detector_finds_the_faces():
    from deid_ros.detector import create_detector

    detector = create_detector(["centerface"])
    for frame in frames_of(640, 480, 2)[::30]:
        found = detector.detect(frame)
        assert len(found) == 2
        assert ((found["box"][:, 2:] > 60) & (found["box"][:, 2:] < 160)).all()
