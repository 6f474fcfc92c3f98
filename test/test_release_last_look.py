"""The last look: no path lets a frame out in which a face is not covered."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from sample_faces import FakeFinder, make_face, make_surrogates

from deid_ros.config import defaults
from deid_ros.errors import FrameError, ReplacerError
from deid_ros.media import Job, process
from deid_ros.pipeline import Pipeline
from deid_ros.release import check_covered, covered_for_sure
from deid_ros.replacer import Replaced, Replacer


class Leaky(Replacer):
    """Says that every face is covered, and changes nothing."""

    def apply(self, frame, faces, surrogates=None):
        return Replaced(frame.copy(), ["surrogate"] * len(faces),
                        np.full(frame.shape[:2], 255, np.uint8))


@pytest.fixture
def canary():
    """A frame of noise, which shows wherever it is left."""
    return np.random.default_rng(0).integers(0, 255, (120, 200, 3), dtype=np.uint8)


FACES = make_face((60, 60), 40)


def pipeline(replacer):
    return Pipeline({**defaults(), "replacer": {**defaults()["replacer"], "replace": "solid"}},
                    finder=FakeFinder(FACES), replacer=replacer)


def shows(canary, output):
    """Whether the middle of the face is still to be seen."""
    return np.abs(canary[50:70, 50:70].astype(int) - output[50:70, 50:70]).mean() < 5


def test_what_a_leaky_replacer_leaves_is_covered_flat(canary):
    stages = pipeline(Leaky(replace="solid"))
    done = stages.process(canary)
    assert not shows(canary, done.frame) and done.covered_by == ["solid"]
    assert "not covered" in done.problems[0] and stages.failures == {"replacer": 1}


def test_what_cannot_be_covered_flat_either_gives_no_frame(canary, monkeypatch):
    monkeypatch.setattr("deid_ros.release.last_look.cover_solid", Leaky(replace="solid").apply)
    with pytest.raises(ReplacerError, match="withheld"):
        pipeline(Leaky(replace="solid")).process(canary)


@pytest.mark.parametrize("name", ["a.png", "a.mkv"])
def test_pictures_and_videos(canary, tmp_path, name):
    source, target = tmp_path / name, tmp_path / "out" / name
    target.parent.mkdir()
    if name.endswith("png"):
        cv2.imwrite(str(source), canary)
    else:
        from deid_ros.media.clips import write_clip
        write_clip(source, (canary for _ in range(5)), fps=10)
    outcome = process(Job(source, target, name), pipeline(Leaky(replace="solid")))
    assert outcome.problems
    capture = cv2.VideoCapture(str(target))
    seen = 0
    while True:
        ok, output = capture.read()
        if not ok:
            break
        assert not shows(canary, output)
        seen += 1
    assert seen == (1 if name.endswith("png") else 5)


def test_nothing_to_see_is_covered(canary):
    wall = np.full_like(canary, 90)
    done = Replacer(replace="solid").apply(wall, FACES)
    check_covered(wall, done.frame, done.mask, FACES)
    # But not where the cover says that it changed what it did not.
    with pytest.raises(ReplacerError, match="not covered"):
        check_covered(canary, canary, done.mask, FACES)


def test_a_bad_frame_is_no_leak():
    with pytest.raises(FrameError):
        covered_for_sure(np.zeros((4, 4)), FACES,
                         lambda: Replacer(replace="solid").apply(np.zeros((4, 4)), FACES),
                         lambda error: None)


def test_a_flat_cover_does_not_hide_a_surrogate(canary):
    near = make_face((75, 60), 40, track=2)
    near["trusted"] = 0
    faces = np.concatenate([FACES, near])
    alone = Replacer().apply(canary, FACES, make_surrogates(FACES))
    both = Replacer().apply(canary, faces, make_surrogates(faces))
    assert both.covered_by == ["surrogate", "solid"]
    check_covered(canary, both.frame, both.mask, faces)
    middle = np.s_[55:65, 55:62]
    np.testing.assert_allclose(both.frame[middle].astype(int), alone.frame[middle], atol=3)
    # Where there is no surrogate the flat cover is whole.
    assert (both.mask[50:70, 84:92] == 255).all()
    assert np.ptp(both.frame[50:70, 86:92].reshape(-1, 3), axis=0).max() == 0
