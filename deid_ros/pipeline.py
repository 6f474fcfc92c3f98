"""The five stages on one frame after another: numpy in, numpy out.

Detector, extractor, matcher, generator and replacer of Meden et al., "Face
deidentification with generative deep neural networks", IET Signal Processing,
2017. What goes wrong costs looks, never privacy: without the detector's answer no
frame comes out, and whatever fails behind it, every face is covered flat.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deid_ros.config import Config, as_list, defaults, file_of
from deid_ros.errors import DeidError, DetectorError
from deid_ros.faces import empty_faces
from deid_ros.release import covered_for_sure
from deid_ros.replacer import Replaced, Replacer

__all__ = ["STAGES", "Pipeline", "Processed", "models_of"]

#: The names of the stages, in the order of ``Processed.timings``.
STAGES = ("detector", "extractor", "matcher", "generator", "replacer")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Processed:
    """One frame whose faces are covered.

    ``frame`` BGR uint8 (H, W, 3); ``faces`` N rows of ``FACE``, their track ids from
    1 up in each stream; ``covered_by`` for each face what covers it
    (``replacer.REPLACEMENTS``); ``mask`` uint8 (H, W), 255 where the frame may differ
    from the input; ``timings`` milliseconds by stage; ``problems`` one sentence for
    every stage that failed; ``kept`` rows of ``FACE`` of those who consented and stay
    as they are.
    """

    frame: np.ndarray
    faces: np.ndarray
    covered_by: list[str]
    mask: np.ndarray
    timings: dict[str, float]
    problems: list[str] = field(default_factory=list)
    kept: np.ndarray = field(default_factory=empty_faces)


class Pipeline:
    """The stages that a configuration asks for, built when they are first needed.

    Args:
        config: node -> parameter -> value (``config.load``).
        finder, extractor, matcher, generator, replacer: stages to use in place of
            those of the configuration.
        consent: whose ``screen(found, extractor)`` takes those who consented out of
            what was found; nobody by default.
    """

    def __init__(self, config: Config, *, finder: Any = None, extractor: Any = None,
                 matcher: Any = None, generator: Any = None, replacer: Replacer | None = None,
                 consent: Any = None) -> None:
        self.config, self.consent = config, consent
        self._given = {"finder": finder, "extractor": extractor, "matcher": matcher,
                       "generator": generator, "replacer": replacer}
        self._finder, self._own_finder = finder, finder is None
        self._extractor, self._matcher, self._generator = extractor, matcher, generator
        self._replacer = replacer
        self._detector: Any = None
        self._mesh: Any = None
        self._fine: Any = None
        self._stream, self._zero, self._now = "", 0.0, 0.0
        # The generator knows tracks of all streams: their numbers must not meet.
        self._offset, self._highest = 0, 0
        #: Failures by stage since the beginning.
        self.failures: Counter[str] = Counter()

    # The stages. Each is made once; an error of configuration comes from here.

    @property
    def finder(self) -> Any:
        """Detector, landmarks, tracker and chips: a ``FaceFinder``."""
        if self._finder is None:
            from deid_ros.detector import FaceFinder, Searcher
            from deid_ros.detector.mesh import FaceMesh

            options = self.config["detector"]
            if self._detector is None:
                self._detector = Searcher(as_list(options["detector"]), preset=options["preset"],
                                          threshold=options["threshold"])
                self._mesh = self._mesh or FaceMesh()
                self._fine = self._fine or FaceMesh(kind="fine")
            self._finder = FaceFinder(
                detector=self._detector, mesh=self._mesh, fine=self._fine,
                margin=options["margin"],
                cover=options["cover"], min_surrogate_px=options["min_surrogate_px"],
                carry_frames=options["carry_frames"], extractor=options["extractor"])
        return self._finder

    @property
    def extractor(self) -> Any:
        """Chips to embeddings: an ``Extractor``."""
        if self._extractor is None:
            from deid_ros.extractor import create_extractor

            options = self.config["matcher"]
            self._extractor = create_extractor(options["extractor"],
                                               weights=options["extractor_weights"] or None)
        return self._extractor

    @property
    def matcher(self) -> Any:
        """Embeddings to identity codes: a ``Matcher``."""
        if self._matcher is None:
            from deid_ros.matcher import create_matcher

            self._matcher = create_matcher(self.config["matcher"], warn=_log.warning)
        return self._matcher

    @property
    def generator(self) -> Any:
        """Identity codes and faces to surrogates: a ``SurrogateGenerator``."""
        if self._generator is None:
            from deid_ros.generator import SurrogateGenerator

            self._generator = SurrogateGenerator(file_of(self.config["generator"]["generator"]))
        return self._generator

    @property
    def replacer(self) -> Replacer:
        """Surrogates into the frame: a ``Replacer``."""
        if self._replacer is None:
            options = self.config["replacer"]
            self._replacer = Replacer(replace=options["replace"], blend=options["blend"])
        return self._replacer

    @property
    def makes_surrogates(self) -> bool:
        """Whether faces get surrogates, so that all five stages are needed."""
        return self.replacer.replace == "surrogate"

    def prepare(self) -> None:
        """Build every stage that will be needed, so that errors come now.

        Raises:
            DeidError: a missing model, a gallery of another extractor, ...
        """
        _ = self.replacer, self.finder
        if self.makes_surrogates:
            _ = self.extractor, self.matcher, self.generator

    def sibling(self) -> Pipeline:
        """One for a stream that runs at the same time: a tracker and a memory of its own.

        What keeps nothing from frame to frame is shared, and so are stages that were given.
        """
        stages = self._given | {"extractor": self._extractor, "replacer": self._replacer}
        other = Pipeline(self.config, consent=self.consent, **stages)
        other._mesh, other._fine = self._mesh, self._fine
        return other

    def reset(self, *, stream: str = "") -> None:
        """Another image or video begins: its people have nothing to do with the last.

        Args:
            stream: its name; with a key given, the same name gives the same draws.
        """
        if self._own_finder:
            self._finder = None
        else:
            self._finder.reset()
        self._stream, self._zero = stream, self._now
        self._offset = self._highest

    def process(self, frame: np.ndarray, *, stamp_ns: int = 0) -> Processed:
        """Cover the faces of the next frame of a stream.

        Args:
            frame: BGR uint8 (H, W, 3); not modified.
            stamp_ns: when it was taken (ns); 0: unknown.

        Raises:
            FrameError: ``frame`` is no such array.
            DetectorError, ReplacerError: it must not be used: detection failed, or a face is
                not covered.
        """
        found, detector_ms = self.find(frame, stamp_ns=stamp_ns)
        return self.cover(frame, found, stamp_ns=stamp_ns, detector_ms=detector_ms)

    def cover(self, frame: np.ndarray, found: Any, *, stamp_ns: int = 0,
              detector_ms: float = 0.0) -> Processed:
        """The stages behind the detector: cover what ``find`` found in this frame.

        Frames are to be covered in the order in which they were searched.

        Raises:
            FrameError: ``frame`` is no BGR uint8 array.
            ReplacerError: a face is not covered, flat neither; the frame must not be used.
        """
        clock = _Clock()
        clock.timings["detector"] = detector_ms
        faces, problems = found.faces, []
        surrogates = None
        if len(faces) and self.makes_surrogates:
            surrogates = self._surrogates(found, stamp_ns, clock, problems)
        with clock.stage("replacer"):
            replaced = self._replace(frame, faces, surrogates, problems)
        return Processed(replaced.frame, faces, replaced.covered_by, replaced.mask,
                         clock.timings, problems, getattr(found, "kept", empty_faces()))

    def find(self, frame: np.ndarray, *, stamp_ns: int = 0) -> tuple[Any, float]:
        """The first stage alone: a ``Found``, and the milliseconds it took.

        Raises:
            FrameError, DetectorError: as for ``process``.
        """
        start = time.perf_counter()
        try:
            if self.consent is not None:
                # A track may pass from one person to the next: every face is looked at
                # in every frame.
                self.finder.renew_chips()
            found = self.finder.find(frame, stamp_ns=stamp_ns)
            if self.consent is not None:
                found = self.consent.screen(found, self.extractor)
            return found, (time.perf_counter() - start) * 1e3
        except DeidError:
            self.failures["detector"] += 1
            raise
        except Exception as error:
            self.failures["detector"] += 1
            raise DetectorError(f"Detection failed ({_brief(error)}); the frame is "
                                "withheld.") from error

    def _surrogates(self, found: Any, stamp_ns: int, clock: _Clock,
                    problems: list[str]) -> np.ndarray | None:
        """RGBA uint8 (N, S, S, 4), or None where there is none to be had."""
        faces = found.faces
        rows = np.flatnonzero(faces["chip"] >= 0)
        try:
            with clock.stage("extractor"):
                embeddings = self._embeddings(found, faces["chip"][rows])
            with clock.stage("matcher"):
                self._now = max(self._now, self._zero + stamp_ns * 1e-9)
                matches = self.matcher.match(faces["track_id"][rows], embeddings,
                                             stream=self._stream, present=faces["track_id"],
                                             now=self._now)
        except Exception as error:
            self._failed(clock.current, error, problems)
            matches = None
            # Their chips are spent; without new ones they would stay flat for ever.
            self.finder.renew_chips()
        # Those that were matched before keep their surrogates in any case.
        try:
            with clock.stage("generator"):
                self._highest = max(self._highest, self._offset + int(faces["track_id"].max()))
                if matches is not None and len(matches):
                    matches["track_id"] += self._offset
                    self.generator.learn(matches)
                numbered = faces.copy()
                numbered["track_id"] += self._offset
                return self.generator.generate(numbered)
        except Exception as error:
            self._failed("generator", error, problems)
            return None

    def _embeddings(self, found: Any, chips: np.ndarray) -> np.ndarray:
        """float32 (M, D) of these chips; who looked for consent has them already."""
        if not len(chips):
            return np.zeros((0, self.extractor.dimensions), np.float32)
        known = getattr(found, "embeddings", None)
        return self.extractor.embed(found.chips[chips]) if known is None else known[chips]

    def _replace(self, frame: np.ndarray, faces: np.ndarray, surrogates: np.ndarray | None,
                 problems: list[str]) -> Replaced:
        if not len(faces):
            return self.replacer.apply(frame, faces, surrogates)
        return covered_for_sure(frame, faces,
                                lambda: self.replacer.apply(frame, faces, surrogates),
                                lambda error: self._failed("replacer", error, problems))

    def _failed(self, stage: str, error: Exception, problems: list[str]) -> None:
        self.failures[stage] += 1
        problems.append(f"The {stage} failed ({_brief(error)}); faces are covered flat.")
        _log.warning("%s", problems[-1])
        _log.debug("where", exc_info=error)


def models_of(config: Config) -> list[str]:
    """Names, in the table of models, of those that decide what comes out."""
    from deid_ros.detector import PRESETS
    from deid_ros.detector.centerface import PRECISIONS

    names, searched = ["face_mesh", "face_landmarker"], config["detector"]["detector"]
    preset = PRESETS[config["detector"]["preset"]]
    if "centerface" in searched:
        names.append(PRECISIONS[preset.precision])
    if "ssd" in searched:
        names.append("blazeface_full_range")
    if config["replacer"]["replace"] == "surrogate":
        names += ["dlib_resnet", "dlib_five_points"]
        if config["generator"]["generator"] == defaults()["generator"]["generator"]:
            names += ["generator", "face_space"]
    return names


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


class _Clock:
    """Milliseconds by stage, and the stage that runs or ran last."""

    def __init__(self) -> None:
        self.timings = dict.fromkeys(STAGES, 0.0)
        self.current = ""

    def stage(self, name: str) -> _Clock:
        self.current = name
        return self

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.timings[self.current] += (time.perf_counter() - self._start) * 1e3
