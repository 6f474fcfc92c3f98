"""Many inputs, one after another: one that fails does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable

from deid_ros.media.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Job
from deid_ros.media.images import is_image, process_image
from deid_ros.media.outcome import Outcome
from deid_ros.media.videos import process_video
from deid_ros.pipeline import Pipeline

__all__ = ["process"]


def process(job: Job, pipeline: Pipeline, *, overwrite: bool = False, limit: int | None = None,
            progress: Callable[[int, int], None] | None = None) -> Outcome:
    """Make one picture or video anonymous.

    Args:
        limit: frames of a video at most.
        progress: called with frames done and frames expected (0: unknown).

    Raises:
        DeidError: nothing was written; the message says why.
    """
    if _is_video(job):
        return process_video(job, pipeline, overwrite=overwrite, limit=limit, progress=progress)
    return process_image(job, pipeline, overwrite=overwrite)


def _is_video(job: Job) -> bool:
    suffix = job.source.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return True
    return suffix not in IMAGE_SUFFIXES and not is_image(job.source)
