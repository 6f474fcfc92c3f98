"""Whether numbers can be measurements: not the pixels of a picture, not raw bytes.

Pixels are many different whole numbers that would fit into bytes. Raw bytes that are read
as floats or wide integers have sizes that nothing in the world has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["NUMBERS", "NumberRule", "array_of", "is_small", "measured", "pixels_in", "small_in",
           "strange_in", "whole"]


@dataclass(frozen=True, slots=True)
class NumberRule:
    """What numbers of a robot are like."""

    levels: int = 32            # different whole numbers; more are pixels
    least: float = 1e-30        # a float nearer to 0 is none that was measured
    most: float = 1e30
    narrow: int = 1 << 30       # integers below it, nanoseconds among them, tell nothing
    strange: int = 64           # numbers of a message that may be of strange sizes


NUMBERS = NumberRule()


def is_small(value: Any) -> bool:
    """Whether a number is whole and would fit into a byte."""
    return type(value) in (int, float) and -128 <= value <= 255 and value == int(value)


def array_of(values: Sequence[Any]) -> np.ndarray:
    """Numbers (N,) as int64 or uint64 where all are whole and fit, else as float64."""
    if all(isinstance(value, int) for value in values):
        for kind in (np.int64, np.uint64):
            try:
                return np.array(values, kind)
            except OverflowError:
                pass
    return np.array(values, float)


def whole(values: Any) -> bool:
    """Whether many different whole numbers stand where measurements should."""
    found = np.asarray(values, float)
    found = found[np.isfinite(found)]
    return bool((found == np.rint(found)).all()) and len(np.unique(found)) > NUMBERS.levels


def small_in(values: np.ndarray) -> np.ndarray:
    """Those of (N,) numbers that are whole and would fit into a byte."""
    near = values[(values >= -128) & (values <= 255)]
    return near[near == np.rint(near)]


def pixels_in(table: np.ndarray) -> int:
    """Values in those columns of (N, M) numbers that hold whole numbers as bytes do."""
    columns = [column[np.isfinite(column)] for column in table.T]
    return sum(column.size for column in columns
               if column.size and column.min() >= -128 and column.max() <= 255 and whole(column))


def strange_in(values: np.ndarray) -> int:
    """Numbers (N,) of sizes that raw bytes have.

    Of floats, each one that is neither 0 nor of a size that can be measured, but the same
    one only once: it may stand for 'unknown'. Of integers, each wide one whose first byte is
    not that of the one before: times and counters have it in common.
    """
    if values.dtype.kind == "f":
        size = np.abs(values[np.isfinite(values) & (values != 0)])
        return len(np.unique(size[(size < NUMBERS.least) | (size > NUMBERS.most)]))
    if values.dtype.kind not in "iu" or values.itemsize < 4:
        return 0
    wide = values[np.abs(values.astype(float)) >= NUMBERS.narrow]
    if not wide.size:
        return 0
    first = wide >> (24 if np.abs(wide.astype(float)).max() < 1 << 33 else 48)
    return 1 + int(np.count_nonzero(first[1:] != first[:-1]))


def measured(table: np.ndarray) -> bool:
    """Whether all of (N, M) numbers can be measurements."""
    size = np.abs(table)
    sane = (size < 1e7) & ((size == 0) | (size > NUMBERS.least))
    return bool(sane.all()) and not any(map(whole, table.T))
