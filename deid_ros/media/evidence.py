"""What was done to an input, on paper: the manifest, and the faces frame by frame.

Neither holds a face, an embedding or the key of the random draws.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from deid_ros import __version__
from deid_ros.config import Config, defaults, file_of
from deid_ros.errors import DeidError, MediaError
from deid_ros.faces import boxes_of
from deid_ros.media.files import Job, beside
from deid_ros.media.medium import Frame, Writing
from deid_ros.media.outcome import Outcome
from deid_ros.pipeline import Processed, models_of
from deid_ros.resources import model_path, model_table, sha256_of

__all__ = ["FaceLog", "Finished", "binding_of", "describe", "fingerprint", "how_of",
           "manifest_of", "marks_of", "read_faces", "read_manifest", "settings_of", "tool_of"]

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


def read_faces(target: Path) -> Iterator[dict[str, Any]]:
    """The lines of an output's ``faces.jsonl``.

    Raises:
        MediaError: it is missing or damaged.
    """
    path = beside(target)[0]
    try:
        with open(path, encoding="utf-8") as stream:
            for line in stream:
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); "
                         "process the input again.") from None


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


def how_of(writing: Writing, limit: int | None, consenting: Path | None) -> dict[str, Any]:
    """What decides what comes out, beside the configuration; of consent, the pictures."""
    pictures = [] if consenting is None else [
        f"{path.relative_to(consenting)} {sha256_of(path)}"
        for path in sorted(consenting.rglob("*")) if path.is_file()]
    return {"writing": dataclasses.asdict(writing), "limit": limit, "consent": pictures}


def binding_of(settings: dict[str, Any], tool: dict[str, Any], how: dict[str, Any]) -> str:
    """One SHA-256 of everything that decides what comes out, except the input and the key.

    Args:
        settings: see ``settings_of``; ``tool``: see ``tool_of``; ``how``: see ``how_of``.
    """
    words = json.dumps([settings, tool, how], sort_keys=True, default=sorted)
    return hashlib.sha256(words.encode()).hexdigest()


def describe(job: Job, parts: Sequence[Path], outcome: Outcome, *, source: dict[str, Any],
             tool: dict[str, Any], settings: dict[str, Any], how: dict[str, Any],
             facts: dict[str, Any]) -> dict[str, Any]:
    """The manifest of an output that is complete.

    Args:
        parts: where it lies, and its faces.
        source: the fingerprint of what was read.
    """
    part, faces = parts
    return {
        "tool": tool, "settings": settings, "limit": how["limit"],
        "binding": binding_of(settings, tool, how),
        "input": source | {"name": job.name},
        "output": fingerprint(part) | {"name": job.target.name},
        "evidence": fingerprint(faces) | {"name": beside(job.target)[0].name},
        "frames": outcome.frames, "faces": outcome.covered.total(), "carried": outcome.carried,
        "flatly_covered": outcome.flat, "withheld": outcome.withheld,
        "covered_by": dict(sorted(outcome.covered.items())), "kept_by_consent": outcome.kept,
        "lost": outcome.lost, "problems": outcome.problems, **facts}


def manifest_of(target: Path) -> dict[str, Any] | None:
    """The manifest of an output, or None where there is none that can be read."""
    try:
        return read_manifest(beside(target)[1])
    except MediaError:
        return None


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest.

    Raises:
        MediaError: it cannot be read, or is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not {"tool", "input", "output", "frames"} <= set(found):
            raise ValueError("it is no manifest")
        return found
    except (OSError, ValueError, TypeError) as error:
        raise MediaError(f"The manifest {path} cannot be read "
                         f"({getattr(error, 'strerror', None) or error}); process the input "
                         "again.") from None


class Finished:
    """Tells outputs that are finished, whole and as they would be made now, from others.

    Args:
        binding: of what decides what comes out, as ``binding_of`` gives it.
    """

    def __init__(self, binding: str) -> None:
        self._binding = binding
        self._known: dict[Job, str | None] = {}

    def __call__(self, job: Job) -> bool:
        """Whether nothing is left to do for a job."""
        return self._fault(job) is None

    def stale(self, job: Job) -> str:
        """Why an output of an earlier run is made anew; '' if it is none of such a run."""
        return self._fault(job) or ""

    def _fault(self, job: Job) -> str | None:
        if job not in self._known:
            try:
                self._known[job] = _fault(job, self._binding)
            except (OSError, KeyError, TypeError):
                self._known[job] = "its manifest does not tell of what it was made"
        return self._known[job]


def _fault(job: Job, binding: str) -> str | None:
    faces, paper = beside(job.target)
    found = manifest_of(job.target)
    if found is None:
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
