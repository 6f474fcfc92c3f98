"""What is counted over one message, and the limits of data 'without bulk'."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deid_ros.media.bags.numbers import NUMBERS, array_of, is_small, small_in, strange_in
from deid_ros.media.bags.signs import RULE, packed_in

__all__ = ["BIOMETRIC", "GEOMETRY", "LIMITS", "Limits", "PICTURE", "PLAIN_DATA", "SOUND", "Tally",
           "UNKNOWN", "VIDEO", "Verdict"]

PICTURE, VIDEO, GEOMETRY = "picture", "video", "depth or geometry"
SOUND, BIOMETRIC = "sound", "biometric"
UNKNOWN, PLAIN_DATA = "unknown bulk", "structured data"


@dataclass(frozen=True, slots=True)
class Limits:
    """What data may hold and still be 'without bulk'.

    A face can be told from some 16x16 pixels on; one embedding has 128 numbers.
    """

    small: int = 256        # bytes of a message that nobody defines
    bytes_in_one: int = 64  # of an array of bytes
    bytes_in_all: int = 256
    identifiers: int = 1024  # bytes in arrays of 16, as UUIDs are
    numbers_in_one: int = 96
    numbers_in_all: int = 1536  # single ones that differ, of JSON and own types, among them
    items: int = 512        # messages in one list
    leaves: int = 8192      # single values, texts among them
    pixels: int = 512       # single whole numbers that would fit into bytes, but for 0
    colours: int = 64       # in one list
    colours_in_all: int = 256


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a message is, and why it is dropped; ``reason`` '' for plain data."""

    modality: str
    reason: str = ""

    @property
    def plain(self) -> bool:
        """Whether it may be copied."""
        return self.modality == PLAIN_DATA


_ALPHABET = 40  # different characters; names and numbers of parts have fewer
_MATRICES = (9, 12, 36)     # numbers of covariances and projections


@dataclass(slots=True)
class Tally:
    """What was seen of one message so far."""

    bytes: int = 0
    identifiers: int = 0
    numbers: int = 0
    leaves: int = 0
    pixels: int = 0
    levels: set[Any] = field(default_factory=set)
    points: int = 0
    colours: int = 0
    strange: int = 0
    wide: list[Any] = field(default_factory=list)   # single numbers that fit into no byte
    arrays: list[np.ndarray] = field(default_factory=list)
    texts: dict[str, None] = field(default_factory=dict)    # each once, in their order
    packed: int = 0         # characters that look like packed data
    written: int = 0        # numbers in texts

    def single(self, value: Any) -> None:
        """Count a number or a truth."""
        self.leaves += 1
        if is_small(value):
            self.small((value,))
        elif type(value) in (int, float):
            self.wide.append(value)

    def small(self, values: Iterable[Any]) -> None:
        """Count whole numbers that would fit into bytes; 0 says nothing."""
        found = [value for value in values if value]
        self.pixels += len(found)
        self.levels.update(found)

    def last(self) -> Verdict | None:
        """Whether what lies apart is packed data, pixels or raw bytes, taken together."""
        if len(self.texts) > LIMITS.bytes_in_one:
            joined = "".join(text for text in self.texts if len(text) < 8)
            if len(set(joined)) >= _ALPHABET:
                self.packed += packed_in(joined)
        if sum(values.size for values in self.arrays) + len(self.wide) > LIMITS.numbers_in_one:
            self.numbers += len(set(self.wide)) + sum(map(_weight, self.arrays))
            for kind in (int, float):
                self.arrays.append(array_of([v for v in self.wide if type(v) is kind]))
            for kind in "iuf":
                for size in (2, 4, 8):
                    alike = [values for values in self.arrays if values.dtype.kind == kind
                             and values.itemsize == size]
                    if alike:
                        flat = np.concatenate(alike)
                        self.strange += strange_in(flat)
                        self.small(small_in(flat).tolist())
        return self.over()

    def over(self) -> Verdict | None:
        """Whether single values, texts or bytes are too many, all together."""
        if self.leaves > LIMITS.leaves:
            return Verdict(UNKNOWN, f"more than {LIMITS.leaves} single values")
        if self.pixels > LIMITS.pixels and len(self.levels) > NUMBERS.levels:
            return Verdict(UNKNOWN, f"more than {LIMITS.pixels} single numbers that would fit into "
                                    "bytes")
        if self.numbers > LIMITS.numbers_in_all:
            return Verdict(UNKNOWN, f"{self.numbers} numbers that nothing explains")
        if self.bytes > LIMITS.bytes_in_all:
            return Verdict(UNKNOWN, f"{self.bytes} bytes that nothing explains")
        if self.strange > NUMBERS.strange:
            return Verdict(UNKNOWN, f"{self.strange} numbers of sizes that raw bytes have")
        if self.packed > RULE.packed or self.written > RULE.numbers:
            return Verdict(UNKNOWN, "texts that together look like packed data")
        return None


def _weight(values: np.ndarray) -> int:
    """Numbers of an array; those of a matrix that say something: 0 and twins do not."""
    if values.dtype == np.float64 and values.size in _MATRICES:
        return len(np.unique(values[values != 0]))
    return values.size
