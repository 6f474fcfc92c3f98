"""Box arithmetic and the ONNX byte surgery."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros.detector.boxes import (
    containment,
    iou,
    make_detections,
    merge_enclosing,
    suppress,
    unite,
)
from deid_ros.detector.runtime import fit_box
from deid_ros.errors import ModelError
from deid_ros.inference import free_input_size

NONE = np.zeros((0, 4))
A, B = [0, 0, 10, 10], [5, 0, 10, 10]


def test_no_boxes():
    assert iou(NONE, NONE).shape == (0, 0)
    assert containment(NONE, [A]).shape == (0, 1)
    assert suppress(NONE, np.zeros(0)) == []
    assert len(merge_enclosing(make_detections(NONE, np.zeros(0)))) == 0
    assert fit_box(NONE, 0.0, (0, 0, 1, 1)).shape == (0, 4)


def test_overlap():
    np.testing.assert_allclose(iou([A, B], [A])[:, 0], [1, 50 / 150])
    np.testing.assert_allclose(containment([A], [[2, 2, 4, 4]]), 1)
    assert iou([A], [[10, 0, 5, 5]])[0, 0] == 0


def test_suppression_keeps_the_best_and_tells_who_went_with_it():
    groups = suppress([A, B, [100, 0, 10, 10]], [0.5, 0.9, 0.7], limit=0.3)
    assert [list(group) for group in groups] == [[1, 0], [2]]


def test_merging_loses_no_pixel():
    rows = make_detections([A, B, [100, 0, 10, 10], [102, 2, 3, 3]], [0.5, 0.9, 0.7, 0.8],
                           [7.0, 0.0, 0.0, 0.0])
    merged = merge_enclosing(rows, limit=0.3)
    np.testing.assert_allclose(merged["box"], [[0, 0, 15, 10], [100, 0, 10, 10]])
    np.testing.assert_allclose(merged["score"], [0.9, 0.8])
    assert merged["angle"][0] == 7.0


def test_boxes_without_area_are_dropped():
    rows = make_detections([A, [0, 0, 0, 5], [0, 0, np.nan, 5]], [0.2, 0.9, 0.9])
    assert len(rows) == 1 and rows["score"][0] == np.float32(0.2)


def test_union_encloses():
    np.testing.assert_allclose(unite([A, B]), [0, 0, 15, 10])


def test_fit_moves_along_the_face():
    # Half its height down the face, which lies on its side: to the left.
    box = fit_box([[0, 0, 10, 10]], 90.0, (0, 0.5, 1, 1))[0]
    np.testing.assert_allclose(box, [-5, 0, 10, 10], atol=1e-9)


@pytest.mark.parametrize("data", [b"\x3a\xff\x01abc", b"\xff" * 4, b"no model at all"])
def test_bytes_that_are_no_model_are_refused(data):
    with pytest.raises(ModelError, match=str(len(data))):
        free_input_size(data)
