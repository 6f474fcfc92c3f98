"""``deid bench ros --grid``: the live bench for every runtime, size and number of faces.

Every cell is a run of its own in a process of its own, so that no cell has the
memory of another, and one that fails leaves the rest as they are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deid_ros.bench.machine import machine_line
from deid_ros.bench.options import size_of
from deid_ros.config import Config
from deid_ros.errors import DeidError

__all__ = ["FACES", "PATIENCE_S", "RUNTIMES", "SIZES", "add_options", "measure", "text"]

RUNTIMES = ("composed", "processes")
SIZES = ((640, 480), (1280, 720), (1920, 1080))
FACES = (0, 1, 2, 5, 10)
#: Longest wait for the first surrogates of a cell.
PATIENCE_S = 30.0

#: Beyond what it may wait and measure (s), a cell that has not ended hangs.
_SPARE_S = 180.0


def _list_of(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    def read(words: str) -> list[Any]:
        return [kind(word.strip()) for word in words.split(",")]
    return read


def _runtime(word: str) -> str:
    if word not in (*RUNTIMES, "core"):
        raise argparse.ArgumentTypeError(f"{word!r} is not one of composed, processes, core")
    return word


def _faces(word: str) -> int:
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of faces")
    return int(word)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which cells there are."""
    sizes = ",".join(f"{width}x{height}" for width, height in SIZES)
    faces = ",".join(map(str, FACES))
    grid = parser.add_argument_group("grid")
    grid.add_argument("--grid", action="store_true",
                      help="measure every combination of the following, one after the other, "
                           "--seconds each")
    grid.add_argument("--grid-runtimes", type=_list_of(_runtime), default=list(RUNTIMES),
                      metavar="LIST", help=f"with commas between [{','.join(RUNTIMES)}]")
    grid.add_argument("--grid-sizes", type=_list_of(size_of), default=list(SIZES), metavar="LIST",
                      help=f"with commas between [{sizes}]")
    grid.add_argument("--grid-faces", type=_list_of(_faces), default=list(FACES), metavar="LIST",
                      help=f"with commas between [{faces}]")
    grid.add_argument("--plot", type=Path, metavar="FILE",
                      help="draw rate, latency and CPU time as a picture")


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Run every cell.

    Returns:
        ``cells``: what ``bench.ros.measure`` gives, or ``error`` and what was asked for;
        ``preset``, ``detector``, ``rate``, ``seconds``, ``deadline_ms``, and ``machine``,
        as busy as it was in the worst cell.

    Raises:
        DeidError: not one cell worked.
    """
    asked = [(runtime, size, faces) for runtime in args.grid_runtimes
             for size in args.grid_sizes for faces in args.grid_faces]
    cells = []
    with _config_file(config) as file:
        for i, (runtime, size, faces) in enumerate(asked, start=1):
            cell = _cell(args, file, runtime, size, faces)
            cells.append(cell)
            words = cell.get("error") or (f"{cell['fps']:.1f} frames/s, "
                                          f"p95 {cell['latency_ms']['p95']:.0f} ms")
            print(f"{i} of {len(asked)}: {_name(cell)}: {words}", file=sys.stderr, flush=True)
    worked = [cell for cell in cells if "error" not in cell]
    if not worked:
        raise DeidError(f"No cell of the grid could be measured; the first: {cells[0]['error']}")
    return {"bench": "ros", "preset": config["detector"]["preset"],
            "detector": config["detector"]["detector"], "rate": args.rate,
            "seconds": args.seconds, "deadline_ms": config["replacer"]["deadline_ms"],
            "machine": {name: max((cell["machine"][name] for cell in worked
                                   if cell["machine"][name] is not None), default=None)
                        for name in worked[0]["machine"]},
            "cells": cells}


@contextlib.contextmanager
def _config_file(config: Config) -> Iterator[Path]:
    """The configuration as a file that ``--config`` reads, deleted at the end."""
    import yaml

    tree = {f"/**/{node}": {"ros__parameters": dict(values)} for node, values in config.items()}
    with tempfile.TemporaryDirectory(prefix="deid_") as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        yield path


def _cell(args: argparse.Namespace, config: Path, runtime: str, size: tuple[int, int],
          faces: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "deid_ros", "bench", "ros", "--config", str(config),
               "--runtime", runtime, "--size", f"{size[0]}x{size[1]}", "--faces", str(faces),
               "--rate", str(args.rate), "--seconds", str(args.seconds),
               "--window", str(args.window), "--patience", str(args.patience),
               "--accept-flat", "--json", "-"]
    asked = {"runtime": runtime, "size": list(size), "faces_per_frame": faces}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              timeout=args.seconds + args.patience + _SPARE_S)
    except subprocess.TimeoutExpired as late:
        return asked | {"error": f"not done after {late.timeout:.0f} s"}
    if done.returncode == 0:
        return json.loads(done.stdout)
    said = [line.removeprefix("deid: ") for line in done.stderr.splitlines() if line.strip()]
    return asked | {"error": said[-1] if said else f"exit status {done.returncode}"}


def _name(cell: dict[str, Any]) -> str:
    width, height = cell["size"]
    return f"{cell['runtime']}, {width}x{height}, {cell['faces_per_frame']} faces"


_HEAD = ("runtime", "size", "faces", "delivered", "frames/s", "p50 ms", "p95 ms", "p99 ms",
         "CPU ms", "ideal/s", "reached", "flat", "MiB")


def _rows(cells: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for cell in cells:
        width, height = cell["size"]
        begin = cell["runtime"], f"{width}x{height}", str(cell["faces_per_frame"])
        if "error" in cell:
            yield *begin, cell["error"]
            continue
        yield (*begin, f"{100 * cell['delivered']:.1f} %", f"{cell['fps']:.1f}",
               *(f"{value:.1f}" for value in cell["latency_ms"].values()),
               f"{cell['cpu_ms']:.1f}", f"{cell['ideal_fps']:.1f}",
               f"{100 * cell['ideal_ratio']:.0f} %", f"{100 * cell['flat']:.1f} %",
               f"{cell['rss_mb']:.0f}")


def text(result: dict[str, Any]) -> str:
    """The grid for people: a line for every cell."""
    driven = f"{result['rate']:g} Hz" if result["rate"] else "flat out"
    rows = [_HEAD, *_rows(result["cells"])]
    widths = [max(len(row[i]) for row in rows if len(row) == len(_HEAD))
              for i in range(len(_HEAD))]
    lines = [f"grid      {result['preset']}, {'+'.join(result['detector'])}, {driven}, "
             f"{result['seconds']:g} s a cell, deadline {result['deadline_ms']:g} ms",
             f"machine   {machine_line(result['machine'])}", ""]
    for row in rows:
        # Names to the left, numbers to the right; the reason of a failure is the last word.
        cells = [word.ljust(width) if i < 2 or len(row) < len(_HEAD) and i == 3 else
                 word.rjust(width) for i, (word, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    lines += ["", "CPU ms: of all nodes for a frame; ideal/s: cores divided by that; reached: of "
                  "the ideal; flat: faces", "covered by no surrogate"]
    return "\n".join(lines)
