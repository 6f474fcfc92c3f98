"""The classical recognisers: eigenfaces, Fisherfaces, local binary pattern histograms.

Principal components and discriminants come from scikit-learn, the patterns from
scikit-image. OpenCV's own versions are only in its 'contrib' wheels, which install
over the OpenCV that this package needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from deid_ros.errors import EvaluationError
from deid_ros.evaluation.alignment import aligned, five_points
from deid_ros.evaluation.recognition import euclidean
from deid_ros.evaluation.views import Observer, View

__all__ = ["CHIP", "Eigenfaces", "Fisherfaces", "Lbph", "chi_square", "grey_chip"]

#: Width, height of the grey picture that is compared (px), and where its points lie.
CHIP = (64, 80)
_POINTS = np.array([[19.0, 30.0], [45.0, 30.0], [32.0, 46.0], [22.0, 61.0], [42.0, 61.0]])

_GRID, _PATTERNS = 7, 59
_COMPONENTS = 80


def grey_chip(frame: np.ndarray, view: View) -> np.ndarray:
    """The face, upright, grey, its levels equalised: uint8 (80, 64)."""
    import cv2

    chip = aligned(frame, five_points(view.landmarks), _POINTS, CHIP)
    return cv2.equalizeHist(cv2.cvtColor(chip, cv2.COLOR_BGR2GRAY))


def _library(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EvaluationError(f"The classical recognisers need {error.name}; install it with: "
                              "pip install 'deid_ros[report]'") from None


class _Learning:
    """An attacker that learns a projection from the originals, once per set of them."""

    threshold = None
    recogniser = False

    def __init__(self, observer: Observer | None = None) -> None:
        _library("sklearn.decomposition")
        self._learnt: tuple[bytes, Callable[[np.ndarray], np.ndarray]] | None = None

    def describe(self, frame: np.ndarray, view: View) -> np.ndarray:
        """See ``Attacker.describe``: (5120,), the grey levels."""
        return grey_chip(frame, view).astype(np.float64).ravel()

    def distances(self, probes: np.ndarray, against: np.ndarray, *,
                  known: np.ndarray) -> np.ndarray:
        """See ``Attacker.distances``."""
        known = np.asarray(known, np.float32)
        known = known[~np.isnan(known).any(axis=1)] if len(known) else known
        if len(known) < 2:
            return np.zeros((len(probes), len(against)))
        mark = known.tobytes()
        if self._learnt is None or self._learnt[0] != mark:
            self._learnt = mark, self._learn(known)
        project = self._learnt[1]
        return euclidean(_where_known(project, probes), _where_known(project, against))

    def _learn(self, known: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        raise NotImplementedError


def _where_known(project: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """``project`` for rows without NaN; the others stay NaN."""
    rows = np.asarray(rows, np.float32)
    there = ~np.isnan(rows).any(axis=1)
    if not there.any():
        return np.full((len(rows), 1), np.nan)
    found = project(rows[there])
    out = np.full((len(rows), found.shape[1]), np.nan)
    out[there] = found
    return out


class Eigenfaces(_Learning):
    """Nearest neighbour in the principal components of the originals.

    Turk and Pentland, "Eigenfaces for recognition", J. Cognitive Neuroscience, 1991.
    """

    name = "eigenfaces"
    title = "eigenfaces"

    def _learn(self, known: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        count = min(len(known) - 1, known.shape[1], _COMPONENTS)
        model = _library("sklearn.decomposition").PCA(count, svd_solver="full")
        return model.fit(known).transform


class Fisherfaces(_Learning):
    """Nearest neighbour in linear discriminants behind principal components.

    Belhumeur et al., "Eigenfaces vs. Fisherfaces", IEEE TPAMI, 1997. There is one
    picture of each person, and a discriminant needs several: mirrored, shifted,
    turned and scaled versions of the picture stand for them.
    """

    name = "fisherfaces"
    title = "Fisherfaces"

    def _learn(self, known: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        views = [version for row in known for version in _versions(row)]
        who = np.repeat(np.arange(len(known)), len(views) // len(known))
        rows = np.stack(views)
        count = min(len(rows) - len(known), rows.shape[1], 2 * _COMPONENTS)
        space = _library("sklearn.decomposition").PCA(count, svd_solver="randomized",
                                                      random_state=0).fit(rows)
        lda = _library("sklearn.discriminant_analysis").LinearDiscriminantAnalysis(
            solver="eigen", shrinkage=0.1,
            n_components=min(len(known) - 1, count, _COMPONENTS))
        lda.fit(space.transform(rows), who)
        return lambda faces: lda.transform(space.transform(faces))


def _versions(row: np.ndarray) -> list[np.ndarray]:
    """Rows (5120,) of the same face held a little otherwise, the given one first."""
    import cv2

    width, height = CHIP
    if len(row) != width * height:          # not a chip: a row of numbers in tests
        return [row, row * 1.01, row * 0.99]
    chip = row.reshape(height, width)
    out = [row, chip[:, ::-1].ravel()]
    for turn, scale, right, down in ((5, 1, 1, 0), (-5, 1, -1, 0), (0, 1.05, 0, 1),
                                     (0, 0.95, 0, -1)):
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, scale)
        matrix[:, 2] += right, down
        out.append(cv2.warpAffine(chip, matrix, CHIP, borderMode=cv2.BORDER_REPLICATE).ravel())
    return out


def chi_square(probes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Distances sum (a - b)^2 / (a + b) of histograms (P, D) to (K, D): float (P, K).

    A row of NaN gives NaN.
    """
    a, b = np.asarray(probes, np.float64), np.asarray(known, np.float64)
    out = np.empty((len(a), len(b)))
    for row, histogram in zip(out, a):
        both = b + histogram
        row[:] = ((b - histogram) ** 2 / np.where(both == 0, 1, both)).sum(axis=1)
    return out


class Lbph:
    """Histograms of local binary patterns in 7 x 7 cells, chi-square distance.

    Ahonen, Hadid and Pietikainen, "Face description with local binary patterns",
    IEEE TPAMI, 2006: uniform patterns of 8 neighbours at radius 2.
    """

    name = "lbph"
    title = "local binary patterns"
    threshold = None
    recogniser = False

    def __init__(self, observer: Observer | None = None) -> None:
        self._patterns = _library("skimage.feature").local_binary_pattern

    def describe(self, frame: np.ndarray, view: View) -> np.ndarray:
        """See ``Attacker.describe``: (2891,), each cell's histogram sums to 1."""
        return self.histograms(grey_chip(frame, view))

    def histograms(self, chip: np.ndarray) -> np.ndarray:
        """The histograms of a grey picture uint8 (80, 64)."""
        patterns = self._patterns(chip, 8, 2, "nri_uniform").astype(np.int64)
        cells = [cell for band in np.array_split(patterns, _GRID, axis=0)
                 for cell in np.array_split(band, _GRID, axis=1)]
        return np.concatenate([np.bincount(cell.ravel(), minlength=_PATTERNS) / cell.size
                               for cell in cells])

    def distances(self, probes: np.ndarray, against: np.ndarray, *,
                  known: np.ndarray) -> np.ndarray:
        """See ``Attacker.distances``."""
        return chi_square(probes, against)
