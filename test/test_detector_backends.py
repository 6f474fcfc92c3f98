"""The four back ends: same interface, same tests."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deid_ros.config import defaults
from deid_ros.detector import DETECTORS, Detector, create_detector
from deid_ros.detector.boxes import iou
from deid_ros.detector.centerface import CenterFace
from deid_ros.detector.interfaces import DEFAULT_THRESHOLD
from deid_ros.errors import DetectorError, FrameError
from deid_ros.faces import DETECTION

NAMES = sorted(DETECTORS)
FACE = np.array([175.0, 62.0, 100.0, 114.0])   # of the astronaut: box of the mesh


@pytest.fixture(scope="module")
def detectors():
    return {name: create_detector(name) for name in NAMES}


@pytest.fixture(params=NAMES)
def detector(request, detectors):
    return detectors[request.param]


def test_is_a_detector(detector):
    assert isinstance(detector, Detector)
    assert detector.name in DETECTORS


def test_finds_the_astronaut_in_the_common_box(detector, astronaut):
    before = astronaut.copy()
    found = detector.detect(astronaut)
    assert found.dtype == DETECTION and len(found) == 1
    assert iou(found["box"], FACE)[0, 0] > 0.6
    assert 0.5 < found["score"][0] <= 1.0
    assert abs(found["angle"][0]) < 8
    np.testing.assert_array_equal(astronaut, before)


def test_two_faces_are_sorted_by_score(detector, astronaut):
    face = astronaut[:260, 90:350]
    noisy = np.clip(face * 0.5 + 60, 0, 255).astype(np.uint8)
    found = detector.detect(np.ascontiguousarray(np.hstack([noisy, face])))
    assert len(found) == 2
    assert (np.diff(found["score"]) <= 0).all()
    assert sorted(int(x // 260) for x in found["box"][:, 0]) == [0, 1]


@pytest.mark.parametrize("level", [0, 128, 255])
def test_nothing_in_a_flat_frame(detector, level):
    assert detector.detect(np.full((120, 160, 3), level, np.uint8)).shape == (0,)


def test_nothing_in_noise(detector):
    rng = np.random.default_rng(0)
    assert len(detector.detect(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8))) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (10, 10), (31, 33), (7, 200), (97, 131)])
def test_any_size_of_frame(detector, shape, astronaut):
    frame = cv2.resize(astronaut, shape[::-1])
    found = detector.detect(frame)
    assert found.dtype == DETECTION and np.isfinite(found["box"]).all()


def test_a_face_larger_than_a_thousand_pixels(detector, astronaut):
    frame = cv2.resize(astronaut[:300, 80:380], (3000, 3000))
    found = detector.detect(frame)
    assert len(found) and iou(found["box"], (FACE - [80, 0, 0, 0]) * 10)[:, 0].max() > 0.5


@pytest.mark.parametrize("bad, got", [
    (np.zeros((8, 8), np.uint8), r"uint8 \(8, 8\)"),
    (np.zeros((8, 8, 4), np.uint8), r"uint8 \(8, 8, 4\)"),
    (np.zeros((8, 8, 3), np.float32), r"float32 \(8, 8, 3\)"),
    (np.zeros((0, 8, 3), np.uint8), r"uint8 \(0, 8, 3\)"),
    (None, "NoneType"),
])
def test_refuses_what_is_no_frame(detector, bad, got):
    with pytest.raises(FrameError, match=got):
        detector.detect(bad)


def test_a_view_of_a_frame_is_a_frame(detector, astronaut):
    view = astronaut[::1, ::-1]   # mirrored, not contiguous
    mirrored = [512 - FACE[0] - FACE[2], FACE[1], FACE[2], FACE[3]]
    assert iou(detector.detect(view)["box"], mirrored)[:, 0].max() > 0.5


def test_threshold_drops_weak_faces(astronaut):
    weak = CenterFace(threshold=0.1).detect(cv2.GaussianBlur(astronaut, (0, 0), 3))
    strong = CenterFace(threshold=0.99).detect(astronaut)
    assert len(weak) >= 1 and len(strong) == 0


@pytest.mark.parametrize("pixels", [12, 20, 48])
def test_centerface_finds_small_faces(detectors, astronaut, pixels):
    scale = pixels / 114
    small = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = np.full((360, 640, 3), 127, np.uint8)
    frame[100:100 + len(small), 200:200 + len(small)] = small[:260]
    found = detectors["centerface"].detect(frame)
    assert iou(found["box"], FACE * scale + [200, 100, 0, 0])[:, 0].max() > 0.4


@pytest.mark.parametrize("name", ["centerface", "ssd"])
@pytest.mark.parametrize("angle", [-30, 20])
def test_angle_follows_the_eyes(detectors, astronaut, name, angle):
    # OpenCV's positive angle turns counter-clockwise.
    matrix = cv2.getRotationMatrix2D((225, 118), -angle, 1.0)
    turned = cv2.warpAffine(astronaut, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    found = detectors[name].detect(turned)
    assert abs(found["angle"][0] - angle) < 8


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_centerface_finds_half_a_face_at_the_edge(detectors, astronaut, side):
    x, y, w, h = FACE.astype(int)
    frame = {"left": astronaut[:, x + w // 2:], "right": astronaut[:, :x + w // 2],
             "top": astronaut[y + h // 2:], "bottom": astronaut[:y + h // 2]}[side]
    assert len(detectors["centerface"].detect(frame)) == 1


def test_union_keeps_the_enclosing_box(detectors, astronaut):
    union = create_detector(["centerface", "ssd"], threshold=0.3)
    assert union.name == "centerface+ssd"
    found = union.detect(astronaut)
    assert len(found) == 1
    x, y, w, h = found["box"][0]
    for name in ("centerface", "ssd"):
        bx, by, bw, bh = detectors[name].detect(astronaut)["box"][0]
        assert x <= bx + 0.01 and y <= by + 0.01
        assert x + w >= bx + bw - 0.01 and y + h >= by + bh - 0.01
    assert len(union.detect(np.zeros((50, 50, 3), np.uint8))) == 0


def test_unknown_names_and_thresholds_are_refused():
    with pytest.raises(DetectorError, match="'haar'.*viola_jones, ssd, centerface, dlib_hog"):
        create_detector(["centerface", "haar"])
    with pytest.raises(DetectorError, match="No detector"):
        create_detector([])
    with pytest.raises(DetectorError, match="1.5"):
        create_detector("ssd", threshold=1.5)


def test_the_default_threshold_is_that_of_the_configuration():
    assert defaults()["detector"]["threshold"] == DEFAULT_THRESHOLD
