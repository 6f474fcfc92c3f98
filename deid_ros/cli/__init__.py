"""The ``deid`` command.

Every command is a module of this folder with ``register(subparsers)`` and
``run(args) -> int``; modules import what is heavy inside ``run``, so that
``deid --help`` answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NoReturn

from deid_ros import __version__
from deid_ros.errors import DeidError

__all__ = ["COMMANDS", "DEBUG_VARIABLE", "main"]

#: The commands in the order of the help; those whose module exists are offered.
COMMANDS = ("run", "verify", "pipeline", "view", "db", "train", "generate", "evaluate", "bench",
            "models", "doctor", "demo")

#: Set to anything, errors show their traceback.
DEBUG_VARIABLE = "DEID_DEBUG"

#: Import name of what an extra brings -> the extra.
EXTRAS = {"tensorflow": "train", "keras": "train", "onnx": "train", "tf2onnx": "train",
          "matplotlib": "train", "h5py": "train", "skimage": "demo",
          "rclpy": "ros", "sensor_msgs": "ros", "std_msgs": "ros", "visualization_msgs": "ros",
          "diagnostic_msgs": "ros", "std_srvs": "ros"}

DESCRIPTION = "Replace the faces in images, videos and live ROS 2 camera streams."

#: Command -> examples for its help, and for that of ``deid``.
EXAMPLES = {
    "run": """\
  deid run photos/ -o out/           every picture of a folder, without ROS
  deid run clip.mp4 -o out/          a video
  deid run bag/ -o out/              a rosbag, ROS 2 or ROS 1
  deid run archive/ -o out/ --dry-run
                                     what would be done with everything in a folder
""",
    "verify": """\
  deid verify out/                   is there a face that was never covered?
""",
    "pipeline": """\
  deid pipeline                      the live ROS 2 pipeline, from /camera/image_raw
                                     to /deidentified/image
  deid pipeline --source clip.mp4    the same, fed from a file
""",
    "view": """\
  deid view                          watch /deidentified/image in a window or a browser
""",
    "db info": """\
  deid db info DB/gallery.npz        who is in a gallery, what it was made with
""",
    "models": """\
  deid models                        which model files there are, and where
""",
    "doctor": """\
  deid doctor                        does this installation work, and what to type if not
""",
    "demo": """\
  deid demo                          see it work: pictures, a video and a bag in out/demo
""",
}


class Parser(argparse.ArgumentParser):
    """An argument parser that complains in one line and does not guess."""

    def __init__(self, *args, **options) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(*args, **options)
        #: Text below the help that takes time to make.
        self.more: Callable[[], str] = str

    def format_help(self) -> str:
        """The help, and what ``more`` says."""
        return super().format_help() + self.more()

    def error(self, message: str) -> NoReturn:
        # "argument COMMAND: invalid choice: 'rum' (choose from 'run', 'pipeline')"
        match = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if match:
            choices = [word.strip(" '") for word in match[2].split(",")]
            close = difflib.get_close_matches(match[1], choices, n=1)
            message += f", did you mean '{close[0]}'?" if close else ""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _modules() -> dict[str, ModuleType]:
    return {name: importlib.import_module(f"{__name__}.{name}") for name in COMMANDS
            if importlib.util.find_spec(f"{__name__}.{name}")}


def _parser(modules: dict[str, ModuleType]) -> tuple[Parser, argparse._SubParsersAction]:
    examples = "".join(text for name, text in EXAMPLES.items() if name in modules)
    parser = Parser(
        prog="deid", description=DESCRIPTION,
        epilog=f"examples:\n{examples}\n"
               "'deid COMMAND --help' explains a command and its options.\n"
               f"{DEBUG_VARIABLE}=1 shows where an error comes from.")
    parser.add_argument("--version", action="version", version=f"deid_ros {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for module in modules.values():
        module.register(subparsers)
    _teach(parser)
    return parser, subparsers


def _teach(parser: argparse.ArgumentParser, name: str = "") -> None:
    """Give every command that shows no example of its own the ones from here."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                _teach(below, f"{name} {word}".strip())
    if name in EXAMPLES and f"\n  deid {name}" not in (parser.epilog or ""):
        rest = f"\n{parser.epilog}" if parser.epilog else ""
        parser.epilog = f"examples:\n{EXAMPLES[name]}{rest}"


def _parse(argv: Sequence[str] | None, modules: dict[str, ModuleType]) -> argparse.Namespace:
    parser, subparsers = _parser(modules)
    args, unknown = parser.parse_known_args(argv)
    if args.command is None and not unknown:
        parser.print_help()
        parser.exit(2)
    if unknown:
        chosen = subparsers.choices.get(args.command, parser)
        word = unknown[0].split("=")[0]
        close = difflib.get_close_matches(word, chosen._option_string_actions, n=1)
        hint = f", did you mean {close[0]}?" if close else ""
        chosen.error(f"unknown argument {word!r}{hint}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``deid`` with these arguments and return its exit status.

    0: done; 1: it ran and found something wrong, or a fault of this program; 2:
    refused, with one sentence on stderr; 130: interrupted.
    """
    debug = bool(os.environ.get(DEBUG_VARIABLE))
    if not debug:
        # TensorFlow calls it an error that a machine has no GPU. What fails raises.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        modules = _modules()
        args = _parse(argv, modules)
        status = int(modules[args.command].run(args) or 0)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("deid: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing left to say, at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        message, status = _explain(error)
        print(f"deid: {message}", file=sys.stderr)
        return status


def _explain(error: Exception) -> tuple[str, int]:
    """One line for a user, and the exit status."""
    text = " ".join(str(error).split())
    if isinstance(error, DeidError):
        return text, 2
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").split(".")[0])
        remedy = f"pip install 'deid_ros[{extra}]'" if extra else "reinstall deid_ros"
        return f"the Python module '{error.name}' is missing; bring it with: {remedy}", 2
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}; check the path, its permissions and the space left", 2
    return (f"internal error, {type(error).__name__}: {text}; "
            f"{DEBUG_VARIABLE}=1 shows where"), 1
