"""The report's plots, as SVG texts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deid_ros.errors import EvaluationError

__all__ = ["coverage", "curves", "privacy_utility"]

_TITLES = {"dlib": "dlib descriptor", "shape": "face shape", "geometry": "landmark geometry",
           "expression": "expression", "eigenfaces": "eigenfaces", "fisherfaces": "Fisherfaces",
           "lbph": "local binary patterns"}
#: Told apart without colours too.
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    try:
        import matplotlib
    except ImportError:
        raise EvaluationError("The report needs matplotlib; install it with: "
                              "pip install 'deid_ros[report]'") from None
    from matplotlib.figure import Figure

    # Paths and not fonts, and nothing that changes from run to run.
    matplotlib.rcParams["svg.fonttype"] = "path"
    matplotlib.rcParams["svg.hashsalt"] = "deid_ros"
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def _svg(figure: Any) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def curves(content: Mapping[str, Any], group: str) -> str:
    """CMC and ROC of every attacker, with the chance line.

    Args:
        content: the evaluation's JSON.
        group: 'all' or 'same_sex'.
    """
    figure, (left, right) = _figure(9, 3.8, 2)
    rates = content["curves"]["false_accepts"]
    longest = 1
    for number, (name, groups) in enumerate(content["curves"]["attackers"].items()):
        cmc, roc = groups[group]["cmc"], groups[group]["roc"]
        if not cmc or cmc[0] is None:
            continue
        # Rates that so few people cannot carry are not known.
        known = [i for i, value in enumerate(roc) if value is not None and i]
        longest = max(longest, len(cmc))
        style = {"linestyle": _DASHES[number % len(_DASHES)], "color": f"C{number % 10}",
                 "label": _TITLES.get(name, name)}
        left.plot(range(1, len(cmc) + 1), cmc, **style)
        right.plot([rates[i] for i in known], [roc[i] for i in known], **style)
    left.plot(range(1, longest + 1), [rank / longest for rank in range(1, longest + 1)],
              color="0.5", linewidth=1, label="chance")
    right.plot(rates[1:], rates[1:], color="0.5", linewidth=1, label="chance")
    left.set(xscale="log", xlabel="among the first ... people", ylabel="person found",
             ylim=(0, 1.02), title="Identification (CMC)")
    right.set(xscale="log", xlabel="strangers taken for the person", ylabel="person accepted",
              ylim=(0, 1.02), title="Verification (ROC)")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= longest]
    left.set_xticks(ticks, [str(tick) for tick in ticks])
    left.minorticks_off()
    left.legend(fontsize=8)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    return _svg(figure)


_FAMILIES = {"independent": ("o", "C0"), "margin": ("s", "C1"), "nearest": ("^", "C3"),
             "k_same": ("D", "C2"), "": ("X", "0.35"), "context": ("+", "0.35")}


def privacy_utility(cells: Sequence[Mapping[str, Any]]) -> str:
    """Every way of hiding faces: who is recognised against what is left.

    Left by the worst recogniser, right by one who runs the same tool with another key.
    """
    figure, axes = _figure(9, 4.4, 2)
    for axis, key, title in zip(axes, ("worst.rank_1", "parrot.worst.rank_1.own"), (
            "the worst recogniser", "a parrot with another key")):
        for cell in cells:
            x, y = (cell["measures"].get(name, {}).get("value")
                    for name in (key, "expression.mouth"))
            if x is None or y is None:
                continue
            family = "context" if cell["key"].startswith("context") else cell["policy"]
            marker, colour = _FAMILIES[family]
            axis.scatter(x, y, marker=marker, color=colour, s=40, alpha=0.8)
            name = f"mix {cell['mix']}" if cell["policy"] else cell["label"]
            name = f"k {cell['k']}" if cell["k"] else name
            name = cell["key"].removeprefix("context_") if family == "context" else name
            axis.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=6.5)
        axis.set(xlim=(-0.03, 1.06), ylim=(-0.25, 1.05), xlabel=f"named by {title} (rank-1)",
                 ylabel="mouth opens with the person's (correlation)")
        axis.grid(alpha=0.3)
    for name, (marker, colour) in _FAMILIES.items():
        axes[0].scatter([], [], marker=marker, color=colour, label=name or "obfuscation")
    axes[0].legend(fontsize=8, loc="center")
    return _svg(figure)


def coverage(rows: Mapping[str, np.ndarray]) -> str:
    """Faces by what covers them over the frames of a recording.

    Args:
        rows: what covers a face -> float (T,), mean faces a frame in each of T parts.
    """
    figure, axis = _figure(7, 1.7)
    parts = len(next(iter(rows.values()), []))
    axis.stackplot(np.linspace(0, 100, max(parts, 2)),
                   *[np.broadcast_to(values, (max(parts, 2),)) for values in rows.values()],
                   labels=list(rows), alpha=0.85)
    axis.set(xlabel="% of the frames", ylabel="faces a frame", xlim=(0, 100))
    axis.legend(fontsize=7, loc="upper right", ncols=3)
    return _svg(figure)
