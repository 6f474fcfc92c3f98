"""Searching by a preset: small, turned and weak faces, turns, tiles, memory."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deid_ros.detector import PRESETS, FaceFinder, Searcher, create_searcher
from deid_ros.detector.boxes import iou, make_detections
from deid_ros.detector.searcher import _CELL, _back, _strongest, _tiles, _unturn
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
    assert seen == [[416, 256], [320, 256], [416, 256]]


def test_the_first_frame_is_turned_all_round_and_no_later_one_is_costly_twice(balanced):
    def cost(step):
        return min(step.scale, 1.0) ** 2

    assert {step.turn for step in balanced.preset.first} == {0, 1, 2, 3}
    for passes in balanced.preset.cycle:
        assert sum(cost(step) for step in passes) <= 1.0


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


def test_without_a_preset_a_plain_back_end():
    assert create_searcher("ssd", preset=None).name == "ssd"


@pytest.mark.parametrize("pixels", [18, 24])
def test_a_small_face_gets_a_second_look(balanced, astronaut, pixels):
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


def test_a_weak_answer_is_believed_where_a_track_is(balanced, astronaut):
    class Weak:
        calls = 0

        def detect(self, image):
            Weak.calls += 1
            return make_detections(np.array([[20.0, 20, 30, 40]]), [0.1])

    searcher = Searcher("centerface")
    searcher._main = Weak()
    frame = np.zeros((120, 160, 3), np.uint8)
    searcher.reset(turn=0)
    assert len(searcher.detect(frame)) == 0 and Weak.calls == 2      # looked again, refused
    searcher.reset(turn=0)
    Weak.calls = 0
    assert len(searcher.detect(frame, known=np.array([[18.0, 22, 30, 40]]))) == 1
    assert Weak.calls == 1


def test_a_refused_place_is_left_alone_for_a_while():
    class Weak:
        looks = 0

        def detect(self, image):
            Weak.looks += image.shape[0] < 120
            return make_detections(np.array([[70.0, 60, 30, 40]]), [0.1])

    searcher = Searcher("centerface", preset="fast")
    searcher._main, searcher._others = Weak(), []
    frame = np.zeros((240, 320, 3), np.uint8)
    for _ in range(12):
        searcher.detect(frame)
    assert 2 <= Weak.looks <= 3
    assert len(searcher._refused) <= 2


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


def test_back_from_a_turned_cell():
    row = make_detections(np.array([[0.0, 0, 20, 30]]), [0.9], 5.0)[0]
    back = _back(row, np.array([4.0, 0.0]), np.array([100.0, 50.0, 2.0 * _CELL, 90.0]))
    np.testing.assert_allclose(back["box"], [70, 38, 60, 40], atol=1e-4)   # right became down
    assert back["angle"] == pytest.approx(95)


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


def test_the_mesh_confirms_what_a_second_look_does_not(astronaut):
    class Once:
        def detect(self, image):
            rows = np.array([FACE, [300.0, 380, 90, 100]])
            return make_detections(rows, [0.2, 0.2])[:2 if image.shape[0] == 512 else 0]

    searcher = Searcher("centerface")
    searcher._main = Once()
    searcher.reset(turn=0)
    found = searcher.detect(astronaut)
    assert len(found) == 1 and iou(found["box"], FACE)[0, 0] > 0.9
    assert found["score"][0] == pytest.approx(searcher.threshold)


def test_what_lies_half_beside_a_face_clearly_seen_is_no_face_held():
    from deid_ros.detector.searcher import _held
    known = np.array([[178.0, 72, 59, 73], [400, 100, 50, 60]])
    clear = np.array([[182.0, 70, 61, 75]])
    weak = np.array([[157.0, 57, 63, 107], [402, 101, 50, 60], [10, 10, 50, 60]])
    assert _held(weak, clear, known).tolist() == [False, True, False]
    assert _held(weak, clear[:0], known).tolist() == [True, True, False]
    assert _held(weak[:0], clear, known).tolist() == []
    assert not _held(weak, clear, known[:0]).any() and not _held(weak, clear, None).any()


def test_frames_of_a_cycle_that_cost_least():
    balanced, fast = PRESETS["balanced"], PRESETS["fast"]
    assert [balanced.light(turn) for turn in range(7)] == [
        False, False, True, False, True, False, False]
    assert fast.light(0) and fast.light(1)
