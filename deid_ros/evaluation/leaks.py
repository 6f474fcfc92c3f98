"""Where it leaks: what a recogniser finds when one thing that is kept is taken away.

The difference of a row to the first says what keeping that thing costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deid_ros.evaluation.comparison import Cell
from deid_ros.evaluation.report import format_number
from deid_ros.evaluation.worst import WORST

__all__ = ["LEAKS", "as_markdown"]

#: In the order of the table.
LEAKS = (
    Cell("as_is", "as it is set", parrots=()),
    Cell("same_surrogate", "the same surrogate for everybody", special="fixed", parrots=()),
    Cell("outside_grey", "everything outside the covered region grey", special="outside",
         parrots=()),
    Cell("same_and_grey", "both: what carried-over tone, light, pose and expression say",
         special="fixed outside", parrots=()),
    Cell("mean_expression", "the mean expression for everybody", special="calm", parrots=()),
    Cell("mean_tone", "the same mean colour on every face", special="tone", parrots=()),
    Cell("preserve_none", "nothing of sex, age and complexion kept", preserve=("none",),
         parrots=()),
    Cell("face_region_flat", "the face flat: what lies around it says", special="flat",
         parrots=()),
    Cell("original_grey", "control: the original face, everything outside grey",
         special="original outside", parrots=()),
)


_BROAD = ("shape", "geometry", "expression", "eigenfaces", "fisherfaces", "lbph")


def as_markdown(found: Mapping[str, Any]) -> str:
    """The table in Markdown: rank-1 and mean rank among the same sex, with intervals.

    Args:
        found: of ``compare`` with cells of ``LEAKS``.
    """
    attackers = [key.removesuffix(".rank_1") for cell in found["cells"][:1]
                 for key in cell.get("measures", {}) if key.count(".") == 1
                 and key.endswith(".rank_1") and key != f"{WORST}.rank_1"]
    # A page is too narrow for the others as well; the JSON has them.
    attackers = [name for name in attackers if name not in _BROAD] or attackers
    columns = [*attackers, *([WORST] if len(attackers) > 1 else [])]
    titles = [f"{name}: rank-1 (%) | {name}: same-sex mean rank" for name in columns]
    lines = [*_preface(found), "", "| " + " | ".join(["", *titles]) + " |",
             "| --- " * (1 + 2 * len(columns)) + "|"]
    for cell in found["cells"]:
        rows = cell.get("measures", {})
        numbers = [_say(rows.get(f"{name}.{what}")) for name in columns
                   for what in ("rank_1", "same_sex.mean_rank")]
        lines.append("| " + " | ".join([cell["label"], *numbers]) + " |")
    chance = 100 / max(found["people"], 1)
    lines.append("| " + " | ".join(["guessing", *(f"{chance:.1f} | 0.50" for _ in columns)])
                 + " |")
    return "\n".join(lines)


def _preface(found: Mapping[str, Any]) -> list[str]:
    """Over whom, and who attacks."""
    pairs, keys = found.get("impostor_pairs"), len(found.get("keys", [0]))
    known = ("another photograph" if found.get("known") == "second photographs"
             else "the original")
    lines = [f"{found['people']} people"
             + (f" ({pairs['all']} pairs of strangers, {pairs['same_sex']} of one sex)"
                if pairs else "")
             + f", {keys} {'key' if keys == 1 else 'keys'}; attackers know {known} of each; 95 % "
             "intervals over people."]
    for one in found.get("recognisers", ()):
        word = "independent" if one["independent"] else "not independent"
        lines.append(f"{one['name']}: {word}" + (f" ({one['note']})." if one["note"] else "."))
    return lines


def _say(row: Mapping[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "–"
    text = format_number(row["value"], row["unit"])
    if row["interval"]:
        text += " ({} to {})".format(*(format_number(end, row["unit"])
                                       for end in row["interval"]))
    return text
