"""Running nodes: a thread each, and a shutdown in which they can still speak."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from deid_ros.errors import DeidError
from deid_ros.media.lifetime import die_with_parent
from deid_ros.ros import environment
from deid_ros.ros.ports import OwnPorts, keep_dead_ports, let_go_ports
from deid_ros.ros.remembered import PARENT_VARIABLE

__all__ = ["Runner", "ros_context", "run_node", "since_start", "stop_signals"]


class _Silent:
    """In the place of a guard condition that nobody has to hear."""

    def trigger(self) -> None:
        """Nothing."""


class _Executor(SingleThreadedExecutor):
    """What is ready is done in the order in which the nodes came, not in any order.

    And after each callback it waits: rclpy wakes itself up once more, for other threads
    that could go on, and there are none. To find that out takes a third of a millisecond.
    """

    def __init__(self, context: Context) -> None:
        self._order: list[Any] = []
        super().__init__(context=context)

    def add_node(self, node: Any) -> bool:
        self._order.append(node)
        return super().add_node(node)

    def _make_handler(self, *args: Any) -> Any:
        guard, self._guard = getattr(self, "_guard", None), _Silent()
        try:
            return super()._make_handler(*args)
        finally:
            self._guard = guard

    def get_nodes(self) -> list[Any]:
        return sorted(super().get_nodes(), key=self._order.index)


class Runner:
    """One node in a thread of its own, with a single-threaded executor.

    Over three hops this takes 10 core-ms a frame, one multi-threaded executor for
    all nodes 14 to 22.

    Args:
        node: to be run, and destroyed at the end.
        host: another runner, in whose thread the node runs, and whose node comes first; to be
            stopped after this one.
    """

    def __init__(self, node: Any, *, host: Runner | None = None) -> None:
        self.node, self._host = node, host
        if host is not None:
            self._executor = host._executor
            self._executor.add_node(node)
            return
        self._executor = _Executor(node.context)
        self._executor.add_node(node)
        self._end: Future = Future(executor=self._executor)
        self._thread = threading.Thread(target=self._spin, name=node.get_name(), daemon=True)

    def start(self) -> None:
        """Begin to handle messages; with a host, when that does."""
        if self._host is None:
            self._thread.start()

    def _spin(self) -> None:
        # A frame that is nearly done leaves before another is begun.
        with contextlib.suppress(OSError):
            now = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(),
                           min(now + getattr(self.node, "NICENESS", 0), 19))
        while not self._end.done():
            try:
                self._executor.spin_until_future_complete(self._end)
            except ExternalShutdownException:
                return
            except Exception as error:
                # Of a message that cannot even be taken from the transport: whoever may
                # write to a topic must not be able to end a node.
                self.node.failed("take", error)
                time.sleep(0.001)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive() if self._host is None else self._host.alive

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread, let the node finish, and destroy it."""
        self._halt(timeout)
        with contextlib.suppress(Exception):  # a context that is gone already
            self.node.close()
        if self.alive:
            return  # hung in a callback: the process ends without it
        self._executor.remove_node(self.node)
        if self._host is None:
            self._executor.shutdown(timeout_sec=0)
        self.node.destroy_node()

    def _halt(self, timeout: float) -> None:
        """End the thread. Not before that may a node be destroyed, in whose callback it may be."""
        if self._host is not None:
            self._host._halt(timeout)
            return
        if not self._end.done():
            self._end.set_result(None)
        if self._thread.ident is not None:
            self._thread.join(timeout)


@contextlib.contextmanager
def ros_context(args: Sequence[str] | None = None, *, network: str | None = None,
                domain_id: int | None = None) -> Iterator[Context]:
    """A context of its own, shut down at the end; signals are left to the caller."""
    environment.prepare(network)
    # The stages overlap already: OpenCV's own threads would only wake each other.
    cv2.setNumThreads(1)
    keep_dead_ports()
    context = Context()
    rclpy.init(args=list(args or []), context=context, domain_id=domain_id,
               signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield context
    finally:
        context.try_shutdown()


@contextlib.contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM and the end of the terminal set.

    The handlers of before come back after.
    """
    event = threading.Event()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:   # as nohup sets it
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: event.set()) for number in numbers}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ancestors() -> Iterator[int]:
    """This process's parent, its parent, and so on, as far as the system shows them."""
    process = os.getppid()
    with contextlib.suppress(OSError, IndexError, ValueError):
        while process > 0:
            yield process
            about = Path(f"/proc/{process}/stat").read_text()
            process = int(about.rpartition(")")[2].split()[1])


def _orphaned() -> bool:
    """Whether who started this has gone; between the two there may be a ``launch-prefix``."""
    parent = os.environ.get(PARENT_VARIABLE)
    return bool(parent) and parent not in map(str, _ancestors())


def _follow_parent() -> None:
    """End in order, at once, when the launch or the supervisor dies of whatever signal."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent == str(os.getppid()):
        die_with_parent(int(parent), number=signal.SIGTERM)


def since_start() -> float:
    """Seconds since this process was started."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        about = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        began = int(about[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began
    return time.process_time()


def run_node(make: Callable[..., Any], argv: Sequence[str] | None = None) -> int:
    """The body of every node executable; its exit status.

    0: stopped, or the node's work is done (``node.finished``); 1: it can hear nobody
    any more and is to be started again; 2: refused to start, with one sentence on
    stderr.
    """
    args = list(sys.argv if argv is None else argv)
    try:
        with stop_signals() as stop, ros_context(args) as context:
            _follow_parent()
            runner = Runner(make(context=context))
            finished = getattr(runner.node, "finished", threading.Event())
            runner.start()
            runner.node.get_logger().info(f"ready after {since_start():.1f} s")
            ports = OwnPorts()
            while not (stop.wait(0.2) or finished.is_set() or _orphaned()) and runner.alive:
                let_go_ports()
                lost = ports.lost()
                if lost:
                    print(f"{make.NODE}: its shared memory was taken away ({', '.join(lost)}); "
                          "it must start again", file=sys.stderr)
                    # At once: what the transport holds locked cannot be ended in order.
                    os._exit(1)
            runner.stop()
    except DeidError as error:
        print(f"{make.NODE}: {error}", file=sys.stderr)
        return 2
    return 0
