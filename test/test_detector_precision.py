"""CenterFace in eight bits finds what the published network finds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deid_ros.config import defaults
from deid_ros.detector.boxes import iou
from deid_ros.detector.centerface import PRECISIONS, CenterFace
from deid_ros.detector.searcher import Searcher
from deid_ros.media.evidence import tool_of


@pytest.fixture(scope="module")
def both():
    return {name: CenterFace(precision=name, num_threads=1) for name in PRECISIONS}


@pytest.mark.parametrize("size", [(480, 640), (96, 64), (33, 31)])
def test_empty_frames_have_no_faces(both, size):
    assert all(len(net.detect(np.zeros((*size, 3), np.uint8))) == 0 for net in both.values())


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25])
def test_the_same_face_in_the_same_place(both, astronaut, scale):
    frame = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    exact, quick = (both[name].detect(frame) for name in ("float", "int8"))
    assert len(exact) == len(quick) == 1
    assert iou(exact["box"], quick["box"])[0, 0] > 0.9
    assert abs(float(exact["score"][0] - quick["score"][0])) < 0.1
    assert abs(float(exact["angle"][0] - quick["angle"][0])) < 5


def test_presets_for_streams_are_quick_that_for_archives_is_exact():
    assert {name: Searcher("centerface", preset=name).preset.precision
            for name in ("fast", "balanced", "paranoid")} == {
                "fast": "int8", "balanced": "int8", "paranoid": "float"}


def test_the_manifest_names_the_network_that_was_used():
    settings = defaults()
    for preset, file in (("balanced", "centerface_int8.onnx"), ("paranoid", "centerface.onnx")):
        settings["detector"]["preset"] = preset
        files = tool_of(settings)["files"]
        assert [name for name in files if name.startswith("centerface")] == [file]
