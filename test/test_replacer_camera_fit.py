"""A drawn face gets the camera's optics: known degradations, and nothing else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deid_ros.replacer.camera_fit import CameraRule, fit_camera


def face(seed, size=96):
    """Something with detail at every scale, BGR float32, and the weight of a face in it."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), 120, np.float32)
    for cell in (3, 6, 12, 24, 48):
        noise = rng.normal(0, 8, (size // cell + 2, size // cell + 2, 3)).astype(np.float32)
        image += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    ys, xs = np.mgrid[:size, :size]
    far = np.hypot(xs - size / 2, ys - size / 2) / (0.42 * size)
    return image.clip(0, 255), np.clip((1.1 - far) / 0.2, 0, 1).astype(np.float32)


def looks(image, weight):
    """Variance of the Laplacian and contrast inside."""
    inner = cv2.erode((weight > 0.9).astype(np.uint8), np.ones((5, 5))) > 0
    grey = image @ np.array([0.114, 0.587, 0.299], np.float32)
    return cv2.Laplacian(grey, cv2.CV_32F)[inner].var(), grey[inner].std()


@pytest.mark.parametrize("size", [24, 48, 96, 200])
@pytest.mark.parametrize("blur", [0.5, 1.0, 2.0, 4.0])
def test_as_sharp_as_the_camera(size, blur):
    drawn, weight = face(1, size)
    source = cv2.GaussianBlur(face(2, size)[0], (0, 0), blur)
    done = fit_camera(drawn, source, weight)
    (sharp, contrast), (want, level) = looks(done, weight), looks(source, weight)
    before = looks(drawn, weight)[0] / want
    assert 0.5 < sharp / want < 2.0 or sharp / want < 0.1 * before
    assert 0.6 < contrast / level < 1.5


def test_noise_of_the_camera_is_detail_to_the_face():
    drawn, weight = face(3)
    drawn = cv2.GaussianBlur(drawn, (0, 0), 1.2)
    noise = np.random.default_rng(4).normal(0, 2, drawn.shape[:2] + (1,)).astype(np.float32)
    source = cv2.GaussianBlur(face(5)[0], (0, 0), 1.2) + noise
    # Detail that is not there cannot be made, but for little.
    assert looks(drawn, weight)[0] <= looks(fit_camera(drawn, source, weight), weight)[0] \
        <= 1.1 * looks(source, weight)[0]


def test_nothing_changes_beside_the_face():
    drawn, weight = face(6)
    done = fit_camera(drawn, cv2.GaussianBlur(drawn, (0, 0), 3), weight)
    np.testing.assert_array_equal(done[weight == 0], drawn[weight == 0])
    assert np.abs(done - drawn)[weight > 0.9].mean() > 1


def test_no_place_of_the_source_shows_in_the_result():
    """Moving the source's pixels about changes nothing but by its few numbers."""
    drawn, weight = face(7)
    source = face(8)[0]
    flipped = np.ascontiguousarray(source[:, ::-1])
    first, second = (fit_camera(drawn, image, weight) for image in (source, flipped))
    assert np.abs(first - second).mean() < 0.5


@pytest.mark.parametrize("size", [1, 3, 5])
def test_too_small_to_tell(size):
    drawn, weight = np.full((size, size, 3), 9, np.float32), np.ones((size, size), np.float32)
    np.testing.assert_allclose(fit_camera(drawn, drawn + 3, weight), drawn, atol=1e-3)


def test_a_flat_source_and_a_flat_face_are_finite():
    flat, weight = np.full((40, 40, 3), 80, np.float32), np.ones((40, 40), np.float32)
    detailed = face(9, 40)[0]
    for drawn, source in ((flat, detailed), (detailed, flat), (flat, flat)):
        done = fit_camera(drawn, source, weight)
        assert np.isfinite(done).all()
    assert looks(fit_camera(detailed, flat, weight), weight)[0] < 0.05 * looks(detailed, weight)[0]


def test_the_rule_says_what_bounds_it():
    assert len(CameraRule().sigmas) == len(CameraRule().most)
