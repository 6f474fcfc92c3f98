"""Covering backwards: frames wait, and leave with the faces that were found later."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from sample_faces import FakeFinder, make_face

from deid_ros.config import defaults
from deid_ros.detector import Found
from deid_ros.errors import DetectorError
from deid_ros.faces import boxes_of, empty_faces
from deid_ros.media.lookback import LookBack, backwards
from deid_ros.pipeline import Pipeline
from deid_ros.replacer import Replacer


class Appears(FakeFinder):
    """A face that is found from frame ``first`` on, moving to the right."""

    def __init__(self, first, *, cuts=(), fails=(), last=99):
        super().__init__(empty_faces())
        self.first, self.last, self.cuts, self.fails, self.calls = first, last, cuts, fails, -1

    def find(self, frame, *, stamp_ns=0):
        self.calls += 1
        if self.calls in self.fails:
            raise DetectorError("on purpose")
        faces = empty_faces()
        if self.first <= self.calls <= self.last:
            faces = make_face((60 + 3 * self.calls, 60), 40, track=1)
        return Found(faces, np.zeros((0, 8, 8, 3), np.uint8), self.calls in self.cuts)


def run(finder, count=20, ahead=5):
    pipeline = Pipeline(defaults(), finder=finder, replacer=Replacer(replace="solid"))
    look, out, most = LookBack(pipeline, frames=ahead), [], 0
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (120, 200, 3), dtype=np.uint8) for _ in range(count)]
    for i, frame in enumerate(frames):
        out += look.push(frame, stamp_ns=i + 1, token=i)
        most = max(most, len(look._waiting))
    out += look.flush()
    assert most <= (ahead + 4 if ahead else 1) and [token for token, _ in out] == list(range(count))
    return frames, [result for _, result in out]


def test_no_faces_and_every_frame_in_order():
    _, out = run(Appears(99))
    assert all(len(done.faces) == 0 and not done.mask.any() for done in out)


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_the_frames_before_a_face_are_covered_where_it_came_from(ahead):
    frames, out = run(Appears(10), ahead=ahead)
    covered = [len(done.faces) for done in out]
    assert covered == [0] * (10 - ahead) + [1] * (10 + ahead)
    for i in range(10 - ahead, 10):
        face = out[i].faces[0]
        assert face["carried"] and not face["trusted"] and face["track_id"] == 1
        x, y, w, h = boxes_of(out[i].faces)[0]
        truth = boxes_of(make_face((60 + 3 * i, 60), 40))[0]
        assert x <= truth[0] and y <= truth[1]
        assert x + w >= truth[0] + truth[2] and y + h >= truth[1] + truth[3]
        middle = out[i].frame[y + h // 2, x + w // 2]
        assert (middle != frames[i][y + h // 2, x + w // 2]).any()
        assert out[i].mask[y + h // 2, x + w // 2] == 255


def test_a_scene_that_begins_with_a_face_and_a_cut_stay_as_they_are():
    _, out = run(Appears(0))
    assert [len(done.faces) for done in out] == [1] * 20
    _, out = run(Appears(10, cuts=(10,)))
    assert [len(done.faces) for done in out] == [0] * 10 + [1] * 10
    # Backwards to the cut, and no further; a later cut changes nothing.
    _, out = run(Appears(10, cuts=(8, 12)))
    assert [len(done.faces) for done in out] == [0] * 8 + [1] * 12


def test_a_frame_without_detection_is_withheld_in_its_place():
    _, out = run(Appears(5, fails=(3,)))
    assert isinstance(out[3], DetectorError)
    assert [len(done.faces) for i, done in enumerate(out) if i != 3] == [1] * 19


def test_a_face_that_came_in_from_outside_is_covered_as_far_as_the_frame():
    rows = [make_face((20 + 9 * i, 60), 40) for i in range(4)]
    box = boxes_of(backwards([row[0] for row in rows], 12)[None])[0]
    assert box[0] + box[2] < 0


def test_a_jump_is_no_motion():
    rows = [make_face((20 + 900 * i, 60), 40)[0] for i in range(2)]
    box = boxes_of(backwards(rows, 4)[None])[0]
    assert abs(box[0]) < 150


def test_very_large_frames_wait_in_small_numbers(monkeypatch):
    monkeypatch.setattr("deid_ros.media.lookback._MEMORY", 1.5 * 3 * 120 * 200 * 3)
    look = LookBack(Pipeline(defaults(), finder=Appears(99), replacer=Replacer(replace="solid")),
                    frames=100)
    for i in range(9):
        list(look.push(np.zeros((120, 200, 3), np.uint8), stamp_ns=i, token=i))
    assert len(look._waiting) == 3


class Faulty(Appears):
    """Slow now and then, so that a search that nobody waited for would be missed."""

    def find(self, frame, *, stamp_ns=0):
        if self.calls % 4 == 0:
            time.sleep(0.01)
        return super().find(frame, stamp_ns=stamp_ns)


@pytest.mark.parametrize("ahead", [0, 1, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_searching_meanwhile_changes_nothing_but_time(ahead, count):
    def results(searcher):
        pipeline = Pipeline(defaults(), finder=Faulty(10, cuts=(4,), fails=(13,)),
                            replacer=Replacer(replace="solid"))
        look, out = LookBack(pipeline, frames=ahead, searcher=searcher), []
        rng = np.random.default_rng(0)
        for i in range(count):
            frame = rng.integers(0, 255, (120, 200, 3), dtype=np.uint8)
            out += look.push(frame, stamp_ns=i + 1, token=i)
        return [*out, *look.flush()]

    with ThreadPoolExecutor(1) as searcher:
        meanwhile = results(searcher)
    for (token, done), (other, expected) in zip(meanwhile, results(None), strict=True):
        assert token == other and type(done) is type(expected)
        if not isinstance(done, DetectorError):
            assert (done.frame == expected.frame).all() and (done.faces == expected.faces).all()


class Hinted(Appears):
    """The same, with something weak to be seen from frame ``hinted`` on."""

    def __init__(self, first, hinted, **options):
        super().__init__(first, **options)
        self.hinted = hinted

    def find(self, frame, *, stamp_ns=0):
        found = super().find(frame, stamp_ns=stamp_ns)
        box = boxes_of(make_face((60 + 3 * self.calls, 60), 40)).astype(np.float32)
        hints = box if self.calls >= self.hinted else box[:0]
        return Found(found.faces, found.chips, found.cut, hints)


@pytest.mark.parametrize(("hinted", "begins"), [(10, 7), (7, 4), (5, 2), (0, 0)])
def test_backwards_as_far_as_something_was_seen_and_three_frames_more(hinted, begins):
    _, out = run(Hinted(10, hinted), ahead=12)
    assert [len(done.faces) for done in out] == [0] * begins + [1] * (20 - begins)


class Doubted(Appears):
    """The same, but seen beyond doubt from frame ``sure`` on only."""

    def __init__(self, first, sure, **options):
        super().__init__(first, **options)
        self.sure = sure

    def find(self, frame, *, stamp_ns=0):
        found = super().find(frame, stamp_ns=stamp_ns)
        return replace(found, doubtful=frozenset() if self.calls >= self.sure else frozenset({1}))


@pytest.mark.parametrize(("sure", "begins"), [(10, 5), (12, 5), (13, 5), (99, 10)])
def test_only_what_is_seen_beyond_doubt_is_covered_backwards(sure, begins):
    _, out = run(Doubted(10, sure))
    assert [len(done.faces) for done in out] == [0] * begins + [1] * (20 - begins)
