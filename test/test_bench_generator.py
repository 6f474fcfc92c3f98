"""``deid bench generator`` on the installed network: what it prints, not how fast."""

from __future__ import annotations

import json

import pytest

from deid_ros.bench.generator import SIZES, YAWS, _face, text
from deid_ros.cli import main
from deid_ros.errors import ModelError
from deid_ros.resources import model_path


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    try:
        model_path("generator")
    except ModelError as error:
        pytest.skip(str(error))
    file = tmp_path_factory.mktemp("bench") / "sub" / "result.json"
    assert main(["bench", "generator", "--seconds", "0.2", "--json", str(file)]) == 0
    return json.loads(file.read_text())


def test_every_size_and_pose_on_one_thread_and_on_two(result):
    assert [row["threads"] for row in result["texture"]] == [1, 2]
    assert {(row["threads"], row["size"], row["yaw"]) for row in result["render"]} == {
        (threads, size, yaw) for threads in (1, 2) for size in SIZES for yaw in YAWS}
    for row in result["texture"] + result["render"]:
        assert row["runs"] >= 5 and row["wall_ms"] > 0 and row["cpu_ms"] > 0


def test_a_larger_face_takes_longer(result):
    times = {row["size"]: row["cpu_ms"] for row in result["render"]
             if row["threads"] == 1 and row["yaw"] == 0}
    assert times[64] < times[256]


def test_the_text_names_everything(result):
    shown = text(result)
    assert "machine load" in shown and "new texture" in shown
    assert shown.count("yaw 25") == 6


@pytest.mark.parametrize("size", SIZES)
def test_the_face_that_is_rendered_has_its_size(size):
    import numpy as np

    from deid_ros.geometry import Pose, project, reference_mesh

    face = _face(size, 0, np.zeros(7))[0]
    pose = Pose(0, 0, 0, float(face["scale"]), (float(face["center"][0]),) * 2)
    assert np.ptp(project(reference_mesh(), pose)[:, 0]) == pytest.approx(size, rel=1e-3)


def test_seconds_out_of_range_are_refused(capsys):
    assert main(["bench", "generator", "--seconds", "0"]) == 2
    assert "--seconds is 0.0" in capsys.readouterr().err
