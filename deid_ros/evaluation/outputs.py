"""Finished outputs as they lie on the disk: frames, evidence, files without any."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import EvaluationError, FrameError
from deid_ros.media.evidence import fingerprint, read_faces
from deid_ros.media.files import MANIFEST, PREVIEW, Job, beside
from deid_ros.media.images import ALPHA, is_picture, picture_frames
from deid_ros.media.resume import STATE

__all__ = ["Lines", "compare_sums", "frames_of", "outputs_of", "strays", "topics_of"]


def outputs_of(path: Path) -> list[Path]:
    """The outputs at or below a path, by their manifests.

    Raises:
        EvaluationError: there is none.
    """
    if path.with_name(path.name + MANIFEST).is_file():
        return [path]
    found = sorted(Path(str(each).removesuffix(MANIFEST)) for each in path.rglob("*" + MANIFEST)
                   if path.is_dir())
    if not found:
        raise EvaluationError(f"At {path} is no output with a manifest; name what 'deid run' "
                              "wrote.")
    return found


def strays(path: Path, outputs: Iterable[Path]) -> list[str]:
    """A sentence for what lies below a folder and is neither an output nor the evidence of
    one, and for every folder that cannot be read."""
    outputs = set(outputs)
    if path in outputs or not path.is_dir():
        return []
    known = {each for output in outputs for each in (output, *beside(output))}
    found = []

    def unreadable(error: OSError) -> None:
        found.append(f"The folder {error.filename} cannot be read ({error.strerror}), nobody "
                     "knows what is in it; give yourself the right to read it.")

    for root, folders, names in os.walk(path, onerror=unreadable):
        here = Path(root)
        folders[:] = sorted(name for name in folders if here / name not in outputs)
        links = [name for name in folders if (here / name).is_symlink()]
        found += [_stray(here / name) for name in links + sorted(names)
                  if name != STATE and here / name not in known]
    return found


def _stray(path: Path) -> str:
    if path.name == PREVIEW:
        return (f"{path} is called as the contact sheet of 'deid run --preview', which has no "
                "evidence; remove it when you have seen it.")
    return f"{path} has no evidence, nobody says what was done to it."


def compare_sums(output: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Sentences about what is not what was written: the output, its evidence."""
    problems = []
    faces = beside(output)[0]
    for path, key in ((output, "output"), (faces, "evidence")):
        known = manifest.get(key)
        if not isinstance(known, dict) or "sha256" not in known:
            problems.append(f"{path} is not bound by its manifest, which holds no SHA-256 of it; "
                            "process the input again.")
        elif not path.exists():
            problems.append(f"{path} is missing, its manifest is there.")
        elif fingerprint(path)["sha256"] != known["sha256"]:
            problems.append(f"{path} is not what was written: its SHA-256 differs from that of "
                            "its manifest.")
    return problems


class Lines:
    """The evidence of an output, by topic.

    Args:
        problems: gets a sentence for every line that cannot be read.
    """

    def __init__(self, output: Path, problems: list[str]) -> None:
        self._output, self._problems = output, problems
        self._lines = self._read()
        self._waiting: dict[str | None, deque[dict[str, Any]]] = defaultdict(deque)
        self._of_picture = not _is_bag(output) and is_picture(output)

    def _read(self) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(read_faces(self._output)):
            if line is None:
                self._problems.append(f"{beside(self._output)[0]}: line {number + 1} cannot be "
                                      "read; what it tells of counts as not covered.")
            yield line or {"index": number, "topic": None, "faces": []}

    def next(self, topic: str | None) -> dict[str, Any] | None:
        """The line of the next frame of a topic."""
        waiting = self._waiting[topic]
        while not waiting:
            line = next(self._lines, None)
            if line is None:
                return None
            self._waiting[line["topic"]].append(line)
        return waiting.popleft()

    def left(self) -> int:
        """How many lines no frame was asked for."""
        topics = [line["topic"] for line in (*chain(*self._waiting.values()), *self._lines)]
        # Covered, the transparency of a picture can have become the same everywhere.
        return sum(not (self._of_picture and topic == ALPHA) for topic in topics)


def topics_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The topics that were made anonymous, and what they are called in the output."""
    return {entry["topic"]: entry["output"] for entry in manifest.get("topics", ())
            if entry["action"] == "made anonymous"}


def frames_of(path: Path, topics: Mapping[str, str], scratch: Path
              ) -> Iterator[tuple[str | None, np.ndarray | FrameError]]:
    """(topic, BGR uint8 (H, W, 3)) of every frame, or what is wrong with one.

    The very frames that ``deid run`` searches: of a picture the transparency is one too.

    Args:
        topics: the image topics of a bag, and the names under which they are given.
        scratch: where something may be unpacked.
    """
    if _is_bag(path):
        yield from _bag_frames(path, topics, scratch)
    elif is_picture(path):
        for frame in picture_frames(path):
            yield frame.topic, frame.pixels
    else:
        yield from _video_frames(path)


def _video_frames(path: Path) -> Iterator[tuple[str | None, np.ndarray]]:
    from deid_ros.media.tracks import Tracks, track_name
    from deid_ros.media.videos import VideoReader

    with ExitStack() as stack:
        tracks = stack.enter_context(VideoReader(path)).tracks
        readers = [stack.enter_context(VideoReader(path, track=index)) for index in tracks]
        for number, (pixels, _, _) in Tracks(readers):
            yield track_name(number, len(readers)), pixels


def _is_bag(path: Path) -> bool:
    return Job(path, path, path.name).is_bag


def _bag_frames(path: Path, topics: Mapping[str, str], scratch: Path
                ) -> Iterator[tuple[str, np.ndarray | FrameError]]:
    from deid_ros.media.bags import Bag

    for topic, found in Bag(path).pictures(topics, scratch=scratch):
        yield topics[topic], found
