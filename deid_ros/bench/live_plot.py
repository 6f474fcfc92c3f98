"""Draws what ``deid bench ros`` measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deid_ros.bench.recall_plot import pyplot

__all__ = ["draw"]

_COLOURS = {"composed": "C0", "processes": "C1", "core": "C2"}
_WORDS = {"composed": "one process", "processes": "four processes", "core": "stages without ROS"}


def draw(result: dict[str, Any], path: Path) -> None:
    """Rate and latency over the number of faces, a column for each size, as one picture.

    Args:
        result: of ``bench.grid.measure``, or one cell of it.
        path: of the picture.

    Raises:
        MediaError: matplotlib is missing.
    """
    plt = pyplot()
    cells = result.get("cells") or [result]
    sizes = sorted({tuple(cell["size"]) for cell in cells})
    runtimes = [name for name in _COLOURS if any(cell["runtime"] == name for cell in cells)]
    # Faces are spread evenly: 0, 1, 2 and 10 would crowd at the left.
    faces = sorted({cell["faces_per_frame"] for cell in cells})
    figure, axes = plt.subplots(2, len(sizes), figsize=(1.2 + 4.2 * len(sizes), 6.4), sharex=True,
                                sharey="row", squeeze=False)
    for column, size in enumerate(sizes):
        rate, latency = axes[:, column]
        for runtime in runtimes:
            shown = {cell["faces_per_frame"]: cell for cell in cells
                     if cell["runtime"] == runtime and tuple(cell["size"]) == size}
            _draw(rate, latency, runtime, faces, shown)
        if result["rate"]:
            rate.axhline(result["rate"], color="0.6", linewidth=0.8)
        if result.get("deadline_ms"):
            latency.axhline(result["deadline_ms"], color="0.6", linewidth=0.8)
        rate.set_title(f"{size[0]}x{size[1]}")
        latency.set_xlabel("faces in every frame")
        latency.set_xticks(range(len(faces)), [str(number) for number in faces])
        for axis in (rate, latency):
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("frames/s (dashed: CPU allows)")
    axes[1, 0].set_ylabel("latency, ms (median; dotted: p95)")
    most = max((cell["fps"] for cell in cells if "error" not in cell), default=1.0)
    axes[0, 0].set_ylim(0, 1.6 * max(result["rate"], most))
    axes[1, 0].set_ylim(bottom=0)
    axes[0, 0].legend(fontsize=8, loc="best")
    figure.suptitle(_title(result), fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _title(result: dict[str, Any]) -> str:
    machine = result["machine"]
    driven = f"sent at {result['rate']:g} Hz" if result["rate"] else "driven flat out"
    lines = [f"preset {result['preset']}, {driven}, {machine['cores']} cores"]
    if (machine["others_cores"] or 0) > 0.1 * machine["cores"]:
        lines.append(f"other programs kept up to {machine['others_cores']:.1f} of them busy")
    if result["rate"] and result.get("deadline_ms"):
        lines.append(f"grey: the rate sent, the deadline of {result['deadline_ms']:g} ms")
    return "\n".join(lines)


def _draw(rate: Any, latency: Any, runtime: str, faces: list[int],
          shown: dict[int, dict[str, Any]]) -> None:
    colour = _COLOURS[runtime]
    worked = [(i, shown[number]) for i, number in enumerate(faces)
              if number in shown and "error" not in shown[number]]
    failed = [i for i, number in enumerate(faces) if "error" in shown.get(number, {})]
    places = [i for i, _ in worked]
    rate.plot(places, [cell["fps"] for _, cell in worked], color=colour, marker="o",
              label=_WORDS[runtime])
    rate.plot(places, [cell["ideal_fps"] for _, cell in worked], color=colour, linestyle="--",
              linewidth=1)
    rate.plot(failed, [0] * len(failed), color=colour, marker="x", linestyle="")
    for name, style in (("p50", "-"), ("p95", ":")):
        latency.plot(places, [cell["latency_ms"][name] for _, cell in worked], color=colour,
                     marker="o", markersize=4, linestyle=style)
