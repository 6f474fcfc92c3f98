"""``deid verify``: finished outputs seen with other eyes."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

__all__ = ["register", "run"]

_DESCRIPTION = """\
Look at what 'deid run' wrote: is it what the manifests say, and is there a face that was
never covered? A detector that had no part in the work searches every frame; what it finds
outside the boxes of NAME.faces.jsonl is reported. Faces the tool was told to keep count
as covered."""

_EPILOG = """\
examples:
  deid verify out/                   every output below out/ that has a manifest
  deid verify out/clip.mp4 --every 5 every fifth frame of one
  deid verify out/ --json found.json where the faces are, as JSON too

exit status: 0 nothing found; 1 a face that was never covered, or an output that is not
what its manifest says; 2 there was nothing to look at.
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
    parser.add_argument("--json", metavar="FILE", type=Path,
                        help="write what was found as JSON too")


def run(args: argparse.Namespace) -> int:
    """Look at the outputs; 1 if anything is wrong with one of them."""
    from tqdm import tqdm

    from deid_ros.detector.registry import known_names
    from deid_ros.errors import ConfigError
    from deid_ros.evaluation.verify import Verifier, outputs_of

    if args.every < 1:
        raise ConfigError(f"--every is {args.every} but must be at least 1.")
    if args.detector:
        known_names(args.detector)
    outputs = [output for path in map(Path, args.outputs) for output in outputs_of(path)]
    verifier = Verifier(detector=args.detector, every=args.every)
    verdicts = []
    for output in tqdm(outputs, unit="output", disable=None):
        verdict = verifier.verify(output)
        verdicts.append(verdict)
        for problem in verdict.problems:
            tqdm.write(f"deid verify: {problem}", file=sys.stderr)
        if verdict.bare:
            frames = sorted({bare.index for bare in verdict.bare})
            some = ", ".join(map(str, frames[:8])) + (", ..." if len(frames) > 8 else "")
            tqdm.write(f"deid verify: {output}: {len(verdict.bare)} faces were never covered, of "
                       f"about {verdict.people} people, in the frames {some}", file=sys.stderr)
    if args.json:
        args.json.write_text(json.dumps([dataclasses.asdict(verdict) for verdict in verdicts],
                                        indent=2, default=str) + "\n", encoding="utf-8")
    bare = sum(len(verdict.bare) for verdict in verdicts)
    perhaps = sum(verdict.perhaps for verdict in verdicts)
    eyes = ", ".join(sorted({verdict.detector for verdict in verdicts if verdict.detector}))
    print(f"{len(verdicts)} outputs, {sum(v.frames for v in verdicts)} frames seen by {eyes or '-'}"
          f"; {sum(v.faces for v in verdicts)} faces found, {bare} never covered"
          + (f"; {perhaps} places never covered that are hardly faces" if perhaps else ""))
    return 0 if all(verdict.clean for verdict in verdicts) else 1
