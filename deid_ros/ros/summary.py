"""What a run of the pipeline has done, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Summary"]


def _part(values: Mapping[str, float], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): int(number) for name, number in values.items()
            if name.startswith(prefix) and "_ms." not in name}


@dataclass(frozen=True)
class Summary:
    """Numbers of one run.

    Attributes:
        seconds: how long it ran.
        frames_in: camera frames that reached the replacer.
        frames_out: frames that left.
        withheld: cause -> frames that did not leave.
        faces: what covered them -> number; ``faces_covered`` is their sum.
        latency_ms: ``p50`` and ``p95`` from the camera's stamp to publication,
            or from arrival at the replacer where stamps are of another clock.
        failed: node and callback -> errors survived.
        restarts: node -> how often its process was started again.
        nodes: node -> every number it keeps.
    """

    seconds: float
    frames_in: int
    frames_out: int
    withheld: dict[str, int]
    faces: dict[str, int]
    faces_covered: int
    latency_ms: dict[str, float]
    failed: dict[str, int]
    restarts: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: Mapping[str, Mapping[str, float]], *, seconds: float,
           restarts: Mapping[str, int] | None = None) -> Summary:
        """From the numbers of the nodes."""
        replacer = nodes.get("replacer", {})
        faces = _part(replacer, "faces.")
        latency = _part_ms(replacer, "age_ms.") or _part_ms(replacer, "latency_ms.")
        failed = {f"{node}.{name}": number for node, values in nodes.items()
                  for name, number in _part(values, "failed.").items()}
        return cls(seconds=round(seconds, 3), frames_in=int(replacer.get("in", 0)),
                   frames_out=int(replacer.get("out", 0)),
                   withheld=_part(replacer, "withheld."), faces=faces,
                   faces_covered=sum(faces.values()), latency_ms=latency, failed=failed,
                   restarts={name: number for name, number in (restarts or {}).items() if number},
                   nodes={node: dict(values) for node, values in nodes.items()})

    def text(self) -> str:
        """Four lines, or five where something failed."""
        def words(numbers: Mapping[str, int]) -> str:
            return ", ".join(f"{name} {number}" for name, number in numbers.items())

        withheld = sum(self.withheld.values())
        lines = [
            f"frames   {self.frames_in} in, {self.frames_out} out in {self.seconds:.1f} s",
            f"withheld {withheld}" + (f" ({words(self.withheld)})" if withheld else ""),
            f"faces    {self.faces_covered} covered"
            + (f" ({words(self.faces)})" if self.faces else ""),
            "latency  " + (f"median {self.latency_ms['p50']:.1f} ms, "
                           f"p95 {self.latency_ms['p95']:.1f} ms" if self.latency_ms else "-"),
        ]
        if self.failed or self.restarts:
            lines.append(f"failed   {words({**self.failed, **self.restarts})}")
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def _part_ms(values: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): number for name, number in values.items()
            if name.startswith(prefix)}
