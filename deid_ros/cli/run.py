"""``deid run``: pictures, videos, rosbags and folders of them, without ROS."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deid_ros.cli.options import add_config, add_parameter, config_of, policies
from deid_ros.config import Config
from deid_ros.errors import ConfigError
from deid_ros.parameters import POLICIES_IN_A_LINE

if TYPE_CHECKING:
    from deid_ros.media import Job, Plan, Writing
    from deid_ros.media.evidence import Recipe
    from deid_ros.media.resume import Run

__all__ = ["register", "run"]

_NAMED = 20     # files that are named in one sentence

_EPILOG = """\
examples:
  deid run photos/ -o out/           every picture of a folder
  deid run clip.mp4 -o out/          a video
  deid run bag/ -o out/              a rosbag2 or a ROS 1 .bag: images without faces, everything
                                     else byte for byte
  deid run archive/ -o out/ --dry-run
                                     what would be done, topic by topic
  deid run archive/ -o out/ --preview 12
                                     a contact sheet of 12 frames first
  deid run archive/ -o out/ --workers 4
                                     four inputs at once
  deid run archive/ -o out/ --resume after a power cut: go on where it stopped
  deid run bag/ -o out/ --drop /audio --topic-map /camera/image_raw:=/camera/anonymous
  deid run photos/ -o out/ --replace blur
  deid run photos/ -o out/ --policy k_same --enrolled staff.npz --k 3
                                     at least 3 enrolled people share a surrogate

IN/name.jpg becomes OUT/name.jpg, with OUT/name.jpg.manifest.json (what was done, with
which models and settings) and OUT/name.jpg.faces.jsonl (every face of every frame).
Metadata, thumbnails and sound are left behind. Topics that may show people and cannot be
made anonymous are dropped, with exit status 1. An output has its name only when it is whole.

exit status: 0 everything done; 1 something could not be read or made anonymous, and
was left out; 2 nothing was done.
"""


def register(subparsers: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "run", help="make pictures, videos, rosbags and folders of them anonymous",
        description="Replace the faces in pictures, videos, rosbags and folders of them.",
        epilog=_EPILOG)
    parser.more = policies
    parser.add_argument("inputs", nargs="*", default=["in"], metavar="INPUT",
                        help="picture, video, rosbag or folder [in]")
    parser.add_argument("-o", "--out", default="out", metavar="OUT",
                        help="folder for the outputs, or a file name for a single file [out]")
    for node, name in (("detector", "detector"), ("detector", "preset"), ("detector", "threshold"),
                       ("detector", "margin"), ("detector", "cover"), ("replacer", "replace"),
                       ("replacer", "blend")):
        add_parameter(parser, node, name)
    _add_batch(parser.add_argument_group("archives"))
    _add_topics(parser.add_argument_group("topics of rosbags"))
    _add_formats(parser.add_argument_group("pictures and videos"))
    who = parser.add_argument_group("who the surrogates are")
    for name in ("policy", "mix", "preserve", "min_distance", "k", "enrolled", "memory_seconds",
                 "key", "gallery"):
        add_parameter(who, "matcher", name)
    who.add_argument("--keep-face", metavar="FOLDER", type=Path,
                     help="pictures of people who consented (name.jpg, or several in a folder "
                          "name/): they stay as they are wherever they are recognised without "
                          "doubt; slower, since every face is compared in every frame")
    who.add_argument("--certificate", metavar="FILE", type=Path,
                     help="with --policy k_same: write what is guaranteed, for whom, and what is "
                          "not, as JSON; it names the enrolled people, keep it apart from OUT")
    add_config(parser)


def _add_batch(group: Any) -> None:
    group.add_argument("--dry-run", action="store_true",
                       help="only say what would be processed, kept and dropped")
    group.add_argument("--preview", type=_positive, metavar="N",
                       help="only write OUT/preview.png, which must not exist, a contact sheet of "
                            "N frames made anonymous, and say how long everything would take")
    group.add_argument("--workers", type=_positive, default=1, metavar="N",
                       help="inputs processed at once, each by a process of its own [1]")
    group.add_argument("--resume", action="store_true",
                       help="leave what is finished, as its manifest proves, and go on with "
                            "the rest, with the same surrogates that an uninterrupted run "
                            "would have given")
    group.add_argument("--overwrite", action="store_true",
                       help="replace outputs that exist (never inputs)")
    group.add_argument("--limit", type=_positive, metavar="N",
                       help="at most N inputs, and N frames of each")


def _add_topics(group: Any) -> None:
    group.add_argument("--image-topic", action="append", default=[], metavar="TOPIC",
                       help="make only this image topic anonymous and drop the others; may be "
                            "repeated [all, by their type]")
    group.add_argument("--drop", action="append", default=[], metavar="TOPIC",
                       help="leave this topic out; may be repeated")
    group.add_argument("--topic-map", action="append", default=[], metavar="OLD:=NEW",
                       help="rename a topic; may be repeated")
    group.add_argument("--keep-unprocessed", action="append", default=[], metavar="TOPIC",
                       help="copy this topic AS IT IS though it may show faces and cannot be made "
                            "anonymous; may be repeated")


def _add_formats(group: Any) -> None:
    group.add_argument("--codec", default="", metavar="NAME",
                       help="encoder of videos, as h264, hevc, vp9, av1 or FFmpeg's name of one "
                            "[the input's]")
    group.add_argument("--crf", type=float, metavar="Q",
                       help="quality of the encoder, lower is better [nearly the input's]")
    group.add_argument("--keep-audio", action="store_true",
                       help="keep the sound of videos, encoded again; a voice identifies its "
                            "speaker")
    group.add_argument("--keep-metadata", action="store_true",
                       help="keep what a file says of itself, except thumbnails, places and the "
                            "camera maker's notes")
    group.add_argument("--no-marking", action="store_true",
                       help="do not say in outputs that they were altered")


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number from 1")
    return number


def run(args: argparse.Namespace) -> int:
    """Process every input; 1 if anything was left out, else 0."""
    from deid_ros.cli.progress import dry_run
    from deid_ros.media.evidence import Recipe
    from deid_ros.media.files import PREVIEW, folder_of
    from deid_ros.media.resume import Run

    config = config_of(args)
    _check_certificate(args.certificate, config)
    writing = _writing(args)
    folder = folder_of(args.inputs, args.out)
    recipe = Recipe.of(config, writing, limit=args.limit, consenting=args.keep_face)
    if args.dry_run or args.preview:
        planned = _planned(args, writing, recipe)
        if not planned.jobs:
            return _nothing(planned)
        return (dry_run(planned, writing, args.out) if args.dry_run
                else _preview(args, config, planned, writing, folder / PREVIEW))
    with Run(folder, config, recipe=recipe, resume=args.resume) as state:
        # What is finished is looked at while nobody else writes there.
        planned = _planned(args, writing, recipe)
        if planned.jobs:
            return _process(args, planned, writing, recipe, state)
        if planned.done and not planned.refused:
            state.through()
        return _nothing(planned)


def _planned(args: argparse.Namespace, writing: Writing, recipe: Recipe) -> Plan:
    """What is to be done; what is not, and why, is said."""
    from deid_ros.media import plan
    from deid_ros.media.evidence import fault_of

    fault = partial(fault_of, binding=recipe.binding) if args.resume else None
    planned = plan(args.inputs, args.out, overwrite=args.overwrite, fault=fault)
    for sentence in (*planned.refused, *planned.again):
        print(f"deid run: {sentence}", file=sys.stderr)
    if planned.left_out and not args.dry_run:
        print(f"deid run: left out, since they are no picture, video or rosbag: "
              f"{_some(planned.left_out)}", file=sys.stderr)
    if planned.jobs:
        _check_topics([*planned.jobs, *planned.done], writing)
    planned.jobs[:] = planned.jobs[:args.limit]
    return planned


def _nothing(planned: Plan) -> int:
    """Exit status where nothing is left to do."""
    if not planned.done or planned.refused:
        return 2
    print(f"nothing is left to do; {len(planned.done)} inputs were finished before")
    return 0


def _some(paths: Sequence[Path]) -> str:
    """The first of many paths."""
    return ", ".join(map(str, paths[:_NAMED])) + (
        f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else "")


def _writing(args: argparse.Namespace) -> Writing:
    from deid_ros.media import TopicWishes, Writing
    from deid_ros.media.topics import parse_topic_map

    if args.crf is not None and not 0 <= args.crf <= 63:
        raise ConfigError(f"--crf is {args.crf:g} but must be from 0 to 63.")
    wishes = TopicWishes(frozenset(args.image_topic), frozenset(args.drop),
                         frozenset(args.keep_unprocessed),
                         dict(map(parse_topic_map, args.topic_map)))
    return Writing(args.codec, args.crf, args.keep_audio, args.keep_metadata, wishes,
                   marking=not args.no_marking)


def _check_topics(jobs: Sequence[Job], writing: Writing) -> None:
    """Refuse topics that no bag has: a misspelt --drop would keep what it names."""
    from deid_ros.errors import MediaError

    if not writing.topics.named:
        return
    from deid_ros.media.bags import Bag
    present: set[str] = set()
    for job in jobs:
        if job.is_bag:
            try:
                present |= set(Bag(job.source).topics())
            except MediaError:
                continue  # said when its turn comes
    writing.topics.check(present)


def _process(args: argparse.Namespace, planned: Plan, writing: Writing, recipe: Recipe,
             state: Run) -> int:
    from deid_ros.cli.progress import Bars
    from deid_ros.media.files import beside
    from deid_ros.media.whole import sweep
    from deid_ros.media.workers import Work, run_jobs
    from deid_ros.pipeline import Pipeline

    # Errors of configuration come before anything is written.
    work = Work(state.config, writing, overwrite=args.overwrite, limit=args.limit,
                consenting=args.keep_face, recipe=recipe)
    pipeline = Pipeline(state.config)
    batch = work.batch(pipeline)
    if pipeline.makes_surrogates:
        _introduce(pipeline.matcher, args.certificate)
    start = time.monotonic()
    state.begin()
    if args.resume:
        print(f"deid run: {len(planned.done)} inputs were finished before; the rest "
              + ("goes on as it was begun" if state.resumed else "is a run of its own"),
              file=sys.stderr)
    sweep(path for job in planned.jobs for path in (job.target, *beside(job.target)))
    with Bars(planned.jobs) as bars:
        run_jobs(planned.jobs, work, bars.hear, workers=args.workers, batch=batch,
                 lock=state.lock)
    state.through()
    bars.summary(args.out, planned, time.monotonic() - start)
    if args.keep_face and not bars.kept:
        print(f"deid run: --keep-face kept nobody: no face was found to be one of those in "
              f"{args.keep_face} beyond doubt, all were covered; larger and clearer pictures, or "
              "several of each person in a folder name/, help", file=sys.stderr)
    return 1 if bars.failures or planned.refused else 0


def _preview(args: argparse.Namespace, config: Config, planned: Plan, writing: Writing,
             path: Path) -> int:
    from deid_ros.media.preview import check_place, preview
    from deid_ros.media.workers import Work
    from deid_ros.pipeline import Pipeline

    check_place(path, planned.jobs, overwrite=args.overwrite)
    pipeline = Pipeline(config)
    Work(config, writing, consenting=args.keep_face).batch(pipeline)
    start = time.monotonic()
    count, problems = preview(planned.jobs, pipeline, args.preview, path, writing=writing,
                              overwrite=args.overwrite)
    for sentence in problems:
        print(f"deid run: {sentence}", file=sys.stderr)
    rate = count / max(time.monotonic() - start, 1e-3)
    print(f"{path}: {count} frames, each for itself, {rate:.1f} a second")
    print(_duration(planned.jobs, writing, rate=rate, workers=args.workers))
    return 1 if problems else 0


def _duration(jobs: Sequence[Job], writing: Writing, *, rate: float, workers: int) -> str:
    """How long everything would take, in a sentence."""
    from deid_ros.errors import DeidError
    from deid_ros.media.preview import frames_in

    frames, unknown = 0, 0
    for job in jobs:
        try:
            count = frames_in(job, writing)
        except DeidError:
            count = 0
        frames, unknown = frames + count, unknown + (not count)
    seconds = frames / rate
    hours, minutes = divmod(round(seconds / 60), 60)
    long = (f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else
            f"{max(round(seconds), 1)} s")
    words = (f"everything, {frames} frames in {len(jobs)} inputs, takes at most about {long} one "
             "by one; frames that follow each other are quicker")
    words += f"; --workers {workers} shares that" if workers > 1 else ""
    return words + (f"; {unknown} inputs do not say how long they are" if unknown else "")


def _check_certificate(path: Path | None, config: Config) -> None:
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
    name = matcher.policy.name
    print(f"deid run: policy {name} {POLICIES_IN_A_LINE[name]}; more in --help", file=sys.stderr)
    if name != "k_same":
        return
    words = matcher.certificate()
    print(f"certificate: {words['statement']}")
    if certificate is not None:
        certificate.write_text(json.dumps(words, indent=2) + "\n", encoding="utf-8")
        print(f"certificate: {certificate} written")
