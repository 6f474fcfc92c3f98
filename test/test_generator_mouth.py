"""Mouths that open wider than portraits show: short teeth, and dark below them."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros.generator import mouth, skin


def toothy() -> np.ndarray:
    """Skin, and teeth from lip to lip: light above, yellowish at their lower end."""
    texture = np.full((384, 384, 3), (120, 140, 190), np.uint8)
    inside = skin.regions()["mouth"]
    down = np.cumsum(inside, axis=0) / np.maximum(inside.sum(0), 1)
    texture[inside] = (240 - 100 * down[inside])[:, None].astype(np.uint8)
    return texture


@pytest.mark.parametrize("opening", [-0.1, 0.0, 0.05, mouth.USUAL])
def test_usual_mouths_stay(opening):
    texture = toothy()
    assert mouth.open_wide(texture, opening) is texture


@pytest.mark.parametrize("opening", [0.12, 0.2, 0.4])
def test_teeth_keep_their_length(opening):
    texture = toothy()
    before = texture.copy()
    drawn = mouth.open_wide(texture, opening)
    assert (texture == before).all()
    inside = skin.regions()["mouth"]
    assert (drawn[~_grown(inside)] == texture[~_grown(inside)]).all()
    column = np.flatnonzero(inside.any(0))
    column = column[len(column) // 2]
    line = drawn[inside[:, column], column].mean(axis=1)
    bright = (line > 90).sum() / len(line)
    assert bright == pytest.approx(mouth.USUAL / opening, abs=0.12)
    # From light to their lower end and then dark: nothing is repeated.
    assert line[2] > 180 and line[-3] < 60


def test_a_wider_mouth_is_darker():
    inside = skin.regions()["mouth"]
    levels = [mouth.open_wide(toothy(), opening)[inside].mean()
              for opening in (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)]
    assert all(a > b for a, b in zip(levels, levels[1:]))


def _grown(mask: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) > 0
