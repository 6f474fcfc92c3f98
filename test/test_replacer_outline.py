"""The surroundings of a face are bent to the surrogate's jaw, and nothing else is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deid_ros.replacer.outline import REACH, Outline
from deid_ros.replacer.replacer import _room

MIDDLE = np.array([50.0, 40.0])


def ring(radius: float) -> np.ndarray:
    """68 landmarks: a half circle as the jaw, the nose's bridge in its middle."""
    points = np.tile(MIDDLE, (68, 1))
    angle = np.linspace(np.pi, 0, 17)
    points[:17] = MIDDLE + radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return points.astype(np.float32)


def disc(radius: float) -> np.ndarray:
    """A mask (100, 100) that is opaque within a radius."""
    alpha = np.zeros((100, 100), np.float32)
    cv2.circle(alpha, (50, 40), round(radius), 1.0, -1)
    return alpha


@pytest.mark.parametrize("target", [22, 30])
def test_the_jaw_moves_to_the_mask(target):
    outline = Outline(disc(target), ring(26))
    below = MIDDLE + [0, 26]
    moved = outline.forward(below[None])[0]
    assert abs(np.linalg.norm(moved - MIDDLE) - target) < 1.0
    # Backwards is the way back.
    shift = outline.backward((100, 100))
    x, y = np.round(moved).astype(int)
    assert np.abs(np.array([x, y]) + shift[y, x] - below).max() < 1.2


def test_far_away_and_above_nothing_moves():
    shift = Outline(disc(31), ring(26)).backward((100, 100))
    ys, xs = np.mgrid[:100, :100]
    far = np.hypot(xs - MIDDLE[0], ys - MIDDLE[1]) > 32 * (1 + REACH)
    assert (shift[far] == 0).all() and np.abs(shift).max() > 2
    assert np.abs(shift[:12, 40:60]).max() == 0


def test_no_strength_no_movement():
    assert (Outline(disc(31), ring(26), strength=0.0).backward((100, 100)) == 0).all()


def test_an_empty_mask_moves_nothing():
    assert (Outline(np.zeros((100, 100), np.float32), ring(26)).backward((100, 100)) == 0).all()


def test_room_between_faces():
    alone = np.array([[100, 100, 50, 60]])
    assert _room(alone, 0) == 1.0
    near = np.array([[100, 100, 50, 60], [155, 100, 50, 60]])
    assert _room(near, 0) == _room(near, 1) == 0.0
    apart = np.array([[100, 100, 50, 60], [177, 100, 50, 60]])
    assert 0 < _room(apart, 0) < 1
    far = np.array([[100, 100, 50, 60], [300, 100, 50, 60]])
    assert _room(far, 0) == 1.0
