"""The worst recogniser for the people, measure by measure: what a report may rely on.

Where one recogniser is blind another sees, so neither their mean nor any single one
says how well people are hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from deid_ros.evaluation.intervals import Summary

__all__ = ["WORST", "worst_of"]

#: The name that stands in a key for the worst recogniser.
WORST = "worst"

#: Parts of keys -> whether more of it is worse for the people.
_MORE_IS_WORSE = {"rank_1": True, "rank_5": True, "tar_at_far_1e-2": True,
                  "tar_at_far_1e-3": True, "mean_rank": False, "eer": False, "sex": True}
_ATTACKS = ("", "parrot.", "adaptive.", "inference.")


def worst_of(measures: Sequence[Summary], recognisers: Sequence[str]) -> list[Summary]:
    """For every measure of recognisers, that of the one who recognises people best.

    Args:
        measures: all of them.
        recognisers: names of those who count.

    Returns:
        The same numbers under keys with 'worst' in place of the name; ``attacker`` says
        whose they are.
    """
    found: dict[str, Summary] = {}
    for measure in measures:
        for attack in _ATTACKS:
            name = next((one for one in recognisers
                         if measure.key.startswith(f"{attack}{one}.")), None)
            if name is None:
                continue
            rest = measure.key[len(attack) + len(name):]
            more = next((more for part, more in _MORE_IS_WORSE.items()
                         if part in rest.split(".")), None)
            if more is None:
                continue
            row = replace(measure, key=f"{attack}{WORST}{rest}", attacker=name,
                          label=f"{measure.label} [{name}]")
            before = found.get(row.key)
            if before is None or _badness(row, more) > _badness(before, more):
                found[row.key] = row
    return list(found.values())


def _badness(row: Summary, more: bool) -> tuple[float, float]:
    """How bad a number is, and the worse end of its interval; what is not known is nothing."""
    sign = 1.0 if more else -1.0
    end = row.value if row.interval is None else row.interval[1 if more else 0]
    value, end = (-np.inf if np.isnan(number) else sign * number for number in (row.value, end))
    return float(value), float(end)
