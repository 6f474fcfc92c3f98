"""What a node has done so far, in numbers, and how well it is.

Pure Python without ROS. Memory does not grow with time: counters by cause, and
a histogram instead of a list of latencies.
"""

from __future__ import annotations

import threading
from collections import Counter

__all__ = ["Health", "Histogram"]


class Histogram:
    """Durations in bins of 0.5 ms up to 4 s; longer ones count as 4 s."""

    BIN_MS = 0.5

    def __init__(self) -> None:
        self._bins = [0] * 8000
        self.count = 0

    def add(self, seconds: float) -> None:
        """Count one duration (s)."""
        index = int(seconds * 1e3 / self.BIN_MS)
        self._bins[min(max(index, 0), len(self._bins) - 1)] += 1
        self.count += 1

    def percentile(self, percent: float) -> float | None:
        """The duration (ms) that ``percent`` of all stay below; None without any."""
        rank = self.count * percent / 100
        seen = 0
        for index, number in enumerate(self._bins):
            seen += number
            if number and seen >= rank:
                return (index + 0.5) * self.BIN_MS
        return None


class Health:
    """Counters and durations of one node; safe to use from several threads.

    ``counts`` names: ``in``, ``out``, ``withheld.CAUSE``, ``failed.CAUSE``,
    ``faces.HOW``, and whatever else a node counts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._times: dict[str, Histogram] = {}
        self._before: Counter[str] = Counter()

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter."""
        if number:
            with self._lock:
                self._counts[name] += number

    def time(self, name: str, seconds: float) -> None:
        """Add a duration (s), for instance ``latency``."""
        with self._lock:
            self._times.setdefault(name, Histogram()).add(seconds)

    def total(self, prefix: str) -> int:
        """The sum of the counters that begin with ``prefix``."""
        with self._lock:
            return sum(number for name, number in self._counts.items() if name.startswith(prefix))

    def values(self) -> dict[str, float]:
        """Every number: the counters, and median and 95th percentile of the durations (ms)."""
        with self._lock:
            values: dict[str, float] = dict(sorted(self._counts.items()))
            for name, histogram in self._times.items():
                for percent in (50, 95, 99):
                    value = histogram.percentile(percent)
                    if value is not None:
                        values[f"{name}_ms.p{percent}"] = value
        return values

    def news(self) -> Counter[str]:
        """What was counted since the last call."""
        with self._lock:
            new = self._counts - self._before
            self._before = self._counts.copy()
        return new
