"""What the values of the parameter ``preset`` mean, in one place.

A preset says how often, how large and how turned the back ends named by the parameter
``detector`` get to see a frame, and which back ends join them. Thresholds, margins and
the rest are parameters of their own and never changed by a preset.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PRESETS", "Pass", "Preset"]


@dataclass(frozen=True, slots=True)
class Pass:
    """One look at the whole frame.

    ``scale``: the frame's longest side in parts of 640 px (smaller frames are not
    enlarged), or, ``tiled``, of the frame itself, which is then cut into overlapping
    tiles; ``turn`` quarter turns clockwise by which the frame is turned before the look.
    """

    scale: float = 1.0
    turn: int = 0
    tiled: bool = False


@dataclass(frozen=True, slots=True)
class Preset:
    """A way of searching.

    ``cycle``: the passes of each frame, over and over: costly ones take turns and the
    tracker carries between. ``first``: those of a stream's first frame, which may be a
    picture; none: those of the cycle's. ``beside``: back ends that also see every frame once.
    ``weak``: CenterFace's score, as a part of the threshold, from which a place is
    looked at a second time, enlarged and upright. ``looks``: such places a frame at
    most. ``tiles``: tiles of frames larger than 640 px that take turns, a frame.
    ``detail``: frames after which the detail of a face's mesh is looked at again, or, where
    all frames from then on are costly ones, twice as many.
    ``precision`` of CenterFace, a key of ``centerface.PRECISIONS``, and its ``threads``: a
    second one saves time only where nothing else is done meanwhile, and always costs some.
    """

    cycle: tuple[tuple[Pass, ...], ...]
    first: tuple[Pass, ...] = ()
    beside: tuple[str, ...] = ()
    weak: float = 0.15
    looks: int = 6
    tiles: int = 0
    detail: int = 3
    precision: str = "int8"
    threads: int = 1

    def light(self, turn: int) -> bool:
        """Whether a frame of the cycle is one of those that are searched at the least cost."""
        costs = [sum(step.scale ** 2 for step in passes) for passes in self.cycle]
        return costs[turn % len(costs)] <= 1.05 * min(costs)


_HALF = 0.5

PRESETS: dict[str, Preset] = {
    # A quarter of the pixels, a second look at little.
    "fast": Preset(cycle=((Pass(_HALF),),), beside=("ssd",), weak=0.25, looks=2, detail=8),
    # Every sixth frame in full. Between, smaller, since a second look finds at 0.65 what
    # a full frame would show from 16 px on, and every second time once more turned, for
    # those who lie or stand on their heads. No frame has two costly passes; on those with
    # one small one, the detail of meshes is looked at.
    "balanced": Preset(
        cycle=((Pass(),), (Pass(0.65), Pass(0.4, turn=1)),
               (Pass(0.7),), (Pass(0.65), Pass(0.4, turn=2)),
               (Pass(0.7),), (Pass(0.65), Pass(0.4, turn=3))),
        first=(Pass(), Pass(_HALF), Pass(0.4, turn=1), Pass(0.4, turn=2), Pass(0.4, turn=3)),
        weak=0.15, looks=16, tiles=1),
    # Everything on every frame: for pictures and archives.
    "paranoid": Preset(
        cycle=((Pass(_HALF), Pass(), Pass(1.0, 0, True), Pass(1.0, 1, True), Pass(1.0, 2, True),
                Pass(1.0, 3, True), Pass(2.0, 0, True)),),
        beside=("ssd",), weak=0.12, looks=48, detail=1, precision="float", threads=2),
}
