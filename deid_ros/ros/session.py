"""One run of the pipeline from start to summary: composed, or a process a node."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deid_ros.config import Config
from deid_ros.errors import DeidError
from deid_ros.ros.graph import Graph, drained, listeners, stages_of
from deid_ros.ros.runtime import Runner, ros_context, stop_signals
from deid_ros.ros.searcher import SEARCH_VARIABLE, words_of
from deid_ros.ros.summary import Summary
from deid_ros.ros.supervisor import Monitor, Supervisor, children, parameter_file

__all__ = ["Run", "run_composed", "run_processes"]

_LOOK_S = 0.1


@dataclass(frozen=True)
class Run:
    """What to run.

    Attributes:
        config: of all nodes.
        namespace: of all nodes.
        source, record: whether there is a ``video_source``, a ``recorder``.
        network: host or lan.
        seconds: end after so long; 0: with the source, or when told to.
        domain_id: of ROS; None: what the environment says.
        remaps: further ROS arguments, such as ``['-r', 'from:=to']``.
        ready: called when everything has been started.
    """

    config: Config
    namespace: str = ""
    source: bool = False
    record: bool = False
    network: str | None = None
    seconds: float = 0.0
    domain_id: int | None = None
    remaps: Sequence[str] = ()
    ready: Callable[[], None] = lambda: None


def _wait(run: Run, stop: threading.Event, over: Callable[[], bool]) -> float:
    """Until a signal, the end of the time, or ``over``; how long that was (s)."""
    began = time.monotonic()
    while not stop.wait(_LOOK_S) and not over():
        if run.seconds and time.monotonic() - began >= run.seconds:
            break
    return time.monotonic() - began


def _drain(values: Callable[[], Mapping[str, Mapping[str, float]]], timeout: float,
           stop: threading.Event) -> None:
    """Until the last frame of the source has left or been withheld."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and not stop.wait(_LOOK_S):
        now = values()
        if drained(now.get("replacer", {}), now.get("video_source", {}).get("out", 0)):
            break


def run_composed(run: Run, *, cores: Mapping[str, Mapping[str, Any]] | None = None) -> Summary:
    """All nodes in this process.

    Raises:
        DeidError: a parameter, model or gallery that is not right; the source
            cannot be read.
    """
    arguments = ["--ros-args", *run.remaps] if run.remaps else []
    with (stop_signals() as stop,
          ros_context(arguments, network=run.network, domain_id=run.domain_id) as context):
        graph = Graph(run.config, context=context, namespace=run.namespace, source=run.source,
                      record=run.record, cores=cores)
        with graph:
            run.ready()
            seconds = _wait(run, stop, lambda: graph.finished)
            graph.drain()
        return Summary.of(graph.values(), seconds=seconds)


def run_processes(run: Run) -> Summary:
    """A process for each node, started again when it dies.

    Raises:
        DeidError: a node refused its parameters (it has said why on stderr).
    """
    names = [*(["recorder"] if run.record else []), *reversed(stages_of(run.config)),
             *(["video_source"] if run.source else [])]
    config = {**run.config, "video_source": {
        **run.config["video_source"], "wait_for": listeners(run.config, record=run.record)}}
    with (stop_signals() as stop, parameter_file(config) as file,
          ros_context(network=run.network, domain_id=run.domain_id) as context):
        environment = {**os.environ, SEARCH_VARIABLE: words_of(run.config["detector"])}
        if run.domain_id is not None:
            environment["ROS_DOMAIN_ID"] = str(run.domain_id)
        supervisor = Supervisor(
            children(file, names, namespace=run.namespace, arguments=run.remaps),
            environment=environment)
        monitor = Runner(Monitor(context=context, namespace=run.namespace))
        monitor.start()

        waiting = [run.ready]

        def over() -> bool:
            supervisor.look()
            if waiting and set(names) <= set(monitor.node.values()):
                waiting.pop()()
            return bool(supervisor.refused) or (run.source and supervisor.ended("video_source"))
        try:
            supervisor.start()
            seconds = _wait(run, stop, over)
            supervisor.look()
            status = supervisor.child("video_source").process.poll() if run.source else None
            if status == 0:
                _drain(monitor.node.values, run.config["replacer"]["deadline_ms"] / 1e3 + 3, stop)
        finally:
            supervisor.stop()
            time.sleep(0.2)
            values = monitor.node.values()
            monitor.stop()
    if supervisor.refused:
        raise DeidError(f"The node {supervisor.refused} refused to start; its reason is above.")
    if status:
        raise DeidError(f"The source ended with status {status}; its reason is above.")
    return Summary.of(values, seconds=seconds,
                      restarts={child.name: child.restarts for child in supervisor.processes})
