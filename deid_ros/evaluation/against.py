"""Does an output still show, where a face was covered, what its input shows there?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deid_ros.errors import EvaluationError
from deid_ros.evaluation.outputs import frames_of, topics_of
from deid_ros.media.evidence import fingerprint

__all__ = ["Original", "shows_original"]

_MIDDLE = 0.15          # of a box is left off at each side: faces end before their boxes do
_SIZE = 64              # px to which a box is brought
_COARSE = 4.0           # px, standard deviation: what is larger is no detail
_LEAST = 1.0            # grey levels, standard deviation: with less there are no details
#: Correlation of the details from which they are the same. Measured: an original behind a
#: strong JPEG 0.98 and more; a surrogate 0.5 at most; blocks and blur 0.2 at most.
_SAME = 0.75
_SAME_COARSE = 0.98     # the same, where the original has no details


class Original:
    """The input of an output, frame by frame.

    Args:
        inputs: files and folders among which it is.
        manifest: that of the output.
        scratch: where something may be unpacked.

    Raises:
        EvaluationError: it is not among them.
    """

    def __init__(self, inputs: Sequence[Path], manifest: Mapping[str, Any],
                 scratch: Path) -> None:
        name, digest = manifest["input"]["name"], manifest["input"]["sha256"]
        places = [place for path in inputs for place in (path / name, path)
                  if place.exists() and place.resolve().name == Path(name).name]
        path = next((place for place in places if fingerprint(place)["sha256"] == digest), None)
        if path is None:
            why = (f"{places[0]} is another file" if places else "it is not there")
            raise EvaluationError(f"Its input {name} was not compared, {why}; name with --against "
                                  "the inputs that it was made of.")
        self._counts: dict[str | None, int] = {}
        self._frames: Iterator[tuple[str | None, Any]] = frames_of(path, topics_of(manifest),
                                                                   scratch)

    def frame(self, topic: str | None, index: int) -> np.ndarray:
        """The frame of that number in its topic; asked for in the order of the input.

        Raises:
            EvaluationError: there is none.
        """
        for name, pixels in self._frames:
            if isinstance(pixels, Exception):
                continue  # it had no number either
            number = self._counts.get(name, 0)
            self._counts[name] = number + 1
            if (name, number) == (topic, index):
                found: np.ndarray = pixels
                return found
        raise EvaluationError(f"The input has no frame {index}" + (f" of {topic}" if topic else "")
                              + "; nothing more of it was compared.")


def shows_original(original: np.ndarray, output: np.ndarray, box: Sequence[float]) -> bool:
    """Whether both show the same details in the middle of a box, or in a half of it.

    Args:
        original, output: BGR uint8 (H, W, 3) of one size.
        box: x, y, width, height (px).
    """
    x, y, w, h = box
    low = np.array([x + _MIDDLE * w, y + _MIDDLE * h])
    high = np.array([x + (1 - _MIDDLE) * w, y + (1 - _MIDDLE) * h])
    limit = np.array([original.shape[1], original.shape[0]])
    (x0, y0), (x1, y1) = (np.clip(np.floor(low), 0, limit).astype(int),
                          np.clip(np.ceil(high), 0, limit).astype(int))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return False
    a, b = (_grey(image[y0:y1, x0:x1]) for image in (original, output))
    half = _SIZE // 2
    return any(_alike(a[part], b[part]) for part in (
        np.s_[:], np.s_[:half], np.s_[half:], np.s_[:, :half], np.s_[:, half:]))


def _grey(cut: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(np.ascontiguousarray(cut), cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    fine = a - cv2.GaussianBlur(a, (0, 0), _COARSE)
    if fine.std() >= _LEAST:
        return _correlation(fine, b - cv2.GaussianBlur(b, (0, 0), _COARSE)) >= _SAME
    return bool(a.std() >= _LEAST) and _correlation(a, b) >= _SAME_COARSE


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    spread = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread > 1e-3 else 0.0
