"""Light of photographs that is taken out of textures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deid_ros.generator import skin
from deid_ros.training.light import even_light

SEEN = skin.regions()["inner"]


@pytest.fixture
def face() -> np.ndarray:
    """An even face with fine structure that must stay."""
    rng = np.random.default_rng(0)
    fine = cv2.GaussianBlur(rng.normal(0, 1, (384, 384)), (0, 0), 1.5)
    fine = (fine + fine[:, ::-1]) / fine.std() / 1.4
    return np.clip(np.float32([110, 130, 170]) + 6 * fine[..., None], 0, 255).astype(np.uint8)


def lit(face: np.ndarray, factor: np.ndarray) -> np.ndarray:
    return np.clip(face * factor, 0, 255).astype(np.uint8)


def halves(face: np.ndarray) -> float:
    """Left half over right half."""
    left, right = SEEN.copy(), SEEN.copy()
    left[:, 192:], right[:, :192] = False, False
    return float(face[left].mean() / face[right].mean())


def test_light_from_one_side_goes(face):
    side = np.linspace(0.75, 1.2, 384)[None, :, None]
    assert halves(lit(face, side)) < 0.9
    assert halves(even_light(lit(face, side), SEEN)) == pytest.approx(1, abs=0.02)


def test_coloured_light_from_one_side_goes(face):
    factor = np.ones((1, 384, 3))
    factor[0, :, 0] = np.linspace(0.7, 1.3, 384)
    assert halves(even_light(lit(face, factor), SEEN)[..., :1]) == pytest.approx(1, abs=0.02)


def test_fine_structure_stays(face):
    out = even_light(face, SEEN)
    def detail(x: np.ndarray) -> float:
        x = x.astype(np.float32)
        return float((x - cv2.GaussianBlur(x, (0, 0), 4))[SEEN].std())

    assert detail(out) == pytest.approx(detail(face), rel=0.12)


def test_shine_is_less(face):
    spot = np.zeros((384, 384), np.float32)
    spot[80, 192] = 1
    spot = cv2.GaussianBlur(spot, (0, 0), 6)
    shining = lit(face, 1 + 0.45 * (spot / spot.max())[..., None])
    around = (slice(72, 88), slice(184, 200))
    before, after = (float(x[around].mean() - face[around].mean())
                     for x in (shining, even_light(shining, SEEN)))
    assert after < 0.8 * before


def test_a_shaved_chin_is_as_light_as_the_cheeks(face):
    dark = np.ones((384, 384, 1), np.float32)
    dark[260:] = 0.75
    dark = cv2.GaussianBlur(dark, (0, 0), 6)[..., None]
    chin, cheek = (slice(315, 330), slice(170, 214)), (slice(200, 230), slice(95, 130))
    shaded = lit(face, dark)

    def gap(x: np.ndarray) -> float:
        return float(x[cheek].mean() - x[chin].mean())

    assert gap(even_light(shaded, SEEN, shaved=True)) < 0.45 * gap(even_light(shaded, SEEN))


def test_nothing_seen_changes_nothing(face):
    assert (even_light(face, np.zeros((384, 384), bool)) == face).all()
