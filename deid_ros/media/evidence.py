"""What was done to an input, on paper: the manifest, and the faces frame by frame.

Neither holds a face, an embedding or the key of the random draws.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from deid_ros import __version__
from deid_ros.config import Config, defaults, file_of
from deid_ros.errors import DeidError, MediaError
from deid_ros.faces import boxes_of
from deid_ros.media.files import Job, beside
from deid_ros.media.medium import Frame, Writing
from deid_ros.media.outcome import Outcome
from deid_ros.pipeline import Processed, models_of
from deid_ros.resources import model_path, model_table, sha256_of

__all__ = ["FaceLog", "Recipe", "describe", "fault_of", "fingerprint", "marks_of", "read_faces",
           "read_manifest", "settings_of", "tool_of"]

KEPT = "kept"


class FaceLog:
    """Writes ``NAME.faces.jsonl``: a line for every frame that leaves, in its order."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def add(self, frame: Frame, processed: Processed) -> None:
        """One frame; of people who consented it says that they were kept."""
        faces = [_row(face, by) for face, by in
                 zip(processed.faces, processed.covered_by, strict=True)]
        faces += [_row(face, KEPT) for face in processed.kept]
        line = {"index": frame.index, "stamp_ns": frame.stamp_ns, "topic": frame.topic,
                "faces": faces}
        self._stream.write(json.dumps(line, separators=(",", ":")) + "\n")


def _row(face: Any, covered_by: str) -> dict[str, Any]:
    return {"track_id": int(face["track_id"]), "box": boxes_of(face[None])[0].tolist(),
            "score": round(float(face["score"]), 4), "carried": bool(face["carried"]),
            "covered_by": covered_by}


def read_faces(target: Path) -> Iterator[dict[str, Any] | None]:
    """The lines of an output's ``faces.jsonl``; None for one that is none.

    Raises:
        MediaError: the file cannot be read.
    """
    path = beside(target)[0]
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            yield from map(_line, stream)
    except OSError as error:
        raise MediaError(f"{path} cannot be read ({error.strerror or error}); process the input "
                         "again.") from None


def _line(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
        boxes = np.array([face["box"] for face in line["faces"]], float).reshape(-1, 4)
        good = (isinstance(line["index"], int) and isinstance(line["topic"], str | None)
                and len(boxes) == len(line["faces"]) and bool(np.isfinite(boxes).all())
                and all(isinstance(face["covered_by"], str) for face in line["faces"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return line if good else None


def fingerprint(path: Path) -> dict[str, Any]:
    """Name, size and SHA-256 of a file; of a folder, of the list of its files' SHA-256s."""
    if not path.is_dir():
        return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
    files = {file.relative_to(path).as_posix(): file
             for file in sorted(path.rglob("*")) if file.is_file()}
    sums = {name: sha256_of(file) for name, file in files.items()}
    lines = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    return {"name": path.name, "bytes": size_of(path),
            "sha256": hashlib.sha256(lines.encode()).hexdigest(), "files": sums}


def marks_of(path: Path) -> dict[str, tuple[int, ...]]:
    """What differs when a file, or one of a folder, was written to or replaced."""
    files = path.rglob("*") if path.is_dir() else [path]
    found = {}
    for file in files:
        with suppress(OSError):
            if file.is_file():
                about = file.stat()
                found[str(file)] = (about.st_dev, about.st_ino, about.st_size,
                                    about.st_mtime_ns, about.st_ctime_ns)
    return found


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def settings_of(config: Config) -> dict[str, dict[str, Any]]:
    """The settings that matter offline; of the key only whether there was one.

    Files below the share folder keep their short names, others lose their folders.
    """
    known = defaults()
    nodes = ("detector", "matcher", "generator", "replacer")
    live = ("image_topic", "queue", "deadline_ms")
    settings = {node: {name: value for name, value in config[node].items() if name not in live}
                for node in nodes}
    for node in nodes:
        for name in ("gallery", "generator", "extractor_weights", "enrolled"):
            value = settings[node].get(name)
            if value and value != known[node][name]:
                settings[node][name] = Path(value).name
    settings["matcher"]["key"] = "given" if config["matcher"]["key"] else "random"
    return settings


def tool_of(config: Config) -> dict[str, Any]:
    """Version of the tool, and SHA-256 of every file that decides what comes out."""
    own = []
    if config["replacer"]["replace"] == "surrogate":
        own = [config["matcher"][key] for key in ("gallery", "extractor_weights", "enrolled")]
        if config["generator"]["generator"] != defaults()["generator"]["generator"]:
            own.append(config["generator"]["generator"])
    files = {file_of(value).name: sha256_of(file_of(value)) for value in own
             if value and file_of(value).is_file()}
    for name in models_of(config):
        with suppress(DeidError):  # not installed, and so not used; else its hash was checked
            model_path(name)
            files[Path(model_table()[name]["file"]).name] = model_table()[name]["sha256"]
    return {"name": "deid_ros", "version": __version__, "files": dict(sorted(files.items()))}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides what comes out, except the input and the key.

    ``tool``: see ``tool_of``; ``settings``: see ``settings_of``; ``how``: what is asked for
    beside the configuration.
    """

    tool: dict[str, Any]
    settings: dict[str, dict[str, Any]]
    how: dict[str, Any]

    @classmethod
    def of(cls, config: Config, writing: Writing, *, limit: int | None = None,
           consenting: Path | None = None) -> Recipe:
        """Of a run; of consent, the pictures. It reads files: once for each run."""
        pictures = [] if consenting is None else [
            f"{path.relative_to(consenting)} {sha256_of(path)}"
            for path in sorted(consenting.rglob("*")) if path.is_file()]
        return cls(tool_of(config), settings_of(config), {
            "writing": dataclasses.asdict(writing), "limit": limit, "consent": pictures})

    @property
    def binding(self) -> str:
        """One SHA-256 of all of it."""
        words = json.dumps([self.settings, self.tool, self.how], sort_keys=True, default=sorted)
        return hashlib.sha256(words.encode()).hexdigest()


def describe(job: Job, parts: Sequence[Path], outcome: Outcome, *, source: dict[str, Any],
             recipe: Recipe, facts: dict[str, Any]) -> dict[str, Any]:
    """The manifest of an output that is complete.

    Args:
        parts: where it lies, and its faces.
        source: the fingerprint of what was read.
    """
    part, faces = parts
    return {
        "tool": recipe.tool, "settings": recipe.settings, "limit": recipe.how["limit"],
        "binding": recipe.binding,
        "input": source | {"name": job.name},
        "output": fingerprint(part) | {"name": job.target.name},
        "evidence": fingerprint(faces) | {"name": beside(job.target)[0].name},
        "frames": outcome.frames, "faces": outcome.covered.total(), "carried": outcome.carried,
        "flatly_covered": outcome.flat, "withheld": outcome.withheld,
        "covered_by": dict(sorted(outcome.covered.items())), "kept_by_consent": outcome.kept,
        "lost": outcome.lost, "problems": outcome.problems, **facts}


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest.

    Raises:
        MediaError: it cannot be read, or is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not {"tool", "input", "output", "frames"} <= set(found):
            raise ValueError("it is no manifest")
        return found
    except (OSError, ValueError, RecursionError) as error:
        raise MediaError(f"The manifest {path} cannot be read "
                         f"({getattr(error, 'strerror', None) or error}); process the input "
                         "again.") from None


def fault_of(job: Job, binding: str) -> str | None:
    """Why an output is not the finished one of a job; None: nothing is left to do.

    '' where no run has made what lies there.

    Args:
        binding: what decides what comes out, as ``Recipe`` has it.
    """
    try:
        return _fault(job, binding)
    except (OSError, KeyError, TypeError):
        return "its manifest does not tell of what it was made"


def _fault(job: Job, binding: str) -> str | None:
    faces, paper = beside(job.target)
    try:
        found = read_manifest(paper)
    except MediaError:
        empty = paper.is_file() and not paper.stat().st_size
        return "it was cut off" if empty and not job.target.exists() else ""
    if not job.target.exists() or not faces.is_file():
        return "it was cut off"
    if found.get("binding") != binding:
        return "it was made with other settings, models or another version"
    if found["input"]["name"] != job.name or not _same(found["input"], job.source):
        return "it was made of another input"
    if not _same(found["output"], job.target):
        return "it is not what was written"
    if not _same(found["evidence"], faces):
        return f"{faces.name} is not what was written"
    return None


def _same(known: dict[str, Any], path: Path) -> bool:
    return (known["bytes"] == size_of(path)
            and known["sha256"] == fingerprint(path)["sha256"])
