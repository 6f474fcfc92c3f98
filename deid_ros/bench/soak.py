"""``deid bench soak``: whether memory and open files stay what they are."""

from __future__ import annotations

import argparse
import time
from typing import Any

from deid_ros.bench.live import live, part
from deid_ros.bench.machine import ProcessState, Usage, machine_line
from deid_ros.bench.options import in_range, size_of
from deid_ros.config import Config

__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "PARAMETERS", "add_options", "measure", "text"]

HELP = "memory and open files over a long run"

DESCRIPTION = """\
Run the live pipeline for ten minutes and look at the resident memory and the open
files of each process every few seconds. At the end memory must be within 5 % of
what it was after the first minute (a tenth of a shorter run), open files the same,
and latency must not have grown. The exit status is 1 if it was otherwise."""

EXAMPLES = """\
examples:
  deid bench soak                    four processes, 30 Hz, ten minutes
  deid bench soak --runtime composed --seconds 120 --json soak.json
"""

PARAMETERS = (("detector", "detector"), ("detector", "preset"), ("replacer", "replace"),
              ("replacer", "blend"), ("replacer", "deadline_ms"))

_GROWTH = 0.05
_MOST_SAMPLES = 200


def add_options(parser: argparse.ArgumentParser) -> None:
    """How long, and with what."""
    parser.add_argument("--runtime", choices=("composed", "processes"), default="processes",
                        help="a process for each node, or all in this one [processes]")
    parser.add_argument("--seconds", type=float, default=600.0, metavar="S",
                        help="how long [600]")
    parser.add_argument("--size", type=size_of, default=(640, 480), metavar="WxH",
                        help="of the frames, px [640x480]")
    parser.add_argument("--faces", type=int, default=2, metavar="N",
                        help="in every frame, 0 to 40 [2]")
    parser.add_argument("--rate", type=float, default=30.0, metavar="HZ",
                        help="frames sent a second [30]")


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Run the bench.

    Returns:
        ``passed``; ``processes``: name -> ``rss_mb`` (first, last), ``growth`` (a fraction),
        ``files`` (first, last), ``restarted``; ``samples``: name -> rows of s, MiB, files;
        ``latency_ms``: median of the first and the last tenth; ``frames_sent``,
        ``frames_out``, ``withheld``, ``machine``.

    Raises:
        DeidError: an option out of range; a model is missing; nothing came back.
    """
    in_range(args, seconds=(2, 86400), rate=(0.1, 1000))
    from deid_ros.bench.scene import frames_of
    from deid_ros.ros.driver import Driver

    frames = frames_of(*args.size, args.faces)

    def driver(**options: Any) -> Any:
        return Driver(frames, rate=args.rate,
                      patience=config["replacer"]["deadline_ms"] / 1e3 + 0.5, **options)

    samples: list[tuple[float, dict[str, ProcessState]]] = []
    with live(config, runtime=args.runtime, make_driver=driver) as pipe:
        pipe.warm_up(faces=args.faces > 0)
        before = pipe.values()
        pipe.driver.begin()
        usage, begun = Usage(), time.monotonic()
        pipe.driver.drive()
        first = min(60.0, args.seconds / 10)
        every = max(args.seconds / _MOST_SAMPLES, min(1.0, first))
        due = first
        while due <= args.seconds + 1e-6:
            time.sleep(max(begun + due - time.monotonic(), 0.0))
            samples.append((round(time.monotonic() - begun, 1), pipe.states()))
            due += every
        spent = usage.spent()
        sent, _, latencies = pipe.driver.counts()
        pipe.settle()
        withheld = part(pipe.values().get("replacer", {}), "withheld.", before.get("replacer"))
        restarts = ({} if pipe.supervisor is None else
                    {child.name: child.restarts for child in pipe.supervisor.processes})
    processes = {name: _change(name, samples, restarts) for name in samples[0][1]}
    return {"bench": "soak",
            "passed": all(abs(p["growth"]) <= _GROWTH and p["files"][0] == p["files"][1]
                          and not p["restarted"] for p in processes.values()),
            "runtime": args.runtime, "size": list(args.size), "faces_per_frame": args.faces,
            "rate": args.rate, "seconds": args.seconds, "preset": config["detector"]["preset"],
            "processes": processes, "latency_ms": _medians(latencies), "frames_sent": sent,
            "frames_out": len(latencies), "withheld": withheld,
            "samples": {name: [[at, round(states[name].rss_mb, 1), states[name].files]
                               for at, states in samples if name in states]
                        for name in processes},
            "machine": spent.machine()}


def _change(name: str, samples: list[tuple[float, dict[str, ProcessState]]],
            restarts: dict[str, int]) -> dict[str, Any]:
    states = [states[name] for _, states in samples if name in states]
    first, last = states[0], states[-1]
    return {"rss_mb": [round(first.rss_mb, 1), round(last.rss_mb, 1)],
            "growth": round(last.rss_mb / max(first.rss_mb, 1e-9) - 1, 4),
            "files": [first.files, last.files], "restarted": restarts.get(name, 0)}


def _medians(latencies: list[float]) -> list[float]:
    """Of the first and of the last tenth, ms."""
    tenth = max(len(latencies) // 10, 1)
    return [round(1e3 * sorted(some)[len(some) // 2], 2)
            for some in (latencies[:tenth], latencies[-tenth:]) if some]


def text(result: dict[str, Any]) -> str:
    """The numbers for people."""
    width, height = result["size"]
    lines = [
        f"soak      {result['runtime']}, {result['preset']}, {width}x{height}, "
        f"{result['faces_per_frame']} faces, {result['rate']:g} Hz, {result['seconds']:g} s",
        f"machine   {machine_line(result['machine'])}",
        f"frames    {result['frames_out']} of {result['frames_sent']} left; withheld "
        + (", ".join(f"{k} {n}" for k, n in result["withheld"].items()) or "none"),
    ]
    if len(result["latency_ms"]) == 2:
        lines.append("latency   median {:.1f} ms in the first tenth, {:.1f} ms in the last"
                     .format(*result["latency_ms"]))
    for name, process in result["processes"].items():
        lines.append(f"{name:<9} {process['rss_mb'][0]:.0f} -> {process['rss_mb'][1]:.0f} MiB "
                     f"({100 * process['growth']:+.1f} %), {process['files'][0]} -> "
                     f"{process['files'][1]} open files"
                     + (f", restarted {process['restarted']} times" if process["restarted"]
                        else ""))
    lines.append("result    " + ("passed" if result["passed"] else "FAILED"))
    return "\n".join(lines)
