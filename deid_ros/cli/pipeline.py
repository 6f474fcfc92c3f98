"""``deid pipeline``: the live ROS 2 pipeline, with or without a ROS installation."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import Any

from deid_ros.cli.options import add_config, add_parameter, overrides_of, policies
from deid_ros.config import checked, from_text, load
from deid_ros.errors import ConfigError
from deid_ros.parameters import BUILTIN, COMMON, LAUNCH, PARAMETERS

__all__ = ["register", "run"]

_DESCRIPTION = """\
Run the four nodes on a camera topic: what comes on the image topic leaves on
/deidentified/image with every face covered. All nodes run in this process, or
each in its own with --processes. It ends with its source, after --seconds, or
with Ctrl-C, and prints a summary.

By default nothing leaves this host; see --network.
"""


def register(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "pipeline", help="the live ROS 2 pipeline", description=_DESCRIPTION)
    parser.set_defaults(command="pipeline")
    parser.more = policies
    add_config(parser)
    stages = parser.add_argument_group("stages")
    for node, name in COMMON:
        add_parameter(stages, node, name)
    stages.add_argument("--params", nargs="+", default=[], metavar="NAME:=VALUE",
                        help="any parameter, as node.name:=value, or name:=value for every node "
                             "that has it")
    source = parser.add_argument_group("source and recording")
    add_parameter(source, "video_source", "source")
    for name in ("rate", "frames", "loop"):
        add_parameter(source, "video_source", name)
    source.add_argument("--record", metavar="FOLDER",
                        help="write the output to a rosbag2 in this folder, which must not exist")
    source.add_argument("--topics", metavar="LIST", dest="recorder.topics", default=None,
                        help="what to record, with commas")
    ros = parser.add_argument_group("ROS")
    ros.add_argument("--namespace", default="", help="namespace of all nodes")
    ros.add_argument("--network", choices=("host", "lan"), default=None,
                     help="host: shared memory and loopback, nothing leaves this host; lan: all "
                          "network cards [host, unless the environment sets a Fast DDS profile "
                          "or a discovery range]")
    ros.add_argument("--remap", nargs="+", default=[], metavar="FROM:=TO",
                     help="ROS remappings of all nodes")
    ros.add_argument("--processes", action="store_true",
                     help="a process for each node, started again when it dies")
    parser.add_argument("--seconds", type=float, default=0.0, metavar="S",
                        help="end after so many seconds")
    parser.add_argument("--summary", type=Path, metavar="FILE.json",
                        help="write the summary as JSON too")


def parameters_of(words: list[str]) -> dict[str, dict[str, Any]]:
    """node -> parameter -> value of ``node.name:=value`` and ``name:=value``.

    Raises:
        ConfigError: not of that form, or no node has such a parameter.
    """
    overrides: dict[str, dict[str, Any]] = {}
    for word in words:
        name, mark, text = word.partition(":=")
        node, dot, rest = name.partition(".")
        if not mark or not name:
            raise ConfigError(f"The parameter {word!r} is not of the form name:=value.")
        nodes = ([node] if dot and node in PARAMETERS else
                 [n for n, entries in PARAMETERS.items() if name in entries or node in BUILTIN])
        if not nodes:
            every = [n for entries in PARAMETERS.values() for n in entries]
            close = difflib.get_close_matches(name, every, n=1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise ConfigError(f"No node has a parameter {name!r} (in {word!r}); {hint}the table of "
                              "parameters is in README.md.")
        name = rest if dot and node in PARAMETERS else name
        for node in nodes:
            overrides.setdefault(node, {})[name] = from_text(node, name, text)
    return overrides


def run(args: argparse.Namespace) -> int:
    """Run it; 0, also when it was stopped by Ctrl-C."""
    checked("--namespace", LAUNCH["namespace"], args.namespace)
    overrides = overrides_of(args)
    if args.record:
        overrides.setdefault("recorder", {})["output"] = str(Path(args.record).absolute())
    for node, values in parameters_of(args.params).items():
        overrides.setdefault(node, {}).update(values)
    config = load(args.config, overrides, namespace=args.namespace)

    from deid_ros.ros.environment import prepare
    from deid_ros.ros.runtime import since_start
    from deid_ros.ros.session import Run, run_composed, run_processes
    where = prepare(args.network)

    def ready() -> None:
        print(f"deid: ready after {since_start():.1f} s; {config['replacer']['image_topic']} -> "
              f"deidentified/image; {where}; Ctrl-C ends", file=sys.stderr)
    remaps = [part for remap in args.remap for part in ("-r", remap)]
    what = Run(config=config, namespace=args.namespace,
               source=bool(config["video_source"]["source"]),
               record=bool(config["recorder"]["output"]), network=args.network,
               seconds=args.seconds, remaps=remaps, ready=ready)
    summary = (run_processes if args.processes else run_composed)(what)
    print(summary.text())
    if args.summary:
        summary.write(args.summary)
    return 0
