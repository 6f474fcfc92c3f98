"""``deid run``: pictures, folders of them and videos, without ROS."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from deid_ros.cli.options import add_config, add_parameter, config_of
from deid_ros.config import Config

__all__ = ["register", "run"]

_EPILOG = """\
IN/name.jpg becomes OUT/name.jpg. Metadata, thumbnails and sound are left behind.
exit status: 0 everything done; 1 something could not be read or made anonymous, and
was left out; 2 nothing was done.
"""


def register(subparsers: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "run", help="make pictures, folders of them and videos anonymous",
        description="Replace the faces in pictures, folders of pictures and videos.",
        epilog=_EPILOG)
    parser.add_argument("inputs", nargs="*", default=["in"], metavar="INPUT",
                        help="picture, video or folder [in]")
    parser.add_argument("-o", "--out", default="out", metavar="OUT",
                        help="folder for the outputs, or a file name for a single input [out]")
    for node, name in (("detector", "detector"), ("detector", "preset"), ("detector", "threshold"),
                       ("replacer", "replace"), ("replacer", "blend")):
        add_parameter(parser, node, name)
    who = parser.add_argument_group("who the surrogates are")
    for name in ("policy", "mix", "preserve", "margin", "k", "enrolled", "memory_seconds", "key",
                 "gallery"):
        add_parameter(who, "matcher", name)
    who.add_argument("--certificate", metavar="FILE", type=Path,
                     help="with --policy k_same: write what is guaranteed, for whom, and what is "
                          "not, as JSON; it names the enrolled people, keep it apart from OUT")
    parser.add_argument("--limit", type=_positive, metavar="N",
                        help="at most N inputs, and N frames of each video")
    parser.add_argument("--overwrite", action="store_true",
                        help="replace outputs that exist (never inputs)")
    add_config(parser)


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number from 1")
    return number


def run(args: argparse.Namespace) -> int:
    """Process every input; 1 if anything was left out, else 0."""
    from tqdm import tqdm

    from deid_ros.errors import DeidError
    from deid_ros.media import plan, process
    from deid_ros.pipeline import Pipeline

    config = config_of(args)
    _check_certificate(args.certificate, config)
    planned = plan(args.inputs, args.out, overwrite=args.overwrite)
    failures = len(planned.refused)
    for sentence in planned.refused:
        print(f"deid run: {sentence}", file=sys.stderr)
    jobs = planned.jobs[:args.limit]
    if not jobs:
        return 2
    pipeline = Pipeline(config)
    pipeline.prepare()
    if pipeline.makes_surrogates:
        _introduce(pipeline.matcher, args.certificate)

    start = time.monotonic()
    covered: Counter[str] = Counter()
    done = frames = withheld = 0
    with tqdm(total=len(jobs), unit="file", desc="all", disable=None) as bar:
        for job in jobs:
            single = tqdm(unit="frame", desc=job.name, leave=False, disable=None)

            def progress(count: int, total: int, shown: tqdm = single) -> None:
                shown.total = total or None
                shown.update(count - shown.n)

            try:
                outcome = process(job, pipeline, overwrite=args.overwrite, limit=args.limit,
                                  progress=progress)
            except DeidError as error:
                failures += 1
                bar.write(f"deid run: {error}", file=sys.stderr)
            else:
                done += 1
                frames += outcome.frames
                withheld += outcome.withheld
                covered.update(outcome.covered)
                failures += not outcome.faultless
                for problem in outcome.problems:
                    bar.write(f"deid run: {job.source}: {problem}", file=sys.stderr)
            finally:
                single.close()
            bar.update()
    _summary(args.out, done, len(jobs) + len(planned.refused), frames, withheld, covered,
             time.monotonic() - start, len(planned.left_out))
    return 1 if failures else 0


def _check_certificate(path: Path | None, config: Config) -> None:
    from deid_ros.errors import ConfigError

    if path is None:
        return
    policy, replace = config["matcher"]["policy"], config["replacer"]["replace"]
    if policy != "k_same" or replace != "surrogate":
        what = f"policy is '{policy}'" if policy != "k_same" else f"replace is '{replace}'"
        raise ConfigError(f"There is no certificate where {what}; give --policy k_same and "
                          "surrogates, or leave --certificate out.")
    if path.exists() or not path.absolute().parent.is_dir():
        raise ConfigError(f"The certificate {path} cannot be written, " + (
            "it exists already" if path.exists() else "there is no such folder")
            + "; give another file.")


def _introduce(matcher: Any, certificate: Path | None) -> None:
    """Say what the policy is worth; with k_same, what is guaranteed."""
    print(f"deid run: {matcher.introduction}", file=sys.stderr)
    if matcher.policy.name != "k_same":
        return
    words = matcher.certificate()
    print(f"certificate: {words['statement']}")
    if certificate is not None:
        certificate.write_text(json.dumps(words, indent=2) + "\n", encoding="utf-8")
        print(f"certificate: {certificate} written")


def _summary(out: str, done: int, asked: int, frames: int, withheld: int,
             covered: Counter[str], seconds: float, left_out: int) -> None:
    by = ", ".join(f"{count} {name}" for name, count in covered.most_common())
    parts = [f"{done} of {asked} inputs to {out}", f"{frames} frames in {seconds:.1f} s",
             f"{covered.total()} faces covered" + (f" ({by})" if by else "")]
    if withheld:
        parts.append(f"{withheld} frames withheld")
    if left_out:
        parts.append(f"{left_out} other files left out")
    print("; ".join(parts))
