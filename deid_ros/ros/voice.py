"""What a replacer says of the stream: that it waits, that it flows, and why nothing leaves.

Pure Python without ROS; time is the steady clock, handed in (s).
"""

from __future__ import annotations

import statistics
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

__all__ = ["Voice"]

_WAIT_S = 5.0       # without an image, before it says that it waits
_AGAIN_S = 60.0     # between two sentences of one kind
_NOTHING_S = 10.0   # with images and without output, before it says so
_FRAMES = 200       # whose tables may still come


class Voice:
    """Says each thing once, and again every minute while it holds.

    Args:
        topic: of the camera.
        publishers: how many publish it, and 'similar topics: ...'.
        say, warn: are told a sentence.
    """

    def __init__(self, topic: str, publishers: Callable[[], tuple[int, str]], *,
                 say: Callable[[str], object], warn: Callable[[str], object]) -> None:
        self._topic, self._publishers, self._say, self._warn = topic, publishers, say, warn
        self._came = self._left = self._since = 0.0
        self._begun = self._flowing = self._ever = False
        self._said: dict[str, float] = {}
        self._frames: OrderedDict[Hashable, float] = OrderedDict()
        self._ages: deque[float] = deque(maxlen=20)
        self._gaps: deque[float] = deque(maxlen=20)
        self._table: float | None = None
        self._fast = False

    def came(self, frame: Hashable, now: float) -> None:
        """An image came."""
        if now - self._came > _WAIT_S:
            self._since = now
        self._came, self._flowing = now, True
        self._frames[frame] = now
        if len(self._frames) > _FRAMES:
            self._frames.popitem(last=False)

    def searched(self, frame: Hashable, now: float, *, fast: bool) -> None:
        """Its face table came, by a detector whose preset is fast or not."""
        came = self._frames.pop(frame, None)
        if came is not None:
            self._ages.append(now - came)
        if self._table is not None:
            self._gaps.append(now - self._table)
        self._table, self._fast = now, fast

    def left(self, now: float) -> None:
        """A frame left."""
        self._left = now
        if not self._ever:
            self._ever = True
            self._say("first frame left")

    def look(self, now: float, *, deadline: float, paused: bool) -> None:
        """To be called every second.

        Args:
            deadline: of the replacer (s).
        """
        if not self._begun:     # the others may have loaded their models until now
            self._begun = True
            self._since = now
            self._came = max(self._came, now)
        if now - self._came >= _WAIT_S:
            if self._due("waiting", now):
                count, similar = self._publishers()
                who = f"nobody publishes; {similar}" if not count else (
                    f"{count} publish, but nothing comes")
                self._say(f"waiting for images on {self._topic} ({who})")
        else:
            self._said.pop("waiting", None)
        silent = now - max(self._left, self._since)
        if (not paused and self._flowing and now - self._came < _WAIT_S and silent >= _NOTHING_S
                and self._due("nothing", now)):
            self._warn(f"nothing left in {silent:.0f} s: {self._why(now, deadline)}")
        if paused:
            self._left = now

    def _due(self, what: str, now: float) -> bool:
        due = now - self._said.get(what, -_AGAIN_S) >= _AGAIN_S
        if due:
            self._said[what] = now
        return due

    def _why(self, now: float, deadline: float) -> str:
        if self._table is None or now - self._table > _NOTHING_S:
            return ("no face table comes from the detector; its log says why, and whether it runs "
                    "is seen in: ros2 node list")
        # Where it cannot keep up, tables are as far apart as one takes; else they come soon.
        takes = min(statistics.median(times) for times in (self._ages, self._gaps) if times)
        if takes > deadline:
            remedy = "raise it" if self._fast else "use preset:=fast or raise it"
            return (f"detection takes {1e3 * takes:.0f} ms, deadline_ms is {1e3 * deadline:.0f}; "
                    f"{remedy}")
        return "the line above and /diagnostics say what was withheld"
