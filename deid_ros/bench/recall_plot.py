"""Draws what ``deid bench recall`` measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deid_ros.errors import MediaError

__all__ = ["draw", "pyplot"]

_BARS = ("roll", "yaw", "look")


def draw(result: dict[str, Any], path: Path) -> None:
    """Recall by size, by rotation and look, and what a frame costs, as one picture.

    Raises:
        MediaError: matplotlib is missing.
    """
    plt = pyplot()
    subjects = result["subjects"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.6), width_ratios=(1, 1.5))
    styles = {name: {"color": f"C{i}", "linestyle": "-" if i < 3 else "--"}
              for i, name in enumerate(subjects)}
    for name, row in subjects.items():
        label = name
        if "time" in row:
            label += f" ({row['time']['cpu_ms']:.0f} CPU ms)"
        for group, marker in (("size", "o"), ("film", "^")):
            points = [(float(key.split()[0]), rate) for key, rate in _rates(row, group)]
            if points:
                left.plot(*zip(*points, strict=True), marker=marker, markersize=4,
                          label=label if group == "size" else None,
                          **(styles[name] if group == "size"
                             else {"color": styles[name]["color"], "linestyle": ":"}))
    left.set(xscale="log", xlabel="width of the jaw (px)", ylabel="faces found", ylim=(-0.03, 1.03),
             title="upright, in one frame (dotted: within six)")
    ticks = (10, 16, 24, 32, 48, 100, 200, 400)
    left.set_xticks(ticks, [str(tick) for tick in ticks])
    left.minorticks_off()
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize=7, loc="lower right")
    first = next(iter(subjects.values()))
    labels = [label for group in _BARS for label, _ in _rates(first, group)]
    for i, (name, row) in enumerate(subjects.items()):
        rates = [rate for group in _BARS for _, rate in _rates(row, group)]
        right.bar([j + 0.8 * (i + 0.5) / len(subjects) - 0.4 for j in range(len(rates))], rates,
                  0.8 / len(subjects), color=styles[name]["color"],
                  alpha=1 if styles[name]["linestyle"] == "-" else 0.5)
    right.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    right.set(ylim=(0, 1.03), title="turned: jaw 32 px; other looks: 48 px")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def pyplot() -> Any:
    """matplotlib's ``pyplot``, drawing into files.

    Raises:
        MediaError: matplotlib is missing.
    """
    try:
        import matplotlib
        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MediaError(f"Plots need the package matplotlib ({error}); bring it with: "
                         "pip install matplotlib") from None
    return plt


def _rates(row: dict[str, Any], group: str) -> list[tuple[str, float]]:
    return [(label, cell["found"] / max(cell["faces"], 1))
            for label, cell in row["recall"].get(group, {}).items()]
