"""Which input becomes which output, and outputs that are whole or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deid_ros.errors import MediaError

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "Job", "Plan", "plan", "whole"]

#: What is looked for in folders, by the end of a name in lower case.
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm",
    ".gif", ".mpo", ".jp2", ".heic", ".heif", ".avif"))
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
    ".wmv", ".flv", ".ogv", ".3gp", ".mjpeg", ".mjpg"))
_BAG_SUFFIXES = frozenset((".bag", ".mcap", ".db3"))

#: What unfinished outputs end with; their names begin with a dot besides.
PART = ".part"


@dataclass(frozen=True, slots=True)
class Job:
    """One input and its output.

    ``name``: the input relative to what was asked for, with forward slashes; the
    same wherever the input lies, so that draws seeded with it can be repeated.
    """

    source: Path
    target: Path
    name: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The jobs in order; inputs that cannot be done, a sentence each; files of other
    kinds in the folders, which are left out."""

    jobs: list[Job]
    refused: list[str]
    left_out: list[Path]


def plan(inputs: Sequence[str | Path], out: str | Path, *, overwrite: bool = False) -> Plan:
    """Give every input its output: ``IN/a/b.jpg`` becomes ``OUT/a/b.jpg``.

    An input that is one file may name its output file: ``OUT`` then ends as a
    picture or a video does and is no folder.

    Args:
        inputs: files and folders; folders are searched to any depth, without names
            that begin with a dot.
        out: the folder for the outputs.
        overwrite: whether outputs may exist already.

    Raises:
        MediaError: ``out`` is a file where a folder is needed.
    """
    out = Path(out)
    single = (len(inputs) == 1 and Path(inputs[0]).is_file() and not out.is_dir()
              and out.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    if out.exists() and not out.is_dir() and not single:
        raise MediaError(f"{out} is a file; give a folder for the outputs with -o.")
    jobs: list[Job] = []
    refused: list[str] = []
    left_out: list[Path] = []
    for item in map(Path, inputs):
        try:
            if item.is_dir():
                if (item / "metadata.yaml").is_file():
                    raise MediaError(f"{item} is a rosbag, which this version cannot process; "
                                     "play it through 'deid pipeline' instead.")
                found = list(_search(item, out, left_out))
                if not found:
                    raise MediaError(f"The folder {item} holds no picture and no video; give "
                                     "another one.")
                jobs += [Job(path, out / path.relative_to(item),
                             path.relative_to(item).as_posix()) for path in found]
            else:
                _check_file(item)
                jobs.append(Job(item, out if single else out / item.name, item.name))
        except MediaError as error:
            refused.append(str(error))
    return Plan(list(_distinct(jobs, refused, overwrite)), refused, left_out)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise MediaError(f"There is no file or folder {path}; check the path.")
    if not path.is_file():
        raise MediaError(f"{path} is neither a file nor a folder; give a picture, a video or a "
                         "folder.")
    if path.suffix.lower() in _BAG_SUFFIXES:
        raise MediaError(f"{path} is a rosbag, which this version cannot process; play it "
                         "through 'deid pipeline' instead.")


def _search(folder: Path, out: Path, left_out: list[Path]) -> Iterator[Path]:
    """The media files below a folder in a stable order; none of the outputs."""
    outputs = out.resolve()
    for root, folders, names in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(name for name in folders if not name.startswith(".")
                            and (here / name).resolve() != outputs)
        for name in sorted(names):
            path = here / name
            if name.startswith("."):
                continue
            if path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
                yield path
            else:
                left_out.append(path)


def _distinct(jobs: Iterable[Job], refused: list[str], overwrite: bool) -> Iterator[Job]:
    """Only jobs that write over no input, no other output and, unless told, no file."""
    jobs = list(jobs)
    sources = {job.source.resolve() for job in jobs}
    taken: dict[str, Path] = {}
    seen: set[Path] = set()
    for job in jobs:
        source, target = job.source.resolve(), job.target.resolve()
        if source in seen:
            continue
        seen.add(source)
        # Some file systems do not tell A.jpg from a.jpg.
        key = str(target).casefold()
        if target in sources or (job.target.exists() and job.target.samefile(job.source)):
            refused.append(f"{job.source} is left alone: its output {job.target} would overwrite "
                           "an input; choose another folder with -o.")
        elif key in taken:
            refused.append(f"{job.source} is left out: {taken[key]} has the same output "
                           f"{job.target}; process them into different folders.")
        elif job.target.exists() and not overwrite:
            taken[key] = job.source
            refused.append(_exists(job.target))
        else:
            taken[key] = job.source
            yield job


def _exists(target: Path) -> str:
    return f"{target} exists already, not overwriting; remove it or add --overwrite."


@contextmanager
def whole(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A path to write to that becomes ``target`` when the block ends well.

    Until then it lies beside ``target`` under a hidden name; if the block raises it
    is removed.

    Raises:
        MediaError: ``target`` exists and may not be overwritten, or its folder
            cannot be written to.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.open("xb").close()
    except OSError as error:
        raise MediaError(f"{target} cannot be written ({error.strerror or error}); choose another "
                         "folder with -o.") from None
    try:
        yield part
        with open(part, "rb") as stream:
            os.fsync(stream.fileno())
        _publish(part, target, overwrite)
    finally:
        part.unlink(missing_ok=True)


def _publish(part: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(part, target)
        return
    try:
        # Unlike a rename, a link fails if somebody else made the target meanwhile.
        os.link(part, target)
    except FileExistsError:
        raise MediaError(_exists(target)) from None
    except OSError:  # a file system without links
        if target.exists():
            raise MediaError(_exists(target)) from None
        os.replace(part, target)
