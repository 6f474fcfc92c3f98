"""``deid train detector`` and ``openings``: trained networks measured, not trained."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from deid_ros.cli.options import add_parameter, overrides_of
from deid_ros.config import load
from deid_ros.errors import TrainingError

__all__ = ["KINDS", "register", "run"]

DETECTOR = """\
Quantise CenterFace, the detector, to eight bits: half the time on a CPU, the same
faces. Nothing is trained: the ranges of its activations are measured on scenes
composed of the portraits in FOLDER, one person each. Writes OUTPUT.

examples:
  deid train detector portraits/ -o models/centerface_int8.onnx
  deid train detector portraits/ --csv portraits.csv --split gallery -o quick.onnx"""

OPENINGS = """\
Learn how open the eyes and mouths of identities come out, so that they open as the
source's do: blends of the gallery are drawn into portraits and looked at. Writes
OUTPUT, the installed face space with what was learned added, and lets the gallery
FILE, changed in place, say that its codes belong to it.

example:
  deid train openings portraits/ --gallery DB/gallery.npz -o models/face_space.npz"""

#: What this module does of ``deid train``.
KINDS = ("detector", "openings")

# Scenes that a detector's activations are measured on, and the jaws of their faces (px).
_SCENES, _JAWS = 48, (16, 20, 24, 32, 48, 64, 100, 200)


def register(kinds: argparse._SubParsersAction) -> None:
    """Add them to ``deid train``."""
    detector, openings = (
        kinds.add_parser(name, help=title, description=text,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
        for name, title, text in (("detector", "quantise CenterFace", DETECTOR),
                                  ("openings", "learn how open eyes and mouths come out",
                                   OPENINGS)))
    for parser, written in ((detector, "network to write (.onnx)"),
                            (openings, "face space to write (.npz)")):
        parser.add_argument("folder", metavar="FOLDER", type=Path, help="folder of portraits")
        parser.add_argument("-o", "--output", metavar="OUTPUT", type=Path, required=True,
                            help=written)
    detector.add_argument("--csv", metavar="FILE", type=Path,
                          help="table of the people: id, split")
    detector.add_argument("--split", metavar="NAME", default="",
                          help="only rows of the table of this split")
    openings.add_argument("--gallery", metavar="FILE", type=Path, required=True,
                          help="gallery file, built from the portraits; changed in place")
    openings.add_argument("--count", metavar="N", type=int, default=1000,
                          help="blends of each sex [1000]")
    openings.add_argument("--seed", metavar="N", type=int, default=0, help="of the draws [0]")
    add_parameter(openings, "matcher", "mix")


def run(args: argparse.Namespace) -> int:
    """Measure and write."""
    suffix = {"detector": ".onnx", "openings": ".npz"}[args.training]
    if args.output.suffix != suffix:
        raise TrainingError(f"The output is {args.output}; give a name that ends in {suffix}.")
    return {"detector": _detector, "openings": _openings}[args.training](args)


def _detector(args: argparse.Namespace) -> int:
    from deid_ros.bench import composed
    from deid_ros.inference import free_input_size
    from deid_ros.resources import model_path
    from deid_ros.training.eight_bits import eight_bits

    heads = composed.load_heads(args.folder, table=args.csv, split=args.split, seed=5)
    shown = [composed.film(heads, composed.Look(jaw=_JAWS[i % len(_JAWS)]), 1, size=(640, 480),
                         seed=5000 + i, faces=6)[0].frame for i in range(_SCENES)]
    _write(args.output, lambda path: eight_bits(
        free_input_size(model_path("centerface").read_bytes()), path, shown))
    return 0


def _openings(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from tqdm import tqdm

    from deid_ros.generator import FaceSpace
    from deid_ros.matcher.gallery import Gallery
    from deid_ros.resources import sha256_of, share_path
    from deid_ros.training import openings
    from deid_ros.training.scenes import read_scenes

    if args.count < 2:
        raise TrainingError(f"--count is {args.count}; give 2 or more.")
    gallery, installed = Gallery.load(args.gallery), share_path("models", "face_space.npz")
    gallery.require_space(sha256_of(installed), path=args.gallery, space=installed)
    measured = openings.measure_openings(
        gallery, read_scenes(gallery, args.folder, seed=args.seed), args.count,
        mix=load(None, overrides_of(args))["matcher"]["mix"], seed=args.seed,
        progress=lambda numbers: tqdm(numbers, unit="blend", file=sys.stderr))
    more = openings.fit_openings(*measured)
    _write(args.output, openings.with_openings(FaceSpace.load(), more).save)
    replace(gallery, space=sha256_of(args.output)).save(args.gallery)
    mouth, eyes = (measured[0] @ more).std(axis=0)
    print(f"{args.gallery}: its codes belong to {args.output}\n"
          f"between identities mouths differ by {mouth:.3f} and eyes by {eyes:.3f} eye distances")
    return 0


def _write(target: Path, write: Callable[[Path], None]) -> None:
    """Have ``write`` make a file that becomes ``target`` when it is whole; say its hash."""
    from deid_ros.resources import sha256_of

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".train-") as folder:
            draft = Path(folder) / target.name
            write(draft)
            os.replace(draft, target)
    except OSError as error:
        raise TrainingError(f"{target} cannot be written ({error.strerror or error}); check the "
                            "space left.") from None
    print(f"{target}  {target.stat().st_size / 1e6:.1f} MB  SHA-256 {sha256_of(target)}")
