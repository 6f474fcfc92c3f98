"""``deid bench scenes``: what becomes of real clips whose faces are labelled."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deid_ros.bench.machine import Usage, machine_line
from deid_ros.config import Config
from deid_ros.errors import ConfigError, DeidError

__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "PARAMETERS", "add_options", "measure", "text"]

HELP = "real clips with labelled faces: recall, false covers, size of covers, looks"

DESCRIPTION = """\
Make labelled clips anonymous with each preset, as deid run does, and measure what came out:
recall (faces of which nine tenths of the inner box are covered), false covers a frame and
the part of the picture they take, the area covered in times the labels' own (on average,
and for the worst face of more than 24 px), faces with a surrogate, changes between
surrogate and flat per 100 frames, and sharpness, contrast and colour of surrogates against
the face they replace. Beside them the boxes of one plain CenterFace pass a frame, and those
of the tool deface where its command is there. LABELS is a JSON file: clip -> {"faces": a
list of boxes [x, y, width, height] for each frame, "ignore": the same for what may be
covered or not}."""

EXAMPLES = """\
examples:
  deid bench scenes clips/ --labels labels.json
                                     every clip of the labels, every preset
  deid bench scenes clips/ --labels labels.json --presets balanced --worst worst.png
                                     one preset, and a picture of its worst frames
"""

PARAMETERS = (("detector", "detector"), ("detector", "threshold"), ("detector", "margin"),
              ("matcher", "key"), ("replacer", "replace"))

_PLAIN = "plain CenterFace"
_DEFACE = "deface"
_DEFACE_GROWS = 1.3        # its covers, in times its boxes' sides
# Runs in deface's own environment; prints a line of boxes for each frame.
_DEFACE_CODE = """\
import json, sys, imageio.v2
from deface.centerface import CenterFace
network = CenterFace(backend="opencv")
for path in sys.argv[1:]:
    for frame in imageio.v2.get_reader(path):
        print(json.dumps([[float(v) for v in row[:4]]
                          for row in network(frame, threshold=0.2)[0]]), flush=True)
    print("end", flush=True)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is measured."""
    parser.add_argument("clips", type=Path, metavar="CLIPS", help="folder of the clips")
    parser.add_argument("--labels", type=Path, required=True, metavar="FILE",
                        help="JSON with the boxes of their faces")
    parser.add_argument("--presets", nargs="+", metavar="NAME", help="[all]")
    parser.add_argument("--names", nargs="+", metavar="CLIP",
                        help="only these clips [those of the labels that are in the folder]")
    parser.add_argument("--deface", metavar="FILE", help="deface's command [the one on the PATH]")
    parser.add_argument("--keep", type=Path, metavar="FOLDER",
                        help="leave the outputs here, a folder for each preset")
    parser.add_argument("--worst", type=Path, metavar="FILE",
                        help="draw the worst frames, with labels (green) and covers: orange "
                             "where a surrogate covers, red where flat")


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Run the bench.

    Returns:
        ``subjects``: preset, or tool that only finds boxes -> clip, or 'all' -> the measures
        of ``scene_measures.summarise``; ``cpu_ms`` a frame for each preset; ``machine``.

    Raises:
        DeidError: clips or labels cannot be read, an unknown preset.
    """
    from deid_ros.bench.worst_frames import WorstFrames
    from deid_ros.detector import PRESETS

    labels = _labels(args)
    presets = args.presets or list(PRESETS)
    for name in presets:
        if name not in PRESETS:
            raise ConfigError(f"There is no preset called '{name}'; choose from "
                              f"{', '.join(PRESETS)}.")
    command = shutil.which(args.deface or "deface")
    if args.deface and command is None:
        raise ConfigError(f"There is no command {args.deface}; check the path.")
    usage, worst = Usage(), WorstFrames()
    subjects: dict[str, dict[str, Any]] = {}
    cost: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for preset in presets:
            config["detector"]["preset"] = preset
            folder = (args.keep or Path(scratch)) / preset
            spent = Usage()
            _process(config, args.clips, list(labels), folder)
            cpu = spent.spent().cpu
            subjects[preset] = _tally(args.clips, labels, _processed(folder), worst, preset)
            cost[preset] = round(1e3 * cpu / max(subjects[preset]["all"]["frames"], 1), 1)
    subjects[_PLAIN] = _tally(args.clips, labels, _plain)
    if command:
        subjects[_DEFACE] = _tally(args.clips, labels, _deface(command))
    if args.worst:
        worst.write(args.worst)
    return {"bench": "scenes", "clips": len(labels), "subjects": subjects, "cpu_ms": cost,
            "deface": command is not None, "machine": usage.spent().machine()}


def _labels(args: argparse.Namespace) -> dict[str, Any]:
    """The labels of the clips that are there."""
    try:
        table = json.loads(args.labels.read_text(encoding="utf-8"))
        known = {name: entry for name, entry in table.items()
                 if entry["faces"] is not None and entry["ignore"] is not None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"The labels {args.labels} cannot be read ({type(error).__name__}: "
                          f"{error}); see deid bench scenes --help for their form.") from None
    for name in args.names or ():
        if name not in known:
            raise ConfigError(f"The labels {args.labels} have no clip '{name}'.")
    found = {name: known[name] for name in sorted(args.names or known)
             if (args.clips / name).is_file()}
    if not found:
        raise ConfigError(f"{args.clips} holds none of the {len(known)} clips of {args.labels}.")
    return found


def _process(config: Config, clips: Path, names: list[str], folder: Path) -> None:
    """Make clips anonymous as ``deid run`` does."""
    from tqdm import tqdm

    from deid_ros.media import Job
    from deid_ros.media.batch import Batch
    from deid_ros.pipeline import Pipeline

    folder.mkdir(parents=True, exist_ok=True)
    batch = Batch(Pipeline(config), overwrite=True)
    for name in tqdm(names, desc=folder.name, unit="clip", disable=None):
        batch.process(Job(clips / name, folder / name, name))


def _read(path: Path) -> Iterator[Any]:
    from deid_ros.media.videos import VideoReader

    with VideoReader(path) as reader:
        for pixels, _, _ in reader:
            yield pixels


def _processed(folder: Path) -> Any:
    """For a clip: covers and output of each frame, as ``deid run`` wrote them."""
    from deid_ros.media.evidence import read_faces

    def read(path: Path) -> Iterator[tuple[list[Any], Any]]:
        for line, pixels in zip(read_faces(folder / path.name), _read(folder / path.name),
                                strict=False):
            yield line["faces"] if line else [], pixels
    return read


def _plain(path: Path) -> Iterator[tuple[list[Any], Any]]:
    """For a clip: the boxes of one plain CenterFace pass for each frame."""
    from deid_ros.detector import create_detector

    detector = create_detector("centerface")
    for frame in _read(path):
        yield [{"box": row["box"].tolist()} for row in detector.detect(frame)], frame


def _deface(command: str) -> Any:
    """For a clip: deface's covers for each frame, from its own environment."""
    def read(path: Path) -> Iterator[tuple[list[Any], Any]]:
        python = Path(command).resolve().parent / "python"
        done = subprocess.run([str(python), "-c", _DEFACE_CODE, str(path)], text=True,
                              capture_output=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise DeidError(f"{command} cannot run ({last[:200]}); make an environment for it: "
                            "python3 -m venv deface; deface/bin/pip install deface onnx "
                            "onnxruntime; and name it: --deface deface/bin/deface")
        for line, frame in zip(done.stdout.splitlines(), _read(path), strict=False):
            if line == "end":
                return
            covers = []
            for x0, y0, x1, y1 in json.loads(line):
                w, h = (x1 - x0) * _DEFACE_GROWS, (y1 - y0) * _DEFACE_GROWS
                covers.append({"box": [(x0 + x1 - w) / 2, (y0 + y1 - h) / 2, w, h]})
            yield covers, frame
    return read


def _tally(clips: Path, labels: dict[str, Any], read: Any, worst: Any = None,
           subject: str = "") -> dict[str, Any]:
    from deid_ros.bench.scene_measures import Tally, summarise, tally_frame

    total, out = Tally(), {}
    for name, label in labels.items():
        tally = Tally()
        frames = zip(_read(clips / name), read(clips / name), label["faces"], label["ignore"],
                     strict=False)
        for index, (before, (covers, after), faces, ignore) in enumerate(frames):
            tally_frame(tally, covers, faces, ignore, before, after)
            if worst is not None:
                worst.add(f"{subject} {name} {index}", after, covers, faces)
        out[name] = summarise(tally)
        total = total + tally
    return {**out, "all": summarise(total)}


_COLUMNS = (("faces", "faces", "d"), ("recall", "recall", ".3f"), ("false", "false/frame", ".3f"),
            ("false_area_pct", "area %", ".3f"), ("excess", "excess", ".2f"),
            ("largest", "worst", ".2f"), ("surrogate", "surrogate", ".3f"),
            ("flicker", "flicker", ".2f"))


def text(result: dict[str, Any]) -> str:
    """The numbers for people."""
    lines = [f"scenes    {result['clips']} clips, {machine_line(result['machine'])}"]
    for subject, clips in result["subjects"].items():
        cost = result["cpu_ms"].get(subject)
        lines += ["", subject + (f", {cost:g} CPU ms a frame" if cost else ""),
                  f"{'':38s}" + "".join(f"{title:>12s}" for _, title, _ in _COLUMNS)
                  + f"{'sharp 10/50/90':>20s}{'contrast':>18s}{'chroma90':>9s}"]
        for name, row in clips.items():
            cells = ["-" if row[key] is None else format(row[key], form)
                     for key, _, form in _COLUMNS]
            lines.append(f"{name[:38]:38s}" + "".join(f"{cell:>12s}" for cell in cells)
                         + _says(row))
    if not result["deface"]:
        lines += ["", "deface is not installed here; name the command of an environment of its own "
                  "with --deface"]
    return "\n".join(lines)


def _says(row: dict[str, Any]) -> str:
    if row["sharp"] is None or row["surrogate"] in (None, 0.0):
        return ""
    return (f"{'/'.join(f'{value:.2f}' for value in row['sharp']):>20s}"
            f"{'/'.join(f'{value:.2f}' for value in row['contrast']):>18s}{row['chroma90']:>9.2f}")
