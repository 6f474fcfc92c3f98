"""What the values of the parameter ``preset`` mean, in one place.

A preset says how often, how large and how turned CenterFace gets to see a frame. On real
footage one plain pass a frame finds what there is; more passes find what lies on its side
or is very small, and mistake more things for faces. Thresholds, margins and the rest are
parameters of their own and never changed by a preset.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PLAIN", "PRESETS", "Pass", "Preset"]


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
    picture; none: those of the cycle's. ``tiles``: tiles of frames larger than 640 px that
    take turns, a frame. ``detail``: frames after which the detail of a face's mesh is looked
    at again. ``asked``: places a frame at most at which the mesh is asked whether there is a
    face, two ms each; of a first frame, as many as in any preset. ``precision`` of
    CenterFace, a key of ``centerface.PRECISIONS``, and its ``threads``: a second one saves
    time only where nothing else is done meanwhile.
    """

    cycle: tuple[tuple[Pass, ...], ...]
    first: tuple[Pass, ...] = ()
    tiles: int = 0
    detail: int = 3
    asked: int = 6
    precision: str = "int8"
    threads: int = 1


_HALF = 0.5
_TURNED = tuple(Pass(0.4, turn=turn) for turn in (1, 2, 3))

#: One plain pass with the published network: what a back end is by itself.
PLAIN = Preset(cycle=((Pass(),),), precision="float", threads=2)

PRESETS: dict[str, Preset] = {
    # Two fifths of the pixels.
    "fast": Preset(cycle=((Pass(0.65),),), detail=8, asked=3),
    # Every frame in full. Every second time once more, small and turned, for those who lie
    # or stand on their heads.
    "balanced": Preset(
        cycle=tuple(step for turned in _TURNED for step in ((Pass(),), (Pass(), turned))),
        first=(Pass(), Pass(_HALF), *_TURNED), tiles=1),
    # Everything on every frame: for pictures and archives.
    "paranoid": Preset(
        cycle=((Pass(_HALF), Pass(), Pass(1.0, 0, True), Pass(1.0, 1, True), Pass(1.0, 2, True),
                Pass(1.0, 3, True), Pass(2.0, 0, True)),),
        detail=1, asked=24, precision="float", threads=2),
}
