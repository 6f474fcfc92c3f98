"""The folder of a rosbag2: what is one, and which of the files in it are the bag's."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

__all__ = ["BagFolder", "is_bag_folder", "is_storage", "read_bag_folder"]

_STORAGE = re.compile(r".+\.(db3|mcap)(\.zstd)?", re.IGNORECASE)
_ABOUT = re.compile(rb"""^\s*["']?rosbag2_bagfile_information["']?\s*:""", re.MULTILINE)
_MOST = 1 << 20     # bytes of metadata.yaml that are searched for what it is
_OF_SQLITE = ("-wal", "-shm", "-journal")   # ends of the names of what it keeps beside a file


def is_storage(name: str) -> bool:
    """Whether a file is called as one of a rosbag2."""
    return _STORAGE.fullmatch(name) is not None


def is_bag_folder(path: Path) -> bool:
    """Whether a path is the folder of a rosbag2.

    Its ``metadata.yaml`` says so, or, where that is damaged, the bag files beside it: data
    sets have files of that name too.
    """
    about = path / "metadata.yaml"
    try:
        if not about.is_file():
            return False
        if any(is_storage(file.name) for file in path.iterdir()):
            return True
        with open(about, "rb") as stream:
            return _ABOUT.search(stream.read(_MOST)) is not None
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class BagFolder:
    """What lies in the folder of a rosbag2.

    ``info``: ``rosbag2_bagfile_information`` of its metadata, {} where that cannot be read;
    ``files``: those of the bag, in order; ``missing``: names of its files that are not there;
    ``others``: everything else below the folder, of which nothing is read.
    """

    info: dict[str, Any]
    files: list[Path]
    missing: list[str]
    others: list[Path]


def read_bag_folder(folder: Path) -> BagFolder:
    """What of a folder is the bag: what its metadata names; without, what is called so."""
    info, named = _named(folder)
    files, missing = [], []
    for name in named:
        # rosbag2 has forgotten the ending of packed files in its metadata at times.
        there = [path for path in (folder / name, folder / f"{name}.zstd") if path.is_file()]
        files += there[:1]
        missing += [] if there else [name]
    own = {folder / "metadata.yaml", *files, *(
        folder / (file.name.removesuffix(".zstd") + end) for file in files for end in _OF_SQLITE)}
    return BagFolder(info, files, missing, [path for path in _below(folder) if path not in own])


def _named(folder: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        text = (folder / "metadata.yaml").read_text(encoding="utf-8")
        info = dict(yaml.safe_load(text)["rosbag2_bagfile_information"])
        named = [PurePath(name).name for name in info["relative_file_paths"]]
        return info, list(dict.fromkeys(named))
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError):
        return {}, sorted(file.name for file in folder.iterdir() if is_storage(file.name))


def _below(folder: Path) -> list[Path]:
    """Files, links and what cannot be entered, to any depth."""
    found: list[Path] = []
    for root, folders, names in os.walk(
            folder, onerror=lambda error: found.append(Path(error.filename))):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        found.extend(Path(root, name) for name in names + links)
    return sorted(found)
