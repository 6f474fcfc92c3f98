"""README.md's numbers about privacy are those of the report.

Run as a program with the JSON of a report it keeps the numbers in docs/privacy.json
and writes the section: python test/test_evaluation_readme.py out/report.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deid_ros.evaluation.leaks import as_markdown

ROOT = Path(__file__).resolve().parents[1]
README, NUMBERS = ROOT / "README.md", ROOT / "docs" / "privacy.json"
BEGIN = ("<!-- privacy: written by `.venv/bin/python test/test_evaluation_readme.py "
         "REPORT.json` -->\n")
END = "<!-- end of privacy -->\n"

ATTACKERS = {"dlib": "dlib's descriptor (a modern recogniser)", "shape": "shape of jaw and brows",
             "geometry": "landmark geometry",
             "expression": "expression alone", "eigenfaces": "eigenfaces",
             "fisherfaces": "Fisherfaces", "lbph": "local binary patterns",
             "worst": "the worst of the face recognisers",
             "parrot.dlib": "parrot: the same tool, a key of the attacker's own",
             "parrot.worst": "parrot, the worst of the recognisers",
             "adaptive.worst": "adaptive: learned from others what the tool does"}
UTILITY = ("detection.centerface.retained", "detection.centerface.ap", "landmarks.error",
           "pose.yaw", "expression.mouth", "outside.changed")
COLUMNS = {"worst.rank_1": "worst recogniser", "dlib.rank_1": "dlib",
           "parrot.worst.rank_1.own": "parrot, own key: worst",
           "parrot.dlib.rank_1.own": "parrot, own key",
           "parrot.dlib.rank_1.given": "parrot, the run's key", "eigenfaces.rank_1": "eigenfaces",
           "lbph.rank_1": "LBPH", "detection.centerface.retained": "face found",
           "expression.mouth": "mouth follows"}


def condensed(report: dict) -> dict:
    """The numbers of a report that the README gives."""
    def rows(measures: dict, keys: list[str]) -> dict:
        return {key: {name: measures[key][name] for name in ("value", "interval", "chance")}
                for key in keys if key in measures}

    others = {one["name"]: one["title"] for one in report["settings"].get("recognisers", ())
              if one["name"] not in ATTACKERS}
    wanted = [f"{name}.{what}" for name in (*ATTACKERS, *others)
              for what in ("rank_1", "same_sex.mean_rank", "tar_at_far_1e-2", "eer")]
    found = {"people": report["people"], "keys": report["settings"]["keys"],
             "measures": rows(report["measures"], [*wanted, *UTILITY]),
             "files": report.get("files", {})}
    if others:
        found["recognisers"] = others
    if "leaks" in report:
        found["leaks"] = as_markdown(report["leaks"])
    if "comparison" in report:
        found["comparison"] = {"people": report["comparison"]["people"], "cells": [
            {"label": cell["label"], "measures": rows(cell["measures"], list(COLUMNS))}
            for cell in report["comparison"]["cells"] if "measures" in cell]}
    return found


def share(row: dict | None, *, interval: bool = False) -> str:
    if row is None or row["value"] is None:
        return "–"
    text = f"{100 * row['value']:.1f} %"
    if interval and row["interval"]:
        text += " ({:.1f} to {:.1f})".format(*(100 * end for end in row["interval"]))
    return text


def number(row: dict | None) -> str:
    return "–" if row is None or row["value"] is None else f"{row['value']:.2f}"


def section(found: dict) -> str:
    """The section between the marks."""
    m, people = found["measures"], found["people"]
    lines = [
        f"Of {people} people of whom neither the generator nor the gallery has a picture, under "
        f"{found['keys']} keys, with the default settings, an attacker who knows every original "
        "names this many from the outputs (95 % interval over people; 0.5 is chance for the mean "
        "rank among the same sex):", "",
        "| attacker | names the person | by guessing | same sex: mean rank | true accepts at FAR "
        "1 % | equal error rate |", "| --- | --- | --- | --- | --- | --- |"]
    for key, title in (ATTACKERS | found.get("recognisers", {})).items():
        rank = m.get(f"{key}.rank_1")
        if rank is not None:
            guess = f"{100 * rank['chance']:.1f} %"
            lines.append(f"| {title} | {share(rank, interval=True)} | {guess} | "
                         f"{number(m.get(f'{key}.same_sex.mean_rank'))} | "
                         f"{share(m.get(f'{key}.tar_at_far_1e-2'))} | "
                         f"{share(m.get(f'{key}.eer'))} |")
    lines += ["", f"A face detector still finds {share(m.get(UTILITY[0]))} of the faces (average "
              f"precision {number(m.get(UTILITY[1]))}), landmarks are off by "
              f"{number(m.get(UTILITY[2]))} eye distances and the head's turn by "
              f"{number(m.get(UTILITY[3]))} degrees (medians), the mouth's opening correlates with "
              f"{number(m.get(UTILITY[4]))}, and outside of what was covered "
              f"{share(m.get(UTILITY[5]))} of the pixels changed."]
    if "comparison" in found:
        other = found["comparison"]
        columns = {key: title for key, title in COLUMNS.items()
                   if any(key in cell["measures"] for cell in other["cells"])}
        lines += ["", f"What else can be chosen, on {other['people']} of them, one key each "
                  f"(guessing names {100 / other['people']:.1f} %):", "",
                  "| | " + " | ".join(columns.values()) + " |", "| --- " * (len(columns) + 1) + "|"]
        for cell in other["cells"]:
            cells = [number(cell["measures"].get(key)) if key == "expression.mouth" else
                     share(cell["measures"].get(key)) for key in columns]
            lines.append(f"| {cell['label']} | " + " | ".join(cells) + " |")
    if "leaks" in found:
        lines += ["", "Where it leaks. Each row takes one thing away that is kept; its difference "
                  "to the first is what keeping that thing costs.", "", found["leaks"]]
    return "\n".join(lines) + "\n"


def test_the_numbers_of_readme_are_those_of_the_report():
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == 1 and text.count(END) == 1
    written = text.split(BEGIN)[1].split(END)[0]
    assert written == section(json.loads(NUMBERS.read_text(encoding="utf-8")))


def test_the_section_of_a_report_by_hand():
    row = {"value": 0.125, "interval": [0.0, 0.25], "chance": 0.1, "label": "", "unit": "share"}
    report = {"people": 10, "settings": {"keys": 3}, "measures": {"dlib.rank_1": row},
              "comparison": {"people": 5, "cells": [
                  {"label": "blur", "measures": {"dlib.rank_1": row, "parrot.dlib.rank_1.own":
                                                 {**row, "value": None}}}, {"label": "x"}]}}
    text = section(condensed(report))
    assert "Of 10 people" in text and "under 3 keys" in text
    assert "| dlib's descriptor (a modern recogniser) | 12.5 % (0.0 to 25.0) | 10.0 % | – |" in text
    assert "guessing names 20.0 %" in text and "| blur | 12.5 % | – |" in text
    assert "recogniser mine" not in text and "Where it leaks" not in text
    report["settings"]["recognisers"] = [{"name": "dlib", "title": "dlib descriptor"},
                                         {"name": "mine", "title": "recogniser mine.onnx"}]
    report["measures"] |= {"mine.rank_1": row, "worst.rank_1": row}
    report["leaks"] = {"people": 10, "cells": [
        {"label": "as it is set", "measures": {"mine.rank_1": row}}]}
    text = section(condensed(json.loads(json.dumps(report))))
    assert "| recogniser mine.onnx | 12.5 % (0.0 to 25.0) | 10.0 % |" in text
    assert "| the worst of the face recognisers | 12.5 %" in text
    assert "| as it is set | 12.5 (0.0 to 25.0) | – |" in text


if __name__ == "__main__":
    numbers = condensed(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    README.write_text(before + BEGIN + section(numbers) + END + rest.split(END)[1],
                      encoding="utf-8")
