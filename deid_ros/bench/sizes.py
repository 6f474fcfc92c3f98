"""``deid bench sizes``: what a face of a given size is worth to somebody who knows the person."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from deid_ros.bench.machine import Usage, machine_line
from deid_ros.config import Config
from deid_ros.errors import ConfigError, MediaError

__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "PARAMETERS", "SIZES", "add_options", "curve",
           "draw", "measure", "text"]

HELP = "how often dlib's recogniser names a face, by its size"

DESCRIPTION = """\
Shrink portraits until the jaw is so many pixels wide, enlarge them again as an attacker
would, and let dlib's recogniser name them among the full-size originals and those of
people who stand aside. Rank-1: the share of the people whose own portrait is the nearest
of all; blind guessing has one in all people. Known: the share within dlib's distance of
0.6, at which it says 'the same person'. Both are upper bounds, since it is the same
photograph and the attacker knows where the face is."""

EXAMPLES = """\
examples:
  deid bench sizes faces/                         every picture is shrunk and known
  deid bench sizes faces/ --table people.csv --split probe --plot sizes.png
                                                  shrink those of a split; the others are known too
"""

PARAMETERS: tuple[tuple[str, str], ...] = ()

#: Widths of the jaw (px).
SIZES = (8, 10, 12, 16, 20, 24, 32, 48, 64, 100)
_DLIB = 1.44           # length of dlib's descriptors, which ours have brought to 1
_SAME = 0.6            # dlib's distance of one and the same person
_LEAST_JAW = 100.0     # px, of a portrait that counts as full-size
_ROOM = 0.2            # of its size is added around a portrait that its face fills


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is measured."""
    parser.add_argument("portraits", type=Path, metavar="FOLDER",
                        help="pictures with one face each, of different people")
    parser.add_argument("--table", type=Path, metavar="CSV",
                        help="columns id (file name without its end) and split")
    parser.add_argument("--split", default="", help="shrink only people of this split")
    parser.add_argument("--people", type=int, default=100, metavar="N",
                        help="portraits shrunk, at most [100]")
    parser.add_argument("--known", type=int, default=200, metavar="N",
                        help="people among whom the attacker looks, at most [200]")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of people [0]")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curve as a picture")


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Run the bench.

    Returns:
        ``sizes``: size in px (as text) -> ``rank1`` and ``same`` (shares), ``people``,
        ``known``; ``machine``.

    Raises:
        DeidError: an option out of range; no usable portrait; a model is missing.
    """
    for name, value in (("people", args.people), ("known", args.known)):
        if not 2 <= value <= 100_000:
            raise ConfigError(f"--{name} is {value} but must be from 2 to 100000.")
    usage = Usage()
    result = {"bench": "sizes", "seed": args.seed,
              "sizes": curve(args.portraits, table=args.table, split=args.split,
                             people=args.people, known=args.known, seed=args.seed),
              "machine": usage.spent().machine()}
    if args.plot:
        draw(result, args.plot)
    return result


def curve(folder: Path, *, table: Path | None = None, split: str = "", people: int = 100,
          known: int = 200, seed: int = 0) -> dict[str, dict[str, float]]:
    """Size of the jaw in px (as text) -> how often the person is named; see ``measure``.

    Raises:
        MediaError: fewer than two portraits with a large face.
    """
    import cv2
    import numpy as np

    from deid_ros.bench.composed import portraits
    from deid_ros.detector import FaceMesh, create_detector
    from deid_ros.extractor import create_extractor

    detector, mesher = create_detector(["centerface"]), FaceMesh()
    extractor = create_extractor("dlib_resnet")
    shrunk = portraits(folder, table=table, split=split, seed=seed)
    others = [path for path in portraits(folder, seed=seed) if path not in set(shrunk)]
    faces, originals = [], []
    for path in [*shrunk, *others]:
        if len(faces) >= known or (path in others and len(faces) < 2):
            break
        if path in shrunk and len(faces) >= people:
            continue
        face = _face(cv2.imread(str(path)), detector, mesher)
        if face is not None:
            originals.append(_embed(extractor, *face))
            # Only those to be shrunk are kept.
            faces.append(face if path in shrunk else None)
    probes = [(i, face) for i, face in enumerate(faces) if face is not None]
    if len(probes) < 2:
        raise MediaError(f"There are fewer than two portraits with a face of {_LEAST_JAW:.0f} px "
                         f"in {folder}; give a folder of larger pictures with one face each.")
    gallery = np.stack(originals)
    own = np.array([i for i, _ in probes])
    rates = {}
    for size in SIZES:
        seen = np.stack([_embed(extractor, _enlarged(image, size / _jaw(mesh)), mesh)
                         for _, (image, mesh) in probes])
        distance = np.linalg.norm(seen[:, None] - gallery[None], axis=2) * _DLIB
        mine = distance[np.arange(len(own)), own]
        rates[str(size)] = {"rank1": round(float((distance.argmin(axis=1) == own).mean()), 3),
                            "same": round(float((mine < _SAME).mean()), 3),
                            "people": len(own), "known": len(gallery)}
    return rates


def _face(image: Any, detector: Any, mesher: Any) -> tuple[Any, Any] | None:
    """A portrait with room around it and the mesh (468, 3) of its face; None: of no use."""
    import cv2

    if image is None:
        return None
    image = cv2.copyMakeBorder(image, *[int(max(image.shape[:2]) * _ROOM)] * 4,
                               cv2.BORDER_REPLICATE)
    found = detector.detect(image)
    if not len(found):
        return None
    meshes, confidence = mesher.locate(image, found[:1])
    if confidence[0] < 0.7 or _jaw(meshes[0]) < _LEAST_JAW:
        return None
    return image, meshes[0]


def _jaw(mesh: Any) -> float:
    from deid_ros.geometry import MESH_TO_IBUG68

    jaw = mesh[MESH_TO_IBUG68[:17], 0]
    return float(jaw.max() - jaw.min())


def _enlarged(image: Any, scale: float) -> Any:
    """A picture (H, W, 3) shrunk by ``scale`` and brought back to its size."""
    import cv2

    height, width = image.shape[:2]
    small = cv2.resize(image, (max(round(width * scale), 1), max(round(height * scale), 1)),
                       interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def _embed(extractor: Any, image: Any, mesh: Any) -> Any:
    """Embedding (D,) of the face at ``mesh``; the attacker aligns it in what he has."""
    import numpy as np

    from deid_ros.detector.chips import cut_chips

    return extractor.embed(cut_chips(image, np.zeros((1, 4)), mesh[None], "dlib_resnet"))[0]


def draw(result: dict[str, Any], path: Path) -> None:
    """The curve as a picture.

    Raises:
        MediaError: matplotlib is missing.
    """
    from deid_ros.bench.recall_plot import pyplot

    plt = pyplot()
    sizes, rates = [int(size) for size in result["sizes"]], list(result["sizes"].values())
    figure, axis = plt.subplots(figsize=(6.4, 4))
    axis.plot(sizes, [rate["rank1"] for rate in rates], marker="o", label="named (rank-1)")
    axis.plot(sizes, [rate["same"] for rate in rates], marker="s", linestyle="--",
              label=f"called the same person (distance below {_SAME})")
    axis.axhline(1 / rates[0]["known"], color="grey", linewidth=1, label="blind guessing")
    axis.axvline(24, color="grey", linestyle=":", linewidth=1)
    axis.set(xscale="log", xlabel="width of the jaw (px)", ylabel="share of the people",
             ylim=(-0.03, 1.03), title=f"dlib's recogniser: {rates[0]['people']} people among "
             f"{rates[0]['known']} known ones")
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def text(result: dict[str, Any]) -> str:
    """The numbers for people."""
    rates = result["sizes"]
    first = next(iter(rates.values()))
    lines = [f"sizes     {first['people']} people among {first['known']} known ones, seed "
             f"{result['seed']}", f"machine   {machine_line(result['machine'])}", "",
             f"{'jaw':>8s}{'rank-1':>9s}{'same person':>13s}"]
    lines += [f"{size + ' px':>8s}{rate['rank1']:9.2f}{rate['same']:13.2f}"
              for size, rate in rates.items()]
    return "\n".join(lines)
