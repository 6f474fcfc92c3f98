"""What is believed to be a face: the rule as a table of cases, and in the finder."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from deid_ros.detector import FaceFinder, FaceMesh
from deid_ros.detector.boxes import make_detections
from deid_ros.detector.evidence import EvidenceRule, Verdict, is_over, judge, speaks_for_a_face
from deid_ros.faces import boxes_of

RULE = EvidenceRule()
FACE, GLIMPSE, NOTHING = Verdict.FACE, Verdict.GLIMPSE, Verdict.NOTHING
UNKNOWN = float("nan")
OPTIONS = {"margin": 0.1, "min_surrogate_px": 12, "carry_frames": 30,
           "extractor": "dlib_resnet"}


@pytest.mark.parametrize(("score", "turned", "belief", "again", "verdict"), [
    # An upright pass is sure: whatever the mesh says of so small a face.
    (0.50, False, UNKNOWN, False, FACE),
    (0.90, False, 0.0, False, FACE),
    # It is not: the mesh agrees, or it is seen a second time and not denied.
    (0.49, False, 0.8, False, FACE),
    (0.15, False, 0.8, True, FACE),
    (0.40, False, 0.3, True, FACE),
    (0.40, False, UNKNOWN, True, FACE),
    (0.39, False, 0.3, True, GLIMPSE),
    (0.45, False, 0.05, True, GLIMPSE),
    # One weak look: covered where it is seen.
    (0.49, False, 0.0, False, GLIMPSE),
    (0.30, False, UNKNOWN, False, GLIMPSE),
    (0.30, False, 0.79, False, GLIMPSE),
    (0.15, False, 0.8, False, GLIMPSE),
    # Weak, and denied by the mesh.
    (0.39, False, 0.09, True, NOTHING),
    # Less than the threshold is nothing without the mesh, however often it is seen.
    (0.29, False, 0.5, True, NOTHING),
    (0.14, False, 0.9, False, NOTHING),
    # What only a turned pass shows is nothing without the mesh, however sure it is.
    (0.95, True, 0.5, True, NOTHING),
    (0.95, True, UNKNOWN, False, NOTHING),
    (0.30, True, 0.8, False, FACE),
    (0.20, True, 0.8, False, GLIMPSE),
])
def test_birth(score, turned, belief, again, verdict):
    assert judge(RULE, score=score, threshold=0.3, turned=turned, belief=belief,
                 again=again) is verdict


def test_a_lower_threshold_covers_more_and_a_higher_one_less():
    case = {"turned": False, "belief": UNKNOWN, "again": False}
    assert judge(RULE, score=0.15, threshold=0.1, **case) is GLIMPSE
    assert judge(RULE, score=0.55, threshold=0.6, **case) is NOTHING


@pytest.mark.parametrize(("score", "belief", "speaks"), [
    (0.3, 0.0, True), (0.0, 0.1, True), (0.0, UNKNOWN, True), (0.29, 0.09, False),
    (0.0, 0.0, False)])
def test_what_speaks_for_a_track(score, belief, speaks):
    assert speaks_for_a_face(RULE, score=score, threshold=0.3, belief=belief) is speaks


@pytest.mark.parametrize(("sure", "spoken", "doubted", "over"), [
    (True, 1, 8, False), (True, 1, 9, True),        # a face is known: eight frames of nothing
    (False, 2, 2, False), (False, 2, 3, True),      # no longer than it was seen
    (False, 50, 8, False), (False, 50, 9, True), (False, 0, 0, False)])
def test_the_end(sure, spoken, doubted, over):
    assert is_over(RULE, sure=sure, spoken=spoken, doubted=doubted) is over


def test_the_rule_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RULE.sure_score = 0.1


class Script:
    """A back end that answers each frame with the next of its lists of (box, score)."""

    name = "script"

    def __init__(self, *frames):
        self.frames, self.calls = frames, 0

    def detect(self, frame):
        # The first call is the finder's own, to warm up.
        index, self.calls = self.calls - 1, self.calls + 1
        rows = self.frames[index] if 0 <= index < len(self.frames) else ()
        return make_detections(np.array([box for box, _ in rows], float), [s for _, s in rows])


@pytest.fixture(scope="module")
def mesh():
    return FaceMesh()


@pytest.fixture
def wall():
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(60, 200, (30, 40, 3), dtype=np.uint8), (320, 240))


def covers(mesh, frame, *frames, count=None, **options):
    """The boxes covered in each frame, and the track ids."""
    finder = FaceFinder(detector=Script(*frames), mesh=mesh, **{**OPTIONS, **options})
    found = [finder.find(frame, stamp_ns=1 + t * 33_000_000).faces
             for t in range(count or len(frames))]
    return [boxes_of(faces).tolist() for faces in found], [
        faces["track_id"].tolist() for faces in found]


BOX = (100, 80, 40, 50)


def test_a_glimpse_is_covered_at_its_own_size_and_not_carried(mesh, wall):
    boxes, ids = covers(mesh, wall, [(BOX, 0.45)], [], [], [])
    assert [len(each) for each in boxes] == [1, 0, 0, 0] and ids[0] == [1]
    x, y, w, h = boxes[0][0]
    assert x <= 100 and y <= 80 and x + w >= 140 and y + h >= 130
    assert w * h <= 1.8 * 40 * 50


def test_what_the_mesh_denies_stays_a_glimpse_however_often(mesh, wall):
    boxes, ids = covers(mesh, wall, *[[(BOX, 0.45)]] * 6, [], [])
    assert [len(each) for each in boxes] == [1] * 6 + [0, 0]
    assert len({each[0] for each in ids[:6]}) == 6


def test_a_sure_face_is_carried_until_nothing_spoke_for_it_for_eight_frames(mesh, wall):
    boxes, ids = covers(mesh, wall, [(BOX, 0.9)], [(BOX, 0.9)], count=16)
    assert [len(each) for each in boxes] == [1] * 10 + [0] * 6
    assert {each[0] for each in ids[:10]} == {1}
    areas = [each[0][2] * each[0][3] for each in boxes[:10]]
    assert areas == sorted(areas) and areas[-1] <= 2.2 * areas[0]


def test_a_weak_answer_follows_a_face_and_begins_none(mesh, wall):
    other = (220, 150, 40, 50)
    rows = [(BOX, 0.9)], *[[(BOX, 0.1), (other, 0.1)]] * 4
    assert [len(each) for each in covers(mesh, wall, *rows)[0]] == [1] * 5


def test_the_mesh_begins_a_track_where_the_detector_is_unsure(mesh, astronaut):
    face = (175, 62, 100, 114)
    boxes, ids = covers(mesh, astronaut, [(face, 0.4)], [])
    assert [len(each) for each in boxes] == [1, 1] and ids == [[1], [1]]
    # Of an answer below the threshold, when it comes twice.
    boxes, ids = covers(mesh, astronaut, [(face, 0.2)], [(face, 0.2)], [])
    assert [len(each) for each in boxes] == [1, 1, 1] and ids == [[1], [2], [2]]
    # Beside the face the mesh finds the way to it, and it is no second one.
    beside = (205, 70, 100, 114)
    assert [len(each) for each in covers(mesh, astronaut, [(face, 0.9), (beside, 0.4)])[0]] == [1]


def test_another_threshold_and_preset_live(mesh, astronaut):
    finder = FaceFinder(detector="centerface", preset="fast", mesh=mesh, **OPTIONS)
    assert len(finder.find(astronaut).faces) == 1
    finder.adjust(preset="balanced", threshold=0.1, margin=0.3)
    assert finder.table.margin == 0.3
    assert finder.detector.threshold == 0.1
    assert finder._refiner.every == finder.detector.preset.detail == 3
    assert finder.find(astronaut).faces["track_id"].tolist() == [1]
