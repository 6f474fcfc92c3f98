"""``deid bench ros``: that its numbers are there and fit together, not how fast."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

from deid_ros.bench import ros as bench
from deid_ros.bench.options import size_of
from deid_ros.cli import main
from deid_ros.config import load
from deid_ros.errors import ConfigError

pytest.importorskip("skimage")

KEYS = {"fps", "delivered", "latency_ms", "stage_ms", "stage_cpu_ms", "cpu_ms", "ideal_fps",
        "ideal_ratio", "left_ratio", "faces", "flat", "withheld", "rss_mb", "machine", "size",
        "rate", "frames_sent", "frames_out", "runtime"}


def arguments(**changes) -> argparse.Namespace:
    return argparse.Namespace(**{"size": (320, 240), "faces": 1, "seconds": 1.0, "rate": 0.0,
                                 "window": 2, "runtime": "composed", "patience": None,
                                 "accept_flat": False, "grid": False, "plot": None} | changes)


def check(result: dict) -> None:
    assert result.keys() >= KEYS
    json.dumps(result)
    latency = result["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert 0 < result["frames_out"] <= result["frames_sent"]
    assert result["ideal_fps"] == pytest.approx(
        1e3 * result["machine"]["cores"] / result["cpu_ms"], rel=0.02)
    assert result["ideal_ratio"] == pytest.approx(result["fps"] / result["ideal_fps"], abs=0.01)
    assert result["left_ratio"] >= result["ideal_ratio"]
    assert 0 <= result["flat"] <= 1 and 0 < result["delivered"] <= 1
    assert result["rss_mb"] > 10


def test_the_core_without_ros(tmp_path, capsys):
    file = tmp_path / "result.json"
    assert main(["bench", "ros", "--runtime", "core", "--rate", "0", "--size", "320x240",
                 "--faces", "1", "--detector", "ssd", "--replace", "blur", "--seconds", "1",
                 "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    check(result)
    assert result["runtime"] == "core" and set(result["faces"]) == {"blur"}
    assert result["flat"] == 1.0
    shown = capsys.readouterr().out
    assert "frames/s" in shown and "machine load" in shown and "100.0 % flat" in shown


def test_json_to_standard_output_is_all_that_is_printed(capsys):
    assert main(["bench", "ros", "--runtime", "core", "--rate", "0", "--size", "160x120",
                 "--faces", "0", "--detector", "ssd", "--replace", "solid", "--seconds", "0.3",
                 "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    check(result)
    assert result["faces"] == {} and result["flat"] == 0.0


def test_a_fixed_rate_is_kept_without_ros():
    config = load(overrides={"detector": {"detector": ["ssd"]}, "replacer": {"replace": "solid"}})
    result = bench.measure(config, arguments(runtime="core", rate=5.0, faces=0))
    assert result["frames_out"] <= 6


@pytest.fixture
def isolated(monkeypatch):
    pytest.importorskip("rclpy")
    from ros_support import DOMAIN
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))


@pytest.mark.ros
@pytest.mark.parametrize("runtime, rate", [("composed", 0.0), ("composed", 8.0),
                                           ("processes", 8.0)])
def test_the_live_pipeline_over_topics(isolated, runtime, rate):
    config = load(overrides={"detector": {"detector": ["ssd"]},
                             "replacer": {"replace": "pixelate", "deadline_ms": 5000.0}})
    result = bench.measure(config, arguments(rate=rate, runtime=runtime))
    check(result)
    assert result["runtime"] == runtime and set(result["faces"]) == {"pixelate"}
    assert {"detector", "replacer"} <= set(result["stage_ms"])
    processes = {"composed"} if runtime == "composed" else {"detector", "replacer"}
    assert set(result["rss_mb_of"]) == processes
    assert set(result["stage_cpu_ms"]) == {"detector", "replacer"} | (
        {"other threads"} if runtime == "composed" else set())
    assert 0.3 < result["area_to_boxes"] < 2.5 and 0.3 < result["area_to_faces"] < 4
    if rate:
        assert result["frames_sent"] <= 10
    assert f"pipeline  {runtime}, balanced, 320x240" in bench.text(result)


def test_the_former_name_is_understood(capsys):
    assert main(["bench", "pipeline", "--runtime", "core", "--size", "160x120", "--faces", "0",
                 "--detector", "ssd", "--replace", "solid", "--seconds", "0.3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bench"] == "ros"


@pytest.mark.parametrize("word", ["640", "x480", "640x", "ax b", "8x8", "9000x9000"])
def test_a_size_that_is_none_is_refused(word, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "ros", "--size", word])
    assert stop.value.code == 2
    assert word in capsys.readouterr().err


def test_sizes_are_width_by_height():
    assert size_of("1920x1080") == (1920, 1080)


@pytest.mark.parametrize("changes", [{"seconds": 0}, {"rate": -1.0}, {"window": 0}, {"faces": 99}])
def test_options_out_of_range_are_refused(changes):
    with pytest.raises(ConfigError, match=str(next(iter(changes.values())))):
        bench.measure(load(), arguments(**changes))


def test_what_is_under_way_at_the_end_is_delivered():
    from deid_ros.bench.machine import Spent

    spent = Spent(wall=2.0, cpu=1.0, threads={}, others=0.5)
    result = bench._result(spent, 0.8, 10, sent=10, latencies=list(np.linspace(0.01, 0.1, 8)),
                           stage_ms={"detector": 1.0}, stage_cpu_ms={}, delivered=0.9,
                           faces={"surrogate": 15, "solid": 5}, withheld={"deadline": 1})
    assert result["fps"] == 4.0 and result["cpu_ms"] == 80.0 and result["flat"] == 0.25
    shown = bench.text(result | {"size": [640, 480], "faces_per_frame": 2, "rate": 0,
                                 "runtime": "composed", "preset": "fast", "seconds": 2,
                                 "detector": ["ssd"]})
    assert "25.0 % flat" in shown and "90.0 % delivered" in shown and "deadline 1" in shown
