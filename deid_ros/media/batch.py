"""One input after another: read, made anonymous, written whole, and put on paper."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import cv2

from deid_ros.config import Config
from deid_ros.errors import DeidError, MediaError
from deid_ros.media.evidence import FaceLog, Recipe, describe, fingerprint, marks_of
from deid_ros.media.files import Job, beside
from deid_ros.media.images import ImageMedium, is_picture
from deid_ros.media.lookback import LookBack
from deid_ros.media.medium import Frame, Medium, Writing
from deid_ros.media.outcome import Outcome
from deid_ros.media.whole import whole_set
from deid_ros.pipeline import Pipeline, Processed

__all__ = ["Batch", "open_medium", "process"]

#: Told of frames done and frames expected (0: unknown).
Progress = Callable[[int, int], None]

_STEPS = 3      # that are done at the same time: searching, covering, writing


class Batch:
    """Makes inputs anonymous, one after another, with one pipeline for each stream.

    Args:
        pipeline: that of a single stream; further streams get its siblings.
        writing: how outputs are written.
        overwrite: whether outputs may exist already.
        limit: frames of each input at most.
        recipe: what decides what comes out, for the manifest; by default that of the pipeline.
    """

    def __init__(self, pipeline: Pipeline, *, writing: Writing | None = None,
                 overwrite: bool = False, limit: int | None = None,
                 recipe: Recipe | None = None) -> None:
        self._pipelines = [pipeline]
        self._config: Config = pipeline.config
        self._writing, self._overwrite, self._limit = writing or Writing(), overwrite, limit
        self._recipe = recipe or Recipe.of(self._config, self._writing, limit=limit)

    def process(self, job: Job, progress: Progress | None = None) -> Outcome:
        """Make one input anonymous.

        Raises:
            DeidError: nothing was written; the message says why.
        """
        folder = job.source.is_dir()
        with whole_set(job.target, beside(job.target), overwrite=self._overwrite or job.overwrite,
                       folder=folder) as (part, faces, manifest):
            marks = marks_of(job.source)
            source = _fingerprint(job.source)
            with ExitStack() as stack:
                medium = stack.enter_context(closing(open_medium(job, part, self._writing)))
                log = FaceLog(stack.enter_context(open(faces, "w", encoding="utf-8")))
                outcome = self._run(medium, job.name, log, progress)
                _finish(medium, outcome)
            if marks_of(job.source) != marks:
                raise MediaError(f"{job.source} was changed while it was read, nothing is written "
                                 "of it; process it again when it is complete.")
            paper = describe(job, (part, faces), outcome, source=source, recipe=self._recipe,
                             facts=medium.facts)
            manifest.write_text(json.dumps(paper, indent=2) + "\n", encoding="utf-8")
        return outcome

    def _run(self, medium: Medium, name: str, log: FaceLog,
             progress: Progress | None) -> Outcome:
        outcome = Outcome()
        looks: dict[str | None, LookBack] = {}
        total = min(medium.total or self._limit, self._limit) if self._limit else medium.total

        def give(leaving: Iterable[tuple[Frame, Processed | DeidError]]) -> None:
            for frame, processed in leaving:
                if isinstance(processed, DeidError):
                    medium.take(frame, None)
                    outcome.withheld += 1
                    outcome.note(str(processed))
                else:
                    medium.take(frame, processed)
                    outcome.add(processed)
                    log.add(frame, processed)

        # Leaving an input half done, nobody waits for searches that were not begun.
        with ExitStack() as stack:
            if medium.steady:
                stack.enter_context(_few_threads())
            searcher = ThreadPoolExecutor(1, "searcher")
            stack.callback(searcher.shutdown, cancel_futures=True)
            frames = stack.enter_context(closing(medium.frames()))
            # A picture is one frame, of which the transparency is seen as a second.
            limit = self._limit if medium.steady else None
            for done, frame in enumerate(islice(frames, limit), start=1):
                look = looks.get(frame.topic)
                if look is None:
                    look = looks[frame.topic] = self._look(
                        medium, name, frame.topic, len(looks), searcher)
                give(look.push(frame.pixels, stamp_ns=frame.stamp_ns, token=frame))
                while (urgent := medium.urgent()) is not None:
                    give(looks[urgent[0]].release())
                if progress:
                    progress(done, total)
            for look in looks.values():
                give(look.flush())
        if not medium.steady:
            outcome.frames = min(outcome.frames, 1)  # of which colours and transparency were seen
        outcome.withheld += medium.withheld
        outcome.lost, outcome.warnings = medium.lost, medium.warnings
        for note in medium.notes:
            outcome.note(note)
        return outcome

    def _look(self, medium: Medium, name: str, topic: str | None, number: int,
              searcher: Executor) -> LookBack:
        if medium.steady:
            while number >= len(self._pipelines):
                self._pipelines.append(self._pipelines[0].sibling())
        pipeline = self._pipelines[number if medium.steady else 0]
        pipeline.reset(stream=name if topic is None else f"{name}:{topic}")
        frames = self._config["detector"]["carry_frames"] if medium.steady else 0
        # Pictures come one by one; and who looks for consent uses the extractor in both
        # halves, which is not made for it.
        alone = not medium.steady or pipeline.consent is not None
        return LookBack(pipeline, frames=frames, searcher=None if alone else searcher)


@contextmanager
def _few_threads() -> Iterator[None]:
    """OpenCV's threads, where frames are searched, covered and written at the same time.

    Its helpers spin while they wait, and would take a processor from the others.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(max(min(before, len(os.sched_getaffinity(0)) // _STEPS), 1))
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _fingerprint(source: Path) -> dict[str, Any]:
    try:
        return fingerprint(source)
    except OSError as error:
        raise MediaError(f"{source} cannot be read ({error.strerror or error}); check its "
                         "rights.") from None


def _finish(medium: Medium, outcome: Outcome) -> None:
    try:
        medium.finish()
    except MediaError as error:
        raise MediaError(" ".join([str(error), *outcome.problems[:3]])) from None


def open_medium(job: Job, part: Any, writing: Writing) -> Medium:
    """The input of a job, whose output is to be written at ``part``.

    Raises:
        MediaError: it cannot be read.
    """
    if job.is_bag:
        from deid_ros.media.bags import BagMedium
        return BagMedium(job, part, writing)
    if is_picture(job.source):
        return ImageMedium(job, part, writing)
    from deid_ros.media.videos import VideoMedium
    return VideoMedium(job, part, writing)


def process(job: Job, pipeline: Pipeline, *, writing: Writing | None = None,
            overwrite: bool = False, limit: int | None = None,
            progress: Progress | None = None) -> Outcome:
    """Make one picture, video or bag anonymous, as ``Batch`` does.

    Raises:
        DeidError: nothing was written; the message says why.
    """
    batch = Batch(pipeline, writing=writing, overwrite=overwrite, limit=limit)
    return batch.process(job, progress)
