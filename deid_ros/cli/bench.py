"""``deid bench``: how fast the pipeline and its parts are on this machine."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from deid_ros.cli.options import add_config, add_parameter, overrides_of
from deid_ros.cli.pipeline import parameters_of
from deid_ros.config import load
from deid_ros.parameters import PARAMETERS

__all__ = ["BENCHES", "register", "run"]

#: The benches in the order of the help; those whose module exists are offered.
BENCHES = ("ros", "faults", "soak", "generator", "scenes", "recall", "sizes", "consistency",
           "media", "pictures")

#: Former names.
_ALIASES = {"ros": ["pipeline"]}

_DESCRIPTION = """\
Measure speed, and what is found. Judge speed by CPU time and by ratios within one
run: wall time also tells what else the machine was doing, which every bench says."""

_EPILOG = """\
examples:
  deid bench ros                     the live pipeline: rate, latency, where time goes
  deid bench ros --grid              the same for every runtime, size and number of faces
  deid bench faults                  processes killed and stopped: does a face leak?
  deid bench generator               a new texture, and rendering a face
  deid bench scenes clips/ --labels labels.json
                                     real clips: recall, false covers, looks
  deid bench recall                  which faces are found
  deid bench sizes faces/            what a small face is worth to an attacker
  deid bench consistency clip.mp4    whether any face of a video stays bare
"""


def _benches() -> dict[str, ModuleType]:
    return {name: importlib.import_module(f"deid_ros.bench.{name}") for name in BENCHES
            if importlib.util.find_spec(f"deid_ros.bench.{name}")}


def register(subparsers: Any) -> None:
    """Add ``deid bench`` to the command line."""
    parser = subparsers.add_parser("bench", help="how fast it is here, and what it finds",
                                   description=_DESCRIPTION, epilog=_EPILOG)
    actions = parser.add_subparsers(dest="bench", metavar="BENCH", required=True)
    for name, bench in _benches().items():
        below = actions.add_parser(name, aliases=_ALIASES.get(name, []), help=bench.HELP,
                                   description=bench.DESCRIPTION, epilog=bench.EXAMPLES)
        below.set_defaults(bench_module=name)
        bench.add_options(below)
        for node, key in bench.PARAMETERS:
            if key in PARAMETERS[node]:
                add_parameter(below, node, key)
        below.add_argument("--params", nargs="+", default=[], metavar="NAME:=VALUE",
                           help="any parameter, as for deid pipeline")
        add_config(below)
        below.add_argument("--json", metavar="FILE", nargs="?", const="-",
                           help="write the numbers as JSON too; without FILE, or with -, to "
                                "standard output instead of the text")


def run(args: argparse.Namespace) -> int:
    """Run one bench and print what it found; 0, or 1 where it has found a fault."""
    overrides = overrides_of(args)
    for node, values in parameters_of(args.params).items():
        overrides.setdefault(node, {}).update(values)
    config = load(args.config, overrides)
    bench = _benches()[args.bench_module]
    result = bench.measure(config, args)
    status = 0 if result.get("passed", True) else 1
    document = json.dumps(result, indent=2) + "\n"
    if args.json == "-":
        sys.stdout.write(document)
        return status
    print(bench.text(result))
    if args.json:
        path = Path(args.json)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document, encoding="utf-8")
    return status
