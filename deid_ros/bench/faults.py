"""``deid bench faults``: each process killed and stopped, and every output searched."""

from __future__ import annotations

import argparse
import os
import signal
import time
from typing import Any

from deid_ros.bench.live import Live, live, part, wait
from deid_ros.bench.machine import Usage, machine_line
from deid_ros.bench.options import in_range, size_of
from deid_ros.config import Config
from deid_ros.errors import DeidError

__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "PARAMETERS", "add_options", "measure", "text"]

HELP = "kill and stop each process in turn: does a face leak, does the stream come back"

DESCRIPTION = """\
Run the four processes on frames whose faces carry a random pattern, another one in
every frame, and search every image on every public topic for it. Meanwhile each
process in turn is killed (SIGKILL), and each is stopped for a while (SIGSTOP,
SIGCONT). For each fault: how long until the stream was back (the third frame sent
after it came out), and until no face was covered flat any more.

The exit status is 1 if a pattern was found or a stream was not back in time."""

EXAMPLES = """\
examples:
  deid bench faults                  three runs of 60 s
  deid bench faults --runs 1 --seconds 20 --json
"""

PARAMETERS = (("detector", "detector"), ("detector", "preset"), ("replacer", "replace"),
              ("replacer", "blend"), ("replacer", "deadline_ms"))

_BACK = 3            # frames sent after a fault that came out: the stream is back
_PATIENCE_S = 30.0   # for that


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is done to it."""
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="how many runs [3]")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S",
                        help="of a run at least; faults are spread over it [60]")
    parser.add_argument("--size", type=size_of, default=(640, 480), metavar="WxH",
                        help="of the frames, px [640x480]")
    parser.add_argument("--faces", type=int, default=2, metavar="N",
                        help="in every frame, 1 to 10 [2]")
    parser.add_argument("--rate", type=float, default=10.0, metavar="HZ",
                        help="frames sent a second [10]")
    parser.add_argument("--hold", type=float, default=2.0, metavar="S",
                        help="how long a process is stopped [2]")
    parser.add_argument("--within", type=float, default=5.0, metavar="S",
                        help="the stream must be back after so long [5]")


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Run the bench.

    Returns:
        ``passed``; ``leaks`` (what was found); ``slowest_s`` (the longest a stream was
        away); ``runs``, each with ``faults`` (``kind``, ``node``, ``stream_s``,
        ``surrogates_s``, ``flat`` and ``out``: frames that came during it), ``sent``,
        ``out``, ``searched``, ``withheld`` and ``restarts``; ``proof``: in how many of
        the frames as they were sent the search finds the pattern; ``machine``.

    Raises:
        DeidError: an option out of range; the search or the pipeline does not work.
    """
    in_range(args, runs=(1, 100), seconds=(0, 3600), faces=(1, 10), rate=(1, 60),
             hold=(0.1, 60), within=(0.1, 60))
    from deid_ros.bench.canary import Canary

    canary = Canary(*args.size, args.faces)
    seen = sum(canary.found(frame, index) for index, frame in enumerate(canary.frames))
    if seen < len(canary):
        raise DeidError(f"The search finds the pattern in {seen} of {len(canary)} uncovered frames "
                        "only, so that a leak could escape it; ask for larger frames or fewer "
                        "faces.")
    usage = Usage()
    runs = [_run(config, args, canary) for _ in range(args.runs)]
    leaks = [leak for run in runs for leak in run.pop("leaks")]
    times = [fault["stream_s"] for run in runs for fault in run["faults"]]
    slowest = None if None in times else max(times)
    return {"bench": "faults", "passed": not leaks and slowest is not None
            and slowest <= args.within,
            "leaks": leaks[:100], "leaked": len(leaks), "slowest_s": slowest,
            "within_s": args.within, "proof": f"{seen} of {len(canary)}", "size": list(args.size),
            "faces_per_frame": args.faces, "rate": args.rate, "seconds": args.seconds,
            "preset": config["detector"]["preset"], "runs": runs,
            "machine": usage.spent().machine()}


def _run(config: Config, args: argparse.Namespace, canary: Any) -> dict[str, Any]:
    from deid_ros.ros.watcher import Watcher

    def watcher(**options: Any) -> Any:
        return Watcher(canary, rate=args.rate,
                       patience=config["replacer"]["deadline_ms"] / 1e3 + 0.5, **options)

    with live(config, runtime="processes", make_driver=watcher) as pipe:
        pipe.warm_up(faces=True)
        before = pipe.values()
        pipe.driver.begin()
        pipe.driver.drive()
        begun, faults = time.monotonic(), []
        plan = [(kind, node) for kind in ("kill", "stop") for node in pipe.stages]
        for number, (kind, node) in enumerate(plan):
            time.sleep(max(begun + args.seconds * number / len(plan) - time.monotonic(), 0.5))
            faults.append(_fault(pipe, kind, node, args.hold))
        time.sleep(max(begun + args.seconds - time.monotonic(), 0.0))
        sent, _, latencies = pipe.driver.counts()
        pipe.settle()
        withheld = part(pipe.values().get("replacer", {}), "withheld.", before.get("replacer"))
        return {"leaks": list(pipe.driver.leaks), "searched": pipe.driver.searched, "sent": sent,
                "out": len(latencies), "withheld": withheld, "faults": faults,
                "restarts": {child.name: child.restarts for child in pipe.supervisor.processes}}


def _fault(pipe: Live, kind: str, node: str, hold: float) -> dict[str, Any]:
    """Do it, and wait until everything is as before."""
    begun = time.monotonic()
    process = pipe.pids()[node]
    if kind == "kill":
        os.kill(process, signal.SIGKILL)
    else:
        os.kill(process, signal.SIGSTOP)
        try:
            time.sleep(hold)
        finally:
            os.kill(process, signal.SIGCONT)
    ended = time.monotonic()
    driver = pipe.driver

    def back(clear: bool) -> float | None:
        came = [image.came for image in list(driver.came)
                if image.sent >= ended and not (clear and image.flat)]
        return came[_BACK - 1] - ended if len(came) >= _BACK else None

    if wait(lambda: back(False), _PATIENCE_S) and pipe.config["replacer"]["replace"] == "surrogate":
        wait(lambda: back(True), _PATIENCE_S)
    during = [image for image in list(driver.came) if image.sent >= begun]
    return {"kind": kind, "node": node, "stream_s": _rounded(back(False)),
            "surrogates_s": _rounded(back(True)), "out": len(during),
            "flat": sum(image.flat for image in during)}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def text(result: dict[str, Any]) -> str:
    """The numbers for people."""
    width, height = result["size"]
    runs = result["runs"]
    lines = [
        f"faults    {len(runs)} runs of {result['seconds']:g} s, {width}x{height}, "
        f"{result['faces_per_frame']} faces, {result['rate']:g} Hz, {result['preset']}",
        f"machine   {machine_line(result['machine'])}",
        f"search    finds the pattern in {result['proof']} frames as they were sent",
    ]
    for number, run in enumerate(runs, start=1):
        lines.append(f"run {number}     {run['out']} of {run['sent']} frames left, "
                     f"{run['searched']} images searched; withheld "
                     + (", ".join(f"{k} {n}" for k, n in run["withheld"].items()) or "none"))
        lines += [f"          {fault['kind']} {fault['node']:<10} stream back after "
                  f"{_words(fault['stream_s'])}, surrogates after {_words(fault['surrogates_s'])}"
                  for fault in run["faults"]]
    lines.append(f"leaks     {result['leaked'] or 'none'}"
                 + "".join(f"\n          {leak}" for leak in result["leaks"][:10]))
    lines.append(f"slowest   {_words(result['slowest_s'])} (at most {result['within_s']:g} s): "
                 + ("passed" if result["passed"] else "FAILED"))
    return "\n".join(lines)


def _words(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f} s"
