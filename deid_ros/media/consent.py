"""People who agreed to be shown: their faces stay as they are.

A face is left alone only in a frame in which it was itself compared and found to be
theirs, by a distance well below that between two people; whatever is not sure is
covered. Their embeddings are kept in memory only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import MediaError
from deid_ros.faces import empty_faces
from deid_ros.media.files import IMAGE_SUFFIXES
from deid_ros.media.images import picture_frames
from deid_ros.pipeline import Pipeline

__all__ = ["Consent", "Screened"]


@dataclass(frozen=True, slots=True)
class Screened:
    """``Found`` without those who consented.

    ``kept``: their rows of ``FACE``. ``embeddings``: float32 (M, D) of the chips.
    """

    faces: np.ndarray
    chips: np.ndarray
    cut: bool = False
    kept: np.ndarray = field(default_factory=empty_faces)
    embeddings: np.ndarray | None = None


class Consent:
    """Those who consented.

    Args:
        embeddings: float32 (P, D), L2-normalised, one for each picture of them.
        people: (P,) who is on the picture: a number for each person.
        threshold: cosine distance up to which a face is theirs.
    """

    def __init__(self, embeddings: np.ndarray, people: np.ndarray, *, threshold: float) -> None:
        self._embeddings, self._people, self.threshold = embeddings, people, threshold

    @classmethod
    def of_folder(cls, folder: Path, pipeline: Pipeline) -> Consent:
        """From pictures: ``FOLDER/name.jpg``, or several of one person in ``FOLDER/name/``.

        The threshold is half of the distance at which the people of the gallery have
        their most similar one.

        Raises:
            MediaError: there is no picture, or one without exactly one clear face.
        """
        if not folder.is_dir():
            raise MediaError(f"There is no folder {folder} with pictures of those who consented; "
                             "check the path.")
        paths = sorted(path for path in folder.rglob("*")
                       if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
        if not paths:
            raise MediaError(f"The folder {folder} holds no picture of anybody who consented.")
        embeddings, people = [], []
        names: dict[str, int] = {}
        for path in paths:
            embeddings.append(_embedding(path, pipeline))
            below = path.relative_to(folder)
            name = below.parts[0] if len(below.parts) > 1 else below.stem
            people.append(names.setdefault(name, len(names)))
        spacing = float(np.median(pipeline.matcher.gallery.neighbour_distances))
        return cls(np.stack(embeddings), np.array(people), threshold=spacing / 2)

    def screen(self, found: Any, extractor: Any) -> Screened:
        """Take out of what was found the faces that are theirs.

        Nobody is in a frame twice: of several faces like one person, the most similar.
        """
        faces = found.faces
        embeddings = (extractor.embed(found.chips) if len(found.chips)
                      else np.zeros((0, self._embeddings.shape[1]), np.float32))
        keep = np.zeros(len(faces), bool)
        rows = np.flatnonzero((faces["chip"] >= 0) & (faces["carried"] == 0))
        if len(rows):
            distances = 1 - embeddings[faces["chip"][rows]] @ self._embeddings.T
            for person in np.unique(self._people):
                nearest = distances[:, self._people == person].min(axis=1)
                if nearest.min() <= self.threshold:
                    keep[rows[int(nearest.argmin())]] = True
        return Screened(faces[~keep], found.chips, found.cut, faces[keep], embeddings)


def _embedding(path: Path, pipeline: Pipeline) -> np.ndarray:
    frame = next(picture_frames(path)).pixels
    pipeline.reset(stream=path.name)
    found, _ = pipeline.find(frame)
    if len(found.faces) != 1 or found.faces["chip"][0] < 0:
        raise MediaError(f"{path} must show exactly one person who consented, large and clear; "
                         f"{len(found.faces)} faces were found.")
    return pipeline.extractor.embed(found.chips)[0]
