"""Which frame may leave, when, and with what: the replacer's rules.

Pure Python without ROS; time is the steady clock, handed in. Frames leave in
the order in which they came. A frame leaves only with the face table of exactly
that frame; everything else here decides how long to wait:

- the detector works in order, so when a later frame has its table, an earlier
  one without will never get one: it is withheld at once, not at the deadline;
- likewise for surrogates: the frame is then covered flat at once;
- at the deadline a frame without a table is withheld, one without surrogates is
  covered flat;
- when more frames wait than the queue holds, the oldest goes, so that latency
  cannot grow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deid_ros.ros.joiner import Entry, Joiner

__all__ = ["Decision", "ReleaseQueue"]


@dataclass(frozen=True, eq=False)
class Decision:
    """What to do with one frame.

    Attributes:
        frame: the camera's message.
        faces: its face table; None: withhold it.
        surrogates: its surrogates; None: cover flat.
        cause: why it is withheld or covered flat; '' where neither.
        waited: seconds since it came.
    """

    frame: Any
    faces: np.ndarray | None
    surrogates: Any
    cause: str
    waited: float


class ReleaseQueue:
    """Frames that wait for their tables and surrogates.

    Args:
        capacity: frames that wait at most.
        deadline: seconds a frame may wait.
        surrogates: whether faces wait for surrogates at all.
    """

    def __init__(self, *, capacity: int, deadline: float, surrogates: bool = True) -> None:
        self.capacity = capacity
        self.deadline = deadline
        self.wants_surrogates = surrogates
        # Twice the capacity: what waits without a frame must not push frames out.
        self._joiner = Joiner(("frame", "table", "surrogates"), capacity=2 * capacity,
                              max_age=deadline)
        #: Tables and surrogates whose frame never came, or had gone: cause -> count.
        self.orphans: Counter[str] = Counter()

    def __len__(self) -> int:
        """Frames that wait."""
        return sum("frame" in entry.parts for entry in self._joiner)

    def left(self, now: float) -> float | None:
        """Seconds until the first waiting frame's deadline; None: no frame waits."""
        born = [entry.born for entry in self._joiner if "frame" in entry.parts]
        return max(min(born) + self.deadline - now, 0.0) if born else None

    def put_frame(self, key: Hashable, frame: Any, now: float) -> None:
        """A frame came from the camera."""
        entry = self._joiner.put("frame", key, frame, now)
        entry.born = now  # its age counts from now, even if its table was first

    def put_table(self, key: Hashable, faces: np.ndarray, now: float) -> None:
        """A face table came from the detector."""
        self._joiner.put("table", key, faces, now)

    def put_surrogates(self, key: Hashable, surrogates: Any, now: float) -> None:
        """The surrogates of a frame came from the generator."""
        if self.wants_surrogates:
            self._joiner.put("surrogates", key, surrogates, now)

    def adjust(self, *, deadline: float, surrogates: bool) -> None:
        """Other rules from now on, for what waits too."""
        self.deadline = deadline
        self.wants_surrogates = surrogates

    def clear(self) -> int:
        """Forget everything that waits; the number of frames that thereby never leave."""
        frames = len(self)
        self._joiner.clear()
        return frames

    def due(self, now: float) -> list[Decision]:
        """The decisions that can be made now, in the order the frames came."""
        entries = [entry for entry in self._joiner if "frame" in entry.parts]
        tables = self._last(entries, "table")
        surrogates = self._last(entries, "surrogates")
        decisions = []
        for i, entry in enumerate(entries):
            parts = entry.parts
            waited = now - entry.born
            late = ("deadline" if waited >= self.deadline
                    else "queue" if len(entries) - i > self.capacity else "")
            faces = parts.get("table")
            if faces is None:
                cause = "no_table" if i < tables else late
            elif not len(faces) or not self.wants_surrogates or "surrogates" in parts:
                cause = ""
            else:
                cause = "no_surrogates" if i < surrogates else late
                if not cause:
                    break
            if faces is None and not cause:
                break
            self._joiner.take(entry)
            decisions.append(Decision(parts["frame"], faces, parts.get("surrogates"), cause,
                                      waited))
        self._drop_orphans(now)
        return decisions

    @staticmethod
    def _last(entries: list[Entry], slot: str) -> int:
        return max((i for i, entry in enumerate(entries) if slot in entry.parts), default=-1)

    def _drop_orphans(self, now: float) -> None:
        """Tables without a frame: too old, or more than could still find one."""
        waiting = [entry for entry in self._joiner if "frame" not in entry.parts]
        beyond = len(waiting) - self.capacity
        for i, entry in enumerate(waiting):
            if i < beyond or now - entry.born > self.deadline:
                self._joiner.take(entry)
                self.orphans["table" if "table" in entry.parts else "surrogates"] += 1
