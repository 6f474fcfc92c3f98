"""``deid bench recall``: which faces are found, on scenes whose faces are known."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deid_ros.bench.machine import Usage, machine_line
from deid_ros.config import Config, as_list
from deid_ros.errors import ConfigError

__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "PARAMETERS", "add_options", "measure", "text"]

HELP = "which faces are found: by size, rotation, yaw, light; time"

DESCRIPTION = """\
Paste heads into textures where there are none, and count the faces that are covered with
each preset and each back end alone. A face is found if a covered box (margin included)
holds three quarters of the box of its mesh and is at most six times as large. Sizes
are widths of the jaw in px. Each scene appears anew, at every frame of the preset's
cycle in turn; 'in 6 frames' shows six frames of a drifting scene. CPU ms is the time that
one core would need for a frame of two large moving faces, tracker and mesh included. What
is covered that is no face only real footage tells: deid bench scenes."""

EXAMPLES = """\
examples:
  deid bench recall                  the astronaut in six textures
  deid bench recall --portraits faces/ --faces 60 --plot recall.png
                                     your portraits, more of each, drawn as a plot
  deid bench recall --subjects balanced --groups size
                                     one preset, sizes only
"""

PARAMETERS = (("detector", "detector"), ("detector", "threshold"), ("detector", "margin"))

_SIZES = (10, 12, 16, 20, 24, 32, 48, 64, 100, 200, 400)
_FILMED = (10, 12, 16, 20, 24)
_FRAMES = 6                       # of a film
_TOGETHER = 6                     # faces of a scene at most
_HELD, _LARGEST = 0.75, 6.0       # see DESCRIPTION
_TIMED = 36                       # frames

#: Group -> label -> (options of ``composed.Look``, yaw in degrees).
_GROUPS: dict[str, dict[str, tuple[dict[str, Any], float]]] = {
    "size": {f"{px} px": ({"jaw": px}, 0) for px in _SIZES},
    "roll": {f"roll {roll}": ({"jaw": 32, "roll": roll}, 0) for roll in (15, 30, 45, 90, 135, 180)},
    "yaw": {f"yaw {yaw}": ({"jaw": 32}, yaw) for yaw in (25, 45, 65)},
    "look": {
        "dark": ({"jaw": 48, "light": 0.15}, 0), "bright": ({"jaw": 48, "light": 2.0}, 0),
        "blur": ({"jaw": 48, "blur": 0.07}, 0), "noise": ({"jaw": 48, "noise": 30.0}, 0),
        "glasses": ({"jaw": 48, "hidden": "eyes"}, 0), "mask": ({"jaw": 48, "hidden": "mouth"}, 0),
        "half": ({"jaw": 48, "hidden": "side"}, 0), "cut": ({"jaw": 48, "cut": 0.35}, 0)},
    "film": {f"{px} px in {_FRAMES} frames": ({"jaw": px}, 0) for px in _FILMED},
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is measured."""
    parser.add_argument("--portraits", type=Path, metavar="FOLDER",
                        help="pictures with one face each [the astronaut of scikit-image]")
    parser.add_argument("--table", type=Path, metavar="CSV",
                        help="columns id (file name without its end) and split: with --split, "
                             "who of the folder is used")
    parser.add_argument("--split", default="", help="only people of this split of the table")
    parser.add_argument("--subjects", nargs="+", metavar="NAME",
                        help="presets and back ends [all]")
    parser.add_argument("--groups", nargs="+", choices=[*_GROUPS, "time"],
                        metavar="GROUP", help="size, roll, yaw, look, film, time [all]")
    parser.add_argument("--faces", type=int, default=24, metavar="N",
                        help="of each kind, about [24]")
    parser.add_argument("--size", default=(640, 480), metavar="WxH", type=_size,
                        help="of the frames, px [640x480]")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes [0]")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the numbers as a picture")


def _size(word: str) -> tuple[int, int]:
    from deid_ros.bench.options import size_of
    return size_of(word)


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Run the bench.

    Returns:
        ``subjects``: name -> ``recall`` (group -> label -> ``found``, ``faces``),
        and ``time`` (``cpu_ms``, ``cpu_ms_worst``,
        ``wall_ms``, ``wall_ms_worst``); ``pass_cpu_ms``, what CenterFace takes for a
        frame once, for comparison; ``machine``.

    Raises:
        DeidError: an option out of range; a model or a package is missing.
    """
    from deid_ros.detector import DETECTORS, PRESETS

    known = [*PRESETS, *DETECTORS]
    subjects = args.subjects or known
    for name in subjects:
        if name not in known:
            raise ConfigError(f"There is no preset or detector '{name}'; choose from "
                              f"{', '.join(known)}.")
    if not 1 <= args.faces <= 10_000:
        raise ConfigError(f"--faces is {args.faces} but must be from 1 to 10000.")
    groups = args.groups or [*_GROUPS, "time"]
    usage = Usage()
    stage = _Stage(config, args)
    rows = {name: _one(stage, name, groups) for name in subjects}
    result = {"bench": "recall", "size": list(args.size), "seed": args.seed,
              "portraits": len(stage.heads), "subjects": rows}
    if "time" in groups:
        result["pass_cpu_ms"] = stage.unit()
    result["machine"] = usage.spent().machine()
    if args.plot:
        from deid_ros.bench.recall_plot import draw
        draw(result, args.plot)
    return result


class _Stage:
    """The heads, the scenes made of them, and the subjects by name."""

    def __init__(self, config: Config, args: argparse.Namespace) -> None:
        from deid_ros.bench import composed

        self.args, self.options = args, config["detector"]
        self.heads = composed.load_heads(args.portraits, table=args.table, split=args.split,
                                       seed=args.seed)
        self._turned: dict[float, list] = {}

    def cast(self, yaw: float) -> list:
        """The heads, turned by ``yaw`` to either side."""
        from deid_ros.bench import composed
        if yaw not in self._turned:
            self._turned[yaw] = [composed.turned(head, yaw * (-1) ** i) if yaw else head
                                 for i, head in enumerate(self.heads)]
        return self._turned[yaw]

    def subject(self, name: str) -> Any:
        """A ``FaceFinder`` with this configuration, of a preset or a back end."""
        from deid_ros.detector import PRESETS, FaceFinder

        preset = name if name in PRESETS else None
        names = ("threshold", "margin", "cover", "min_surrogate_px", "carry_frames", "extractor")
        return FaceFinder(detector=as_list(self.options["detector"]) if preset else name,
                          preset=preset, **{key: self.options[key] for key in names})

    def unit(self) -> float:
        """CPU milliseconds of one plain CenterFace pass."""
        from deid_ros.detector import create_detector

        detector = create_detector("centerface")
        frames = self._moving(8)
        detector.detect(frames[0])
        return round(sum(_cost(lambda frame=frame: detector.detect(frame))[0]
                         for frame in frames) / len(frames), 2)

    def _moving(self, count: int) -> list:
        from deid_ros.bench.scene import frames_of
        frames = frames_of(*self.args.size, 2, seed=self.args.seed)
        return frames[:count]

    def time(self, name: str) -> dict[str, float]:
        """What a frame of a stream costs, tracker, mesh and chips included."""
        finder = self.subject(name)
        frames = self._moving(_TIMED)
        finder.find(frames[0])           # models warm up, chips are cut
        costs = [_cost(lambda frame=frame: finder.find(frame)) for frame in frames[1:]]
        cpu, wall = zip(*costs, strict=True)
        return {"cpu_ms": round(sum(cpu) / len(cpu), 1), "cpu_ms_worst": round(max(cpu), 1),
                "wall_ms": round(sum(wall) / len(wall), 1), "wall_ms_worst": round(max(wall), 1)}


def _cost(work: Callable[[], Any]) -> tuple[float, float]:
    """CPU and wall milliseconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return 1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall)


def _one(stage: _Stage, name: str, groups: Sequence[str]) -> dict[str, Any]:
    """All numbers of one subject."""
    from deid_ros.bench import composed

    args, subject = stage.args, stage.subject(name)
    size, seed = args.size, args.seed
    row: dict[str, Any] = {"recall": {}}
    for group in groups:
        labels = _GROUPS.get(group, {})
        for label, (look, yaw) in labels.items():
            found: list[bool] = []
            for i in range(10 * args.faces):
                if len(found) >= args.faces:
                    break
                film = composed.film(stage.cast(yaw), composed.Look(**look),
                                   _FRAMES if group == "film" else 1, size=size, seed=seed + i,
                                   faces=_TOGETHER)
                found += _found(subject, film, i)
            row["recall"].setdefault(group, {})[label] = {
                "found": int(sum(found)), "faces": len(found)}
    if "time" in groups:
        row["time"] = stage.time(name)
    return row


def _found(finder: Any, film: list, turn: int) -> list[bool]:
    """For each face of a film whether it was covered in any of the frames."""
    import numpy as np

    from deid_ros.faces import boxes_of

    finder.reset()
    finder.detector.reset(turn=turn)
    found = np.zeros(len(film[0].boxes), bool)
    for scene in film:
        found |= covered(scene.boxes, boxes_of(finder.find(scene.frame).faces).astype(np.float64))
        if found.all():
            break
    return found.tolist()


def covered(faces: Any, boxes: Any) -> Any:
    """bool (N,): whether one of ``boxes`` (M, 4) holds each of ``faces`` (N, 4), and not far more.

    See ``DESCRIPTION`` for what that means.
    """
    import numpy as np

    low = np.maximum(faces[:, None, :2], boxes[None, :, :2])
    high = np.minimum((faces[:, :2] + faces[:, 2:])[:, None], (boxes[:, :2] + boxes[:, 2:])[None])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    area = np.maximum(faces[:, 2:].prod(axis=1), 1e-9)[:, None]
    # A box around a face that the frame cuts may be as large as the whole face.
    return ((shared >= _HELD * area) & (boxes[:, 2:].prod(axis=1)[None] <= _LARGEST * area)
            ).any(axis=1)


def text(result: dict[str, Any]) -> str:
    """The numbers for people."""
    subjects = result["subjects"]
    width, height = result["size"]
    lines = [f"recall    {width}x{height}, {result['portraits']} portraits, seed {result['seed']}",
             f"machine   {machine_line(result['machine'])}", "",
             f"{'':20s}" + "".join(f"{name:>12s}" for name in subjects)]
    first = next(iter(subjects.values()))
    for group, labels in first["recall"].items():
        for label in labels:
            cells = [row["recall"][group][label] for row in subjects.values()]
            lines.append(f"{label:20s}" + "".join(
                f"{cell['found'] / max(cell['faces'], 1):12.3f}" for cell in cells)
                + f"   of {cells[0]['faces']}")
    for key, label in (("cpu_ms", "CPU ms a frame"), ("cpu_ms_worst", "CPU ms at worst"),
                       ("wall_ms", "wall ms a frame"), ("wall_ms_worst", "wall ms at worst")):
        if "time" in first:
            lines.append(f"{label:20s}" + "".join(
                f"{row['time'][key]:12.1f}" for row in subjects.values()))
    if "pass_cpu_ms" in result:
        lines.append(f"one pass of CenterFace takes {result['pass_cpu_ms']:.1f} CPU ms here")
    return "\n".join(lines)
