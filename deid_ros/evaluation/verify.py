"""Looking at finished outputs with other eyes: is there a face that was never covered?

Nothing is needed but the outputs and their evidence. A detector that had no part in the
work searches every frame; what it finds where no covered box lies is shown to the face
mesh, which tells faces from textures, and to the attacker's descriptor, which tells how
many people they are.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deid_ros.errors import DeidError, EvaluationError
from deid_ros.media.evidence import fingerprint, read_faces, read_manifest
from deid_ros.media.files import BAG_SUFFIXES, IMAGE_SUFFIXES

__all__ = ["Bare", "Verdict", "Verifier", "outputs_of"]

_END = ".manifest.json"
_EYES = ("ssd", "dlib_hog", "centerface")   # who looks: the first that had no part
_SURE = 0.5             # least score of the second detector
_COVERED = 0.5          # part of a detection that must lie within one covered box
_FACE = 0.5             # the mesh's belief from which it is a face
_SAME = 0.1             # cosine distance of two descriptors of one person


@dataclass(frozen=True, slots=True)
class Bare:
    """A face that was never covered: ``box`` x, y, width, height (px)."""

    topic: str | None
    index: int
    box: tuple[int, int, int, int]
    score: float


@dataclass(slots=True)
class Verdict:
    """What was found at one output.

    ``frames`` looked at; ``faces`` found by the second detector; ``bare`` those never
    covered; ``perhaps`` places never covered that are hardly faces; ``people`` behind
    the bare ones; ``problems`` sentences about an output that is not what its manifest
    says.
    """

    output: Path
    detector: str = ""
    frames: int = 0
    faces: int = 0
    bare: list[Bare] = field(default_factory=list)
    perhaps: int = 0
    people: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong with it."""
        return not (self.bare or self.problems)


def outputs_of(path: Path) -> list[Path]:
    """The outputs at or below a path, by their manifests.

    Raises:
        EvaluationError: there is none.
    """
    if path.with_name(path.name + _END).is_file():
        return [path]
    found = sorted(Path(str(each).removesuffix(_END)) for each in path.rglob("*" + _END)
                   if path.is_dir())
    if not found:
        raise EvaluationError(f"At {path} is no output with a manifest; name what 'deid run' "
                              "wrote.")
    return found


class Verifier:
    """Looks at outputs.

    Args:
        detector: the back end that looks; None: one that had no part in the work.
        every: look at every n-th frame.
    """

    def __init__(self, *, detector: str | None = None, every: int = 1) -> None:
        self._asked, self._every = detector, every
        self._detectors: dict[str, Any] = {}
        self._mesh: Any = None
        self._extractor: Any = None

    def verify(self, output: Path) -> Verdict:
        """Look at one output; what is wrong is in the verdict."""
        verdict = Verdict(output)
        try:
            manifest = read_manifest(output.with_name(output.name + _END))
            if not output.exists():
                raise EvaluationError(f"{output} is missing, its manifest is there.")
            if fingerprint(output)["sha256"] != manifest["output"]["sha256"]:
                verdict.problems.append(f"{output} is not what was written: its SHA-256 differs "
                                        "from that of its manifest.")
            self._look(output, manifest, verdict)
        except (DeidError, KeyError, TypeError) as error:
            verdict.problems.append(f"{output}: {error}")
        return verdict

    def _look(self, output: Path, manifest: dict[str, Any], verdict: Verdict) -> None:
        verdict.detector = self._asked or _second(manifest)
        detector = self._detector(verdict.detector)
        known: list[np.ndarray] = []
        lines = _Lines(output)
        for number, (topic, frame) in enumerate(_frames(output, manifest)):
            line = lines.next(topic)
            if line is None:
                verdict.problems.append(f"{output} has more frames than its evidence tells of.")
                break
            if number % self._every:
                continue
            verdict.frames += 1
            rows = detector.detect(frame)
            verdict.faces += len(rows)
            boxes = np.array([face["box"] for face in line["faces"]], float).reshape(-1, 4)
            rows = rows[[not _within(row["box"], boxes) for row in rows]] if len(rows) else rows
            if len(rows):
                self._judge(frame, rows, line, verdict, known)
        verdict.people = len(known)

    def _judge(self, frame: np.ndarray, rows: np.ndarray, line: dict[str, Any], verdict: Verdict,
               known: list[np.ndarray]) -> None:
        from deid_ros.detector import FaceMesh
        from deid_ros.detector.chips import cut_chips
        from deid_ros.extractor import create_extractor

        if self._mesh is None:
            self._mesh, self._extractor = FaceMesh(), create_extractor("dlib_resnet")
        meshes, belief = self._mesh.locate(frame, rows)
        sure = belief >= _FACE
        verdict.perhaps += int((~sure).sum())
        for row in rows[sure]:
            box = tuple(int(round(float(value))) for value in row["box"])
            verdict.bare.append(Bare(line["topic"], line["index"], box, float(row["score"])))
        if sure.any():
            chips = cut_chips(frame, rows["box"][sure], meshes[sure], "dlib_resnet")
            for embedding in self._extractor.embed(chips):
                if not any(1 - float(embedding @ other) <= _SAME for other in known):
                    known.append(embedding)

    def _detector(self, name: str) -> Any:
        from deid_ros.detector import create_detector

        if name not in self._detectors:
            self._detectors[name] = create_detector(name, threshold=_SURE)
        return self._detectors[name]


def _second(manifest: dict[str, Any]) -> str:
    settings = manifest["settings"]["detector"]
    used = set(settings["detector"])
    if settings["preset"] != "balanced":
        used.add("ssd")
    return next(name for name in (*_EYES, "viola_jones") if name not in used)


def _within(box: np.ndarray, boxes: np.ndarray) -> bool:
    """Whether one of the boxes covers a detection."""
    low = np.maximum(boxes[:, :2], box[:2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:])
    inside = np.maximum(high - low, 0).prod(axis=1)
    return bool((inside >= _COVERED * max(float(box[2] * box[3]), 1.0)).any())


class _Lines:
    """The evidence of an output, by topic; the lines of a picture are one."""

    def __init__(self, output: Path) -> None:
        self._lines = read_faces(output)
        self._waiting: dict[str | None, deque[dict[str, Any]]] = defaultdict(deque)
        if _is_picture(output):
            lines = list(self._lines)
            if lines:
                lines[0]["faces"] = [face for line in lines for face in line["faces"]]
            self._lines = iter(lines[:1])

    def next(self, topic: str | None) -> dict[str, Any] | None:
        """The line of the next frame of a topic."""
        waiting = self._waiting[topic]
        while not waiting:
            line = next(self._lines, None)
            if line is None:
                return None
            self._waiting[line["topic"]].append(line)
        return waiting.popleft()


def _is_picture(output: Path) -> bool:
    return output.is_file() and output.suffix.lower() in IMAGE_SUFFIXES


def _frames(output: Path, manifest: dict[str, Any]
            ) -> Iterator[tuple[str | None, np.ndarray]]:
    """(topic, BGR uint8 (H, W, 3)) of every frame of an output."""
    if output.is_dir() or output.suffix.lower() in BAG_SUFFIXES:
        yield from _bag_frames(output, [entry["output"] for entry in manifest["topics"]
                                        if entry["action"] == "made anonymous"])
    elif _is_picture(output):
        from deid_ros.media.images import read_picture
        pixels = read_picture(output).pixels
        if pixels.dtype == np.uint16:
            pixels = cv2.convertScaleAbs(pixels, alpha=255 / max(int(pixels.max()), 1))
        if pixels.ndim == 2 or pixels.shape[2] == 2:
            grey = pixels if pixels.ndim == 2 else pixels[..., 0]
            yield None, cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_GRAY2BGR)
        else:
            yield None, np.ascontiguousarray(pixels[..., 2::-1])
    else:
        from deid_ros.media.videos import VideoReader
        with VideoReader(output) as reader:
            for pixels, _, _ in reader:
                yield None, pixels


def _bag_frames(output: Path, topics: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    from deid_ros.media.bags import Bag

    bag = Bag(output)
    for number in range(len(bag.files)):
        scan = bag.open(number, scratch=output.parent)
        try:
            for connection, _, data in scan.messages():
                about = next((c for c in scan.connections if c.id == connection), None)
                if about is not None and about.topic in topics:
                    yield about.topic, bag.image(about, data).frame()
        finally:
            scan.close()
