"""Pictures made anonymous in many ways over the same detections.

What does not depend on the way (detection, landmarks, chips, embeddings) is done
once per picture: a comparison of twenty ways costs the drawing and the measuring.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.evaluation.observations import read_frame
from deid_ros.evaluation.people import Person
from deid_ros.evaluation.runs import Anonymised, Anonymiser

__all__ = ["FLAT", "TONE", "CalmGenerator", "FixedMatcher", "Workshop", "painted"]

#: What a flat face region is painted with (level of every channel).
FLAT = 128
#: The mean colour of everybody's face, where it is to be the same (OpenCV's Lab of 8 bits).
TONE = (150.0, 140.0, 146.0)


class _Remembered:
    """A ``FaceFinder`` that looks at each picture once."""

    def __init__(self, finder: Any) -> None:
        self._finder, self._known = finder, {}

    def reset(self) -> None:
        pass

    def renew_chips(self) -> None:
        pass

    def find(self, frame: np.ndarray, *, stamp_ns: int = 0) -> Any:
        mark = zlib.crc32(frame.tobytes()), frame.shape
        if mark not in self._known:
            self._finder.reset()
            self._known[mark] = self._finder.find(frame)
        found = self._known[mark]
        faces = found.faces.copy()
        # As in a recording of its own: draws depend on the number.
        faces["track_id"] = np.arange(1, len(faces) + 1)
        return replace(found, faces=faces)


class _Embedded:
    """An extractor that embeds each chip once."""

    def __init__(self, extractor: Any) -> None:
        self._extractor, self._known = extractor, {}
        self.dimensions = extractor.dimensions

    def embed(self, chips: np.ndarray) -> np.ndarray:
        rows = []
        for chip in chips:
            mark = zlib.crc32(np.ascontiguousarray(chip).tobytes())
            if mark not in self._known:
                self._known[mark] = self._extractor.embed(chip[None])[0]
            rows.append(self._known[mark])
        return np.stack(rows) if rows else np.zeros((0, self.dimensions), np.float32)


class FixedMatcher:
    """One surrogate for everybody: the identity that ``matcher`` gives the first face."""

    def __init__(self, matcher: Any) -> None:
        self._matcher, self._first = matcher, None

    def match(self, track_ids: Any, embeddings: np.ndarray, **_: Any) -> np.ndarray:
        """See ``Matcher.match``."""
        tracks = np.asarray(track_ids).reshape(-1)
        if self._first is None and len(tracks):
            self._first = self._matcher.match([1], embeddings[:1], stream="fixed", now=0.0)
        if self._first is None:
            return self._matcher.match([], embeddings[:0], stream="fixed", now=0.0)
        matches = np.repeat(self._first, len(tracks))
        matches["track_id"] = tracks
        return matches

    def mixture_of(self, track: int, *, stream: str = "") -> Any:
        """See ``Matcher.mixture_of``."""
        return self._matcher.mixture_of(1, stream="fixed")


class CalmGenerator:
    """Draws every surrogate with the mean expression of the face space."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator

    def learn(self, matches: np.ndarray) -> None:
        """See ``SurrogateGenerator.learn``."""
        self._generator.learn(matches)

    def generate(self, faces: np.ndarray) -> np.ndarray:
        """See ``SurrogateGenerator.generate``."""
        calm = faces.copy()
        calm["expression"] = self._generator.space.expression_mean
        out: np.ndarray = self._generator.generate(calm)
        return out


class Workshop:
    """Makes anonymisers that share a finder and an extractor.

    Args:
        config: as from ``config.load``; each way lies over it.

    Raises:
        DeidError: a stage cannot be built.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        from deid_ros.pipeline import Pipeline

        self._config = config
        pipeline = Pipeline(config)
        self.finder, self.extractor = _Remembered(pipeline.finder), _Embedded(pipeline.extractor)

    def anonymiser(self, changes: Mapping[str, Mapping[str, Any]], *,
                   special: str = "") -> Anonymiser:
        """One way of making pictures anonymous.

        Args:
            changes: node -> parameter -> value over the configuration.
            special: words: 'fixed', one surrogate for everybody; 'flat', the region that a
                surrogate would cover painted grey; 'outside', everything else painted grey;
                'calm', every surrogate with the mean expression; 'tone', the covered region
                of everybody with one mean colour; 'original', the face as it
                was, to see what is left of it by 'outside'; '' none of them.
        """
        from deid_ros.matcher import create_matcher
        from deid_ros.pipeline import Pipeline

        config = copy.deepcopy(dict(self._config))
        for node, values in changes.items():
            config[node].update(values)
        words, matcher, generator = set(special.split()), None, None
        if config["replacer"]["replace"] == "surrogate":
            if words & {"fixed", "flat"}:
                matcher = FixedMatcher(create_matcher(config["matcher"]))
            if "calm" in words:
                generator = CalmGenerator(Pipeline(config).generator)
        pipeline = Pipeline(config, finder=self.finder, extractor=self.extractor, matcher=matcher,
                            generator=generator)
        pipeline.prepare()
        return _one(pipeline, words)

    def embeddings_of(self, people: Sequence[Person]) -> dict[str, np.ndarray]:
        """The embedding (D,) of the largest face on each person's original that has one."""
        out = {}
        for person in people:
            frame = read_frame(person.original)
            if frame is None:
                continue
            found = self.finder.find(frame)
            faces = found.faces[found.faces["chip"] >= 0]
            if len(faces):
                largest = faces[int((faces["width"] * faces["height"]).argmax())]
                out[person.id] = self.extractor.embed(found.chips[[largest["chip"]]])[0]
        return out

    @staticmethod
    def enrol(embeddings: Mapping[str, np.ndarray], path: Path, extractor: str) -> Path:
        """The closed set as the file that the parameter ``enrolled`` names."""
        from deid_ros.matcher.gallery import Gallery

        n = len(embeddings)
        Gallery(ids=np.array(list(embeddings)), embeddings=np.stack(list(embeddings.values())),
                sex=np.array(["?"] * n), shapes=np.zeros((n, 468, 3), np.float32),
                codes=np.zeros((n, 1), np.float32), sha256=np.array(["0" * 64] * n),
                extractor=extractor).save(path)
        return path


def painted(frame: np.ndarray, done: np.ndarray, mask: np.ndarray,
            words: Collection[str]) -> np.ndarray:
    """What a special way shows: uint8 (H, W, 3).

    Args:
        frame, done: the picture before and after, uint8 (H, W, 3).
        mask: uint8 (H, W), not 0 where the two may differ.
        words: of ``Workshop.anonymiser``; 'flat', 'original', 'tone' and 'outside' are
            heeded.
    """
    inside = mask[:, :, None] > 0
    face = frame if "original" in words else done
    face = _toned(face, mask > 0) if "tone" in words and mask.any() else face
    face = np.full_like(frame, FLAT) if "flat" in words else face
    return np.where(inside, face, np.full_like(frame, FLAT) if "outside" in words else frame)


def _toned(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A picture whose colours are shifted until those inside have the mean ``TONE``."""
    import cv2

    lab = cv2.cvtColor(image, cv2.COLOR_BGR2LAB).astype(np.float32)
    lab += np.float32(TONE) - lab[inside].mean(axis=0)
    return cv2.cvtColor(np.clip(np.rint(lab), 0, 255).astype(np.uint8), cv2.COLOR_LAB2BGR)


def _one(pipeline: Any, words: Collection[str]) -> Callable[[np.ndarray, str], Anonymised]:
    def one(frame: np.ndarray, name: str) -> Anonymised:
        pipeline.reset(stream=name)
        done = pipeline.process(frame)
        contributors = None
        if pipeline.makes_surrogates:
            mixtures = [pipeline.matcher.mixture_of(int(track), stream=name) for track, by
                        in zip(done.faces["track_id"], done.covered_by) if by == "surrogate"]
            contributors = tuple(str(i) for m in mixtures if m is not None for i in m.ids)
        return Anonymised(painted(frame, done.frame, done.mask, words), done.mask, contributors)

    return one
