"""The report as one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

import base64
import datetime
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros import __version__
from deid_ros.errors import EvaluationError
from deid_ros.evaluation import plots
from deid_ros.evaluation.evaluate import Evaluation
from deid_ros.evaluation.lights import Threshold, judge
from deid_ros.evaluation.recordings import Recording
from deid_ros.evaluation.report import format_number
from deid_ros.evaluation.thumbnails import cut_out
from deid_ros.evaluation.worst import WORST

__all__ = ["before_after", "summary", "worst_cases", "write_page"]

_SHEET, _WORST = 12, 8

#: Who attacks -> how the summary calls them.
_ATTACKERS = {"shape": "the shape of the face alone",
              "geometry": "the landmarks alone",
              "expression": "the expression alone", "eigenfaces": "eigenfaces",
              "fisherfaces": "Fisherfaces", "lbph": "local binary patterns"}

#: Measures of the table of leaks.
_RANKS = {"rank_1": "rank-1", "same_sex.mean_rank": "same sex: mean rank"}

#: Columns of the comparison: heading, measure, unit.
COLUMNS = (
    ("worst recogniser", "worst.rank_1"), ("same sex: mean rank", "worst.same_sex.mean_rank"),
    ("adaptive", "adaptive.worst.rank_1"),
    ("parrot, own key", "parrot.worst.rank_1.own"),
    ("parrot, given key", "parrot.worst.rank_1.given"),
    ("shape", "shape.rank_1"), ("eigenfaces", "eigenfaces.rank_1"),
    ("Fisherfaces", "fisherfaces.rank_1"), ("LBPH", "lbph.rank_1"),
    ("impersonates", "gallery.impersonated"), ("face still found", "detection.centerface.retained"),
    ("landmark error", "landmarks.error"), ("mouth follows", "expression.mouth"))


def _say(row: Mapping[str, Any] | None, *, interval: bool = False) -> str:
    """A measure in words: '4.5 %' or '4.5 % (1.1 to 9.1)'."""
    if row is None or row["value"] is None:
        return "–"
    text = format_number(row["value"], row["unit"], unit=True)
    ends = row.get("interval")
    if interval and ends:
        low, high = (format_number(np.inf if end is None else end, row["unit"]) for end in ends)
        text += f" ({low} to {high})"
    return text


def summary(content: Mapping[str, Any]) -> list[str]:
    """In sentences: who recognises whom, who runs the same tool, what is left.

    Recognisers are spoken of by the worst of them, measure by measure.

    Args:
        content: the evaluation's JSON.
    """
    rows, settings = content["measures"], content["settings"]
    out = [*_recognised(content), *_others(content)]
    if not out:
        return ["Nobody was measured."]
    parrot = rows.get(f"parrot.{WORST}.rank_1")
    if parrot is not None:
        key = "the run's key" if settings.get("parrot") == "given" else "another key"
        out.append("An attacker who puts other photographs of them through the same tool, with "
                   f"{key}, names {_say(parrot, interval=True)}.")
    else:
        out.append("An attacker who runs the same tool on other photographs was not tried "
                   "(--parrot).")
    adaptive = rows.get(f"adaptive.{WORST}.rank_1")
    if adaptive is not None:
        out.append("One who has learned from other people what the tool does to faces names "
                   f"{_say(adaptive, interval=True)}.")
    found, yaw = rows.get("detection.centerface.retained"), rows.get("pose.yaw")
    out.append(f"A face detector still finds {_say(found)} of the faces, their heads are turned "
               f"within {_say(yaw)} (median) of the originals', and of the pixels outside of "
               f"what was covered {_say(rows['outside.changed'])} changed.")
    return out


def _recognised(content: Mapping[str, Any]) -> list[str]:
    row = content["measures"].get(f"{WORST}.rank_1")
    if row is None or row["value"] is None:
        return []
    recognisers = content["settings"].get("recognisers", [])
    seconds = content["settings"].get("known") == "second photographs"
    known = "another photograph of each" if seconds else "every original"
    many = len(recognisers) > 1
    out = [f"{f'The worst of {len(recognisers)} face recognisers' if many else 'A recogniser'} for "
           f"these {content['people']} people, {row['attacker']}, which knows {known}, names "
           f"{_say(row, interval=True)} of them from the outputs, where guessing names "
           f"{format_number(row['chance'], 'share', unit=True)}."]
    if not any(one["independent"] for one in recognisers):
        out.append("No recogniser attacked that is independent of the tool (--attacker FILE).")
    return out


def _others(content: Mapping[str, Any]) -> list[str]:
    rows = content["measures"]
    ranked = {title: rows[f"{name}.rank_1"] for name, title in _ATTACKERS.items()
              if rows.get(f"{name}.rank_1", {}).get("value") is not None}
    if not ranked:
        return []
    strongest = max(ranked, key=lambda title: ranked[title]["value"])
    return [f"Of {len(ranked)} attackers of other kinds the strongest, {strongest}, names "
            f"{_say(ranked[strongest], interval=True)}."]


def before_after(result: Evaluation, outputs: Mapping[str, Path | None], *, show: bool,
                 count: int = _SHEET) -> list[dict[str, Any]]:
    """Pairs of small pictures at even steps through the people."""
    rows = np.linspace(0, len(result.people) - 1, min(count, len(result.people)))
    return [_pair(result, int(row), outputs, show) for row in rows.round().astype(int)]


def _pair(result: Evaluation, row: int, outputs: Mapping[str, Path | None],
          show: bool) -> dict[str, Any]:
    person, box = result.people[row], result.boxes[row]
    return {"id": person.id, "before": cut_out(person.original, box, hidden=None if show else
                                               result.faces[row]),
            "after": cut_out(outputs.get(person.id), box)}


def worst_cases(result: Evaluation, outputs: Mapping[str, Path | None], *, show: bool,
                count: int = _WORST) -> list[dict[str, Any]]:
    """Those recognised most often, then those nearest to their originals, with the reason."""
    values = result.values
    who = next((one.attacker for one in result.measures if one.key == f"{WORST}.rank_1"), "")
    if f"{who}.rank_1" not in values:
        return []
    order = np.lexsort((values[f"{who}.own_distance"], -values[f"{who}.rank_1"]))[:count]
    out = []
    for row in order:
        name = result.people[row].id
        runs = sum(name in ids for ids in result.missing.values())
        why = [f"named by {who} in {100 * values[f'{who}.rank_1'][row]:.0f} % of the runs",
               f"distance {values[f'{who}.own_distance'][row]:.2f}"]
        others = [title for key, title in _ATTACKERS.items()
                  if values.get(f"{key}.rank_1", np.zeros(len(result.people)))[row] >= 0.5]
        why += [f"also by {', '.join(others)}"] if others else []
        why += [f"no output in {runs} runs, counted as recognised"] if runs else []
        out.append(_pair(result, int(row), outputs, show) | {"why": "; ".join(why)})
    return out


def _image(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _table(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"label": cell["label"], "refused": cell.get("refused"), "cells": [
        {"text": _say(cell.get("measures", {}).get(key)),
         "title": _say(cell.get("measures", {}).get(key), interval=True)} for _, key in COLUMNS]}
        for cell in comparison["cells"]]


def _leaks(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """What keeping each thing costs: ``columns`` and ``rows`` of texts."""
    if "leaks" not in content:
        return None
    names = [str(one["name"]) for one in content["settings"].get("recognisers", [])]
    columns = [(name, what) for name in (*names, WORST) for what in _RANKS]
    return {"people": content["leaks"]["people"],
            "control": any(cell["key"] == "original_grey" for cell in content["leaks"]["cells"]),
            "columns": [f"{name}: {_RANKS[what]}" for name, what in columns],
            "rows": [(cell["label"], [_say(cell["measures"].get(f"{name}.{what}"), interval=True)
                                      for name, what in columns])
                     for cell in content["leaks"]["cells"] if "measures" in cell]}


def _recordings(found: Sequence[Recording]) -> dict[str, Any]:
    films = [{"name": one.name, "manifest": one.manifest, "problem": one.problem,
              "plot": _image(plots.coverage(one.parts)) if one.parts else None}
             for one in found if one.parts or one.problem]
    pictures = [one for one in found if not one.parts and not one.problem]
    covered: Counter[str] = Counter()
    for one in pictures:
        covered.update(one.manifest.get("covered_by", {}))
    return {"films": films, "pictures": len(pictures),
            "covered": ", ".join(f"{count} {name}" for name, count in sorted(covered.items()))}


def versions() -> dict[str, str]:
    """What measured: this package, Python and the libraries that the numbers come from."""
    out = {"deid_ros": __version__, "Python": platform.python_version()}
    for name in ("numpy", "scipy", "opencv-python-headless", "onnxruntime", "dlib-bin",
                 "ai-edge-litert", "scikit-learn", "scikit-image", "matplotlib", "Jinja2"):
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out


def write_page(path: Path, result: Evaluation, content: Mapping[str, Any], *,
               thresholds: Sequence[Threshold], outputs: Mapping[str, Path | None],
               show_originals: bool = False, comparison: Mapping[str, Any] | None = None,
               recordings: Sequence[Recording] = (), video: Mapping[str, Any] | None = None,
               files: Mapping[str, str] | None = None, command: str = "") -> None:
    """Write the report.

    Args:
        result: what was measured, and ``content`` the same as JSON.
        outputs: id -> an output of each person, for the pictures.
        show_originals: show the faces of originals; otherwise they are painted over.
        comparison: from ``compare``; ``recordings`` from ``read_recordings``; ``video`` from
            ``measure_video``; ``files`` name -> SHA-256; ``command`` what reproduces it.

    Raises:
        EvaluationError: Jinja2 or matplotlib is missing, or the file cannot be written.
    """
    try:
        from jinja2 import Environment, PackageLoader
    except ImportError:
        raise EvaluationError("The report needs Jinja2; install it with: "
                              "pip install 'deid_ros[report]'") from None
    environment = Environment(loader=PackageLoader("deid_ros.evaluation", "templates"),
                              autoescape=True, trim_blocks=True, lstrip_blocks=True)
    lights = [judge(one, content["measures"].get(one.measure)) for one in thresholds]
    groups = [("Among everybody", "all")]
    if any(person.sex != "?" for person in result.people):
        groups.append(("Within the same sex", "same_sex"))
    cells = [cell for cell in (comparison or {}).get("cells", []) if "measures" in cell]
    page = environment.get_template("report.html.j2").render(
        summary=summary(content), content=content, show_originals=show_originals,
        lights=[{"colour": light.colour, "says": light.threshold.says,
                 "measure": light.threshold.measure, "value": _say(light.measured),
                 "interval": _interval(light.measured), "chance": _chance(light.measured),
                 "limits": _limits(light.threshold, light.measured)} for light in lights],
        counts=Counter(light.colour for light in lights),
        curves=[(title, _image(plots.curves(content, group))) for title, group in groups],
        comparison=comparison, columns=[title for title, _ in COLUMNS],
        table=_table(comparison) if comparison else [], leaks=_leaks(content),
        trade=_image(plots.privacy_utility(cells)) if cells else None,
        closed=[cell | cell["closed_set"] for cell in cells if "closed_set" in cell],
        pairs=before_after(result, outputs, show=show_originals),
        worst=worst_cases(result, outputs, show=show_originals), video=video,
        recordings=_recordings(recordings), files=files or {}, versions=versions(),
        measures=[(key, row, _say(row, interval=True), _chance(row), _range(row))
                  for key, row in content["measures"].items()],
        command=command, today=datetime.date.today().isoformat())
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise EvaluationError(f"{path} cannot be written ({error.strerror or error}); give a file "
                              "in an existing folder.") from None


def _interval(row: Mapping[str, Any] | None) -> str:
    if row is None or row.get("interval") is None:
        return ""
    return " to ".join("lost" if end is None else format_number(end, row["unit"])
                       for end in row["interval"])


def _limits(threshold: Threshold, row: Mapping[str, Any] | None) -> str:
    unit = "share" if row is None else row["unit"]
    green, red = (format_number(end, unit) for end in (threshold.green, threshold.red))
    return f"≤ {green}, > {red}" if threshold.better == "lower" else f"≥ {green}, < {red}"


def _chance(row: Mapping[str, Any] | None) -> str:
    if row is None or row.get("chance") is None:
        return ""
    return format_number(row["chance"], row["unit"])


def _range(row: Mapping[str, Any]) -> str:
    if len(row["per_key"]) < 2 or not row["range"]:
        return ""
    return " to ".join("lost" if end is None else format_number(end, row["unit"])
                       for end in row["range"])
