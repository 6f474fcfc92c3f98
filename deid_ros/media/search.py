"""What of a folder is an input, and what is named because it is left out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath

from deid_ros.errors import MediaError
from deid_ros.media.bag_folder import is_bag_folder, is_storage, read_bag_folder

__all__ = ["BAG_SUFFIXES", "IMAGE_SUFFIXES", "SUFFIXES", "VIDEO_SUFFIXES", "check_bag_folder",
           "is_medium", "kind_of", "search"]

#: What is looked for in folders, by the end of a name in lower case.
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".png", ".webp", ".bmp",
    ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".gif", ".mpo", ".jp2", ".heic", ".heif", ".avif"))
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
    ".wmv", ".flv", ".ogv", ".3gp", ".mjpeg", ".mjpg"))
BAG_SUFFIXES = frozenset((".bag", ".mcap", ".db3"))
SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES | BAG_SUFFIXES

# Sound in containers of videos.
_SOUND = frozenset((".m4a", ".m4b", ".ogg", ".oga", ".opus", ".spx", ".mka", ".weba", ".wma"))
# What may follow a known end of a name.
_PACKED = frozenset((".zst", ".zstd", ".gz", ".bz2", ".xz", ".lz4"))
_ACTIVE = frozenset((".active", ".part", ".tmp", ".crdownload"))
# What files of known kinds begin with: where, and what.
_MAGIC = tuple((at, bytes.fromhex(digits)) for at, digits in (
    (0, "ffd8ff"), (0, "89504e470d0a1a0a"), (0, "47494638"), (0, "49492a00"), (0, "4d4d002a"),
    (0, "49492b00"), (0, "4d4d002b"), (8, "57454250"), (8, "41564920"), (4, "66747970"),
    (0, "1a45dfa3"), (0, "4f676753"), (0, "464c5601"), (0, "000001ba"), (0, "000001b3"),
    (0, "3026b2758e66cf11"), (0, "0000000c6a502020"), (0, "ff4fff51"), (0, "762f3101"),
    (0, "894d434150"), (0, "23524f53424147")))


def kind_of(path: Path) -> str:
    """The suffix that tells what a file is, in lower case.

    A packed bag (``.db3.zstd``, ``.mcap.zstd``) and one whose recorder died
    (``.bag.active``) are bags too.
    """
    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower()
    packed = suffix == ".zstd" and inner in (".db3", ".mcap")
    return inner if packed or (suffix == ".active" and inner == ".bag") else suffix


def search(folder: Path, out: Path, left_out: list[Path], refused: list[str]) -> Iterator[Path]:
    """The media files below a folder in a stable order; none of the outputs.

    Args:
        out: the folder of the outputs, which may lie below.
        left_out: gets files of other kinds.
        refused: gets a sentence for everything that may show people and is left out.
    """
    outputs, top = out.resolve(), folder.resolve()

    def unreadable(error: OSError) -> None:
        refused.append(f"The folder {error.filename} cannot be read ({error.strerror}) and is left "
                       "out; give yourself the right to read it.")

    for root, folders, names in os.walk(folder, onerror=unreadable):
        here = Path(root)
        below = sorted(name for name in folders if not name.startswith(".")
                       and (here / name).resolve() != outputs)
        folders[:] = []
        for name in below:
            path = here / name
            if is_bag_folder(path):
                try:
                    check_bag_folder(path, left_out, refused)
                except MediaError as error:
                    refused.append(str(error))
                else:
                    yield path
            elif not path.is_symlink():
                folders.append(name)
            elif not path.resolve().is_relative_to(top):
                refused.append(f"The folder {path} is a link, it is not followed; name it as an "
                               "input of its own.")
        for name in sorted(names):
            if not name.startswith(".") and _is_input(here / name, left_out, refused):
                yield here / name


def _is_input(path: Path, left_out: list[Path], refused: list[str]) -> bool:
    """Whether a file is one to be processed; else it is put on one of the lists."""
    kind = _kind(path)
    known = kind_of(path) in SUFFIXES
    inner = PurePath(path.stem).suffix.lower() in SUFFIXES
    if kind:
        if known or inner:
            refused.append(f"{path} is {kind} and no file, it is left out; copy what it gives "
                           "into a file.")
        else:
            left_out.append(path)
        return False
    if known:
        return True
    if inner and path.suffix.lower() in _PACKED:
        refused.append(f"{path} is packed, it is left out; unpack it first.")
    elif inner and path.suffix.lower() in _ACTIVE:
        refused.append(f"{path} is not complete, it is left out; finish its recording, or give it "
                       f"a name that ends in {PurePath(path.stem).suffix}.")
    elif is_medium(path) and path.suffix.lower() in _SOUND:
        refused.append(f"{path} is called as sound, but begins as a picture or a video does, "
                       "it is left out; move it away if it is sound alone, else name it "
                       "as an input of its own.")
    elif is_medium(path):
        refused.append(f"{path} holds a picture, a video or a rosbag, but is not called as one; "
                       "it is left out: rename it, or name it as an input of its own.")
    else:
        left_out.append(path)
    return False


def _kind(path: Path) -> str:
    """What a path is that is no regular file, which is never opened; '' for a file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return "a link that leads nowhere"
    if stat.S_ISREG(mode):
        return ""
    known = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    return known.get(stat.S_IFMT(mode), "a device")


def is_medium(path: Path) -> bool:
    """Whether a file is called as a picture, a video or a bag, or begins as one."""
    if kind_of(path) in SUFFIXES:
        return True
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as stream:
            begin = stream.read(16)
    except OSError:
        return False
    return any(begin[at:at + len(magic)] == magic for at, magic in _MAGIC)


def check_bag_folder(folder: Path, left_out: list[Path], refused: list[str]) -> None:
    """Put what lies in the folder of a bag and is none of its files on one of the lists.

    Raises:
        MediaError: one of its files is no file.
    """
    found = read_bag_folder(folder)
    for path in found.others:
        kind, beside = _kind(path), path.parent == folder
        if kind and beside and path.name in found.missing:
            raise MediaError(f"{path} is {kind} and no file, the rosbag is left out; check it.")
        if beside and is_storage(path.name):
            refused.append(f"{path} is not named in the metadata.yaml of its rosbag, it is left "
                           "out; name it as an input of its own, or bring metadata.yaml up to "
                           "date with: ros2 bag reindex.")
        elif kind or is_medium(path):
            refused.append(f"{path} is no file of the rosbag in whose folder it lies, it is left "
                           "out; name it as an input of its own.")
        else:
            left_out.append(path)
