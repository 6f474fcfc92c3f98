"""An evaluation in words: a table for the terminal, JSON for programs."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from deid_ros import __version__
from deid_ros.evaluation.evaluate import Evaluation
from deid_ros.evaluation.intervals import Summary
from deid_ros.evaluation.measures import FAR_GRID, LEAST_ACCEPTED

__all__ = ["SCHEMA", "as_json", "as_table", "format_number", "plain"]

#: Version of the JSON: raised when a key changes its meaning or goes away.
SCHEMA = 2

#: Beginning of a measure's key -> heading; {n} is the number of people.
_HEADINGS = {
    "worst": "Recognised by the worst of {recognisers}, which knows {known} of all {n} people",
    "parrot.worst": "Parrot attack, the worst of {recognisers}",
    "adaptive.worst": "Adaptive attack, the worst of {recognisers}",
    "inference.worst": "What an output says about the person, to the worst of {recognisers}",
    "dlib": "Recognised by dlib's descriptor, which knows {known} of all {n} people",
    "shape": "Recognised by the shape of jaw, brows and nose alone, pose and expression removed",
    "geometry": "Recognised by where jaw, brows and nose lie, turned to the front",
    "expression": "Recognised by the expression alone",
    "eigenfaces": "Recognised by eigenfaces",
    "fisherfaces": "Recognised by Fisherfaces",
    "lbph": "Recognised by local binary patterns",
    "parrot.dlib": "Parrot attack, descriptor: second photos put through the same tool",
    "parrot.shape": "Parrot attack, shape alone: second photos put through the same tool",
    "parrot.geometry": "Parrot attack, geometry: second photos put through the same tool",
    "gallery": "Strangers' faces",
    "detection": "Is it still a face",
    "landmarks": "Does it look the same way",
    "sharpness": "The picture",
    "follows": "Does it follow the person",
    "variety": "Is each of them somebody",
}
_SECTION_OF = {"expression.mouth": "follows", "expression.eyes": "follows",
               "pose": "landmarks", "outside": "sharpness"}
_ATTACKS = ("parrot", "adaptive", "inference")
_LANDMARKS = {"dlib68": "dlib's 68-point predictor (for non-commercial use)",
              "mesh": "the face mesh's 68-point subset"}


def as_table(result: Evaluation) -> str:
    """The evaluation as lines of text, at most 100 characters wide."""
    several = int(result.settings.get("keys", 1)) > 1  # type: ignore[call-overload]
    rows = [("", "value", "95 % interval", "chance", *(("range over keys",) if several else ()))]
    section = ""
    for measure in result.measures:
        word = _section(measure.key)
        if word != section:
            section = word
            rows.append((_heading(word, result),))
        rows.append(_row(measure, several))
    cells = [row for row in rows if len(row) > 1]
    widths = [max(len(row[i]) for row in cells) for i in range(len(rows[0]))]
    lines = [*_preface(result), ""]
    for row in rows:
        if len(row) == 1:
            lines += ["", row[0]]
        else:
            rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))
            lines.append("  ".join(["  " + row[0].ljust(widths[0]), *rest]).rstrip())
    return "\n".join(lines)


def _heading(word: str, result: Evaluation) -> str:
    heading = _HEADINGS.get(word)
    if heading is None:
        first, _, name = word.partition(".")
        name = name or first
        heading = {"parrot": f"Parrot attack, {name}: second photos put through the same tool",
                   "adaptive": f"Adaptive attack, {name}: it has learned to undo the tool",
                   "inference": f"What an output says about the person, to {name}",
                   }.get(first if "." in word else "",
                         f"Recognised by {name}, which knows {{known}} of all {{n}} people")
    known = ("another photograph" if result.settings.get("known") == "second photographs"
             else "the original")
    return heading.format(n=len(result.people), known=known,
                          recognisers=_count(len(_recognisers(result)), "recogniser"))


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def _recognisers(result: Evaluation) -> list[dict[str, object]]:
    return result.settings.get("recognisers", [])  # type: ignore[return-value]


def _section(key: str) -> str:
    first, second, *_ = key.split(".")
    if key in _SECTION_OF:
        return _SECTION_OF[key]
    return f"{first}.{second}" if first in _ATTACKS else _SECTION_OF.get(first, first)


def _preface(result: Evaluation) -> list[str]:
    count, keys = len(result.people), len(result.missing)
    lost = sum(len(ids) for ids in result.missing.values())
    lines = [f"{count} {'person' if count == 1 else 'people'}, "
             f"{keys} {'run' if keys == 1 else 'runs'}, "
             f"{lost} {'output' if lost == 1 else 'outputs'} missing"
             + (" (counted as recognised and undetected)" if lost else "")]
    if result.faceless:
        shown = ", ".join(result.faceless[:5]) + (", ..." if len(result.faceless) > 5 else "")
        lines.append(f"{len(result.faceless)} originals left out, no face was found in them: "
                     f"{shown}")
    left = list(result.settings.get("without_second", ()))  # type: ignore[call-overload]
    if left:
        lines.append(f"{len(left)} left out, they have no second photograph that shows a face: "
                     + ", ".join(left[:5]) + (", ..." if len(left) > 5 else ""))
    landmarks = str(result.settings.get("landmarks", ""))
    lines += [f"landmarks: {_LANDMARKS.get(landmarks, landmarks)}",
              "interval: over people; chance: what guessing gives, or another person's picture"]
    pairs = result.settings.get("impostor_pairs")
    if isinstance(pairs, dict):
        lines += textwrap.wrap(
            f"impostor pairs: {pairs['all']}, {pairs['same_sex']} of one sex; a false accept rate "
            f"is given only where it accepts {LEAST_ACCEPTED} of them or more", 98,
            subsequent_indent="  ")
    for one in _recognisers(result):
        word = "independent" if one["independent"] else "NOT independent"
        note = f": {one['note']}" if one["note"] else ""
        lines += textwrap.wrap(f"recogniser {one['name']}: {word}{note}", 98,
                               subsequent_indent="  ")
    return lines


def _row(measure: Summary, several: bool) -> tuple[str, ...]:
    interval = ("" if measure.interval is None else
                f"{format_number(measure.interval[0], measure.unit)} to "
                f"{format_number(measure.interval[1], measure.unit)}")
    chance = "" if measure.chance is None else format_number(measure.chance, measure.unit)
    row = (measure.label, format_number(measure.value, measure.unit, unit=True), interval, chance)
    if not several:
        return row
    seen = [v for v in measure.per_key if not math.isnan(v)]
    ends = [format_number(end, measure.unit) for end in (min(seen), max(seen))] if seen else []
    return (*row, " to ".join(ends))


def format_number(value: float, kind: str, *, unit: bool = False) -> str:
    """A value of this unit in few digits; 'lost' where it is infinite."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "lost"
    if kind in ("share", "part", "rate"):
        digits = 2 if 0 < abs(value) < 0.001 else 1
        return f"{100 * value:.{digits}f} %" if unit else f"{100 * value:.{digits}f}"
    if kind == "degrees":
        return f"{value:.1f}" + (" deg" if unit else "")
    if kind == "eye distances":
        return f"{value:.3f}"
    return f"{value:.2f}"


def plain(value: float | None) -> float | None:
    """A number that JSON knows: NaN and infinity become null."""
    return None if value is None or not math.isfinite(value) else round(float(value), 6)


def as_json(result: Evaluation) -> dict[str, Any]:
    """The evaluation as a JSON object; numbers that are not defined, or infinite
    because a face was lost, are null."""
    measures = {}
    for m in result.measures:
        seen = [v for v in m.per_key if not math.isnan(v)]
        measures[m.key] = {
            "label": m.label, "unit": m.unit, "value": plain(m.value),
            "interval": None if m.interval is None else [plain(v) for v in m.interval],
            "chance": plain(m.chance), "people": m.people,
            "range": [plain(min(seen)), plain(max(seen))] if seen else None,
            "per_key": [plain(v) for v in m.per_key],
            **({"attacker": m.attacker} if m.attacker else {})}
    people = [{"id": person.id, "sex": person.sex,
               "missing": [key for key, ids in result.missing.items() if person.id in ids],
               "values": {key: plain(values[i]) for key, values in result.values.items()}}
              for i, person in enumerate(result.people)]
    return {"schema": SCHEMA, "deid_ros": __version__, "settings": result.settings,
            "people": len(people), "faceless": list(result.faceless),
            "missing": {key: list(ids) for key, ids in result.missing.items()},
            "measures": measures, "curves": _curves(result), "per_person": people}


def _curves(result: Evaluation) -> dict[str, Any]:
    """CMC and ROC of every attacker; ranks count from 1, rates are ``false_accepts``."""
    found = {name: {group: {kind: [plain(v) for v in values] for kind, values in kinds.items()}
                    for group, kinds in groups.items()}
             for name, groups in result.curves.items()}
    return {"false_accepts": [plain(v) for v in FAR_GRID], "attackers": found}
