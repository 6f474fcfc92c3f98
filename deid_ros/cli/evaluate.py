"""``deid evaluate``: how anonymous outputs are, and what they are still good for."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deid_ros.cli.options import add_config, add_parameter, config_of, overrides_of

__all__ = ["register", "run"]

DESCRIPTION = """\
Measure how well the people in ORIGINALS are recognised in OUTPUTS by an attacker
who knows every original, and what is left of their faces. A file stands for one
person; its output has the same name. A missing output counts as recognised and
undetected. Every number comes with a 95 % interval over people and with what
chance would give.

With --keys N the pictures are anonymised here, N times with the keys k0, k1, ...
and the given options, and the mean and range over the keys are reported: one draw
of surrogates is a lottery. OUTPUTS may then name a folder to keep them in."""

EPILOG = """\
examples:
  deid evaluate in/ out/ --csv people.csv
  deid evaluate in/ out/ --csv people.csv --split probe --json report.json
  deid evaluate in/ --csv people.csv --keys 10 --mix 3
  deid evaluate in/ --csv people.csv --keys 10 --policy margin --parrot own
                              what an attacker finds who runs the same tool
  deid evaluate in/ --csv people.csv --keys 3 --parrot own --compare --report report.html
                              a page for a data protection officer
  deid evaluate in/ out/ --attacker dlib --attacker mine.onnx
                              face recognisers of yours; the worst one counts
  deid evaluate in/ out/ --second others/
                              the attacker knows other photographs of the people
  deid evaluate in/ --csv people.csv --leak all --attacker dlib --attacker mine.onnx
                              what keeping each thing costs, one row each
  deid evaluate in/ out/ --second-view out2/
                              match outputs with outputs of second photos
"""

#: Options of the run that --keys makes: node, parameter.
RUN_OPTIONS = (("detector", "detector"), ("matcher", "policy"), ("matcher", "mix"),
               ("matcher", "preserve"), ("matcher", "min_distance"), ("matcher", "k"),
               ("matcher", "enrolled"), ("generator", "generator"), ("replacer", "replace"),
               ("replacer", "blend"))


#: Keys of ``evaluation.leaks.LEAKS``, which is too slow to import for a help text.
_LEAKS = ("as_is", "same_surrogate", "outside_grey", "same_and_grey", "mean_expression",
          "mean_tone", "preserve_none", "face_region_flat", "original_grey")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {value}")
    return value


_count.__name__ = _whole.__name__ = "whole number"


def register(subparsers: argparse._SubParsersAction) -> None:
    """Add ``deid evaluate`` to the command line."""
    parser = subparsers.add_parser(
        "evaluate", help="measure how anonymous outputs are and what they are good for",
        description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("originals", metavar="ORIGINALS", type=Path,
                        help="folder of pictures, one person each")
    parser.add_argument("outputs", metavar="OUTPUTS", type=Path, nargs="?",
                        help="folder of their anonymised pictures")
    parser.add_argument("--csv", metavar="FILE", type=Path,
                        help="table with the columns id (file name without suffix) and sex (M, F)")
    parser.add_argument("--split", metavar="NAME",
                        help="only the people whose column 'split' in --csv says NAME")
    parser.add_argument("--json", metavar="FILE",
                        help="write the numbers to FILE; '-' prints them instead of the table")
    parser.add_argument("--contributors", metavar="FILE", type=Path,
                        help="JSON of name: [gallery ids mixed into the surrogate]; measures, "
                             "with --gallery, whether a surrogate is a stranger's face")
    add_parameter(parser, "matcher", "gallery")
    parser.add_argument("--second", metavar="FOLDER", type=Path,
                        help="other photographs of the same people, same names: they are what "
                             "the attacker knows, and what --parrot puts through the tool "
                             "[the originals]")
    parser.add_argument("--second-view", metavar="FOLDER", type=Path,
                        help="outputs of the same tool for second photos of the same people: "
                             "the parrot attack")
    parser.add_argument("--attacker", metavar="NAME", action="append",
                        help="who attacks, repeat for several: dlib, shape, geometry, "
                             "expression, eigenfaces, fisherfaces, lbph, all, or the file "
                             "(.onnx, .xml) or folder of a face recogniser, with NAME.yaml beside "
                             "it [dlib, shape and geometry; all with --report]")
    parser.add_argument("--landmarks", choices=("dlib68", "mesh"),
                        help="which 68 points are compared [dlib68 where it is installed; it is "
                             "for non-commercial use only]")
    parser.add_argument("--draws", metavar="N", type=_whole, default=1000,
                        help="bootstrap draws of people, 0 for no intervals [1000]")
    parser.add_argument("--seed", metavar="N", type=_whole, default=0,
                        help="of those draws [0]")
    page = parser.add_argument_group("a report to hand on")
    page.add_argument("--report", metavar="FILE", type=Path,
                      help="write one HTML page with plots and pictures, which needs no network")
    page.add_argument("--show-originals", action="store_true",
                      help="show the faces of originals in it [painted over]")
    page.add_argument("--thresholds", metavar="FILE", type=Path,
                      help="YAML file with the limits of its traffic lights [config/report.yaml]")
    page.add_argument("--recordings", metavar="FOLDER", type=Path,
                      help="outputs of deid run: show what their manifests say [OUTPUTS]")
    page.add_argument("--video", metavar="FILE", type=Path,
                      help="anonymise the first 60 frames and measure how smooth they are")
    page.add_argument("--compare", action="store_true",
                      help="measure blur, pixelate, solid and every policy with several mixes "
                           "and k beside it")
    page.add_argument("--compare-people", metavar="N", type=_count, default=40,
                      help="people in the comparison, at even steps through the others [40]")
    page.add_argument("--workers", metavar="N", type=_count, default=os.cpu_count() or 1,
                      help="processes that compare or look for leaks [one for each core]")
    parser.add_argument("--leak", metavar="NAME", action="append", choices=("all", *_LEAKS),
                        help="print instead, as a Markdown table, what keeping each thing costs; "
                             f"repeat for several: all, {', '.join(_LEAKS)}; with --report it "
                             "becomes a part of the page")
    keys = parser.add_argument_group("anonymise and measure over several keys")
    keys.add_argument("--keys", metavar="N", type=_count,
                      help="anonymise ORIGINALS N times, with the keys k0, k1, ...")
    keys.add_argument("--parrot", choices=("own", "given"),
                      help="anonymise second views of the originals as well (mirrored, turned, "
                           "relit), with a key of the attacker's own or the given one, and match "
                           "outputs with those")
    for node, name in RUN_OPTIONS:
        add_parameter(keys, node, name)
    add_config(keys)


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write the JSON."""
    from deid_ros.errors import EvaluationError
    from deid_ros.evaluation import Run, as_json, as_table, evaluate, find_people, read_contributors
    from deid_ros.evaluation.people import second_photographs

    _check(args)
    reporting = _reporting(args)
    people = find_people(args.originals, table=args.csv, split=args.split)
    photographs = None if args.second is None else second_photographs(people, args.second)
    if args.leak and not reporting:
        return _print_leaks(args, people)
    gallery = None
    if args.keys:
        from deid_ros.evaluation.runs import runs_of
        from deid_ros.matcher import POLICIES

        config = config_of(args)
        runs: Any = runs_of(people, keys=[f"k{i}" for i in range(args.keys)],
                            config=config, keep=reporting.keep if reporting else args.outputs,
                            parrot=args.parrot, second=photographs,
                            progress=_progress)
        if config["replacer"]["replace"] == "surrogate":
            gallery = _gallery(args)
            policy = config["matcher"]["policy"]
            print(f"deid evaluate: policy '{policy}': {POLICIES[policy].description}",
                  file=sys.stderr)
    else:
        contributors = read_contributors(args.contributors) if args.contributors else None
        gallery = _gallery(args) if contributors is not None else None
        if args.second_view and not args.second_view.is_dir():
            raise EvaluationError(f"{args.second_view} is not a folder; give a folder of images.")
        # Read before the originals are measured: a wrong folder should say so at once.
        from deid_ros.evaluation.people import with_outputs
        with_outputs(people, args.originals, args.outputs)
        runs = [Run(args.outputs, contributors=contributors, second=args.second_view)]
    target = _target(args.json)
    from deid_ros.evaluation.attackers import DEFAULT

    result = evaluate(people, args.originals, runs, gallery=gallery, landmarks=args.landmarks,
                      attackers=attackers_of(args, ["all"] if reporting else DEFAULT),
                      second=args.second, draws=args.draws, seed=args.seed, progress=_progress)
    found = as_json(result)
    if args.keys and args.parrot:
        found["settings"]["parrot"] = args.parrot
    if reporting:
        reporting.finish(result, found, people)
    return _deliver(args, target, found, as_table(result))


def attackers_of(args: argparse.Namespace, otherwise: Sequence[str]) -> list[str]:
    """Who attacks, each once; ``otherwise`` where nobody was named."""
    from deid_ros.evaluation import ATTACKERS

    names = [name for word in args.attacker or otherwise
             for name in (ATTACKERS if word == "all" else [word])]
    return list(dict.fromkeys(names))


def leaks_of(args: argparse.Namespace, people: Sequence[Any], *,
             separate: bool = False) -> dict[str, Any]:
    """The table of ``--leak``, for JSON."""
    from deid_ros.evaluation.comparison import compare
    from deid_ros.evaluation.leaks import LEAKS

    cells = [cell for cell in LEAKS if "all" in args.leak or cell.key in args.leak]
    return compare(people, args.originals, config_of(args), cells=cells,
                   attackers=attackers_of(args, ["dlib"]), landmarks=args.landmarks,
                   keys=[f"k{i}" for i in range(args.keys or 1)], second=args.second,
                   draws=args.draws, workers=args.workers, separate=separate)


def _print_leaks(args: argparse.Namespace, people: Sequence[Any]) -> int:
    from deid_ros.evaluation.leaks import as_markdown

    target = _target(args.json)
    found = leaks_of(args, people)
    return _deliver(args, target, {"leaks": found}, as_markdown(found))


def _deliver(args: argparse.Namespace, target: Path | None, found: Mapping[str, Any],
             table: str) -> int:
    """Print the table, or the JSON in its place, and write the JSON where it was asked for."""
    content = json.dumps(found, indent=2, allow_nan=False) + "\n"
    if args.json == "-":
        print(content, end="")
        return 0
    print(table)
    if target is not None:
        target.write_text(content, encoding="utf-8")
        print(f"{target} written", file=sys.stderr)
    return 0


def _reporting(args: argparse.Namespace) -> Any:
    """What --report asks for beyond the numbers, checked before minutes of work."""
    from deid_ros.errors import EvaluationError

    if args.report is None:
        for name in ("show_originals", "thresholds", "recordings", "video", "compare"):
            if getattr(args, name):
                raise EvaluationError(f"--{name.replace('_', '-')} belongs to the report; "
                                      "give --report FILE too, or leave it out.")
        return None
    from deid_ros.cli.reporting import Reporting

    return Reporting(args, config_of(args), _target(str(args.report)))


def _check(args: argparse.Namespace) -> None:
    from deid_ros.errors import EvaluationError

    if args.leak and args.report is None:
        if args.outputs is not None or args.parrot:
            raise EvaluationError("--leak makes its own outputs and knows no parrot; leave "
                                  f"{'OUTPUTS' if args.outputs is not None else '--parrot'} out.")
        return
    if args.keys is None:
        given = [f"--{name.replace('_', '-')}" for values in overrides_of(args).values()
                 for name in values if name != "gallery"]
        given += ["--parrot"] if args.parrot else []
        given += ["--config"] if args.config and not args.contributors else []
        if given:
            raise EvaluationError(f"{given[0]} is an option of the runs that --keys N makes; "
                                  "give --keys too, or leave it out.")
        if args.outputs is None:
            raise EvaluationError("There is nothing to measure; give OUTPUTS, a folder of "
                                  "anonymised pictures, or --keys N to make them.")
    else:
        for name in ("contributors", "second_view"):
            if getattr(args, name):
                raise EvaluationError(f"--{name.replace('_', '-')} belongs to given OUTPUTS; "
                                      "--keys N makes its own, leave it out.")


def _gallery(args: argparse.Namespace) -> Any:
    from deid_ros.config import file_of
    from deid_ros.evaluation import GalleryPeople

    return GalleryPeople.load(file_of(config_of(args)["matcher"]["gallery"]))


def _target(name: str | None) -> Path | None:
    """The JSON file, refused before minutes of work rather than after."""
    from deid_ros.errors import EvaluationError

    if name in (None, "-"):
        return None
    target = Path(name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvaluationError(f"The folder {target.parent} cannot be made ({error.strerror}); give "
                              "a file elsewhere.") from None
    if target.is_dir():
        raise EvaluationError(f"{target} is a folder; give a file in it, or - for the terminal.")
    return target


def _progress(people: Sequence[Any], title: str) -> Any:
    from tqdm import tqdm

    # Bars of many runs must not pile up; none at all where nobody watches.
    return tqdm(people, desc=title, unit="face", leave=False, file=sys.stderr,
                disable=not sys.stderr.isatty())
