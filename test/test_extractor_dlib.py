"""The dlib extractor on real faces."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from deid_ros.errors import ExtractorError
from deid_ros.extractor import EXTRACTORS, Extractor, create_extractor
from deid_ros.resources import model_path

dlib = pytest.importorskip("dlib")


@pytest.fixture(scope="module")
def extractor():
    return create_extractor("dlib_resnet")


@pytest.fixture(scope="module")
def chip_of():
    """A function: BGR picture with one face -> chip uint8 (150, 150, 3) BGR."""
    find = dlib.get_frontal_face_detector()
    points = dlib.shape_predictor(str(model_path("dlib_five_points")))

    def cut(picture: np.ndarray) -> np.ndarray:
        rgb = np.ascontiguousarray(picture[..., ::-1])
        boxes = find(rgb, 1)
        assert len(boxes) == 1
        return dlib.get_face_chip(rgb, points(rgb, boxes[0]), 150, 0.25)[..., ::-1]

    return cut


@pytest.fixture(scope="module")
def astronaut_chips(astronaut, chip_of):
    """The same person at full size, at 60 % and darker."""
    face = astronaut[0:256, 128:384]
    small = cv2.resize(face, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    return np.stack([chip_of(face), chip_of(small), chip_of((face * 0.7).astype(np.uint8))])


def test_no_chips(extractor):
    embeddings = extractor.embed(np.zeros((0, 150, 150, 3), np.uint8))
    assert embeddings.shape == (0, 128)
    assert embeddings.dtype == np.float32


def test_it_is_an_extractor(extractor):
    assert isinstance(extractor, Extractor)
    assert (extractor.name, extractor.chip_size, extractor.dimensions) == (
        "dlib_resnet", 150, 128)


def test_unit_rows_in_order_and_batch_independent(extractor, astronaut_chips):
    together = extractor.embed(astronaut_chips)
    assert together.shape == (3, 128) and together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    one = np.concatenate([extractor.embed(astronaut_chips[i:i + 1]) for i in range(3)])
    np.testing.assert_allclose(together, one, atol=1e-5)


def test_chips_are_read_as_bgr(extractor, astronaut_chips):
    """dlib's own call on RGB pixels is the reference."""
    network = dlib.face_recognition_model_v1(str(model_path("dlib_resnet")))
    rgb = np.ascontiguousarray(astronaut_chips[0][..., ::-1])
    reference = np.asarray(network.compute_face_descriptor(rgb))
    np.testing.assert_allclose(extractor.embed(astronaut_chips[:1])[0],
                               reference / np.linalg.norm(reference), atol=1e-5)


def test_same_person_is_closer_than_others(extractor, astronaut_chips, chip_of, shared):
    names = ["A000069", "A000363", "A000372", "B000382", "B000589"]
    others = extractor.embed(np.stack([
        chip_of(cv2.imread(str(shared / "data" / "portraits" / f"{name}.jpg")))
        for name in names]))
    same = extractor.embed(astronaut_chips)
    distance_same = (1 - same @ same.T)[np.triu_indices(3, 1)]
    distance_others = 1 - same @ others.T
    assert distance_same.max() < 0.03
    assert distance_others.min() > 2 * distance_same.max()


@pytest.mark.parametrize("chips", [
    np.zeros((1, 149, 150, 3), np.uint8),
    np.zeros((150, 150, 3), np.uint8),
    np.zeros((1, 150, 150, 3), np.float32),
    np.zeros((1, 150, 150), np.uint8),
])
def test_wrong_chips_are_refused(extractor, chips):
    with pytest.raises(ExtractorError, match=r"takes chips uint8 \(M, 150, 150, 3\), but got"):
        extractor.embed(chips)


def test_unknown_extractor():
    with pytest.raises(ExtractorError, match="'facenet'.*dlib_resnet, vggface"):
        create_extractor("facenet")
    assert set(EXTRACTORS) == {"dlib_resnet", "vggface", "trained"}


def test_importing_is_cheap():
    """Neither dlib nor Keras is loaded before an extractor is made."""
    code = ("import sys, deid_ros.extractor; "
            "print([m for m in ('dlib', 'keras', 'tensorflow', 'h5py') if m in sys.modules])")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
