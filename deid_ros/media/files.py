"""Which input becomes which output."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deid_ros.errors import MediaError
from deid_ros.media.bag_folder import is_bag_folder
from deid_ros.media.search import (
    BAG_SUFFIXES,
    IMAGE_SUFFIXES,
    SUFFIXES,
    VIDEO_SUFFIXES,
    check_bag_folder,
    kind_of,
    search,
)
from deid_ros.media.whole import exists_already

__all__ = ["BAG_SUFFIXES", "IMAGE_SUFFIXES", "MANIFEST", "PREVIEW", "VIDEO_SUFFIXES", "Job", "Plan",
           "beside", "folder_of", "plan"]


#: What the names of manifests end with.
MANIFEST = ".manifest.json"
#: What the contact sheet of a preview is called.
PREVIEW = "preview.png"


@dataclass(frozen=True, slots=True)
class Job:
    """One input and its output.

    ``name``: the input relative to what was asked for, with forward slashes; the
    same wherever the input lies, so that draws seeded with it can be repeated;
    ``overwrite``: whether the output is one of an earlier run, to be made anew.
    """

    source: Path
    target: Path
    name: str
    overwrite: bool = False

    @property
    def is_bag(self) -> bool:
        """Whether the input is a rosbag: a folder, or a file that ends as one."""
        return self.source.is_dir() or kind_of(self.source) in BAG_SUFFIXES


def finished_name(name: str) -> str:
    """The name of an output: that of the input, but for a bag that was being written."""
    return name[:-len(".active")] if name.lower().endswith(".bag.active") else name


def beside(target: Path) -> tuple[Path, Path]:
    """Where the evidence of an output lies: the faces, frame by frame, and the manifest."""
    return (target.with_name(target.name + ".faces.jsonl"),
            target.with_name(target.name + MANIFEST))


@dataclass(frozen=True, slots=True)
class Plan:
    """The jobs in order; inputs that cannot be done, a sentence each; files of other
    kinds in the folders, which are left out; jobs that were done before; why outputs are
    made anew, a sentence each."""

    jobs: list[Job]
    refused: list[str]
    left_out: list[Path]
    done: list[Job] = field(default_factory=list)
    again: list[str] = field(default_factory=list)


def plan(inputs: Sequence[str | Path], out: str | Path, *, overwrite: bool = False,
         fault: Callable[[Job], str | None] | None = None) -> Plan:
    """Give every input its output: ``IN/a/b.jpg`` becomes ``OUT/a/b.jpg``.

    An input that is one file may name its output file: ``OUT`` then ends as a
    picture, a video or a bag does and is no folder. The folder of a rosbag2 is one
    input.

    Args:
        inputs: files and folders; folders are searched to any depth, without names
            that begin with a dot.
        out: the folder for the outputs.
        overwrite: whether outputs may exist already.
        fault: tells of an output that exists why it must be made anew; None: it is
            finished; '': it is none of an earlier run.

    Raises:
        MediaError: ``out`` is a file where a folder is needed.
    """
    out = Path(out)
    single = folder_of(inputs, out) != out
    jobs: list[Job] = []
    refused: list[str] = []
    left_out: list[Path] = []
    for item in map(Path, inputs):
        try:
            if item.is_dir() and not is_bag_folder(item):
                before = len(refused)
                found = list(search(item, out, left_out, refused))
                if not found and len(refused) == before:
                    raise MediaError(f"The folder {item} holds no picture, video or rosbag; "
                                     "give another one.")
                jobs += [Job(path, out / finished_name(str(path.relative_to(item))),
                             path.relative_to(item).as_posix()) for path in found]
            else:
                _check(item)
                if item.is_dir():
                    check_bag_folder(item, left_out, refused)
                name = item.name or item.resolve().name
                jobs.append(Job(item, out if single else out / finished_name(name), name))
        except MediaError as error:
            refused.append(str(error))
    planned = Plan([], refused, left_out)
    planned.jobs.extend(_distinct(jobs, planned, overwrite, fault))
    return planned


def folder_of(inputs: Sequence[str | Path], out: str | Path) -> Path:
    """The folder of the outputs: ``out``, or the one in which a single named one lies.

    Raises:
        MediaError: ``out`` is a file where a folder is needed.
    """
    out = Path(out)
    if (len(inputs) == 1 and Path(inputs[0]).is_file() and not out.is_dir()
            and out.suffix.lower() in SUFFIXES):
        return out.parent
    if out.exists() and not out.is_dir():
        raise MediaError(f"{out} is a file; give a folder for the outputs with -o.")
    return out


def _check(path: Path) -> None:
    if not path.exists():
        raise MediaError(f"There is no file or folder {path}; check the path.")
    if not path.is_file() and not is_bag_folder(path):
        raise MediaError(f"{path} is neither a file nor a folder; give a picture, a video, a "
                         "rosbag or a folder.")


def _distinct(jobs: Iterable[Job], planned: Plan, overwrite: bool,
              fault: Callable[[Job], str | None] | None) -> Iterator[Job]:
    """Only jobs that write over no input, no other output and, unless told, no file."""
    jobs, refused = list(jobs), planned.refused
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
        else:
            taken[key] = job.source
            there = [path for path in (job.target, *beside(job.target)) if os.path.lexists(path)]
            why = fault(job) if there and fault else ""
            if why is None:
                planned.done.append(job)
            elif why:
                planned.again.append(f"{job.target} is made anew: {why}.")
                yield replace(job, overwrite=True)
            elif there and fault and not overwrite:
                refused.append(f"{there[0]} exists already and has no manifest of a run, not "
                               "overwriting; remove it, or add --overwrite.")
            elif there and not overwrite:
                refused.append(exists_already(there[0]))
            else:
                yield job


def _folders(paths: Iterable[Path]) -> set[Path]:
    return {path for path in paths if path.is_dir()}
