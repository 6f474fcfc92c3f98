"""``deid bench pipeline``: the composed graph over real topics, from camera to output."""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from deid_ros.bench.machine import Usage, cores, machine_line, rss_mb
from deid_ros.config import Config
from deid_ros.errors import ConfigError, DeidError

__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "PARAMETERS", "add_options", "measure", "text"]

HELP = "frames a second of the whole pipeline, and where the time goes"

DESCRIPTION = """\
Send composed frames (faces that move over a textured background) through the four
nodes over real ROS 2 topics that stay on this host, and time how long each takes
to come back covered. Driven flat out (the next frame when a former one came out)
or at a fixed rate. Making models and covering the first frames is not counted.

The ideal rate is the number of cores divided by the CPU seconds of one frame: what
would be reached if no core ever waited."""

EXAMPLES = """\
examples:
  deid bench pipeline                two faces at 640x480, flat out, over ROS 2
  deid bench pipeline --rate 15      the same at 15 frames a second
  deid bench pipeline --core --json result.json
                                     without ROS, the numbers as JSON too
  deid bench pipeline --deadline-ms 5000
                                     on a busy machine: no frame is given up
"""

PARAMETERS = (("detector", "detector"), ("detector", "preset"), ("matcher", "gallery"),
              ("matcher", "policy"), ("matcher", "mix"), ("generator", "generator"),
              ("replacer", "replace"), ("replacer", "blend"), ("replacer", "deadline_ms"))

_WARM_S = 60.0       # until the first surrogate, at most
_CONNECT_S = 15.0
_SETTLE_S = 1.0


def size_of(word: str) -> tuple[int, int]:
    """Width and height of ``640x480``; for ``argparse``."""
    width, mark, height = word.lower().partition("x")
    if not mark or not width.isdecimal() or not height.isdecimal():
        raise argparse.ArgumentTypeError(f"{word!r} is not of the form WIDTHxHEIGHT, as 640x480")
    size = int(width), int(height)
    if not (min(size) >= 32 and max(size) <= 8192):
        raise argparse.ArgumentTypeError(f"{word!r} is out of range; sides must be from 32 to "
                                         "8192 px")
    return size


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is measured."""
    parser.add_argument("--size", type=size_of, default=(640, 480), metavar="WxH",
                        help="of the frames, px [640x480]")
    parser.add_argument("--faces", type=int, default=2, metavar="N",
                        help="in every frame, 0 to 40 [2]")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S",
                        help="how long to measure [10]")
    parser.add_argument("--rate", type=float, default=0.0, metavar="HZ",
                        help="frames sent a second; 0: flat out [0]")
    parser.add_argument("--window", type=int, default=2, metavar="N",
                        help="frames under way at most, when driven flat out [2]")
    parser.add_argument("--core", action="store_true",
                        help="the same stages one after the other, without ROS, for comparison")


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Run the bench.

    Returns:
        ``fps``, ``delivered`` (fraction of the frames sent), ``latency_ms`` (``p50``,
        ``p95``, ``p99``), ``stage_ms`` and ``stage_cpu_ms`` (a frame), ``cpu_ms``
        (a frame), ``ideal_fps``, ``ideal_ratio`` (of it, what was reached),
        ``left_ratio`` (the same for the cores that other processes left), ``faces``
        (what covered them), ``flat`` (fraction not covered by a surrogate), ``withheld`` by cause,
        ``rss_mb``, ``machine``, and what was asked for.

    Raises:
        DeidError: an option out of range; a model is missing; nothing came back.
    """
    for name, value, least, most in (("seconds", args.seconds, 0.2, 3600),
                                     ("rate", args.rate, 0, 1000), ("window", args.window, 1, 8)):
        if not least <= value <= most:
            raise ConfigError(f"--{name} is {value} but must be from {least} to {most}.")
    from deid_ros.bench.scene import frames_of
    frames = frames_of(*args.size, args.faces)
    asked = {"bench": "pipeline", "runtime": "core" if args.core else "composed",
             "size": list(args.size), "faces_per_frame": args.faces, "rate": args.rate,
             "window": 1 if args.core else args.window, "seconds": args.seconds,
             "detector": config["detector"]["detector"],
             "replace": config["replacer"]["replace"], "blend": config["replacer"]["blend"]}
    return asked | (_core if args.core else _composed)(config, args, frames)


def _core(config: Config, args: argparse.Namespace, frames: list) -> dict[str, Any]:
    from deid_ros.pipeline import Pipeline

    pipeline = Pipeline(config)
    pipeline.prepare()
    loop = enumerate(itertools.cycle(frames), start=1)
    step = round(1e9 / (args.rate or 20))

    def once() -> Any:
        index, frame = next(loop)
        return pipeline.process(frame, stamp_ns=index * step)

    for _ in range(5):
        once()
    latencies: list[float] = []
    stages: Counter[str] = Counter()
    covered: Counter[str] = Counter()
    usage = Usage()
    begin = due = time.perf_counter()
    while time.perf_counter() - begin < args.seconds:
        if args.rate:
            due = max(due + 1 / args.rate, time.perf_counter())
            time.sleep(max(due - time.perf_counter(), 0.0))
        start = time.perf_counter()
        done = once()
        latencies.append(time.perf_counter() - start)
        stages.update(done.timings)
        covered.update(done.covered_by)
    spent = usage.spent()
    count = len(latencies)
    return _result(spent, spent.cpu, count, sent=count, latencies=latencies,
                   stage_ms={name: total / count for name, total in stages.items()},
                   stage_cpu_ms={}, faces=covered, withheld={})


def _composed(config: Config, args: argparse.Namespace, frames: list) -> dict[str, Any]:
    from deid_ros.ros.driver import Driver
    from deid_ros.ros.graph import STAGES, Graph
    from deid_ros.ros.health import Health
    from deid_ros.ros.runtime import Runner, ros_context

    with ros_context(network="host") as context:
        driver = Driver(frames, topic=config["detector"]["image_topic"], context=context,
                        rate=args.rate, window=args.window,
                        patience=config["replacer"]["deadline_ms"] / 1e3 + 0.5)
        runner, driver_name = Runner(driver), driver.get_name()
        try:
            with Graph(config, context=context) as graph:
                runner.start()
                _wait(driver.connected, _CONNECT_S,
                      "The nodes did not find each other over ROS 2; check ROS_DOMAIN_ID and "
                      "the Fast DDS profile of the environment.")
                _warm_up(graph, driver, wants=args.faces and graph.node(
                    "replacer").options["replace"] == "surrogate")
                stages = [name for name in STAGES if name in graph.runners]
                for name in stages:
                    # Nothing is under way now: count anew.
                    graph.node(name).health = Health()
                driver.begin()
                usage = Usage()
                driver.drive()
                time.sleep(args.seconds)
                spent = usage.spent()
                sent, lost, latencies = driver.counts()
                driver.drive(False)
                _wait(lambda: not driver.under_way, 3.0)
                late = driver.counts()
                values = graph.values()
                rss = rss_mb()
        finally:
            runner.stop()
    count = len(latencies)
    if not count:
        raise DeidError(f"{sent} frames were sent in {args.seconds} s and none came back; "
                        f"withheld: {_part(values['replacer'], 'withheld.') or 'none'}.")
    # A frame that was withheld has cost as much as one that left.
    handled = max(int(values["detector"].get("out", 0)), count)
    cpu = spent.cpu - spent.threads.get(driver_name, 0.0)
    by_thread = {name: spent.threads.get(name, 0.0) for name in stages}
    # Threads that are not Python's: those of the networks and of the transport.
    by_thread["other threads"] = max(cpu - sum(by_thread.values()), 0.0)
    # What was still under way at the end is no loss if it came back.
    return _result(
        spent, cpu, handled, sent=sent, latencies=latencies,
        delivered=len(late[2]) / max(sent, 1), rss=rss,
        stage_ms={name: value for name in stages
                  if (value := values[name].get("work_ms.p50")) is not None},
        stage_cpu_ms={name: 1e3 * value / handled for name, value in by_thread.items()},
        faces=_part(values["replacer"], "faces."),
        withheld=_part(values["replacer"], "withheld."))


def _warm_up(graph: Any, driver: Any, *, wants: bool) -> None:
    """Drive until faces leave as surrogates, so that every model has run, then let it drain."""
    health = graph.node("replacer").health
    driver.drive()
    try:
        _wait(lambda: health.total("faces.surrogate") >= 20 if wants else health.total("out") >= 10,
              _WARM_S, "No surrogate left the pipeline in a minute; the errors above say why. On a "
              "machine this busy or slow, try --deadline-ms 5000.")
        time.sleep(_SETTLE_S)
    finally:
        driver.drive(False)
    _wait(lambda: not driver.under_way, 3.0)


def _wait(condition: Callable[[], Any], seconds: float, complaint: str = "") -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            if complaint:
                raise DeidError(complaint)
            return
        time.sleep(0.02)


def _part(values: Mapping[str, float], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): int(value) for name, value in values.items()
            if name.startswith(prefix)}


def _result(spent: Any, cpu: float, handled: int, *, sent: int, latencies: list[float],
            stage_ms: dict[str, float], stage_cpu_ms: dict[str, float],
            faces: Mapping[str, int], withheld: dict[str, int],
            delivered: float = 1.0, rss: float | None = None) -> dict[str, Any]:
    import numpy as np

    count = len(latencies)
    ideal = cores() * handled / cpu
    # Of the cores, what the rest of the machine left to this process.
    left = max(1 - (spent.others or 0.0) / cores(), 0.05)
    total = sum(faces.values())
    return {
        "frames_sent": sent, "frames_out": count, "fps": round(count / spent.wall, 2),
        "delivered": round(min(delivered, 1.0), 4),
        "latency_ms": {f"p{percent}": round(1e3 * float(np.percentile(latencies, percent)), 2)
                       for percent in (50, 95, 99)},
        "stage_ms": {name: round(value, 2) for name, value in stage_ms.items()},
        "stage_cpu_ms": {name: round(value, 2) for name, value in stage_cpu_ms.items()},
        "cpu_ms": round(1e3 * cpu / handled, 2),
        "ideal_fps": round(ideal, 2), "ideal_ratio": round(count / spent.wall / ideal, 3),
        "left_ratio": round(count / spent.wall / (ideal * left), 3),
        "faces": dict(faces),
        "flat": round(1 - faces.get("surrogate", 0) / total, 4) if total else 0.0,
        "withheld": withheld, "rss_mb": round(rss_mb() if rss is None else rss, 1),
        "machine": spent.machine()}


def text(result: dict[str, Any]) -> str:
    """The numbers for people."""
    width, height = result["size"]
    driven = f"{result['rate']:g} Hz" if result["rate"] else "flat out"
    latency = result["latency_ms"]
    total = sum(result["faces"].values())
    lines = [
        f"pipeline  {result['runtime']}, {width}x{height}, {result['faces_per_frame']} faces, "
        f"{driven}, {result['seconds']:g} s, {'+'.join(result['detector'])}",
        f"machine   {machine_line(result['machine'])}",
        f"rate      {result['fps']:.1f} frames/s end to end, {result['frames_out']} of "
        f"{result['frames_sent']} frames, {100 * result['delivered']:.1f} % delivered",
        f"latency   median {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms, "
        f"p99 {latency['p99']:.1f} ms",
        "stages    " + _words(result["stage_ms"]) + " (ms of wall time a frame)",
    ]
    if result["stage_cpu_ms"]:
        lines.append("          " + _words(result["stage_cpu_ms"]) + " (ms of CPU time a frame)")
    lines += [
        f"CPU       {result['cpu_ms']:.1f} ms a frame; ideal rate "
        f"{result['machine']['cores']} / {result['cpu_ms'] / 1e3:.4f} s = "
        f"{result['ideal_fps']:.1f} frames/s, reached {100 * result['ideal_ratio']:.0f} % of it, "
        f"{100 * result['left_ratio']:.0f} % of what other processes left",
        f"faces     {total} covered" + (f", {100 * result['flat']:.1f} % flat ("
                                        + ", ".join(f"{k} {n}" for k, n in result["faces"].items())
                                        + ")" if total else ""),
        f"memory    {result['rss_mb']:.0f} MiB",
    ]
    if result["withheld"]:
        lines.append("withheld  " + ", ".join(f"{k} {n}" for k, n in result["withheld"].items())
                     + ("; --deadline-ms 5000 gives no frame up"
                        if result["withheld"].get("deadline") else ""))
    return "\n".join(lines)


def _words(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in numbers.items())
