"""Traffic lights: measures against thresholds from a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deid_ros.errors import EvaluationError

__all__ = ["Light", "Threshold", "judge", "read_thresholds"]

_FIELDS = {"measure", "says", "better", "green", "red"}


@dataclass(frozen=True, slots=True)
class Threshold:
    """One line of the file: ``measure`` (its key), ``says`` (in words), ``better``
    ('lower' or 'higher'), and where ``green`` ends and ``red`` begins."""

    measure: str
    says: str
    better: str
    green: float
    red: float


@dataclass(frozen=True, slots=True)
class Light:
    """``colour`` 'green', 'amber', 'red' or 'grey' (not measured), for a threshold and
    the row of the measure (as in the JSON; None where it was not measured)."""

    threshold: Threshold
    colour: str
    measured: Mapping[str, Any] | None


def read_thresholds(path: Path) -> list[Threshold]:
    """The thresholds of a YAML file.

    Raises:
        EvaluationError: it cannot be read or says something else.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read ({error.strerror or error}); "
                              "check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} is not YAML ({' '.join(str(error).split())[:120]}); "
                              "copy config/report.yaml and change that.") from None
    rows = content.get("thresholds") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise EvaluationError(f"{path} has no list 'thresholds'; copy config/report.yaml and "
                              "change that.")
    out = []
    for row in rows:
        name = row.get("measure", row) if isinstance(row, dict) else row
        if not isinstance(row, dict) or set(row) != _FIELDS:
            raise EvaluationError(f"The threshold {name} in {path} must have exactly "
                                  f"{', '.join(sorted(_FIELDS))}.")
        numbers = [row["green"], row["red"]]
        if row["better"] not in ("lower", "higher") or not all(
                isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers):
            raise EvaluationError(f"The threshold {name} in {path} needs better: lower or higher "
                                  "and numbers for green and red.")
        if (row["green"] > row["red"]) == (row["better"] == "lower"):
            raise EvaluationError(f"The threshold {name} in {path} is green at {row['green']} and "
                                  f"red at {row['red']}, the wrong way round for better: "
                                  f"{row['better']}.")
        out.append(Threshold(str(row["measure"]), str(row["says"]), row["better"],
                             float(row["green"]), float(row["red"])))
    return out


def judge(threshold: Threshold, measured: Mapping[str, Any] | None) -> Light:
    """The light of one measure, by the worse end of its interval.

    Args:
        measured: its row of the JSON: ``value``, ``interval`` (or None); a value that
            is null was lost or not defined, and is grey; a null end of an interval is
            the worst there is.
    """
    if measured is None or measured.get("value") is None:
        return Light(threshold, "grey", measured)
    lower = threshold.better == "lower"
    ends = measured.get("interval") or [measured["value"]] * 2
    worst = ends[1] if lower else ends[0]
    worst = (math.inf if lower else -math.inf) if worst is None else worst
    sign = 1 if lower else -1
    if sign * worst <= sign * threshold.green:
        colour = "green"
    else:
        colour = "red" if sign * worst > sign * threshold.red else "amber"
    return Light(threshold, colour, measured)
