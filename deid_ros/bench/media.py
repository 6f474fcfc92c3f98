"""``deid bench media``: a video from file to file, beside the tool ``deface``."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from deid_ros.bench.machine import Usage, machine_line
from deid_ros.bench.options import size_of
from deid_ros.config import Config
from deid_ros.errors import ConfigError, DeidError

__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "PARAMETERS", "WAYS", "add_options", "measure",
           "text", "work"]

HELP = "a video from file to file, beside the tool deface"

DESCRIPTION = """\
Time whole programs on one composed clip, decoding and encoding included: this one with
CenterFace once a frame at full size, in eight bits as the presets use it and with the
published weights, with preset fast and as configured, and the tool 'deface' with ONNX
Runtime where its command is installed, which finds faces with the same CenterFace (the
published weights) at the same size and blurs them. Each runs on a short and a long clip,
and the difference counts, so that starting up does not; they take turns, so that what
else the machine does troubles all alike."""

EXAMPLES = """\
examples:
  deid bench media                   at 640x480, two faces
  deid bench media --deface ~/scratch/bin/deface --frames 400
                                     with deface from another environment
"""

PARAMETERS = (("replacer", "replace"), ("detector", "preset"))

#: What is timed: name -> the preset, or the precision of CenterFace alone, once a frame.
WAYS = {"same detector": "int8", "the same, float": "float", "preset fast": "fast",
        "as configured": None}
#: What is asked for: so many times less CPU time than deface.
GOALS = {"same detector": 2.2, "preset fast": 3.5}
_BRING_DEFACE = ("make an environment for it: python3 -m venv deface; deface/bin/pip install "
                 "deface onnx onnxruntime; and name it: --deface deface/bin/deface")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is measured."""
    parser.add_argument("--size", type=size_of, default=(640, 480), metavar="WxH",
                        help="of the clip, px [640x480]")
    parser.add_argument("--faces", type=int, default=2, metavar="N", help="in every frame [2]")
    parser.add_argument("--frames", type=int, default=180, metavar="N",
                        help="that are counted, of the long clip beyond the short one [180]")
    parser.add_argument("--rounds", type=int, default=2, metavar="N",
                        help="how often each program runs; the best counts [2]")
    parser.add_argument("--deface", metavar="FILE", help="deface's command [the one on the PATH]")


def work(source: str, target: str, preset: str | None, config: Config) -> None:
    """Make one clip anonymous, as ``deid run`` does; for a process of its own."""
    from deid_ros.detector import PRESETS
    from deid_ros.detector.presets import Pass, Preset
    from deid_ros.media import Job, process
    from deid_ros.pipeline import Pipeline

    if preset and preset not in PRESETS:
        # This process ends with the clip: nobody else sees it.
        PRESETS[preset] = Preset(cycle=((Pass(),),), precision=preset, threads=2)
    if preset:
        config["detector"]["preset"] = preset
    process(Job(Path(source), Path(target), "clip"), Pipeline(config))


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Run the bench.

    Returns:
        ``ways``: for each, ``fps``, ``cpu_ms`` (a frame); for ours also ``ratio`` and
        ``cpu_ratio`` to deface, where it is installed; ``deface`` its path; ``machine``.

    Raises:
        DeidError: an option out of range; a program failed.
    """
    if not 8 <= args.frames <= 100_000 or not 1 <= args.rounds <= 20:
        raise ConfigError("--frames must be from 8 to 100000 and --rounds from 1 to 20.")
    command = shutil.which(args.deface or "deface")
    if args.deface and command is None:
        raise ConfigError(f"There is no command {args.deface}; check the path.")
    broken = command and _fault_of(command)
    if broken and args.deface:
        raise DeidError(f"{broken}; {_BRING_DEFACE}")
    if broken:
        command = None
    usage, children = Usage(), _children()
    best: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short = max(args.frames // 6, 8)
        clips = {n: _clip(folder / f"{n}.mp4", n, args) for n in (short, short + args.frames)}
        for _ in range(args.rounds):
            for way in [*(["deface"] if command else []), *WAYS]:
                spent = [_time(way, clip, folder, config, command) for clip in clips.values()]
                wall, cpu = (spent[1][i] - spent[0][i] for i in range(2))
                if wall > 0 and (way not in best or wall < best[way][0]):
                    best[way] = wall, cpu
    ways: dict[str, dict[str, Any]] = {
        way: {"fps": args.frames / wall, "cpu_ms": 1e3 * cpu / args.frames}
        for way, (wall, cpu) in best.items()}
    if "deface" in ways:
        for way in WAYS:
            ways[way]["ratio"] = ways[way]["fps"] / ways["deface"]["fps"]
            ways[way]["cpu_ratio"] = ways["deface"]["cpu_ms"] / ways[way]["cpu_ms"]
    spent = usage.spent()
    machine = spent.machine()
    if spent.others is not None:   # the programs that are timed are no others
        machine["others_cores"] = round(
            max(spent.others - (_children() - children) / spent.wall, 0.0), 2)
    return {"bench": "media", "size": list(args.size), "faces": args.faces, "frames": args.frames,
            "replace": config["replacer"]["replace"], "preset": config["detector"]["preset"],
            "deface": command, "deface_fault": broken or "", "ways": ways, "machine": machine}


def _fault_of(command: str) -> str:
    """Why deface cannot run here, '' if it can: a module that it needs may be missing."""
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=False,
                          env=_elsewhere())
    if not done.returncode:
        return ""
    last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"The deface at {command} cannot run ({last[:200]})"


def _elsewhere() -> dict[str, str]:
    """The environment of a program that has nothing to do with ours."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _clip(path: Path, count: int, args: argparse.Namespace) -> Path:
    from deid_ros.bench.scene import frames_of
    from deid_ros.media.clips import write_clip

    frames = frames_of(*args.size, args.faces)
    write_clip(path, (frames[i % len(frames)] for i in range(count)), fps=30)
    return path


def _time(way: str, clip: Path, folder: Path, config: Config,
          command: str | None) -> tuple[float, float]:
    """Seconds and CPU seconds of one program on one clip."""
    target = folder / "out.mp4"
    for path in folder.glob("out.mp4*"):
        path.unlink()
    if way == "deface":
        words = [str(command), str(clip), "-o", str(target), "--backend", "onnxrt"]
    else:
        code = ("import sys, json; from deid_ros.bench.media import work; "
                "work(*json.loads(sys.argv[1]))")
        words = [sys.executable, "-c", code,
                 json.dumps([str(clip), str(target), WAYS[way], config])]
    start, before = time.perf_counter(), _children()
    done = subprocess.run(words, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(
                              path for path in sys.path if path)} if way != "deface" else
                          _elsewhere())
    wall, spent = time.perf_counter() - start, _children() - before
    if done.returncode or not target.is_file():
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        if way == "deface":
            raise DeidError(f"The deface at {command} cannot run ({last[:200]}); {_BRING_DEFACE}")
        raise DeidError(f"'{way}' failed ({last[:200]}); try deid run on a clip of yours.")
    return wall, spent


def _children() -> float:
    """CPU seconds of the programs that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def text(result: dict[str, Any]) -> str:
    """For people."""
    width, height = result["size"]
    lines = [f"{result['frames']} frames of {width}x{height} with {result['faces']} faces, "
             f"decoding and encoding included; ours: {result['replace']}, configured preset: "
             f"{result['preset']}",
             f"{'':<16}{'frames/s':>10}{'CPU ms/frame':>14}"]
    for way, found in result["ways"].items():
        lines.append(f"{way:<16}{found['fps']:>10.1f}{found['cpu_ms']:>14.1f}")
    if result["deface"] is None:
        why = result.get("deface_fault") or "deface is not installed here"
        lines.append(f"{why}; {_BRING_DEFACE}")
    else:
        for way in WAYS:
            found = result["ways"][way]
            goal = f", asked for: {GOALS[way]:g}," if way in GOALS else ""
            lines.append(f"beside deface, {way}: {found['cpu_ratio']:.2f} times less CPU time"
                         f"{goal} ({found['ratio']:.2f} times its frames a second)")
    lines.append(machine_line(result["machine"]))
    return "\n".join(lines)
