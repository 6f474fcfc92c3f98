"""The live pipeline as benches run it: on topics of its own, with a driver.

Composed or in processes, it looks the same from here: what the nodes have
counted, and what each process holds.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deid_ros.bench.machine import ProcessState, process_state
from deid_ros.config import Config
from deid_ros.errors import DeidError

__all__ = ["CAMERA", "WARM_S", "Live", "live", "part", "wait"]

#: Relative, so that a bench on a robot never meets the robot's own camera.
CAMERA = "camera/image_raw"

#: Until the first surrogate, at most.
WARM_S = 120.0

_CONNECT_S = 120.0
_SETTLE_S = 1.0
_DIAGNOSED_S = 1.3   # after this every process has said its numbers


@dataclass
class Live:
    """A running pipeline.

    Attributes:
        config: of its nodes.
        runtime: ``composed`` or ``processes``.
        driver: the node that plays the camera and listens.
        stages: names of the nodes.
        supervisor: of the processes; None when composed.
    """

    config: Config
    runtime: str
    driver: Any
    stages: tuple[str, ...]
    values: Callable[[], dict[str, dict[str, float]]]
    supervisor: Any = None
    graph: Any = None
    begun: float = field(default_factory=time.monotonic)

    def pids(self) -> dict[str, int]:
        """Process -> its id, of those that run; ``composed`` is this process."""
        if self.supervisor is None:
            return {"composed": os.getpid()}
        return {child.name: child.process.pid for child in self.supervisor.processes
                if child.process is not None and child.process.poll() is None}

    def states(self) -> dict[str, ProcessState]:
        """Process -> what it has used and holds."""
        found = {name: process_state(pid) for name, pid in self.pids().items()}
        return {name: state for name, state in found.items() if state is not None}

    def settle(self) -> None:
        """Until nothing is under way and the numbers are those of now."""
        self.driver.drive(False)
        wait(lambda: not self.driver.under_way, 3.0)
        time.sleep(_DIAGNOSED_S if self.supervisor else 0.05)

    def warm_up(self, *, faces: bool, patience: float = WARM_S, accept_flat: bool = False) -> None:
        """Drive until frames leave, with surrogates where there are faces, then let it drain.

        Args:
            faces: whether there are any.
            patience: the longest wait (s).
            accept_flat: frames without a single surrogate will do, after that wait.

        Raises:
            DeidError: nothing came in that time.
        """
        wants = faces and self.config["replacer"]["replace"] == "surrogate"

        def left(name: str) -> float:
            return self.values().get("replacer", {}).get(name, 0)
        self.driver.drive()
        try:
            done = wants and wait(
                lambda: left("faces.surrogate") >= 20, patience, "" if accept_flat else
                "No surrogate left the pipeline in time; the errors above say why. On a machine "
                "this busy or slow, try --deadline-ms 5000.")
            if not done:
                # Flat ones had their time already.
                wait(lambda: left("out") >= (1 if wants else 10), 1.0 if wants else patience,
                     "No frame left the pipeline in time; the errors above say why.")
            time.sleep(_SETTLE_S)
        finally:
            self.settle()


@contextlib.contextmanager
def live(config: Config, *, runtime: str, make_driver: Callable[..., Any]) -> Iterator[Live]:
    """The pipeline of a configuration, started, connected to a driver, and ended.

    Args:
        config: as from ``config.load``; its camera topic is replaced.
        runtime: ``composed`` or ``processes``.
        make_driver: given ``topic``, ``context`` and ``namespace``, a node with the
            methods of ``ros.driver.Driver``.

    Raises:
        DeidError: a node refused to start, or they did not find each other.
    """
    from deid_ros.ros.graph import Graph, stages_of
    from deid_ros.ros.runtime import Runner, ros_context
    from deid_ros.ros.supervisor import Monitor, Supervisor, children, parameter_file

    config = {node: dict(values) for node, values in config.items()}
    for node in ("detector", "replacer"):
        config[node]["image_topic"] = CAMERA
    namespace = f"deid_bench_{os.getpid()}"
    stages = stages_of(config)
    with contextlib.ExitStack() as stack:
        context = stack.enter_context(ros_context(network="host"))
        runner = Runner(make_driver(topic=CAMERA, context=context, namespace=namespace))
        stack.callback(runner.stop)
        if runtime == "composed":
            graph = stack.enter_context(Graph(config, context=context, namespace=namespace))
            running = Live(config, runtime, runner.node, stages, graph.values, graph=graph)
        else:
            file = stack.enter_context(parameter_file(config))
            supervisor = Supervisor(children(file, list(reversed(stages)), namespace=namespace))
            monitor = Runner(Monitor(context=context, namespace=namespace))
            stack.callback(monitor.stop)
            monitor.start()
            stack.callback(supervisor.stop)
            supervisor.start()
            stack.enter_context(_watched(supervisor))
            running = Live(config, runtime, runner.node, stages, monitor.node.values,
                           supervisor=supervisor)
        runner.start()
        wait(lambda: runner.node.connected() or _refused(running), _CONNECT_S,
             "The nodes did not find each other over ROS 2; check ROS_DOMAIN_ID and the Fast DDS "
             "profile of the environment.")
        if _refused(running):
            raise DeidError(f"The node {running.supervisor.refused} refused to start; its reason "
                            "is above.")
        yield running


def _refused(running: Live) -> bool:
    return running.supervisor is not None and bool(running.supervisor.refused)


@contextlib.contextmanager
def _watched(supervisor: Any) -> Iterator[None]:
    """A thread that starts again what has died."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            supervisor.look()
    thread = threading.Thread(target=look, name="supervisor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def wait(condition: Callable[[], Any], seconds: float, complaint: str = "") -> bool:
    """Whether it came true in time.

    Raises:
        DeidError: it did not, and there is a complaint.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            if complaint:
                raise DeidError(complaint)
            return False
        time.sleep(0.02)
    return True


def part(values: Mapping[str, float], prefix: str,
         before: Mapping[str, float] | None = None) -> dict[str, int]:
    """What was counted under ``prefix``, since ``before`` where given; zeros are left out."""
    counts = {name.removeprefix(prefix): int(value - (before or {}).get(name, 0))
              for name, value in values.items()
              if name.startswith(prefix) and "_ms." not in name}
    return {name: number for name, number in counts.items() if number}
