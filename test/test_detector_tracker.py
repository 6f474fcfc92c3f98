"""The tracker on synthetic boxes, the clock, the cut detector, the smoother."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from deid_ros.detector.clock import CutDetector, FrameClock
from deid_ros.detector.smoothing import MeshSmoother, OneEuro
from deid_ros.detector.tracker import Tracker

NONE = np.zeros((0, 4))


def step(tracker, boxes, frames=1.0, shape=(480, 640)):
    """One frame as the finder does it; the track ids of the boxes."""
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    tracker.predict(frames)
    known = list(tracker.tracks)
    matched = tracker.match(boxes)
    ids = []
    for box, index in zip(boxes, matched, strict=True):
        if index < 0:
            ids.append(tracker.add(box, 0.9).id)
        else:
            tracker.hit(known[index], box, 0.9, frames)
            ids.append(known[index].id)
    for i, track in enumerate(known):
        if i not in matched:
            tracker.miss(track, frames)
    tracker.expire(shape)
    return ids


def contains(outer, inner):
    return (outer[:2] <= inner[:2] + 1e-6).all() and (
        outer[:2] + outer[2:] >= inner[:2] + inner[2:] - 1e-6).all()


def test_nothing_at_all():
    tracker = Tracker(carry_frames=3)
    assert step(tracker, NONE) == [] and tracker.tracks == []
    assert tracker.match(NONE).shape == (0,)


def test_ids_begin_at_one_and_follow_the_faces():
    tracker = Tracker(carry_frames=3)
    for t in range(50):
        ids = step(tracker, [[100 + 6 * t, 100, 60, 70], [500 - 5 * t, 300, 40, 50]])
        assert ids == [1, 2]


def test_every_third_detection_missing():
    rng = np.random.default_rng(1)
    tracker = Tracker(carry_frames=5)
    for t in range(120):
        true = np.array([[280 + 200 * np.sin(t / 12), 200 + 60 * np.cos(t / 9), 60, 70],
                         [100 + 3 * t, 350, 50 + t / 4, 60 + t / 4]])
        seen = [i for i in range(2) if (t + i) % 3 != 2]
        step(tracker, true[seen] + rng.normal(0, 1.0, (len(seen), 4)))
        assert sorted(track.id for track in tracker.tracks) == [1, 2]
        for i, track in enumerate(sorted(tracker.tracks, key=lambda track: track.id)):
            assert (track.missed > 0) == (i not in seen)
            if t > 5:
                # What is covered reaches a margin beyond the track's box.
                grown = np.concatenate([track.box[:2] - 0.15 * track.box[2:], 1.3 * track.box[2:]])
                assert contains(grown, true[i]), (t, i)


def test_carried_for_a_number_of_frames_growing_and_no_longer():
    tracker = Tracker(carry_frames=4)
    for t in range(5):
        step(tracker, [[100 + 10 * t, 100, 60, 60]])
    areas, places = [], []
    for _ in range(4):
        step(tracker, NONE)
        assert [track.id for track in tracker.tracks] == [1]
        areas.append(tracker.tracks[0].box[2:].prod())
        places.append(tracker.tracks[0].center[0])
    assert (np.diff(areas) > 0).all() and (np.diff(places) > 4).all()
    step(tracker, NONE)
    assert tracker.tracks == []
    assert step(tracker, [[140, 100, 60, 60]]) == [2]   # an id is not used again


def test_found_again_after_a_gap_it_is_the_same():
    tracker = Tracker(carry_frames=12)
    for t in range(30):
        true = [100 + 8 * t, 200, 70, 80]
        ids = step(tracker, NONE if 10 <= t < 18 else [true])
    assert ids == [1]


def test_the_mesh_carries_longer_but_not_for_ever():
    tracker = Tracker(carry_frames=3)
    box = np.array([100.0, 100, 50, 60])
    step(tracker, [box])
    lived = 0
    while tracker.tracks and lived < 100:
        tracker.predict(1.0)
        tracker.miss(tracker.tracks[0], 1.0, box)
        tracker.expire((480, 640))
        lived += 1
    assert 3 * 3 < lived < 20


def test_crossing_faces_keep_their_ids():
    tracker = Tracker(carry_frames=5)
    for t in range(60):
        ids = step(tracker, [[100 + 7 * t, 200, 50, 60], [500 - 7 * t, 225, 50, 60]])
    assert ids == [1, 2]


def test_a_face_that_left_the_frame_is_dropped():
    tracker = Tracker(carry_frames=100)
    for t in range(12):
        step(tracker, [[400 + 20 * t, 100, 40, 40]])
    for _ in range(30):
        step(tracker, NONE)
    assert tracker.tracks == []


def test_a_face_does_not_become_one_of_another_size():
    tracker = Tracker(carry_frames=5)
    step(tracker, [[100, 100, 200, 220]])
    assert step(tracker, [[180, 190, 20, 20]]) == [2]


def test_a_hundred_faces_for_a_thousand_frames():
    rng = np.random.default_rng(2)
    tracker = Tracker(carry_frames=2)
    for _ in range(30):
        step(tracker, rng.uniform(0, 400, (100, 4)) * [1, 1, 0, 0] + [0, 0, 20, 20])
        assert len(tracker.tracks) <= 300


def test_longer_steps_move_further():
    tracker = Tracker(carry_frames=5)
    for t in range(6):
        step(tracker, [[100 + 5 * t, 100, 40, 40]])
    before = tracker.tracks[0].center[0]
    tracker.predict(3.0)
    assert tracker.tracks[0].center[0] - before == pytest.approx(15, abs=2)


@pytest.mark.parametrize("stamps, frames", [
    ([0, 0, 0, 0], [1, 1, 1, 1]),                                   # no stamps
    ([100, 133, 166, 232], [1, 1, 1, 2]),                           # one frame lost
    ([100, 133, 166, 100, 133], [1, 1, 1, 1, 1]),                   # a loop
    ([100, 100, 133, 133], [1, 1, 1, 1]),                           # repeats
    ([100, 133, 166, 10 ** 9], [1, 1, 1, 5]),                       # a long pause
    ([-5, -10 ** 12, 0], [1, 1, 1]),
])
def test_clock(stamps, frames):
    clock = FrameClock()
    steps = [clock.step(stamp * 10 ** 6) for stamp in stamps]
    assert [round(step[0]) for step in steps] == frames
    assert all(0 < seconds <= 5 for _, seconds in steps)


def test_cuts(astronaut):
    scene = cv2.resize(astronaut, (320, 240))
    other = np.ascontiguousarray(scene[::-1, ::-1])
    cuts = CutDetector()
    assert not cuts.changed(scene)
    assert not cuts.changed(scene)
    assert not cuts.changed(cv2.convertScaleAbs(scene, alpha=0.6, beta=60))   # a lamp
    assert not cuts.changed(np.roll(scene, 10, axis=1))                       # a pan
    assert cuts.changed(other)
    assert cuts.changed(other[:200])                                          # another size
    assert cuts.changed(np.zeros((200, 320, 3), np.uint8))                    # lens covered
    assert not cuts.changed(np.full((200, 320, 3), 3, np.uint8))


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (10, 10)])
def test_cuts_of_tiny_frames(shape):
    cuts = CutDetector()
    for _ in range(2):
        assert not cuts.changed(np.zeros((*shape, 3), np.uint8))


def test_one_euro_steadies_a_still_value_and_follows_a_moving_one():
    rng = np.random.default_rng(3)
    still = OneEuro(min_cutoff=1.5, beta=15.0)
    out = np.array([still(np.array([5 + rng.normal(0, 0.01)]), 1 / 30) for _ in range(200)])
    assert out[50:].std() < 0.006
    moving = OneEuro(min_cutoff=1.5, beta=15.0)
    lag = [t / 30 - moving(np.array([t / 30]), 1 / 30)[0] for t in range(60)]   # 1 unit/s
    assert max(lag[20:]) < 0.025


def test_smoother_does_not_leave_a_moving_face_behind():
    rng = np.random.default_rng(4)
    shape = rng.normal(0, 30, (468, 3))
    smoother = MeshSmoother()
    smoother(shape + 100, 1 / 30)
    for t in range(1, 60):
        true = shape * (1 + t / 60) + [100 + 8 * t, 100, 0]
        out = smoother(true + rng.normal(0, 0.3, true.shape), 1 / 30)
    size = np.sqrt((shape[:, :2] ** 2).sum(1).mean()) * 2
    assert np.abs(out - true).mean() < 0.02 * size
    assert np.abs((out - true).mean(axis=0)).max() < 0.03 * size


def test_smoother_halves_trembling():
    rng = np.random.default_rng(5)
    shape = rng.normal(0, 30, (468, 3))
    smoother = MeshSmoother()
    out = np.array([smoother(shape + rng.normal(0, 0.5, shape.shape), 1 / 30)
                    for _ in range(60)])[20:]
    assert np.diff(out, axis=0).std() < 0.5 * np.sqrt(2) * 0.5


def test_smoother_survives_a_face_of_no_size():
    smoother = MeshSmoother()
    for _ in range(3):
        assert np.isfinite(smoother(np.zeros((468, 3)), 0.0)).all()


def test_the_best_pair_comes_first():
    tracker = Tracker(carry_frames=5)
    step(tracker, [[100, 100, 40, 40], [130, 100, 40, 40]])
    # The second box is nearer to the second track than the first is.
    assert tracker.match(np.array([[118.0, 100, 40, 40], [131, 100, 40, 40]])).tolist() == [0, 1]
    # Weak answers only where they overlap, and only with tracks that have no box yet.
    far = np.array([[152.0, 100, 40, 40]])
    assert tracker.match(far).tolist() == [1]
    assert tracker.match(far, overlap=0.3).tolist() == [-1]
    assert tracker.match(np.array([[131.0, 100, 40, 40]]), taken=np.array([1]),
                         overlap=0.1).tolist() == [0]


def test_the_live_nodes_start_without_scipy():
    """Its import takes longer than all else that the detector imports."""
    code = ("import sys, deid_ros.detector, deid_ros.matcher, deid_ros.generator, "
            "deid_ros.extractor, deid_ros.replacer; sys.exit('scipy' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
