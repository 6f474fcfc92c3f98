"""``deid verify``: finished outputs seen with other eyes."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deid_ros.evaluation.verify import Bare, Verdict

__all__ = ["register", "run"]

_NAMED = 10     # problems of one output that are printed

_DESCRIPTION = """\
Look at what 'deid run' wrote: is it what the manifests say, and is there a face that was
never covered? A detector that had no part in the work searches every frame; what it finds
outside the boxes of NAME.faces.jsonl is reported. With --against the boxes are compared
with the inputs too: is what lies there still what the input shows? Files without evidence
are listed. Faces the tool was told to keep count as covered."""

_EPILOG = """\
examples:
  deid verify out/                   every output below out/ that has a manifest
  deid verify out/ --against in/     inside the boxes too, where the inputs are at hand
  deid verify out/clip.mp4 --every 5 every fifth frame of one
  deid verify out/ --json found.json where the faces are, as JSON too

exit status: 0 nothing found; 1 a face that is not covered, an output that is not what its
manifest says, or a file without evidence; 2 there was nothing to look at.
"""


def register(subparsers: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "verify", help="look for faces that were never covered in finished outputs",
        description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("outputs", nargs="*", default=["out"], metavar="OUT", type=Path,
                        help="output, or folder of outputs [out]")
    parser.add_argument("--detector", metavar="NAME",
                        help="who looks: ssd, dlib_hog, centerface or viola_jones [the first that "
                             "had no part in the work]")
    parser.add_argument("--every", type=int, default=1, metavar="N",
                        help="look at every N-th frame [1]")
    parser.add_argument("--against", action="append", default=[], metavar="INPUT", type=Path,
                        help="an input, or a folder of inputs: boxes that still show it are "
                             "reported; may be repeated")
    parser.add_argument("--json", metavar="FILE", type=Path,
                        help="write what was found as JSON too")


def run(args: argparse.Namespace) -> int:
    """Look at the outputs; 1 if anything is wrong with one of them."""
    from tqdm import tqdm

    from deid_ros.detector.registry import known_names
    from deid_ros.errors import ConfigError
    from deid_ros.evaluation.outputs import outputs_of, strays
    from deid_ros.evaluation.verify import Verifier

    if args.every < 1:
        raise ConfigError(f"--every is {args.every} but must be at least 1.")
    if args.detector:
        known_names(args.detector)
    for path in args.against:
        if not path.exists():
            raise ConfigError(f"--against {path}: there is no such file or folder; check the "
                              "path.")
    outputs, other = [], list[str]()
    for path in map(Path, args.outputs):
        found = outputs_of(path)
        outputs += found
        other += strays(path, found)
    verifier = Verifier(detector=args.detector, every=args.every, against=args.against)
    verdicts = []
    for output in tqdm(outputs, unit="output", disable=None):
        verdict = verifier.verify(output)
        verdicts.append(verdict)
        for sentence in _sentences(verdict):
            tqdm.write(f"deid verify: {sentence}", file=sys.stderr)
    for sentence in other:
        print(f"deid verify: {sentence}", file=sys.stderr)
    if args.json:
        args.json.write_text(json.dumps([dataclasses.asdict(verdict) for verdict in verdicts],
                                        indent=2, default=str) + "\n", encoding="utf-8")
    bare = sum(len(verdict.bare) for verdict in verdicts)
    perhaps = sum(verdict.perhaps for verdict in verdicts)
    eyes = ", ".join(sorted({verdict.detector for verdict in verdicts if verdict.detector}))
    print(f"{len(verdicts)} outputs, {sum(v.frames for v in verdicts)} frames seen by {eyes or '-'}"
          f"; {sum(v.faces for v in verdicts)} faces found, {bare} never covered"
          + (f"; {perhaps} places never covered that are hardly faces" if perhaps else "")
          + (f"; {sum(v.compared for v in verdicts)} boxes compared, "
             f"{sum(len(v.uncovered) for v in verdicts)} still show the input"
             if args.against else "")
          + (f"; {len(other)} files without evidence" if other else ""))
    return 0 if all(verdict.clean for verdict in verdicts) and not other else 1


def _sentences(verdict: Verdict) -> Iterator[str]:
    """What is to be said of an output."""
    yield from verdict.problems[:_NAMED]
    if len(verdict.problems) > _NAMED:
        yield f"{verdict.output}: and {len(verdict.problems) - _NAMED} more of the kind"
    yield from (f"{verdict.output}: {note}" for note in verdict.notes)
    if verdict.bare:
        yield (f"{verdict.output}: {len(verdict.bare)} faces were never covered, of about "
               f"{verdict.people} people, in the frames {_frames(verdict.bare)}")
    if verdict.uncovered:
        yield (f"{verdict.output}: {len(verdict.uncovered)} boxes that are said to be covered "
               f"still show the input, in the frames {_frames(verdict.uncovered)}")


def _frames(found: Sequence[Bare]) -> str:
    frames = sorted({bare.index for bare in found})
    return ", ".join(map(str, frames[:8])) + (", ..." if len(frames) > 8 else "")
