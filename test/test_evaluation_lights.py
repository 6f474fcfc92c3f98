"""Traffic lights and the file that their limits come from."""

from __future__ import annotations

import pytest

from deid_ros.errors import EvaluationError
from deid_ros.evaluation.lights import Threshold, judge, read_thresholds
from deid_ros.resources import share_path

LOW = Threshold("a", "says", "lower", 0.1, 0.2)
HIGH = Threshold("a", "says", "higher", 0.9, 0.5)


@pytest.mark.parametrize("threshold, value, interval, colour", [
    (LOW, 0.05, None, "green"), (LOW, 0.1, None, "green"), (LOW, 0.15, None, "amber"),
    (LOW, 0.2, None, "amber"), (LOW, 0.21, None, "red"),
    # The worse end decides, whichever that is.
    (LOW, 0.05, [0.0, 0.15], "amber"), (LOW, 0.05, [0.0, 0.3], "red"),
    (LOW, 0.05, [0.0, 0.1], "green"), (LOW, 0.05, [0.0, None], "red"),
    (HIGH, 0.95, [0.92, 1.0], "green"), (HIGH, 0.95, [0.6, 1.0], "amber"),
    (HIGH, 0.95, [0.4, 1.0], "red"), (HIGH, 0.95, [None, 1.0], "red"),
    (LOW, None, None, "grey"),
])
def test_judge(threshold, value, interval, colour):
    assert judge(threshold, {"value": value, "interval": interval}).colour == colour


def test_what_was_not_measured_has_no_light():
    assert judge(LOW, None).colour == "grey"


def test_the_file_that_comes_with_the_package_names_measures_that_exist():
    thresholds = read_thresholds(share_path("config", "report.yaml"))
    known = {"worst.rank_1", "worst.same_sex.mean_rank", "parrot.worst.rank_1",
             "adaptive.worst.rank_1", "detection.centerface.retained", "outside.changed"}
    named = {one.measure for one in thresholds}
    assert known <= named
    # No light rests on one recogniser alone.
    assert not any("dlib" in one for one in named)


@pytest.mark.parametrize("text, message", [
    ("thresholds: {", "not YAML"), ("- a", "no list 'thresholds'"), ("", "no list"),
    ("thresholds: [{measure: a}]", "The threshold a in .* must have exactly"),
    ("thresholds: [7]", "must have exactly"),
    ("thresholds: [{measure: a, says: b, better: more, green: 1, red: 2}]", "lower or higher"),
    ("thresholds: [{measure: a, says: b, better: lower, green: x, red: 2}]", "numbers"),
    ("thresholds: [{measure: a, says: b, better: lower, green: 2, red: 1}]", "wrong way round"),
    ("thresholds: [{measure: a, says: b, better: higher, green: 1, red: 2}]", "wrong way round"),
])
def test_files_that_say_something_else(tmp_path, text, message):
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=message):
        read_thresholds(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_thresholds(tmp_path / "none.yaml")
