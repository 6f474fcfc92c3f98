"""FaceFinder: one call from a frame to the face table and the chips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deid_ros.config import defaults
from deid_ros.detector import FaceFinder, FaceMesh, Found, create_detector
from deid_ros.errors import DetectorError, FrameError
from deid_ros.faces import CHIP_NONE, DETECTION, FACE, boxes_of

OPTIONS = {"margin": 0.15, "min_surrogate_px": 24, "carry_frames": 6,
           "extractor": "dlib_resnet"}


class Scripted:
    """A detector that drops what a test wants dropped."""

    name = "scripted"

    def __init__(self, inner, drop=lambda call: False):
        # The first call is the finder's own, to warm up.
        self.inner, self.drop, self.calls = inner, drop, -2

    def detect(self, frame):
        self.calls += 1
        found = self.inner.detect(frame)
        return found[:0] if self.drop(self.calls) else found


@pytest.fixture(scope="module")
def blazeface():
    return create_detector("ssd")


@pytest.fixture(scope="module")
def mesh():
    return FaceMesh()


@pytest.fixture
def make(blazeface, mesh):
    def factory(*, drop=None, **options):
        detector = Scripted(blazeface, drop) if drop else blazeface
        return FaceFinder(**{**OPTIONS, "detector": detector, "mesh": mesh, **options})
    return factory


def moving(astronaut, t):
    """A 640x480 frame of a camera that pans, zooms and turns; and its matrix."""
    matrix = cv2.getRotationMatrix2D((225, 118), 10 * np.sin(0.07 * t),
                                     1.2 + 0.3 * np.sin(0.05 * t))
    matrix[:, 2] += [95 + 120 * np.sin(0.11 * t), 82 + 40 * np.cos(0.13 * t)]
    return cv2.warpAffine(astronaut, matrix, (640, 480),
                          borderMode=cv2.BORDER_REPLICATE), matrix


def test_no_faces(make):
    finder = make()
    for shape in ((1, 1), (10, 10), (240, 320)):
        found = finder.find(np.zeros((*shape, 3), np.uint8))
        assert isinstance(found, Found)
        assert found.faces.shape == (0,) and found.faces.dtype == FACE
        assert found.chips.shape == (0, 150, 150, 3) and found.chips.dtype == np.uint8


def test_every_field_of_one_face(make, astronaut):
    before = astronaut.copy()
    found = make().find(astronaut, stamp_ns=1)
    np.testing.assert_array_equal(astronaut, before)
    face, = found.faces
    assert face["track_id"] == 1 and face["trusted"] == 1 and face["carried"] == 0
    assert 0.5 < face["score"] <= 1
    assert abs(face["yaw"]) < 15 and abs(face["pitch"]) < 20 and abs(face["roll"]) < 8
    assert face["scale"] == pytest.approx(62, abs=12)           # px between the outer eye corners
    np.testing.assert_allclose(face["center"], [224, 122], atol=15)
    assert face["expression"][0] > 0.03                          # she smiles, teeth shown
    points = face["landmarks"].reshape(68, 2)
    np.testing.assert_allclose(points[36:42].mean(axis=0), (203, 101), atol=4)
    np.testing.assert_allclose(points[42:48].mean(axis=0), (246, 102), atol=4)
    x, y, w, h = boxes_of(found.faces)[0]
    # From the hair above the forehead to below the chin, temple to temple.
    assert y <= 55 and y + h >= 180 and x <= 172 and x + w >= 276
    assert w < 160 and h < 180
    assert face["chip"] == 0 and found.chips.shape == (1, 150, 150, 3)
    assert found.chips.std() > 30


def test_a_chip_is_cut_once(make, astronaut):
    finder = make()
    assert len(finder.find(astronaut).chips) == 1
    for _ in range(3):
        found = finder.find(astronaut)
        assert len(found.chips) == 0 and found.faces["chip"][0] == CHIP_NONE
    finder.renew_chips()
    assert len(finder.find(astronaut).chips) == 1


def test_a_small_face_gets_a_better_chip_later_and_few_of_them(make, astronaut):
    finder = make(detector="centerface")
    chips, ids = 0, set()
    for t in range(15):
        scale = min(0.25 * 1.13 ** t, 1.3)
        frame = cv2.resize(astronaut[:300, :450], None, fx=scale, fy=scale)
        canvas = np.full((420, 630, 3), 127, np.uint8)
        canvas[:frame.shape[0], :frame.shape[1]] = frame[:420, :630]
        found = finder.find(canvas)
        chips += len(found.chips)
        ids |= set(found.faces["track_id"].tolist())
    assert ids == {1} and 2 <= chips <= 3


@pytest.mark.parametrize("every", [0, 2, 3])
def test_a_moving_face_is_always_covered_whatever_the_detector_misses(make, astronaut, every):
    finder = make(drop=lambda call: every and call % every == every - 1)
    x, y = np.meshgrid(np.linspace(178, 272, 8), np.linspace(66, 174, 8))
    inside = np.stack([x.ravel(), y.ravel()], axis=-1)
    for t in range(30):
        frame, matrix = moving(astronaut, t)
        found = finder.find(frame, stamp_ns=10 ** 9 + t * 33_333_333)
        assert found.faces["track_id"].tolist() == [1]
        assert found.faces["carried"][0] == bool(every and t % every == every - 1)
        bx, by, bw, bh = boxes_of(found.faces)[0]
        points = inside @ matrix[:, :2].T + matrix[:, 2]
        points = points[((points >= 0) & (points < [640, 480])).all(axis=1)]
        assert ((points >= [bx, by]) & (points <= [bx + bw, by + bh])).all(), t


def test_an_unseen_face_is_carried_and_ends(make, astronaut):
    empty = astronaut.copy()
    empty[20:260, 110:340] = 127                      # the face is gone from the image
    finder = make()
    first = finder.find(astronaut)
    for t in range(6):
        found = finder.find(empty)
        assert found.faces["carried"].tolist() == [1]
        # A blink is no reason to change what covers it.
        assert found.faces["trusted"].tolist() == [int(t < 4)]
    assert boxes_of(found.faces)[0, 2] >= boxes_of(first.faces)[0, 2] * 0.9
    assert len(finder.find(empty).faces) == 0


def test_a_cut_ends_tracks(make, astronaut):
    scene = astronaut[:400, :400]
    other = np.ascontiguousarray(astronaut[100:500, ::-1][:, :400][::-1])   # no face
    finder = make()
    assert finder.find(scene).faces["track_id"].tolist() == [1]
    assert len(finder.find(other).faces) == 0
    assert finder.find(scene).faces["track_id"].tolist() == [2]
    # Another size of frame is another scene too.
    assert finder.find(astronaut[:300, :400]).faces["track_id"].tolist() != []


def test_reset_begins_anew_with_fresh_ids(make, astronaut):
    finder = make()
    finder.find(astronaut)
    finder.reset()
    found = finder.find(astronaut)
    assert found.faces["track_id"].tolist() == [2] and len(found.chips) == 1


@pytest.mark.parametrize("stamps", [[0, 0, 0], [5, 5, 5], [9 * 10 ** 18, 0, -1], [3, 2, 1]])
def test_any_stamps(make, astronaut, stamps):
    finder = make()
    for stamp in stamps:
        assert finder.find(astronaut, stamp_ns=stamp).faces["track_id"].tolist() == [1]


def test_two_faces_two_chips_in_row_order(make, astronaut):
    face = astronaut[20:280, 100:360]
    frame = np.ascontiguousarray(np.hstack([face, (face * 0.6).astype(np.uint8)]))
    found = make(detector="centerface").find(frame)
    assert len(found.faces) == 2 and sorted(found.faces["chip"]) == [0, 1]
    for row in found.faces:
        brightness = found.chips[row["chip"]].mean()
        assert (brightness < 90) == (row["center"][0] > 260)


def test_small_faces_are_found_and_not_trusted(make, astronaut):
    small = cv2.resize(astronaut, (80, 80), interpolation=cv2.INTER_AREA)    # face of 18 px
    frame = np.full((240, 320, 3), 127, np.uint8)
    frame[80:160, 100:180] = small
    found = make(detector="centerface").find(frame)
    assert found.faces["trusted"].tolist() == [0] and len(found.chips) == 0
    assert found.faces["scale"][0] > 3
    found = make(detector="centerface", min_surrogate_px=12).find(frame)
    assert found.faces["trusted"].tolist() == [1] and len(found.chips) == 1


def test_only_so_many_meshes(make, astronaut):
    face = cv2.resize(astronaut[20:280, 100:360], (130, 130))
    frame = np.ascontiguousarray(np.tile(face, (2, 3, 1)))
    found = make(detector="centerface", max_meshes=4).find(frame)
    assert len(found.faces) == 6 and found.faces["trusted"].sum() == 4


def test_what_is_no_face_is_covered_but_not_trusted(mesh, astronaut):
    class Fixed:
        name = "fixed"

        def detect(self, frame):
            rows = np.zeros(1, DETECTION)
            rows["box"], rows["score"] = (300, 350, 90, 100), 0.4
            return rows

    found = FaceFinder(**OPTIONS, detector=Fixed(), mesh=mesh).find(astronaut)
    assert found.faces["trusted"].tolist() == [0] and len(found.chips) == 0
    x, y, w, h = boxes_of(found.faces)[0]
    assert x <= 287 and y <= 335 and x + w >= 403 and y + h >= 465


def test_nonsense_detections_do_not_crash(mesh, astronaut):
    class Wild:
        name = "wild"

        def __init__(self):
            self.rng = np.random.default_rng(0)

        def detect(self, frame):
            rows = np.zeros(20, DETECTION)
            rows["box"] = self.rng.normal(0, 10.0 ** self.rng.integers(0, 7), (20, 4))
            rows["box"][:, 2:] = np.abs(rows["box"][:, 2:]) + 1e-3
            rows["score"] = self.rng.uniform(0, 1, 20)
            rows["angle"] = self.rng.uniform(-180, 180, 20)
            return rows

    finder = FaceFinder(**OPTIONS, detector=Wild(), mesh=mesh, max_meshes=3)
    for _ in range(4):
        faces = finder.find(astronaut).faces
        assert len(faces) >= 1
        for name in ("yaw", "pitch", "roll", "scale", "center", "expression", "landmarks"):
            assert np.isfinite(faces[name]).all()
        assert (faces["width"] > 0).all() and (faces["height"] > 0).all()


def test_bad_frames_and_options(make):
    with pytest.raises(FrameError, match=r"float64 \(4, 4\)"):
        make().find(np.zeros((4, 4)))
    with pytest.raises(DetectorError, match="'facenet'"):
        make(extractor="facenet")
    with pytest.raises(DetectorError, match="'haar'"):
        make(detector=["haar"])


def test_takes_the_parameters_of_the_configuration():
    names = ("detector", "threshold", "margin", "min_surrogate_px", "carry_frames", "extractor")
    finder = FaceFinder(**{name: defaults()["detector"][name] for name in names})
    assert finder.detector.name == "centerface"


def test_clips(make, shared):
    """The turning head stays one trusted track, near profile included."""
    capture = cv2.VideoCapture(str(shared / "data/clips/head-pose-face-detection-female.mp4"))
    finder, yaws = make(detector="centerface"), []
    for t in range(23):
        ok, frame = capture.read()
        assert ok
        faces = finder.find(frame, stamp_ns=t * 80_000_000).faces
        assert faces["track_id"].tolist() == [1] and faces["trusted"].tolist() == [1]
        yaws.append(float(faces["yaw"][0]))
    assert min(yaws) < -40 and max(yaws) > 30
