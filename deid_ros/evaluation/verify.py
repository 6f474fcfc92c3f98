"""Looking at finished outputs with other eyes: is there a face that was never covered?

Nothing is needed but the outputs and their evidence. A detector that had no part in the
work searches every frame; what it finds where no covered box lies is shown to the face
mesh, which tells faces from textures, and to the attacker's descriptor, which tells how
many people they are. Where the inputs are at hand, what lies within the boxes is compared with
them too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import DeidError, EvaluationError
from deid_ros.evaluation.against import Original, shows_original
from deid_ros.evaluation.outputs import Lines, compare_sums, frames_of, outputs_of, topics_of
from deid_ros.media.evidence import KEPT, read_manifest
from deid_ros.media.files import beside

__all__ = ["Bare", "Verdict", "Verifier", "outputs_of"]

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
    the bare ones; ``uncovered`` boxes that are said to be covered and still show the input,
    of ``compared`` ones; ``problems`` sentences about an output that is not what its
    manifest says; ``notes`` about how it was looked at.
    """

    output: Path
    detector: str = ""
    frames: int = 0
    faces: int = 0
    bare: list[Bare] = field(default_factory=list)
    perhaps: int = 0
    people: int = 0
    uncovered: list[Bare] = field(default_factory=list)
    compared: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong with it."""
        return not (self.bare or self.uncovered or self.problems)


class Verifier:
    """Looks at outputs.

    Args:
        detector: the back end that looks; None: one that had no part in the work.
        every: look at every n-th frame of each topic.
        against: files and folders among which the inputs are, to compare them.
    """

    def __init__(self, *, detector: str | None = None, every: int = 1,
                 against: Sequence[Path] = ()) -> None:
        self._asked, self._every, self._against = detector, every, against
        self._detectors: dict[str, Any] = {}
        self._mesh: Any = None
        self._extractor: Any = None

    def verify(self, output: Path) -> Verdict:
        """Look at one output; what is wrong is in the verdict."""
        verdict = Verdict(output)
        try:
            manifest = read_manifest(beside(output)[1])
            verdict.problems += compare_sums(output, manifest)
            if output.exists():
                self._look(output, manifest, verdict)
        except DeidError as error:
            verdict.problems.append(f"{output}: {error}")
        except Exception as error:
            # Whatever is wrong with one output, the others are looked at.
            words = " ".join(str(error).split())[:300]
            verdict.problems.append(f"{output} could not be looked at to its end "
                                    f"({type(error).__name__}: {words}); process it again.")
        return verdict

    def _look(self, output: Path, manifest: dict[str, Any], verdict: Verdict) -> None:
        verdict.detector = self._asked or _second(manifest, verdict.notes)
        detector = self._detector(verdict.detector)
        known: list[np.ndarray] = []
        lines = Lines(output, verdict.problems)
        original = self._original(output, manifest, verdict)
        topics = {name: name for name in topics_of(manifest).values()}
        counts: Counter[str | None] = Counter()
        for topic, frame in frames_of(output, topics, output.parent):
            number = counts[topic]
            counts[topic] += 1
            line = lines.next(topic)
            if line is None:
                verdict.problems.append(f"{output} has more frames than its evidence tells of.")
                break
            if isinstance(frame, DeidError):
                verdict.problems.append(f"{output}: frame {line['index']} cannot be read: {frame}")
                continue
            if number % self._every:
                continue
            verdict.frames += 1
            rows = detector.detect(frame)
            verdict.faces += len(rows)
            boxes = np.array([face["box"] for face in line["faces"]], float).reshape(-1, 4)
            rows = rows[[not _within(row["box"], boxes) for row in rows]] if len(rows) else rows
            if len(rows):
                self._judge(frame, rows, line, verdict, known)
            if original is not None and line["faces"]:
                original = _compare(original, frame, line, verdict)
        verdict.people = len(known)
        if left := lines.left():
            verdict.problems.append(f"{output} has {left} frames less than its evidence tells of.")

    def _original(self, output: Path, manifest: dict[str, Any],
                  verdict: Verdict) -> Original | None:
        if not self._against:
            return None
        try:
            return Original(self._against, manifest, output.parent)
        except EvaluationError as error:
            verdict.problems.append(f"{output}: {error}")
            return None

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


def _second(manifest: dict[str, Any], notes: list[str]) -> str:
    """Who looks: one that had no part, if there is one."""
    settings = manifest["settings"]["detector"]
    used = set(settings["detector"])
    if settings["preset"] != "balanced":
        used.add("ssd")
    other = next((name for name in (*_EYES, "viola_jones") if name not in used), None)
    if other is None:
        notes.append(f"every detector had a part in the work, {_EYES[0]} looks once more; its "
                     "second look is no independent one.")
    return other or _EYES[0]


def _compare(original: Original, frame: np.ndarray, line: dict[str, Any],
             verdict: Verdict) -> Original | None:
    """Compare the boxes of a frame; None: no further frame can be compared."""
    try:
        before = original.frame(line["topic"], line["index"])
        if before.shape != frame.shape:
            raise EvaluationError(f"Frame {line['index']} has another size than in the input, and "
                                  "was not compared.")
    except DeidError as error:
        verdict.problems.append(f"{verdict.output}: {error}")
        return None
    for face in line["faces"]:
        if face["covered_by"] == KEPT:
            continue
        verdict.compared += 1
        if shows_original(before, frame, face["box"]):
            x, y, w, h = (int(round(value)) for value in face["box"])
            verdict.uncovered.append(Bare(line["topic"], line["index"], (x, y, w, h),
                                          float(face.get("score", 0))))
    return original


def _within(box: np.ndarray, boxes: np.ndarray) -> bool:
    """Whether one of the boxes covers a detection."""
    low = np.maximum(boxes[:, :2], box[:2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:])
    inside = np.maximum(high - low, 0).prod(axis=1)
    return bool((inside >= _COVERED * max(float(box[2] * box[3]), 1.0)).any())
