"""What a stretch of work cost this process, and what else the machine was doing."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ProcessState", "Usage", "cores", "machine_line", "process_state", "rss_mb"]


def cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def rss_mb() -> float:
    """Resident memory of this process in MiB; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _machine_busy() -> float | None:
    """CPU seconds that all processes of the machine have used; None: unknown."""
    try:
        numbers = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    ticks = [int(number) for number in numbers]
    # user, nice, system, idle, iowait, irq, softirq, steal
    return (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK")


def _threads() -> dict[str, tuple[int, float]]:
    """Name -> (identity, CPU seconds) of this process's Python threads."""
    found = {}
    for thread in threading.enumerate():
        with contextlib.suppress(OSError, AttributeError, TypeError):  # it ended just now
            clock = time.pthread_getcpuclockid(thread.ident)
            found[thread.name] = (thread.ident, time.clock_gettime(clock))
    return found


@dataclass(frozen=True)
class Spent:
    """What a stretch of work cost.

    Attributes:
        wall: seconds that passed.
        cpu: CPU seconds of this process.
        threads: name of a Python thread -> its CPU seconds.
        others: cores that other processes kept busy on average; None: unknown.
    """

    wall: float
    cpu: float
    threads: dict[str, float]
    others: float | None

    def machine(self) -> dict[str, Any]:
        """``cores``, ``load`` (average of a minute) and ``others_cores``."""
        return {"cores": cores(), "load": round(os.getloadavg()[0], 2),
                "others_cores": None if self.others is None else round(self.others, 2)}


class Usage:
    """Starts counting when it is made."""

    def __init__(self) -> None:
        self._busy = _machine_busy()
        self._threads = _threads()
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def spent(self) -> Spent:
        """Since it was made."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        busy = _machine_busy()
        others = None
        if busy is not None and self._busy is not None and wall > 0.2:  # it counts in 10 ms
            others = max(busy - self._busy - cpu, 0.0) / wall
        before = self._threads
        return Spent(wall, cpu, {
            name: used - (before[name][1] if before.get(name, (0,))[0] == identity else 0.0)
            for name, (identity, used) in _threads().items()}, others)


def machine_line(machine: dict[str, Any]) -> str:
    """One line for people: ``2 cores, machine load 2.8, ...``."""
    line = f"{machine['cores']} cores, machine load {machine['load']:.1f}"
    if machine["others_cores"] is not None:
        line += f", other processes kept {machine['others_cores']:.1f} cores busy"
        if machine["others_cores"] > 0.1 * machine["cores"]:
            line += ": judge by CPU time and ratios"
    return line


@dataclass(frozen=True)
class ProcessState:
    """What another process has used and holds: CPU seconds, resident MiB, open files."""

    cpu: float
    rss_mb: float
    files: int


def process_state(pid: int) -> ProcessState | None:
    """The state of a process, this one's own too; None where there is no such process."""
    folder = Path("/proc") / str(pid)
    try:
        # The name, in parentheses, may hold anything; 14 and 15 are utime and stime.
        ticks = (folder / "stat").read_text().rsplit(")", 1)[1].split()[11:13]
        pages = int((folder / "statm").read_text().split()[1])
        files = len(os.listdir(folder / "fd"))
    except (OSError, IndexError):
        return None
    return ProcessState(sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
                        pages * os.sysconf("SC_PAGE_SIZE") / 2**20, files)
