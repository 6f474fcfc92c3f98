"""``deid train``: train the generator or an extractor; ``calibrate`` does the rest."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deid_ros.cli import calibrate
from deid_ros.errors import TrainingError
from deid_ros.training.options import OPTIONS, defaults, load_options

__all__ = ["register", "run", "wake_tensorflow"]

# Lines of TensorFlow that are no fault of anything: a machine without a GPU, faster instructions.
_TENSORFLOW = (rb"WARNING: All log messages before absl|[IW]\d{4} |To enable the following "
               rb"instructions|E\d{4} .*(cuda|CUDA)|\d{4}-\d\d-\d\d .*: [IW] |"
               rb"\d{4}-\d\d-\d\d .*: E .*(cuda|CUDA)")

GENERATOR = """\
Train the generator on folders of portraits, one person each: textures and shapes
are taken from the portraits, a network learns to make them from identity codes and
expressions. With several folders, --csv names a table for each, in the same order.
Writes OUTPUT, the same network as .onnx, which the live path runs, and
face_space.npz beside them; a gallery must be built with the three: deid db build."""

EXTRACTOR = """\
Train an extractor: what turns the picture of a face into a few numbers that are
alike for pictures of one person. FOLDER holds a folder of images for each identity.
Writes OUTPUT and the same network as .onnx, which is used with: --extractor trained
--extractor-weights FILE.onnx"""

EPILOG = """\
examples:
{examples}
The work folder holds the state to resume from, losses.csv, losses.png{more}.
Ctrl-C saves the state and ends; --resume goes on, with the options it was begun with.
KERAS_BACKEND=jax trains with JAX (pip install jax) instead of TensorFlow, for a GPU
that JAX knows; on a CPU TensorFlow is faster. A run begun with one goes on with the other.
"""

_EXAMPLES = {
    "generator": """\
  deid train generator portraits/ -o models/generator.keras
  deid train generator synthetic/ portraits/ --csv synthetic.csv portraits.csv \\
      --split gallery --attributes DB/attributes.csv -o models/generator.keras
  deid train generator portraits/ -o models/generator.keras --resume
""",
    "extractor": """\
  deid train extractor people/ -o models/extractor.keras
  deid train extractor chips/ --csv chips.csv --chips -o models/extractor.keras
  deid train extractor more/ --weights models/extractor.keras -o models/better.keras
"""}

def register(subparsers: argparse._SubParsersAction) -> None:
    """Add ``deid train`` to the command line."""
    parser = subparsers.add_parser("train", help="train the generator or an extractor",
                                   description="Train the generator or an extractor, or "
                                   "measure what trained networks need to know.")
    kinds = parser.add_subparsers(dest="training", metavar="WHAT", required=True)
    for name, text, more in (("generator", GENERATOR, " and sheet.png"),
                             ("extractor", EXTRACTOR, "")):
        below = kinds.add_parser(name, help=text.split(":")[0].split(",")[0].lower(),
                                 description=text,
                                 epilog=EPILOG.format(examples=_EXAMPLES[name], more=more))
        _add_arguments(below, name)
    calibrate.register(kinds)


def _add_arguments(parser: argparse.ArgumentParser, training: str) -> None:
    generator = training == "generator"
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="+" if generator else None,
                        help="folders of portraits" if generator else
                        "folder with a folder of images for each identity")
    parser.add_argument("-o", "--output", metavar="OUTPUT", type=Path, required=True,
                        help="network to write (.keras)")
    parser.add_argument("--csv", metavar="FILE", type=Path, nargs="+" if generator else None,
                        help="table of the people: id, sex, split" if generator else
                        "table of the images: file, id")
    if generator:
        parser.add_argument("--split", metavar="NAME", help="only rows of the table of this split")
        parser.add_argument("--attributes", metavar="FILE", type=Path,
                            help="table of who wears glasses, a beard, is grey or occluded: left "
                                 "out")
    else:
        parser.add_argument("--chips", action="store_true",
                            help="the images are aligned chips already: look for no faces")
        parser.add_argument("--weights", metavar="FILE", type=Path,
                            help="an extractor (.keras) to begin with")
    parser.add_argument("--work", metavar="FOLDER", type=Path, default=Path("out/train", training),
                        help=f"where the run lives [out/train/{training}]")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --work")
    parser.add_argument("--seconds", metavar="S", type=float,
                        help="end after so long and write what has been learned")
    parser.add_argument("--config", metavar="FILE", type=Path,
                        help="options as in config/training.yaml, laid over it")
    group = parser.add_argument_group("options of the training")
    known = defaults(training)
    for name, entry in OPTIONS[training].items():
        allowed = f" ({entry.allowed})" if entry.choices else ""
        group.add_argument("--" + name.replace("_", "-"), dest=f"option.{name}", type=entry.kind,
                           metavar=name.rsplit("_", 1)[-1].upper(),
                           help=f"{entry.description}{allowed} [{known[name]}]")


def run(args: argparse.Namespace) -> int:
    """Train; 130 when interrupted, with the state saved."""
    if args.training in calibrate.KINDS:
        return calibrate.run(args)
    if args.output.suffix != ".keras":
        raise TrainingError(f"The output is {args.output}; give a name that ends in .keras.")
    if args.seconds is not None and not args.seconds > 0:
        raise TrainingError(f"--seconds is {args.seconds:g}; give more than 0.")
    options = _options(args)
    for folder in (args.output.parent, args.work):
        _make(folder)
    try:
        return (_generator if args.training == "generator" else _extractor)(args, options)
    finally:
        # Other users of Keras in this process expect its default.
        if "keras" in sys.modules:
            sys.modules["keras"].mixed_precision.set_global_policy("float32")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"The folder {folder} cannot be made ({error.strerror}); choose "
                            "another.") from None


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the run: those it was begun with, for one that is resumed."""
    given = {key.split(".", 1)[1]: value for key, value in vars(args).items()
             if key.startswith("option.") and value is not None}
    note = args.work / "options.json"
    if note.exists() and not args.resume:
        raise TrainingError(f"{args.work} holds a training already; resume it with --resume or "
                            "give another --work folder.")
    if not args.resume:
        return load_options(args.training, given, path=args.config)
    if not note.exists():
        raise TrainingError(f"There is no training to resume in {args.work}.")
    if args.config:
        raise TrainingError(f"A resumed training keeps its options ({note}); leave out --config.")
    try:
        begun = json.loads(note.read_text(encoding="utf-8"))
        return load_options(args.training, {**begun, **given})
    except ValueError as error:
        raise TrainingError(f"{note} cannot be read ({error}); begin again in another --work "
                            "folder.") from None


# -- the two trainings ---------------------------------------------------------


def _generator(args: argparse.Namespace, options: dict[str, Any]) -> int:
    from deid_ros.training.export import export_generator
    from deid_ros.training.textures import TrainingSet, load_portraits, read_people

    tables = args.csv or [None] * len(args.folder)
    if len(tables) != len(args.folder):
        raise TrainingError(f"--csv names {len(tables)} tables for {len(args.folder)} folders; "
                            "give one for each folder, in the same order.")
    people = [person for source, (folder, table) in enumerate(zip(args.folder, tables))
              for person in read_people(folder, table=table, split=args.split,
                                        attributes=args.attributes, source=source)
              if person.plain]
    kept = _kept(args, _fingerprint((p.path, (p.id, p.sex, p.source)) for p in people))
    if kept.exists():
        portraits = TrainingSet.load(kept)
    else:
        portraits = load_portraits(people)
        _whole(kept, portraits.save)

    wake_tensorflow()
    from deid_ros.training.generator import GeneratorTraining, TrainingOptions

    print(f"{len(portraits)} portraits of {len(people)}")
    training = GeneratorTraining(portraits, args.work, TrainingOptions(**options),
                                 resume=args.resume)
    if not _run(training, args, options["steps"]):
        return 130
    network = training.averaged()
    exported = args.output.with_suffix(".onnx")
    space = args.output.with_name("face_space.npz")
    _whole(args.output, network.save)
    export_generator(network, exported)
    _whole(space, training.space.save)
    return _report(args, training.step, args.output, exported, space, args.work / "sheet.png")


def _extractor(args: argparse.Namespace, options: dict[str, Any]) -> int:
    from tqdm import tqdm

    from deid_ros.training.export import export_generator
    from deid_ros.training.identities import ChipSet, load_chips, read_identities

    files = read_identities(args.folder, table=args.csv)
    kept = _kept(args, _fingerprint((path, (name, args.chips)) for path, name in files))
    if kept.exists():
        people = ChipSet.load(kept)
    else:
        people = load_chips(
            tqdm(files, unit="image", desc="chips", file=sys.stderr, disable=None),
            aligned=args.chips,
            warn=lambda line: tqdm.write(f"warning: {line}", file=sys.stderr))
        _whole(kept, people.save)

    wake_tensorflow()
    from deid_ros.training.extractor import ExtractorOptions, ExtractorTraining

    print(f"{len(people.names)} identities, {len(people.labels)} chips of {len(files)} images")
    training = ExtractorTraining(people, args.work, ExtractorOptions(**options),
                                 resume=args.resume, weights=args.weights)
    if training.taken_over:
        print(f"{args.weights}: {training.taken_over} layers taken over")
    if not _run(training, args, options["steps"]):
        return 130
    network = training.averaged()
    exported = args.output.with_suffix(".onnx")
    _whole(args.output, network.save)
    export_generator(network, exported)
    return _report(args, training.step, args.output, exported)


def wake_tensorflow() -> None:
    """Import TensorFlow without its words about a machine that has no GPU."""
    from deid_ros.inference import without_lines

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with without_lines(_TENSORFLOW):
        import tensorflow as tf
        tf.config.list_physical_devices()


def _run(training: Any, args: argparse.Namespace, steps: int) -> bool:
    """Train; whether it ended without being interrupted."""
    with _interruptible() as interrupted:
        training.run(seconds=args.seconds, stop=lambda: bool(interrupted))
    if not interrupted:
        return True
    print(f"deid train: interrupted at step {training.step} of {steps}, the state is in "
          f"{args.work}; go on with the same command and --resume", file=sys.stderr)
    return False


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C; a second Ctrl-C interrupts at once."""
    interrupted: list[int] = []

    def note(number: int, frame: object) -> None:
        interrupted.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("\ndeid train: ending after this step; again: at once", file=sys.stderr)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not in the main thread: signals go elsewhere
        yield interrupted
        return
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


# -- files ---------------------------------------------------------------------


def _fingerprint(files: Iterable[tuple[Path, object]]) -> str:
    """A digest of images and of what is said about them."""
    from deid_ros.resources import sha256_of

    digest = hashlib.sha256()
    for path, words in files:
        digest.update(f"{words} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _kept(args: argparse.Namespace, fingerprint: str) -> Path:
    """Where the prepared data of these images is kept; they must not change in a run."""
    kept = args.work / f"data-{fingerprint[:16]}.npz"
    if args.resume and not kept.exists() and list(args.work.glob("data-*.npz")):
        raise TrainingError(f"The run in {args.work} was begun with other images than those "
                            f"of {args.folder}; resume with the same ones.")
    for old in args.work.glob("data-*.npz"):
        if old != kept:
            old.unlink()
    return kept


def _whole(target: Path, write: Any) -> None:
    """Have ``write`` make a file that becomes ``target`` when it is whole."""
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".train-") as folder:
            draft = Path(folder) / target.name
            write(draft)
            os.replace(draft, target)
    except OSError as error:
        raise TrainingError(f"{target} cannot be written ({error.strerror or error}); check the "
                            "space left.") from None


def _report(args: argparse.Namespace, step: int, *paths: Path) -> int:
    from deid_ros.resources import sha256_of

    print(f"{step} steps; in {args.work}: losses.csv, losses.png")
    for path in paths:
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB  SHA-256 {sha256_of(path)}")
    return 0
