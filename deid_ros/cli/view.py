"""``deid view``: watch the output of the live pipeline."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from deid_ros.cli.options import add_config, add_parameter, overrides_of
from deid_ros.config import checked, load
from deid_ros.errors import ConfigError
from deid_ros.parameters import LAUNCH

__all__ = ["PORT", "register", "run"]

PORT = 8089

_DESCRIPTION = """\
Show what leaves the live pipeline, with its rate and latency: in a window where
there is a screen, else on a small web page that only this host can open. Nothing
else opens a port, and there is no way to offer the page to a network.

Only the de-identified output is subscribed to. --show-input puts the raw camera
beside it."""

_EPILOG = """\
examples:
  deid view                          /deidentified/image, in a window or on a page
  deid view --web                    on a page, although there is a screen
  deid view --namespace front        /front/deidentified/image
  deid view --compressed             the JPEG stream; lighter from another computer
  deid view --show-input             raw camera and output side by side: faces are seen!

on a robot without a screen, from the computer that you sit at:
  ssh -L 8089:127.0.0.1:8089 robot deid view --web
                                     then open http://127.0.0.1:8089/ there

exit status: 0 it was ended by Ctrl-C, by closing the window or after --seconds; 2 refused.
"""


def register(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("view", help="watch the output of the live pipeline",
                                   description=_DESCRIPTION, epilog=_EPILOG)
    what = parser.add_argument_group("what is shown")
    what.add_argument("--show-input", action="store_true",
                      help="the raw camera too: faces are seen by whoever sees this screen, and "
                           "by every user of this host who opens the page")
    add_parameter(what, "replacer", "image_topic")
    what.add_argument("--compressed", action="store_true",
                      help="take the output from deidentified/image/compressed")
    what.add_argument("--rate", type=float, default=15.0, metavar="HZ",
                      help="pictures a second at most [15]")
    what.add_argument("--width", type=int, default=1280, metavar="PX",
                      help="wider pictures are scaled down to this; 0: never [1280]")
    page = parser.add_argument_group("page")
    page.add_argument("--web", action="store_true",
                      help="a web page on 127.0.0.1, also where there is a screen")
    page.add_argument("--port", type=int, default=PORT, metavar="N",
                      help=f"of the page; 0: any that is free [{PORT}]")
    page.add_argument("--quality", type=int, default=80, metavar="Q",
                      help="of its JPEG pictures, 1 to 100 [80]")
    ros = parser.add_argument_group("ROS")
    ros.add_argument("--namespace", default="", help="namespace of the pipeline's nodes")
    ros.add_argument("--network", choices=("host", "lan"), default=None,
                     help="where the pipeline is: on this host, or lan: on any network card "
                          "[host, unless the environment says otherwise]")
    ros.add_argument("--remap", nargs="+", default=[], metavar="FROM:=TO",
                     help="ROS remappings, as those of the pipeline")
    add_config(parser)
    parser.add_argument("--seconds", type=float, default=0.0, metavar="S",
                        help="end after so many seconds")


def run(args: argparse.Namespace) -> int:
    """Show it until it is ended; 0."""
    if args.seconds < 0:
        raise ConfigError(f"--seconds is {args.seconds:g} but must not be negative.")
    checked("--namespace", LAUNCH["namespace"], args.namespace)
    config = load(args.config, overrides_of(args), namespace=args.namespace)

    from deid_ros.viewer import Style, no_window_because
    style = Style(rate=args.rate, width=args.width, quality=args.quality)
    reason = "" if args.web else no_window_because()

    from deid_ros.ros.environment import prepare
    from deid_ros.ros.runtime import Runner, ros_context, stop_signals
    from deid_ros.ros.viewer import Viewer, bgr_of
    from deid_ros.viewer import Stream
    where = prepare(args.network)
    remaps = [part for remap in args.remap for part in ("-r", remap)]
    with (stop_signals() as stop,
          ros_context(["--ros-args", *remaps] if remaps else [],
                      network=args.network) as context):
        node = Viewer(context=context, namespace=args.namespace,
                      camera_topic=config["replacer"]["image_topic"],
                      show_input=args.show_input, use_compressed=args.compressed)
        runner = Runner(node)
        try:
            streams = {name: Stream(name, topic, convert=bgr_of, raw=name == "input", style=style)
                       for name, topic in node.topics.items()}
            node.connect(streams)
            if args.show_input:
                _say(f"WARNING: {streams['input'].topic} is shown as it is, faces and all. Whoever "
                     "sees this screen, or opens the page on this host, sees them.")
            runner.start()
            # The raw picture is on the left, as things go from left to right.
            shown = list(reversed(streams.values()))
            what = " and ".join(stream.topic for stream in shown)
            with _timer(args.seconds, stop):
                if args.web or reason:
                    _page(shown, stop, port=args.port, before=f"{reason}: " if reason else "",
                          after=f"shows {what}; {where}; Ctrl-C ends")
                else:
                    _say(f"a window shows {what}; {where}; Ctrl-C ends")
                    _window(shown, stop)
        finally:
            runner.stop()
    return 0


def _say(words: str) -> None:
    print(f"deid: {words}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _timer(seconds: float, stop: threading.Event) -> Iterator[None]:
    """Sets ``stop`` after so many seconds; 0: never."""
    timer = threading.Timer(seconds, stop.set)
    timer.daemon = True
    if seconds:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _page(shown: list, stop: threading.Event, *, port: int, before: str, after: str) -> None:
    from deid_ros.viewer import Page
    from deid_ros.viewer.stream import line

    with Page(shown, port=port) as page:
        _say(f"{before}{page.address} {after}")
        states: dict[str, str] = {}
        began = time.monotonic()
        while not stop.wait(0.2):
            if time.monotonic() - began < 2:  # nodes need a moment to find each other
                continue
            for status in (stream.status() for stream in shown):
                if states.get(status["name"], "live") != status["state"]:
                    _say(f"{status['topic']} comes" if status["state"] == "live" else line(status))
                states[status["name"]] = status["state"]


def _window(shown: list, stop: threading.Event) -> None:
    from deid_ros.viewer import Window

    window = Window(shown)
    try:
        window.run(stop)
    finally:
        window.close()
