"""Which input becomes which output."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deid_ros.errors import MediaError
from deid_ros.media.whole import exists_already, is_bag_folder

__all__ = ["BAG_SUFFIXES", "IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "Job", "Plan", "beside", "plan"]

#: What is looked for in folders, by the end of a name in lower case.
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".png", ".webp", ".bmp",
    ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".gif", ".mpo", ".jp2", ".heic", ".heif", ".avif"))
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
    ".wmv", ".flv", ".ogv", ".3gp", ".mjpeg", ".mjpg"))
BAG_SUFFIXES = frozenset((".bag", ".mcap", ".db3"))
_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES | BAG_SUFFIXES


@dataclass(frozen=True, slots=True)
class Job:
    """One input and its output.

    ``name``: the input relative to what was asked for, with forward slashes; the
    same wherever the input lies, so that draws seeded with it can be repeated.
    """

    source: Path
    target: Path
    name: str

    @property
    def is_bag(self) -> bool:
        """Whether the input is a rosbag: a folder, or a file that ends as one."""
        return self.source.is_dir() or kind_of(self.source) in BAG_SUFFIXES


def kind_of(path: Path) -> str:
    """The suffix that tells what a file is, in lower case.

    A packed bag (``.db3.zstd``, ``.mcap.zstd``) and one whose recorder died
    (``.bag.active``) are bags too.
    """
    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower()
    packed = suffix == ".zstd" and inner in (".db3", ".mcap")
    return inner if packed or (suffix == ".active" and inner == ".bag") else suffix


def finished_name(name: str) -> str:
    """The name of an output: that of the input, but for a bag that was being written."""
    return name[:-len(".active")] if name.lower().endswith(".bag.active") else name


def beside(target: Path) -> tuple[Path, Path]:
    """Where the evidence of an output lies: the faces, frame by frame, and the manifest."""
    return (target.with_name(target.name + ".faces.jsonl"),
            target.with_name(target.name + ".manifest.json"))


@dataclass(frozen=True, slots=True)
class Plan:
    """The jobs in order; inputs that cannot be done, a sentence each; files of other
    kinds in the folders, which are left out; jobs that were done before."""

    jobs: list[Job]
    refused: list[str]
    left_out: list[Path]
    done: list[Job] = field(default_factory=list)


def plan(inputs: Sequence[str | Path], out: str | Path, *, overwrite: bool = False,
         is_done: Callable[[Job], bool] | None = None) -> Plan:
    """Give every input its output: ``IN/a/b.jpg`` becomes ``OUT/a/b.jpg``.

    An input that is one file may name its output file: ``OUT`` then ends as a
    picture, a video or a bag does and is no folder. The folder of a rosbag2 is one
    input.

    Args:
        inputs: files and folders; folders are searched to any depth, without names
            that begin with a dot.
        out: the folder for the outputs.
        overwrite: whether outputs may exist already.
        is_done: tells whether an output that exists is that of this job, whole.

    Raises:
        MediaError: ``out`` is a file where a folder is needed.
    """
    out = Path(out)
    single = (len(inputs) == 1 and Path(inputs[0]).is_file() and not out.is_dir()
              and out.suffix.lower() in _SUFFIXES)
    if out.exists() and not out.is_dir() and not single:
        raise MediaError(f"{out} is a file; give a folder for the outputs with -o.")
    jobs: list[Job] = []
    refused: list[str] = []
    left_out: list[Path] = []
    for item in map(Path, inputs):
        try:
            if item.is_dir() and not is_bag_folder(item):
                found = list(_search(item, out, left_out))
                if not found:
                    raise MediaError(f"The folder {item} holds no picture, video or rosbag; "
                                     "give another one.")
                jobs += [Job(path, out / finished_name(str(path.relative_to(item))),
                             path.relative_to(item).as_posix()) for path in found]
            else:
                _check(item)
                name = item.name or item.resolve().name
                jobs.append(Job(item, out if single else out / finished_name(name), name))
        except MediaError as error:
            refused.append(str(error))
    done: list[Job] = []
    return Plan(list(_distinct(jobs, refused, overwrite, is_done, done)), refused, left_out, done)


def _check(path: Path) -> None:
    if not path.exists():
        raise MediaError(f"There is no file or folder {path}; check the path.")
    if not path.is_file() and not is_bag_folder(path):
        raise MediaError(f"{path} is neither a file nor a folder; give a picture, a video, a "
                         "rosbag or a folder.")


def _search(folder: Path, out: Path, left_out: list[Path]) -> Iterator[Path]:
    """The media files below a folder in a stable order; none of the outputs."""
    outputs = out.resolve()
    for root, folders, names in os.walk(folder):
        here = Path(root)
        below = sorted(name for name in folders if not name.startswith(".")
                       and (here / name).resolve() != outputs)
        bags = [name for name in below if is_bag_folder(here / name)]
        folders[:] = [name for name in below if name not in bags]
        yield from (here / name for name in bags)
        for name in sorted(names):
            path = here / name
            if name.startswith("."):
                continue
            if kind_of(path) in _SUFFIXES:
                yield path
            else:
                left_out.append(path)


def _distinct(jobs: Iterable[Job], refused: list[str], overwrite: bool,
              is_done: Callable[[Job], bool] | None, done: list[Job]) -> Iterator[Job]:
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
        within = [key, *(str(parent).casefold() for parent in target.parents)]
        other = next((taken[name] for name in within if name in taken), None)
        if other is None and job.source.is_dir():
            other = next((taken[name] for name in taken if name.startswith(key + os.sep)), None)
        if (target in sources or sources & set(target.parents) & _folders(sources)
                or (job.target.exists() and job.target.samefile(job.source))):
            refused.append(f"{job.source} is left alone: its output {job.target} would overwrite "
                           "an input; choose another folder with -o.")
        elif other is not None:
            refused.append(f"{job.source} is left out: {other} has the same output "
                           f"{job.target}; process them into different folders.")
        elif is_done is not None and job.target.exists() and is_done(job):
            taken[key] = job.source
            done.append(job)
        elif job.target.exists() and not overwrite:
            taken[key] = job.source
            refused.append(exists_already(job.target))
        else:
            taken[key] = job.source
            yield job


def _folders(paths: Iterable[Path]) -> set[Path]:
    return {path for path in paths if path.is_dir()}
