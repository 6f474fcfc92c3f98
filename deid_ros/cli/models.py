"""``deid models``: which model files there are, where, and whether they are right."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass

from deid_ros.errors import ModelError
from deid_ros.resources import model_path, model_table, sha256_of, share_path

__all__ = ["ModelState", "register", "run", "states"]

DESCRIPTION = """\
Show every model file: where it was found, whether it is the one expected
(SHA-256), its licence and what it is for. The exit status is 1 when one is
missing or altered."""

EPILOG = """\
examples:
  deid models                 the table
  deid models --json          the same for programs
  DEID_MODELS=/data deid models
                              look in /data first (by file name)
"""


@dataclass(frozen=True)
class ModelState:
    """One model file as it is on this machine.

    ``state`` is 'ok', 'missing' or 'altered'; ``note`` the reason and remedy
    where it is not 'ok'.
    """

    name: str
    state: str
    path: str
    package: str
    licence: str
    use: str
    note: str = ""


def register(subparsers: argparse._SubParsersAction) -> None:
    """Add ``deid models`` to the command line."""
    parser = subparsers.add_parser("models", help="show the model files: where, whole, licence",
                                   description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--json", action="store_true", help="print JSON")


def states() -> list[ModelState]:
    """The state of every file in ``models/models.yaml``, in its order."""
    found = []
    for name, entry in model_table().items():
        state, path, note = "ok", "", ""
        try:
            path = str(model_path(name))
        except ModelError as error:
            note = str(error)
            state = "altered" if "is not the one expected" in note else "missing"
        found.append(ModelState(name, state, path, entry.get("package") or "deid_ros",
                                entry["licence"], entry["use"], note))
    return found


def run(args: argparse.Namespace) -> int:
    """Print the table; 1 when a file is missing or altered."""
    found = states()
    if args.json:
        print(json.dumps([asdict(entry) for entry in found], indent=2))
    else:
        _print_table(found)
    return 0 if all(entry.state == "ok" for entry in found) else 1


def _print_table(found: list[ModelState]) -> None:
    rows = [("model", "state", "licence", "from", "for")]
    rows += [(e.name, e.state, e.licence, e.package, e.use) for e in found]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip())
    print()
    for entry in found:
        if entry.state == "ok":
            print(f"{entry.name}: {entry.path}")
        else:
            print(f"{entry.name}: {entry.note}")
    gallery = share_path("DB", "gallery.npz")
    if gallery.is_file():
        print(f"gallery: {gallery} (SHA-256 {sha256_of(gallery)[:12]}...)")
    else:
        print(f"gallery: not at {gallery}; build one with: deid db build FOLDER")
