"""``deid bench ros``: the live pipeline over real topics, from camera to output."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from deid_ros.bench import grid
from deid_ros.bench.live import WARM_S, live, part
from deid_ros.bench.machine import Usage, cores, machine_line, rss_mb
from deid_ros.bench.options import in_range, size_of
from deid_ros.config import Config
from deid_ros.errors import DeidError
from deid_ros.parameters import PARAMETERS as PARAMETERS_OF

__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "PARAMETERS", "add_options", "measure", "text"]

HELP = "frames a second of the whole pipeline, and where the time goes"

DESCRIPTION = """\
Send composed frames (faces that move over a textured background) through the four
nodes over real ROS 2 topics that stay on this host, and time how long each takes
to come back covered. Driven at a fixed rate or flat out (the next frame when a
former one came out). Making models and covering the first frames is not counted.

The ideal rate is the number of cores divided by the CPU seconds of one frame: what
would be reached if no core ever waited."""

EXAMPLES = """\
examples:
  deid bench ros                     two faces at 640x480 and 30 Hz, composed
  deid bench ros --rate 0            the same, flat out
  deid bench ros --runtime processes --preset fast --json
                                     a process for each node; the numbers as JSON
  deid bench ros --deadline-ms 5000  on a busy machine: no frame is given up
  deid bench ros --grid --seconds 5 --json live.json --plot live.png
                                     every runtime, size and number of faces: a table,
                                     a plot; ten minutes or more
"""

PARAMETERS = (("detector", "detector"), ("detector", "preset"), ("matcher", "gallery"),
              ("matcher", "policy"), ("matcher", "mix"), ("generator", "generator"),
              ("replacer", "replace"), ("replacer", "blend"), ("replacer", "deadline_ms"))


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is measured."""
    parser.add_argument("--size", type=size_of, default=(640, 480), metavar="WxH",
                        help="of the frames, px [640x480]")
    parser.add_argument("--faces", type=int, default=2, metavar="N",
                        help="in every frame, 0 to 40 [2]")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S",
                        help="how long to measure [10]")
    parser.add_argument("--rate", type=float, default=30.0, metavar="HZ",
                        help="frames sent a second; 0: flat out [30]")
    parser.add_argument("--window", type=int, default=2, metavar="N",
                        help="frames under way at most, when driven flat out [2]")
    parser.add_argument("--runtime", choices=("composed", "processes", "core"),
                        default="composed",
                        help="all nodes in this process, a process for each, or the same stages "
                             "one after the other without ROS, for comparison [composed]")
    parser.add_argument("--patience", type=float, metavar="S",
                        help="longest wait for the first surrogates "
                             f"[{WARM_S:g}; of a grid {grid.PATIENCE_S:g}]")
    parser.add_argument("--accept-flat", action="store_true",
                        help="measure even where no surrogate is ever in time and every face is "
                             "covered flat; a grid always does")
    grid.add_options(parser)


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Run the bench.

    Returns:
        With ``--grid``, what ``bench.grid.measure`` gives; else
        ``fps``, ``delivered`` (fraction of the frames sent), ``latency_ms`` (``p50``,
        ``p95``, ``p99``), ``stage_ms`` and ``stage_cpu_ms`` (a frame), ``cpu_ms``
        (a frame), ``ideal_fps``, ``ideal_ratio`` (of it, what was reached),
        ``left_ratio`` (the same for the cores that other processes left), ``faces``
        (what covered them), ``flat`` (fraction not covered by a surrogate), ``area_to_boxes``
        (what was covered, in parts of the boxes of the face table, which hold the margin) and
        ``area_to_faces`` (of the faces that were sent, chin to hairline), ``withheld`` by
        cause, ``rss_mb`` (all processes together; composed with the frames that were sent)
        and ``rss_mb_of`` each, ``machine``, and what was asked for.

    Raises:
        DeidError: an option out of range; a model is missing; nothing came back.
    """
    if args.patience is None:
        args.patience = grid.PATIENCE_S if args.grid else WARM_S
    in_range(args, seconds=(0.2, 3600), rate=(0, 1000), window=(1, 8), patience=(1, 3600))
    result = grid.measure(config, args) if args.grid else _measure(config, args)
    if args.plot:
        from deid_ros.bench.live_plot import draw
        draw(result, args.plot)
    return result


def _measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    from deid_ros.bench.scene import frames_of
    frames = frames_of(*args.size, args.faces)
    core = args.runtime == "core"
    asked = {"bench": "ros", "runtime": args.runtime, "preset": config["detector"]["preset"],
             "size": list(args.size), "faces_per_frame": args.faces, "rate": args.rate,
             "window": 1 if core else args.window, "seconds": args.seconds,
             "detector": config["detector"]["detector"],
             "replace": config["replacer"]["replace"], "blend": config["replacer"]["blend"]}
    return asked | (_core if core else _live)(config, args, frames)


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


def _live(config: Config, args: argparse.Namespace, frames: list) -> dict[str, Any]:
    from deid_ros.ros.driver import Driver

    def driver(**options: Any) -> Any:
        return Driver(frames, rate=args.rate, window=args.window,
                      patience=config["replacer"]["deadline_ms"] / 1e3 + 0.5, **options)

    # A deadline longer than usual is worth nothing where the queue is full before it.
    waiting = dict(config["replacer"])
    waiting["queue"] = min(max(waiting["queue"], int(
        args.rate * waiting["deadline_ms"] / 1e3) + 2), PARAMETERS_OF["replacer"]["queue"].maximum)
    config = {**config, "replacer": waiting}
    with live(config, runtime=args.runtime, make_driver=driver) as pipe:
        pipe.warm_up(faces=args.faces > 0, patience=args.patience, accept_flat=args.accept_flat)
        before, processes = pipe.values(), pipe.states()
        driver_name = pipe.driver.get_name()
        pipe.driver.begin()
        usage = Usage()
        pipe.driver.drive()
        time.sleep(args.seconds)
        spent, after = usage.spent(), pipe.states()
        sent, _, latencies = pipe.driver.counts()
        pipe.settle()
        late = pipe.driver.counts()
        values = pipe.values()
    count = len(latencies)
    counted = {name: part(values.get(name, {}), "", before.get(name)) for name in pipe.stages}
    replacer = counted["replacer"]
    if not count:
        raise DeidError(f"{sent} frames were sent in {args.seconds} s and none came back; "
                        f"withheld: {part(replacer, 'withheld.') or 'none'}.")
    # A frame that was withheld has cost as much as one that left.
    handled = max(counted["detector"].get("out", 0), count)
    if pipe.supervisor is None:
        cpu = spent.cpu - spent.threads.get(driver_name, 0.0)
        used = {name: spent.threads.get(name, 0.0) for name in pipe.stages}
        # Threads that are not Python's: those of the networks and of the transport.
        used["other threads"] = max(cpu - sum(used.values()), 0.0)
    else:
        used = {name: after[name].cpu - processes[name].cpu for name in after
                if name in processes}
        cpu = sum(used.values())
        # What this process, the driver, used is not the pipeline's.
        others = None if spent.others is None else max(spent.others - cpu / spent.wall, 0.0)
        spent = dataclasses.replace(spent, others=others)
    # What was still under way at the end is no loss if it came back.
    result = _result(
        spent, cpu, handled, sent=sent, latencies=latencies,
        delivered=len(late[2]) / max(sent, 1), rss=sum(state.rss_mb for state in after.values()),
        stage_ms={name: value for name in pipe.stages
                  if (value := values.get(name, {}).get("work_ms.p50")) is not None},
        stage_cpu_ms={name: 1e3 * value / handled for name, value in used.items()},
        faces=part(replacer, "faces."), withheld=part(replacer, "withheld."))
    return result | _area(replacer, args) | {
        "rss_mb_of": {name: round(state.rss_mb, 1) for name, state in after.items()}}


def _area(counted: Mapping[str, int], args: argparse.Namespace) -> dict[str, float | None]:
    """What was covered, in parts of the boxes in the face table, and of the faces sent."""
    from deid_ros.bench.scene import face_area

    covered, boxes = counted.get("px.covered", 0), counted.get("px.boxes", 0)
    sent = face_area(*args.size, args.faces) * counted.get("out", 0)
    return {"area_to_boxes": round(covered / boxes, 3) if boxes else None,
            "area_to_faces": round(covered / sent, 3) if sent else None}


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
    if "cells" in result:
        return grid.text(result)
    width, height = result["size"]
    driven = f"{result['rate']:g} Hz" if result["rate"] else "flat out"
    latency = result["latency_ms"]
    total = sum(result["faces"].values())
    lines = [
        f"pipeline  {result['runtime']}, {result['preset']}, {width}x{height}, "
        f"{result['faces_per_frame']} faces, "
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
        f"memory    {result['rss_mb']:.0f} MiB"
        + (f" ({_words(result['rss_mb_of'])})" if len(result.get("rss_mb_of", ())) > 1 else ""),
    ]
    if result.get("area_to_boxes"):
        lines.append(f"area      covered {result['area_to_boxes']:.2f} times the boxes of the face "
                     f"table, {result['area_to_faces']:.2f} times the faces sent")
    if result["withheld"]:
        lines.append("withheld  " + ", ".join(f"{k} {n}" for k, n in result["withheld"].items())
                     + ("; --deadline-ms 5000 gives no frame up"
                        if result["withheld"].get("deadline") else ""))
    return "\n".join(lines)


def _words(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in numbers.items())
