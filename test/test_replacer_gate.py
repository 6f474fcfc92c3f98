"""The gate: skin over skin, features always, hair stays."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros import geometry
from deid_ros.replacer.gate import skin_gate

SIDE = 64
SKIN, HAIR = (150, 170, 210), (40, 35, 30)


@pytest.fixture
def face():
    """Hull (n, 2) and landmarks (68, 2) of a frontal face on the grid."""
    points = geometry.project(geometry.reference_mesh(), geometry.Pose(0, 0, 0, 28, (32, 32)))
    return points[geometry.OVAL, :2].astype(np.float32), \
        points[geometry.MESH_TO_IBUG68, :2].astype(np.float32)


def scene(colour=SKIN):
    image = np.empty((SIDE, SIDE, 3), np.uint8)
    image[:] = colour
    return image


def test_skin_everywhere_is_open(face):
    hull, landmarks = face
    gate, likely = skin_gate(scene(), np.ones((SIDE, SIDE), np.float32), hull, landmarks)
    assert gate.min() > 0.99 and likely.min() > 0.99


def test_hair_over_a_temple_stays(face):
    hull, landmarks = face
    image = scene()
    image[:, :12] = HAIR
    gate, likely = skin_gate(image, np.ones((SIDE, SIDE), np.float32), hull, landmarks)
    assert gate[32, :9].max() < 0.1, "hair at the rim is painted over"
    assert likely[32, :9].max() < 0.1
    assert gate[32, 32] > 0.99


def test_features_are_covered_whatever_their_colour(face):
    hull, landmarks = face
    image = scene()
    image[::2] = HAIR  # a veil, stripes of shadow, anything
    gate, _ = skin_gate(image, np.ones((SIDE, SIDE), np.float32), hull, landmarks)
    for x, y in np.round(landmarks[17:]).astype(int):
        assert gate[y, x] == pytest.approx(1.0)


def test_too_little_skin_opens_the_gate(face):
    hull, landmarks = face
    gate, _ = skin_gate(scene(), np.zeros((SIDE, SIDE), np.float32), hull, landmarks)
    assert (gate == 1).all()
