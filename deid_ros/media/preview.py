"""A look at what will come out, before hours are spent on it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from deid_ros.errors import DeidError, MediaError
from deid_ros.media.batch import open_medium
from deid_ros.media.files import Job, beside
from deid_ros.media.images import is_picture
from deid_ros.media.medium import Writing
from deid_ros.media.topics import PROCESS
from deid_ros.media.whole import whole
from deid_ros.pipeline import Pipeline

__all__ = ["check_place", "frames_in", "preview", "samples"]

_WIDTH, _COLUMNS, _GAP = 400, 3, 6     # px, tiles, px


def preview(jobs: Sequence[Job], pipeline: Pipeline, count: int, path: Path, *,
            writing: Writing, overwrite: bool = False) -> tuple[int, list[str]]:
    """Write a contact sheet of frames, made anonymous, from all over the inputs.

    Every frame is taken for itself, so what a tracker adds is not on it.

    Args:
        count: frames on the sheet.
        path: the picture to write.
        overwrite: whether it may exist already.

    Returns:
        The number of frames on it, and what went wrong.

    Raises:
        MediaError: there is no frame to show, or no place for the sheet.
    """
    check_place(path, jobs, overwrite=overwrite)
    tiles, problems = [], []
    chosen = _spread(list(jobs), count)
    for number, job in enumerate(chosen):
        share = count // len(chosen) + (number < count % len(chosen))
        try:
            for index, pixels in enumerate(samples(job, share, path, writing)):
                pipeline.reset(stream=f"{job.name}:{index}")
                done = pipeline.process(pixels)
                tiles.append(_tile(done.frame, f"{job.name}  {len(done.faces)} faces"))
        except DeidError as error:
            problems.append(str(error))
    if not tiles:
        raise MediaError("There is no frame for a preview." + "".join(f" {p}" for p in problems))
    with whole(path, overwrite=overwrite) as part:
        part.write_bytes(cv2.imencode(".png", _sheet(tiles))[1].tobytes())
    return len(tiles), problems


def check_place(path: Path, jobs: Sequence[Job], *, overwrite: bool) -> None:
    """See that a contact sheet takes nobody's place.

    Raises:
        MediaError: it would replace an input or an output, or, unless told, any file.
    """
    taken = {other.resolve() for job in jobs for other in (job.source, job.target)}
    if path.resolve() in taken or any(map(os.path.lexists, beside(path))):
        raise MediaError(f"The preview would take the place of {path}, an input or an output; "
                         "choose another folder with -o.")
    if os.path.lexists(path) and not overwrite:
        raise MediaError(f"{path} exists already, not overwriting; remove it, or add --overwrite.")


def samples(job: Job, count: int, beside: Path, writing: Writing) -> Iterator[np.ndarray]:
    """Frames BGR uint8 (H, W, 3) from all over an input.

    Args:
        beside: where something may be unpacked.

    Raises:
        MediaError: it cannot be read.
    """
    if job.is_bag:
        from deid_ros.media.bags import Bag
        yield from Bag(job.source).samples(count, writing.topics, scratch=beside.parent)
    elif is_picture(job.source):
        yield next(open_medium(job, beside, writing).frames()).pixels
    else:
        from deid_ros.media.videos import VideoReader
        with VideoReader(job.source) as reader:
            yield from reader.samples(count)


def frames_in(job: Job, writing: Writing) -> int:
    """How many frames an input has; 0 where it does not say.

    Raises:
        MediaError: it cannot be read.
    """
    if is_picture(job.source):
        return 1
    if job.is_bag:
        from deid_ros.media.bags import Bag
        plans = Bag(job.source).survey(writing.topics, scratch=job.source.parent)
        return sum(plan.count for plan in plans if plan.action == PROCESS)
    from deid_ros.media.videos import VideoReader
    with VideoReader(job.source) as reader:
        return reader.count


def _spread(items: list[Job], count: int) -> list[Job]:
    if len(items) <= count:
        return items
    return [items[round(i * (len(items) - 1) / max(count - 1, 1))] for i in range(count)]


def _tile(frame: np.ndarray, label: str) -> np.ndarray:
    scale = _WIDTH / frame.shape[1]
    size = (_WIDTH, max(round(frame.shape[0] * scale), 1))
    tile = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    band = np.full((22, _WIDTH, 3), 32, np.uint8)
    cv2.putText(band, label[-58:], (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (230, 230, 230), 1,
                cv2.LINE_AA)
    return np.vstack([tile, band])


def _sheet(tiles: list[np.ndarray]) -> np.ndarray:
    columns = min(_COLUMNS, len(tiles))
    rows = [tiles[i:i + columns] for i in range(0, len(tiles), columns)]
    width = columns * (_WIDTH + _GAP) + _GAP
    bands = []
    for row in rows:
        band = np.full((max(len(tile) for tile in row) + _GAP, width, 3), 255, np.uint8)
        for i, tile in enumerate(row):
            left = _GAP + i * (_WIDTH + _GAP)
            band[_GAP:_GAP + len(tile), left:left + _WIDTH] = tile[:len(band) - _GAP]
        bands.append(band)
    return np.vstack(bands)
