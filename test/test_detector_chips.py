"""Chips: aligned crops that do not depend on where and how large a face is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deid_ros.detector.chips import CHIP_SIZES, cut_chips
from deid_ros.detector.mesh import FaceMesh
from deid_ros.errors import DetectorError
from deid_ros.faces import DETECTION

BOX = np.array([175.0, 62.0, 100.0, 114.0])


@pytest.fixture(scope="module")
def mesh(astronaut):
    rows = np.zeros(1, DETECTION)
    rows["box"] = BOX
    return FaceMesh().locate(astronaut, rows)[0][0].astype(np.float64)


def moved(frame, mesh, scale, angle, shift):
    matrix = cv2.getRotationMatrix2D((225, 118), -angle, scale)
    matrix[:, 2] += shift
    out = cv2.warpAffine(frame, matrix, (900, 900), flags=cv2.INTER_CUBIC,
                         borderMode=cv2.BORDER_REPLICATE)
    points = mesh.copy()
    points[:, :2] = mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return out, points


def distance(a, b):
    """Mean difference of two chips in grey levels, away from the border."""
    a, b = (cv2.GaussianBlur(chip, (0, 0), 2)[20:-20, 20:-20].astype(float) for chip in (a, b))
    return np.abs(a - b).mean()


@pytest.mark.parametrize("extractor, size", sorted(CHIP_SIZES.items()))
def test_no_faces_no_chips(extractor, size, astronaut):
    chips = cut_chips(astronaut, np.zeros((0, 4)), np.zeros((0, 468, 3)), extractor)
    assert chips.shape == (0, size, size, 3) and chips.dtype == np.uint8


@pytest.mark.parametrize("extractor", sorted(CHIP_SIZES))
@pytest.mark.parametrize("scale, angle, shift", [(1.6, 0, (30, -7)), (0.7, 8, (5, 60)),
                                                 (1.2, 45, (100, 100)), (1, -80, (100, 100))])
def test_the_same_chip_wherever_the_face_is(astronaut, mesh, extractor, scale, angle, shift):
    first = cut_chips(astronaut, BOX[None], mesh[None], extractor)[0]
    frame, points = moved(astronaut, mesh, scale, angle, shift)
    second = cut_chips(frame, BOX[None], points[None], extractor)[0]
    other = cut_chips(frame[:, ::-1].copy(), BOX[None], points[None], extractor)[0]
    assert distance(first, second) < 6 < 20 < distance(first, other)


def test_eyes_lie_where_the_extractor_wants_them(astronaut, mesh):
    import dlib

    from deid_ros.resources import model_path
    chip = cut_chips(astronaut, BOX[None], mesh[None], "dlib_resnet")[0]
    predictor = dlib.shape_predictor(str(model_path("dlib_five_points")))
    shape = predictor(np.ascontiguousarray(chip[:, :, ::-1]), dlib.rectangle(22, 22, 128, 128))
    eyes = [(shape.part(i).x, shape.part(i).y) for i in (0, 2)]
    want = [((u + 0.25) * 100, (v + 0.25) * 100) for u, v in ((0.8596, 0.2135), (0.1206, 0.2137))]
    np.testing.assert_allclose(eyes, want, atol=8)


def test_without_a_mesh_the_box_must_do(astronaut, mesh):
    first = cut_chips(astronaut, BOX[None], mesh[None], "dlib_resnet")[0]
    second = cut_chips(astronaut, BOX[None], np.zeros((1, 468, 3)), "dlib_resnet")[0]
    assert distance(first, second) < 24 < distance(first, second[::-1])


def test_black_beyond_the_frame(astronaut, mesh):
    frame = np.ascontiguousarray(astronaut[:, 225:])
    points = mesh - [225, 0, 0]
    chip = cut_chips(frame, BOX[None] - [225, 0, 0, 0], points[None], "vggface")[0]
    assert (chip[:, :40] == 0).all() and chip[:, -40:].any()


def test_unknown_extractor(astronaut):
    with pytest.raises(DetectorError, match="'facenet'.*dlib_resnet, vggface"):
        cut_chips(astronaut, np.zeros((0, 4)), np.zeros((0, 468, 3)), "facenet")
