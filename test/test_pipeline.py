"""The five stages composed; one that fails costs looks, never privacy."""

from __future__ import annotations

import numpy as np
import pytest
from sample_faces import (
    FakeExtractor,
    FakeFinder,
    FakeGenerator,
    FakeMatcher,
    make_face,
    make_surrogates,
)

from deid_ros.config import defaults
from deid_ros.errors import DetectorError, FrameError
from deid_ros.faces import boxes_of, empty_faces
from deid_ros.pipeline import STAGES, Pipeline
from deid_ros.replacer import Replacer


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (180, 200, 3), np.uint8)


def two_faces():
    return np.concatenate([make_face((60, 90), 60, track=1), make_face((140, 90), 60, track=2)])


def pipeline_of(faces=None, **stages):
    stages = {"finder": FakeFinder(two_faces() if faces is None else faces),
              "extractor": FakeExtractor(), "matcher": FakeMatcher(),
              "generator": FakeGenerator()} | stages
    return Pipeline(defaults(), **stages)


class Broken:
    """A stage whose every method raises."""

    dimensions = 4
    replace = "surrogate"

    def _fail(self, *_, **__):
        raise RuntimeError("injected fault")

    embed = match = learn = generate = apply = find = _fail


def assert_covered(result, frame, faces):
    for x, y, w, h in boxes_of(faces):
        part = (slice(y + h // 4, y + 3 * h // 4), slice(x + w // 4, x + 3 * w // 4))
        assert result.mask[part].all()
        assert not (result.frame[part] == frame[part]).all(axis=2).mean() > 0.02


def test_without_faces_the_frame_is_unchanged(frame):
    result = pipeline_of(empty_faces(), extractor=Broken(), matcher=Broken(), generator=Broken()
                         ).process(frame)
    assert np.array_equal(result.frame, frame) and not result.mask.any()
    assert result.covered_by == [] and result.problems == []


def test_every_face_gets_its_surrogate(frame):
    before = frame.copy()
    result = pipeline_of().process(frame)
    assert result.covered_by == ["surrogate", "surrogate"] and result.problems == []
    assert_covered(result, frame, result.faces)
    assert np.array_equal(frame, before)
    assert tuple(result.timings) == STAGES and result.timings["replacer"] > 0


@pytest.mark.parametrize("stage, covered", [
    ("extractor", "solid"), ("matcher", "solid"), ("generator", "solid"), ("replacer", "solid")])
def test_a_stage_that_raises_leaves_every_face_covered(frame, stage, covered):
    pipeline = pipeline_of(**{stage: Broken()})
    result = pipeline.process(frame)
    assert result.covered_by == [covered] * 2
    assert_covered(result, frame, result.faces)
    assert stage in result.problems[0] and "injected fault" in result.problems[0]
    assert pipeline.failures == {stage: 1}


def test_a_detector_that_raises_gives_no_frame(frame):
    pipeline = pipeline_of(finder=Broken())
    with pytest.raises(DetectorError, match="injected fault.*withheld"):
        pipeline.process(frame)
    assert pipeline.failures == {"detector": 1}


@pytest.mark.parametrize("found", [None, "faces", 3])
def test_a_detector_that_answers_nonsense_gives_no_frame(frame, found):
    class Odd(FakeFinder):
        def find(self, frame, *, stamp_ns=0):
            return found

    with pytest.raises(Exception):  # noqa: B017 - whatever it is, no frame comes out
        pipeline_of(finder=Odd(empty_faces())).process(frame)


def test_a_failed_match_asks_for_new_chips_and_spares_known_faces(frame):
    pipeline = pipeline_of()
    pipeline.process(frame)
    pipeline._extractor = Broken()
    result = pipeline.process(frame)
    assert result.covered_by == ["surrogate", "surrogate"] and result.problems
    assert pipeline.finder.renewed == 1


def test_one_missing_surrogate_is_flat_the_other_stays(frame):
    class Forgetful(FakeGenerator):
        def generate(self, faces):
            surrogates = make_surrogates(faces)
            surrogates[0, ..., 3] = 0
            return surrogates

    assert pipeline_of(generator=Forgetful()).process(frame).covered_by == ["solid", "surrogate"]


@pytest.mark.parametrize("replace", ["blur", "pixelate", "solid"])
def test_obfuscation_needs_the_detector_alone(frame, replace):
    pipeline = pipeline_of(extractor=Broken(), matcher=Broken(), generator=Broken(),
                           replacer=Replacer(replace=replace))
    result = pipeline.process(frame)
    assert result.covered_by == [replace] * 2 and result.problems == []
    assert_covered(result, frame, result.faces)


def test_streams_have_nothing_to_do_with_each_other(frame):
    matcher, generator = FakeMatcher(), FakeGenerator()
    pipeline = pipeline_of(matcher=matcher, generator=generator)
    pipeline.reset(stream="a")
    pipeline.process(frame, stamp_ns=5_000_000_000)
    pipeline.reset(stream="b")
    pipeline.process(frame, stamp_ns=1_000_000_000)
    assert [call[:2] for call in matcher.calls] == [([1, 2], "a"), ([1, 2], "b")]
    assert matcher.calls[0][2] < matcher.calls[1][2]
    assert generator.known == {1, 2, 3, 4}


def test_bad_frames_are_refused():
    with pytest.raises(FrameError):
        pipeline_of().process(np.zeros((4, 4), np.uint8))


def test_real_detector_and_obfuscation(astronaut):
    """The product's own detector, with the configuration as it is shipped."""
    config = defaults()
    config["replacer"]["replace"] = "solid"
    pipeline = Pipeline(config)
    pipeline.prepare()
    result = pipeline.process(astronaut)
    assert result.covered_by == ["solid"]
    assert result.mask[60:160, 190:260].mean() > 250 * 0.9
    outside = result.mask == 0
    assert np.array_equal(result.frame[outside], astronaut[outside])
    pipeline.reset(stream="next")
    again = pipeline.process(astronaut)
    assert again.faces["track_id"].tolist() == [1]
