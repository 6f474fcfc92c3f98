"""``deid bench ros --grid``: every cell is there, and one that fails harms no other."""

from __future__ import annotations

import argparse
import copy
import json

import pytest

from deid_ros.bench import grid
from deid_ros.cli import main
from deid_ros.errors import DeidError

pytest.importorskip("skimage")

QUICK = ["bench", "ros", "--rate", "0", "--seconds", "0.3", "--detector", "ssd", "--replace",
         "solid"]

CELL = {"runtime": "composed", "size": [640, 480], "faces_per_frame": 2, "rate": 30.0,
        "seconds": 5.0, "preset": "fast", "detector": ["centerface"], "delivered": 0.998,
        "fps": 29.9, "latency_ms": {"p50": 41.0, "p95": 62.0, "p99": 75.5}, "cpu_ms": 50.0,
        "ideal_fps": 40.0, "ideal_ratio": 0.75, "flat": 0.01, "rss_mb": 400.0,
        "machine": {"cores": 2, "load": 1.5, "others_cores": 0.1}}


def test_a_grid_of_two_cells(tmp_path, capsys):
    file, plot = tmp_path / "live.json", tmp_path / "plots" / "live.png"
    assert main([*QUICK, "--grid", "--grid-runtimes", "core", "--grid-sizes", "160x120",
                 "--grid-faces", "0,1", "--json", str(file), "--plot", str(plot)]) == 0
    result = json.loads(file.read_text())
    assert [(cell["runtime"], cell["size"], cell["faces_per_frame"])
            for cell in result["cells"]] == [("core", [160, 120], 0), ("core", [160, 120], 1)]
    for cell in result["cells"]:
        # A cell is what the bench gives without the grid.
        assert {"delivered", "latency_ms", "stage_ms", "ideal_ratio", "rss_mb"} <= set(cell)
        assert cell["detector"] == ["ssd"] and set(cell["faces"]) <= {"solid"}
        assert cell["seconds"] == 0.3 and cell["rate"] == 0
    shown = capsys.readouterr()
    table = [line.split() for line in shown.out.splitlines() if line.startswith("core")]
    assert [row[:3] for row in table] == [["core", "160x120", "0"], ["core", "160x120", "1"]]
    assert "2 of 2: core, 160x120, 1 faces: " in shown.err
    assert plot.read_bytes()[:4] == b"\x89PNG" and plot.stat().st_size > 5000


def test_a_cell_that_fails_leaves_the_others(capsys):
    assert main([*QUICK, "--grid", "--grid-runtimes", "core", "--grid-sizes", "160x120",
                 "--grid-faces", "99,0", "--json"]) == 0
    bad, good = json.loads(capsys.readouterr().out)["cells"]
    assert "There are to be 99 faces" in bad["error"] and bad["faces_per_frame"] == 99
    assert "error" not in good


def test_a_grid_without_a_single_cell_is_refused(capsys):
    assert main([*QUICK, "--grid", "--grid-runtimes", "core", "--grid-sizes", "160x120",
                 "--grid-faces", "99"]) == 2
    assert "No cell of the grid could be measured; the first: There are to be 99" in (
        capsys.readouterr().err)


def test_one_cell_can_be_drawn_too(tmp_path, capsys):
    plot = tmp_path / "one.png"
    assert main([*QUICK, "--runtime", "core", "--size", "160x120", "--faces", "0", "--plot",
                 str(plot)]) == 0
    assert plot.stat().st_size > 5000 and "frames/s" in capsys.readouterr().out


class Counts:
    """A pipeline that has let so much out, for ``Live.warm_up``."""

    def __init__(self, **numbers: int) -> None:
        from deid_ros.bench.live import Live
        driver = argparse.Namespace(drive=lambda on=True: None, under_way=0)
        self.live = Live({"replacer": {"replace": "surrogate"}}, "composed", driver, (),
                         lambda: {"replacer": {name.replace("_", "."): number
                                               for name, number in numbers.items()}})


def test_flat_frames_are_measured_where_they_are_accepted(monkeypatch):
    from deid_ros.bench import live
    monkeypatch.setattr(live, "_SETTLE_S", 0.0)
    Counts(out=40, faces_surrogate=20).live.warm_up(faces=True, patience=0.1)
    flat = Counts(out=40).live
    with pytest.raises(DeidError, match="No surrogate left"):
        flat.warm_up(faces=True, patience=0.1)
    flat.warm_up(faces=True, patience=0.1, accept_flat=True)
    flat.warm_up(faces=False, patience=0.1)
    for faces in (True, False):
        with pytest.raises(DeidError, match="No frame left"):
            Counts().live.warm_up(faces=faces, patience=0.1, accept_flat=True)


@pytest.mark.ros
def test_cells_over_topics(monkeypatch, capsys):
    pytest.importorskip("rclpy")
    from ros_support import DOMAIN
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    assert main(["bench", "ros", "--rate", "5", "--seconds", "1", "--detector", "ssd", "--replace",
                 "pixelate", "--deadline-ms", "5000", "--grid", "--grid-runtimes", "composed",
                 "--grid-sizes", "320x240", "--grid-faces", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    cell, = result["cells"]
    assert cell["runtime"] == "composed" and cell["frames_out"] > 0 and cell["rate"] == 5
    assert result["deadline_ms"] == 5000 and set(cell["faces"]) == {"pixelate"}


@pytest.mark.parametrize("arguments", [["--grid-sizes", "640"], ["--grid-faces", "1,-2"],
                                       ["--grid-faces", ""], ["--grid-runtimes", "threads"]])
def test_lists_that_are_none_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "ros", "--grid", *arguments])
    assert stop.value.code == 2 and arguments[0] in capsys.readouterr().err


def test_what_the_grid_is_by_default():
    assert grid.RUNTIMES == ("composed", "processes") and grid.FACES == (0, 1, 2, 5, 10)
    assert grid.SIZES == ((640, 480), (1280, 720), (1920, 1080))


def whole() -> dict:
    """A made-up grid in which two cells have failed."""
    cells = []
    for runtime in grid.RUNTIMES:
        for size in grid.SIZES:
            for faces in grid.FACES:
                cell = copy.deepcopy(CELL) | {"runtime": runtime, "size": list(size),
                                              "faces_per_frame": faces}
                if faces == 10 and runtime == "processes" and size[0] > 700:
                    cell = {key: cell[key] for key in ("runtime", "size", "faces_per_frame")}
                    cell["error"] = "No surrogate left the pipeline in time."
                cells.append(cell)
    return {"bench": "ros", "cells": cells, "deadline_ms": 150.0,
            **{key: CELL[key] for key in ("preset", "detector", "rate", "seconds", "machine")}}


def test_the_table_has_a_line_for_every_cell():
    lines = grid.text(whole()).splitlines()
    rows = [line for line in lines if line.startswith(grid.RUNTIMES)]
    assert len(rows) == 30 and max(map(len, lines)) <= 130
    assert "composed   640x480        2     99.8 %      29.9    41.0" in rows[2]
    assert sum("No surrogate left the pipeline in time." in row for row in rows) == 2
    assert "grid      fast, centerface, 30 Hz, 5 s a cell, deadline 150 ms" in lines[0]


def test_the_plot_has_a_column_for_every_size(tmp_path):
    pytest.importorskip("matplotlib")
    import cv2

    from deid_ros.bench.live_plot import draw
    draw(whole(), tmp_path / "live.png")
    height, width = cv2.imread(str(tmp_path / "live.png")).shape[:2]
    assert width > 1.8 * height
