"""Searching by a preset: small and turned faces, passes, tiles, several back ends."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deid_ros.detector import PRESETS, Detector, FaceFinder, Searcher, create_detector
from deid_ros.detector.boxes import iou, make_detections
from deid_ros.detector.searcher import _cut_off, _strongest, _tiles, _unturn
from deid_ros.errors import DetectorError, FrameError
from deid_ros.faces import DETECTION, boxes_of
from deid_ros.parameters import PARAMETERS

FACE = np.array([175.0, 62.0, 100.0, 114.0])   # of the astronaut: box of the mesh


@pytest.fixture(scope="module", params=sorted(PRESETS))
def searcher(request):
    return Searcher("centerface", preset=request.param)


@pytest.fixture(scope="module")
def balanced():
    return Searcher("centerface")


def scene(astronaut, pixels, *, roll=0.0, shape=(240, 320), at=(150, 110)):
    """A grey frame with the astronaut's head, ``pixels`` high, and the box of its face."""
    head = np.zeros((512, 512), np.float32)
    cv2.ellipse(head, (222, 112), (78, 100), 0, 0, 360, 1, -1)
    scale = pixels / 114
    matrix = cv2.getRotationMatrix2D((225, 119), -roll, scale)
    matrix[:, 2] += np.array(at) - (225, 119)
    size = shape[::-1]
    soft = cv2.GaussianBlur(astronaut, (0, 0), max(0.4 / scale, 0.4))
    alpha = cv2.warpAffine(head, matrix, size)[..., None]
    drawn = cv2.warpAffine(soft, matrix, size)
    frame = (alpha * drawn + (1 - alpha) * 127).astype(np.uint8)
    extent = np.array([np.hypot(100 * np.cos(np.radians(roll)), 114 * np.sin(np.radians(roll))),
                       np.hypot(100 * np.sin(np.radians(roll)), 114 * np.cos(np.radians(roll)))])
    return frame, np.concatenate([np.array(at) - extent * scale / 2, extent * scale])


def test_nothing_in_nothing(searcher):
    searcher.reset()
    for shape in ((1, 1), (7, 40), (120, 160)):
        found = searcher.detect(np.full((*shape, 3), 90, np.uint8))
        assert found.shape == (0,) and found.dtype == DETECTION


def test_finds_the_astronaut(searcher, astronaut):
    before = astronaut.copy()
    searcher.reset()
    found = searcher.detect(astronaut)
    assert len(found) == 1 and iou(found["box"], FACE)[0, 0] > 0.6
    np.testing.assert_array_equal(astronaut, before)


def test_every_frame_of_a_cycle_is_searched(searcher, astronaut):
    frame, box = scene(astronaut, 48)
    for turn in range(len(searcher.preset.cycle)):
        searcher.reset(turn=turn)
        assert iou(searcher.detect(frame)["box"], box)[:, 0].max() > 0.5, turn


def test_a_pass_is_a_part_of_640_px_and_never_enlarges(balanced):
    seen = []
    for shape in ((480, 640), (240, 320), (960, 1280)):
        balanced.reset(turn=1)
        steps = balanced._passes(np.zeros((*shape, 3), np.uint8))
        seen.append([round(scale * max(shape)) for scale, turn, _ in steps[:2]])
    assert seen == [[640, 256], [320, 256], [640, 256]]


def test_a_picture_is_searched_turned_all_round(balanced):
    assert {step.turn for step in balanced.preset.first} == {0, 1, 2, 3}
    assert {step.turn for passes in balanced.preset.cycle for step in passes} == {0, 1, 2, 3}


class Listed:
    """A back end that answers with the rows it was given."""

    name = "listed"

    def __init__(self, boxes, scores):
        self.rows = make_detections(np.array(boxes, float), scores)

    def detect(self, frame):
        return self.rows.copy()


def test_several_back_ends_are_one_searcher(astronaut):
    both = create_detector(["ssd", "viola_jones"])
    assert isinstance(both, Searcher) and both.name == "ssd+viola_jones"
    assert isinstance(create_detector("ssd"), Detector)
    one, other = Listed([[10, 10, 30, 40]], [0.9]), Listed([[12, 12, 30, 40], [80, 10, 20, 20]],
                                                          [0.5, 0.2])
    searcher = Searcher([one, other], preset=None)
    assert searcher.name == "listed+listed"
    found = searcher.search(astronaut)
    np.testing.assert_allclose(found["box"], [[10, 10, 32, 42], [80, 10, 20, 20]])
    assert len(searcher.detect(astronaut)) == 1         # 0.2 is less than a face


def test_weak_answers_are_for_who_asks_for_them(astronaut):
    searcher = Searcher("centerface", preset="fast")
    weak = Listed([[10, 10, 30, 40], [80, 10, 20, 20]], [0.31, 0.1])
    searcher._passing = weak
    assert len(searcher.detect(astronaut)) == 1 and len(searcher.search(astronaut)) == 2


def test_refusals(balanced):
    with pytest.raises(DetectorError, match="'careful'.*fast, balanced, paranoid"):
        Searcher("centerface", preset="careful")
    with pytest.raises(DetectorError, match="'haar'"):
        Searcher("haar")
    with pytest.raises(DetectorError, match="1.5"):
        Searcher("centerface", threshold=1.5)
    with pytest.raises(FrameError):
        balanced.detect(np.zeros((4, 4)))


def test_presets_are_the_parameters_choices():
    assert tuple(PRESETS) == PARAMETERS["detector"]["preset"].choices


@pytest.mark.parametrize("pixels", [20, 24])
def test_small_faces(balanced, astronaut, pixels):
    frame, box = scene(astronaut, pixels)
    balanced.reset(turn=0)
    found = balanced.detect(frame)
    assert len(found) == 1 and iou(found["box"], box)[0, 0] > 0.5
    assert found["score"][0] >= balanced.threshold


@pytest.mark.parametrize("roll", [90, 180, -90])
def test_turned_faces_are_found_within_the_cycle_upright_again(balanced, astronaut, roll):
    frame, box = scene(astronaut, 80, roll=roll)
    balanced.reset()
    assert len(balanced.detect(frame))           # a picture gets all passes at once
    balanced.reset(turn=0)
    angles = []
    for _ in balanced.preset.cycle:
        found = balanced.detect(frame)
        fits = iou(found["box"], box)[:, 0] > 0.5 if len(found) else np.zeros(0, bool)
        angles += found["angle"][fits].tolist()
    off = (np.array(angles) - roll + 180) % 360 - 180
    assert len(angles) and np.abs(off).min() < 15


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_unturning(turn):
    image = np.zeros((50, 80), np.uint8)
    image[10:22, 30:37] = 1
    rows, columns = np.nonzero(np.rot90(image, -turn))
    box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    found = _unturn(make_detections(np.array([box], float), [0.5], 10.0), turn, image.shape)
    np.testing.assert_array_equal(found["box"][0], (30, 10, 7, 12))
    assert found["angle"][0] == pytest.approx((10 - 90 * turn + 180) % 360 - 180)
    assert _unturn(np.zeros(0, DETECTION), turn, image.shape).shape == (0,)


def test_half_a_face_at_a_tiles_border_is_none():
    shape, part = (480, 640, 3), (0, 480, 320, 640)
    boxes = np.array([[320.0, 100, 30, 60], [330, 100, 50, 60], [600, 100, 40, 60],
                      [400, 0, 40, 60]])
    assert _cut_off(boxes, part, shape).tolist() == [True, False, False, False]
    assert not _cut_off(boxes, (0, 480, 0, 640), shape).any()
    assert _cut_off(boxes[:0], part, shape).shape == (0,)


def test_the_pass_that_saw_a_face_upright_places_it():
    rows = make_detections(np.array([[0, 0, 10, 10], [1, 0, 10, 10.]]), [0.9, 0.8])
    rows["turned"] = 1, 0
    assert _strongest(rows)["turned"].tolist() == [0]
    rows["angle"] = -80, -60        # it lies on its side: the turned pass saw it upright
    assert _strongest(rows)["turned"].tolist() == [1]


def test_strongest():
    assert _strongest(np.zeros(0, DETECTION)).shape == (0,)
    rows = make_detections(np.array([[0, 0, 10, 10], [1, 0, 10, 10], [40, 0, 10, 10.]]),
                           [0.5, 0.9, 0.2])
    kept = _strongest(rows)
    np.testing.assert_allclose(kept["score"], [0.9, 0.2])


@pytest.mark.parametrize(("height", "width", "scale"),
                         [(1, 1, 1.0), (480, 640, 1.0), (480, 640, 2.0), (1080, 1920, 1.0),
                          (3000, 200, 0.5)])
def test_tiles_cover_everything_and_overlap(height, width, scale):
    seen = np.zeros((height, width), int)
    for y0, y1, x0, x1 in _tiles(height, width, scale):
        assert 0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width
        assert (y1 - y0) * scale <= 642 and (x1 - x0) * scale <= 642
        seen[y0:y1, x0:x1] += 1
    assert seen.min() >= 1


def test_tiles_of_a_large_frame_take_turns(astronaut):
    frame, box = scene(astronaut, 22, shape=(960, 1280), at=(1000, 700))
    searcher = Searcher("centerface")
    seen = []
    for _ in range(8):
        found = searcher.detect(frame)
        seen += [iou(found["box"], box)[:, 0].max() > 0.4] if len(found) else [False]
    assert seen[0]                        # the first frame may be a picture
    searcher.reset(turn=0)
    found = [searcher.detect(frame) for _ in range(8)]
    seen = [len(rows) > 0 and iou(rows["box"], box)[:, 0].max() > 0.4 for rows in found]
    assert any(seen)


def test_the_finder_tracks_what_a_weaker_answer_shows(astronaut):
    finder = FaceFinder(detector=["centerface"], preset="balanced", margin=0.15,
                        min_surrogate_px=24, carry_frames=6, extractor="dlib_resnet")
    for t in range(6):
        frame, box = scene(astronaut, 40, at=(120 + 4 * t, 110))
        faces = finder.find(frame, stamp_ns=t * 33_000_000).faces
        assert faces["track_id"].tolist() == [1] and not faces["carried"][0]
        assert iou(boxes_of(faces), box)[0, 0] > 0.4


def test_cover_head_takes_in_the_hair(astronaut):
    options = {"detector": "ssd", "margin": 0.0, "min_surrogate_px": 24, "carry_frames": 6,
               "extractor": "dlib_resnet"}
    face, head = (boxes_of(FaceFinder(cover=cover, **options).find(astronaut).faces)[0]
                  for cover in ("face", "head"))
    assert head[1] < face[1] - 30 and head[1] + head[3] > face[1] + face[3] + 5
    assert head[0] < face[0] - 10 and head[0] + head[2] > face[0] + face[2] + 10
    with pytest.raises(DetectorError, match="'body'"):
        FaceFinder(cover="body", **options)




def test_who_brings_a_searcher_does_not_pay_for_it_again(astronaut, monkeypatch):
    searcher = Searcher("centerface", preset="fast")
    calls = []
    search = searcher.search
    monkeypatch.setattr(searcher, "search", lambda frame: calls.append(1) or search(frame))
    options = {"margin": 0.1, "min_surrogate_px": 12, "carry_frames": 6,
               "extractor": "dlib_resnet"}
    finder = FaceFinder(detector=searcher, **options)
    assert finder.detector is searcher and not calls
    with pytest.raises(DetectorError, match="'hat'"):
        finder.adjust(cover="hat")
    with pytest.raises(TypeError):
        finder.adjust(margn=0.2)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_turned_face_keeps_its_yaw(turn):
    rows = make_detections(np.array([[3, 4, 10, 12]], float), [0.5], 10.0, 33.0)
    assert _unturn(rows, turn, (50, 80))["yaw"].tolist() == [33.0]
