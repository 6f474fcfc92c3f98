"""The pipeline in one process a node: started, watched, started again."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.node import Node

from deid_ros.config import Config
from deid_ros.ros.remembered import PARENT_VARIABLE, RUN_VARIABLE, forget, name_run
from deid_ros.ros.searcher import SESSION_VARIABLE

__all__ = ["Child", "Monitor", "Supervisor", "children", "parameter_file"]

#: Seconds before a process that died is started again: the first time, and at most.
_RESPAWN_S, _RESPAWN_MOST_S = 0.1, 5.0
#: A process that lived this long died of something new.
_HEALTHY_S = 10.0
#: Exit status of a process that refuses its parameters: no use in trying again.
_REFUSED = 2


class _Quoting(yaml.SafeDumper):
    """Every text in quotes: ROS reads more bare words as truth values than YAML does."""


_Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


@contextlib.contextmanager
def parameter_file(config: Config) -> Iterator[Path]:
    """A ROS parameter file of a whole configuration, deleted at the end."""
    tree = {f"/**/{node}": {"ros__parameters": values} for node, values in config.items()}
    with tempfile.TemporaryDirectory(prefix="deid_") as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(yaml.dump(tree, Dumper=_Quoting), encoding="utf-8")
        yield path


@dataclass
class Child:
    """One process: what it runs, and how it has fared."""

    name: str
    command: Sequence[str]
    respawn: bool = True
    process: subprocess.Popen | None = None
    started: float = 0.0
    due: float = 0.0
    delay: float = _RESPAWN_S
    restarts: int = 0


def children(config_file: Path, names: Sequence[str], *, namespace: str = "",
             arguments: Sequence[str] = ()) -> list[Child]:
    """A process for each of these nodes; a ``video_source`` ends with its source.

    Each has the enclave of ``config/sros2/policy.xml``; without ROS 2 security it
    means nothing.
    """
    ros = ["--ros-args", "--params-file", str(config_file), *arguments]
    if namespace:
        ros += ["-r", f"__ns:=/{namespace.strip('/')}"]
    return [Child(name, [sys.executable, "-m", f"deid_ros.ros.{name}_node", *ros,
                         "--enclave", f"/deid_ros/{name}"],
                  respawn=name != "video_source") for name in names]


@dataclass
class Supervisor:
    """Runs processes until ``stop``; what dies is started again.

    ``refused`` is the name of a process that does not accept its parameters;
    ``session`` what all of them know each other by, ``run`` what they remember things under.
    """

    processes: list[Child]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    refused: str = ""
    session: str = field(default_factory=lambda: secrets.token_hex(16))
    run: str = field(default_factory=name_run)

    def start(self) -> None:
        """Start all of them."""
        for child in self.processes:
            self._spawn(child)

    def _spawn(self, child: Child) -> None:
        # In a session of its own: Ctrl-C in the terminal reaches this process only,
        # and the nodes end in order.
        child.process = subprocess.Popen(
            child.command, start_new_session=True,
            env={**self.environment, PARENT_VARIABLE: str(os.getpid()),
                 RUN_VARIABLE: self.run, SESSION_VARIABLE: self.session})
        child.started = time.monotonic()

    def child(self, name: str) -> Child:
        """The process of a node."""
        return next(child for child in self.processes if child.name == name)

    def ended(self, name: str) -> bool:
        """Whether a process has ended, not to be started again."""
        child = self.child(name)
        return child.process is not None and not child.respawn and child.process.poll() is not None

    def look(self) -> None:
        """See who has died; to be called a few times a second."""
        now = time.monotonic()
        for child in self.processes:
            if child.process is None:
                if now >= child.due:
                    self._spawn(child)
                continue
            status = child.process.poll()
            if status is None:
                continue
            if status == _REFUSED:
                self.refused = child.name
            elif child.respawn:
                child.restarts += 1
                fresh = now - child.started > _HEALTHY_S
                child.delay = _RESPAWN_S if fresh else min(2 * child.delay, _RESPAWN_MOST_S)
                child.process, child.due = None, now + child.delay
                print(f"deid: the node {child.name} ended with status {status}; it starts again "
                      f"in {child.delay:.1f} s", file=sys.stderr)

    def stop(self, timeout: float = 5.0) -> None:
        """End all, the last one first: told, then killed."""
        for child in reversed(self.processes):
            process = child.process
            if process is None:
                continue
            # Not SIGINT first: Python answers that with a traceback while it still imports.
            for number in (signal.SIGTERM, signal.SIGKILL):
                if process.poll() is not None:
                    break
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout)
        forget(self.run)


class Monitor(Node):
    """Keeps the newest numbers of every node from ``/diagnostics``.

    A node that was started again begins at zero; what it had counted before is
    kept and added.
    """

    def __init__(self, *, context: Context, namespace: str = "") -> None:
        super().__init__("monitor", context=context, namespace=namespace or None)
        self._prefix = self.get_namespace().rstrip("/") + "/"
        self._lock = threading.Lock()
        self._now: dict[str, dict[str, float]] = {}
        self._before: dict[str, dict[str, float]] = {}
        self.create_subscription(DiagnosticArray, "/diagnostics", self._came, 50)

    def _came(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            name = status.name.removeprefix(self._prefix)
            if status.hardware_id != "deid_ros" or "/" in name:
                continue
            values = {}
            for pair in status.values:
                with contextlib.suppress(ValueError):
                    values[pair.key] = float(pair.value)
            with self._lock:
                old = self._now.get(name, {})
                if any(values.get(key, 0) < number for key, number in old.items()
                       if "_ms." not in key):
                    kept = self._before.setdefault(name, {})
                    for key, number in old.items():
                        if "_ms." not in key:
                            kept[key] = kept.get(key, 0) + number
                self._now[name] = values

    def values(self) -> dict[str, dict[str, Any]]:
        """Node -> its numbers, those of earlier lives included."""
        with self._lock:
            return {name: {**values, **{key: number + values.get(key, 0) for key, number in
                                        self._before.get(name, {}).items()}}
                    for name, values in self._now.items()}

    def close(self) -> None:
        """Nothing is left to say."""
