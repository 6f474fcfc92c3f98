"""Outputs that are whole or not there.

What is being written lies beside its place under a hidden name, and never holds more
than what may leave. The evidence gets its name first, the output last: an output that
can be seen is complete and has its evidence.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from deid_ros.errors import MediaError
from deid_ros.media.bag_folder import is_bag_folder

__all__ = ["exists_already", "hidden", "sweep", "whole", "whole_set"]

#: What unfinished outputs end with; their names begin with a dot besides.
PART = ".part"
_PART = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part")


def exists_already(target: Path) -> str:
    """The sentence that refuses to overwrite."""
    return (f"{target} exists already, not overwriting; remove it, add --overwrite, or --resume to "
            "go on with the rest.")


def hidden(target: Path) -> Path:
    """A fresh name beside ``target`` that ``sweep`` knows."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART}")


@contextmanager
def whole(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A path to write to that becomes ``target`` when the block ends well.

    Until then it lies beside ``target`` under a hidden name; if the block raises it
    is removed.

    Raises:
        MediaError: ``target`` exists and may not be overwritten, or its folder
            cannot be written to.
    """
    with whole_set(target, overwrite=overwrite) as (part,):
        yield part


@contextmanager
def whole_set(target: Path, beside: Sequence[Path] = (), *, overwrite: bool = False,
              folder: bool = False) -> Iterator[list[Path]]:
    """Paths to write to, for ``target`` and what belongs to it, that appear together.

    Args:
        beside: files that get their names before ``target`` does, last one first.
        overwrite: whether old ones of all of them may be replaced.
        folder: ``target`` becomes a folder.

    Yields:
        The path for ``target``, then one for each of ``beside``.

    Raises:
        MediaError: as for ``whole``.
    """
    targets = [target, *beside]
    parts = [hidden(path) for path in targets]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for part in parts:
            if folder and part is parts[0]:
                part.mkdir()
            else:
                part.open("xb").close()
    except OSError as error:
        _remove(parts)
        raise MediaError(f"{target} cannot be written ({error.strerror or error}); choose another "
                         "folder with -o.") from None
    try:
        yield parts
        for part in parts:
            _sync(part)
        _publish(parts, targets, overwrite)
    finally:
        _remove(parts)


def _sync(part: Path) -> None:
    for path in [*part.rglob("*"), part] if part.is_dir() else [part]:
        if stat.S_ISREG(path.lstat().st_mode):
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())


def _publish(parts: list[Path], targets: list[Path], overwrite: bool) -> None:
    target, evidence = targets[0], targets[1:]
    existing = [path for path in targets if os.path.lexists(path)]
    if existing and not overwrite:
        raise MediaError(exists_already(existing[0]))
    if existing and evidence:
        # Old evidence must not stand beside the new output, nor the other way round.
        try:
            _clear(target)
            for path in evidence:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise MediaError(f"{error.filename} cannot be replaced ({error.strerror or error}); "
                             "remove it, or choose another folder with -o.") from None
    made: list[Path] = []
    try:
        for part, path in zip(reversed(parts[1:]), reversed(evidence), strict=True):
            _claim(path)
            made.append(path)
            os.replace(part, path)
        _rename(parts[0], target, overwrite)
    except MediaError:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _claim(path: Path) -> None:
    """Make an empty file, unless there is one."""
    try:
        path.open("xb").close()
    except FileExistsError:
        raise MediaError(exists_already(path)) from None
    except OSError as error:
        raise MediaError(f"{path} cannot be written ({error.strerror or error}); choose another "
                         "folder with -o.") from None


def _rename(part: Path, target: Path, overwrite: bool) -> None:
    if part.is_dir():
        try:
            os.rename(part, target)
        except OSError as error:
            raise MediaError(f"{target} cannot be written ({error.strerror or error}); choose "
                             "another folder with -o.") from None
        return
    if overwrite:
        os.replace(part, target)
        return
    try:
        # Unlike a rename, a link fails if somebody else made the target meanwhile.
        os.link(part, target)
    except FileExistsError:
        raise MediaError(exists_already(target)) from None
    except OSError:  # a file system without links
        if target.exists():
            raise MediaError(exists_already(target)) from None
        os.replace(part, target)


def _clear(target: Path) -> None:
    """Remove an old output; of folders only bags."""
    if target.is_symlink() or not target.is_dir():
        target.unlink(missing_ok=True)
    elif is_bag_folder(target):
        # At once, as far as its name goes.
        gone = hidden(target)
        os.rename(target, gone)
        shutil.rmtree(gone)
    else:
        raise MediaError(f"{target} is a folder and no rosbag, it is not overwritten; choose "
                         "another folder with -o.")


def _remove(parts: Iterable[Path]) -> None:
    for part in parts:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            with suppress(OSError):  # it is gone already, or its folder never was
                part.unlink()


def sweep(targets: Iterable[Path]) -> None:
    """Remove what a killed run left behind of these outputs."""
    names: dict[Path, set[str]] = {}
    for target in targets:
        names.setdefault(target.parent, set()).add(target.name)
    for folder, known in names.items():
        if folder.is_dir():
            _remove([path for path in folder.iterdir()
                     if (match := _PART.fullmatch(path.name)) and match[1] in known])
