"""Joining the messages of one frame: exact, bounded, and never stuck.

Pure Python without ROS; time is the steady clock, handed in. Parts are joined
when their keys are equal (the nodes use stamp, size and CRC-32), never when
they are merely close. Nothing is assumed of the order of keys: stamps that jump
back (a looped bag), repeat, or are all zero join just as well, because entries
are kept in the order of arrival and age by the steady clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Entry", "Joiner"]


@dataclass(eq=False)
class Entry:
    """What has come so far for one key.

    Attributes:
        key: what the parts have in common.
        born: when the first part came (s, steady clock).
        parts: slot -> message.
    """

    key: Hashable
    born: float
    parts: dict[str, Any] = field(default_factory=dict)


class Joiner:
    """Collects the parts of frames until they are complete or given up.

    Args:
        slots: names of the parts.
        capacity: entries held at most; the oldest goes when one more comes, so
            the newest frame wins.
        max_age: seconds an entry may wait for its other parts.

    ``dropped`` counts what was given up: ``capacity`` and ``age``, and
    ``clear``. A repeated part is no loss and no reason to wait: it opens an
    entry of its own, because a frame that comes twice leaves twice.
    """

    def __init__(self, slots: Sequence[str], *, capacity: int, max_age: float) -> None:
        if capacity < 1 or max_age <= 0 or len(set(slots)) != len(slots) or not slots:
            raise ValueError(f"A joiner needs slots, a capacity and an age; got {slots!r}, "
                             f"{capacity}, {max_age}.")
        self.slots = tuple(slots)
        self.capacity = capacity
        self.max_age = max_age
        self.dropped: Counter[str] = Counter()
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """The waiting entries, oldest first."""
        return iter(list(self._entries))

    def put(self, slot: str, key: Hashable, part: Any, now: float) -> Entry:
        """Store a part and return the entry it now belongs to.

        The entry may have been complete before its last part's caller looks:
        ``complete`` tells, ``take`` removes it.
        """
        if slot not in self.slots:
            raise KeyError(slot)
        for entry in self._entries:
            if entry.key == key and slot not in entry.parts:
                entry.parts[slot] = part
                return entry
        entry = Entry(key, now, {slot: part})
        self._entries.append(entry)
        return entry

    def add(self, slot: str, key: Hashable, part: Any, now: float) -> dict[str, Any] | None:
        """Store a part; the parts of the frame if this was its last one."""
        self.expire(now)
        entry = self.put(slot, key, part, now)
        if self.complete(entry):
            self.take(entry)
            return entry.parts
        self.trim()
        return None

    def complete(self, entry: Entry) -> bool:
        """Whether every slot has come."""
        return len(entry.parts) == len(self.slots)

    def take(self, entry: Entry) -> None:
        """Remove an entry; it is the caller's now."""
        self._entries.remove(entry)

    def expire(self, now: float) -> list[Entry]:
        """Give up what has waited too long, and return it."""
        old = [entry for entry in self._entries if now - entry.born > self.max_age]
        return self._drop(old, "age")

    def trim(self) -> list[Entry]:
        """Give up the oldest beyond the capacity, and return them."""
        return self._drop(self._entries[:max(0, len(self._entries) - self.capacity)], "capacity")

    def clear(self) -> list[Entry]:
        """Give up everything."""
        return self._drop(list(self._entries), "clear")

    def _drop(self, entries: list[Entry], cause: str) -> list[Entry]:
        for entry in entries:
            self._entries.remove(entry)
        self.dropped[cause] += len(entries)
        return entries
