"""``deid db``: build the gallery of identities and look into it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deid_ros.cli.options import add_parameter, overrides_of
from deid_ros.config import as_list, defaults, file_of, load

if TYPE_CHECKING:
    from deid_ros.matcher.gallery import Gallery

__all__ = ["register", "run"]

BUILD = """\
Build a gallery: the identities that surrogates are blended from. Each image
shows one person; its name without the ending is the person's id. Images that
cannot be read or do not show exactly one face are named and left out. The
gallery holds no photographs, but it holds biometric vectors: only enrol people
who may be enrolled."""

BUILD_EPILOG = """\
examples:
  deid db build portraits/ -o DB/gallery.npz
  deid db build portraits/ --csv portraits.csv --split gallery -o DB/gallery.npz

The table (--csv) has the columns id and sex (M or F), perhaps age (years), and, for
--split, split. The
attributes (--attributes) have the columns id, glasses, beard, grey, occluded (0:
no); surrogates are not blended from people with any of them while enough others
remain.
"""

INFO = "Show what a gallery holds."


def register(subparsers: argparse._SubParsersAction) -> None:
    """Add ``deid db`` to the command line."""
    parser = subparsers.add_parser("db", help="build or show the gallery of identities",
                                   description="Build or show the gallery of identities.")
    commands = parser.add_subparsers(dest="db_command", metavar="ACTION", required=True)
    build = commands.add_parser("build", help="build a gallery from a folder of portraits",
                                description=BUILD, epilog=BUILD_EPILOG,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    build.add_argument("folder", metavar="FOLDER", help="folder of portraits, one person each")
    build.add_argument("--csv", metavar="FILE", help="table of the people: id, sex, split")
    build.add_argument("--split", metavar="NAME", help="only rows of the table of this split")
    build.add_argument("--attributes", metavar="FILE",
                       help="table of who wears glasses, a beard, is grey or occluded")
    build.add_argument("-o", "--output", metavar="FILE", required=True,
                       help="gallery file to write (.npz)")
    add_parameter(build, "matcher", "extractor")
    add_parameter(build, "matcher", "extractor_weights")
    add_parameter(build, "detector", "detector")
    add_parameter(build, "detector", "threshold")
    info = commands.add_parser("info", help="show what a gallery holds", description=INFO)
    info.add_argument("file", metavar="FILE", nargs="?",
                      help="gallery file [the installed one]")


def run(args: argparse.Namespace) -> int:
    """Build or show a gallery; 0 when it is done."""
    return {"build": _build, "info": _info}[args.db_command](args)


def _build(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from deid_ros.matcher.gallery import Gallery
    from deid_ros.training import database

    def warn(line: str) -> None:
        tqdm.write(f"warning: {line}", file=sys.stderr)

    config = load(None, overrides_of(args))
    Gallery.check_place(args.output)
    portraits = database.read_portraits(args.folder, table=args.csv, split=args.split,
                                        attributes=args.attributes, warn=warn)
    stages = database.Stages.load(
        detector=as_list(config["detector"]["detector"]),
        threshold=config["detector"]["threshold"], extractor=config["matcher"]["extractor"],
        weights=config["matcher"]["extractor_weights"])
    gallery, report = database.build_gallery(
        tqdm(portraits, unit="face", desc="enrolling", file=sys.stderr), stages, warn=warn)
    gallery.save(args.output)
    print(f"{args.output}: {report.enrolled} identities from {report.portraits} portraits, "
          f"{len(report.warnings)} left out")
    return 0


def _info(args: argparse.Namespace) -> int:
    import numpy as np

    from deid_ros.matcher.gallery import Gallery
    from deid_ros.resources import sha256_of

    path = Path(args.file) if args.file else file_of(defaults()["matcher"]["gallery"])
    gallery = Gallery.load(path)
    counts = ", ".join(f"{int((gallery.sex == sex).sum())} {name}" for sex, name in
                       (("M", "M"), ("F", "F"), ("?", "of unknown sex")))
    low, middle, high = np.quantile(gallery.neighbour_distances, [0, 0.5, 1])
    lines = {
        "file": path,
        "SHA-256": sha256_of(path),
        "schema": gallery.schema,
        "identities": f"{len(gallery)} ({counts})",
        "usable": int(gallery.usable.sum()),
        "people": _spread(gallery),
        "extractor": f"{gallery.extractor}, {gallery.embeddings.shape[1]} numbers",
        "code size": gallery.code_size,
        "face space": _space(gallery.space),
        "nearest other": f"cosine distance {low:.4f} to {high:.4f}, median {middle:.4f}",
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:<{width}}  {value}")
    return 0


def _spread(gallery: Gallery) -> str:
    """The ages and complexions of the usable people."""
    import numpy as np

    parts = []
    for what, numbers in (("years", gallery.age), ("degrees of complexion", gallery.complexion)):
        known = numbers[gallery.usable & np.isfinite(numbers)]
        if len(known):
            parts.append(f"{known.min():.0f} to {known.max():.0f} {what}, median {np.median(known):.0f}")
    return "; ".join(parts) or "neither age nor complexion known"


def _space(digest: str) -> str:
    """Which face space made the codes, and whether it is that of the installed generator."""
    from deid_ros.resources import sha256_of, share_path

    installed = share_path("models", "face_space.npz")
    if not installed.is_file():
        return f"SHA-256 {digest}" if digest else "not known"
    same = "the installed generator's" if digest == sha256_of(installed) else (
        "not that of the installed generator")
    return f"SHA-256 {digest}, {same}" if digest else f"not known, {same}"
