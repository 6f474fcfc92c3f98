"""Who tries to recognise the people: attackers behind one protocol.

An attacker turns one face into a row of numbers and compares rows. It knows all
originals and which of them belongs to whom, and sees the outputs one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from deid_ros.errors import EvaluationError
from deid_ros.evaluation.appearance import Eigenfaces, Fisherfaces, Lbph
from deid_ros.evaluation.recogniser import Recogniser, is_recogniser
from deid_ros.evaluation.recognition import euclidean
from deid_ros.evaluation.utility import eye_opening, mouth_opening, shape_points
from deid_ros.evaluation.views import Observer, View
from deid_ros.geometry import MESH_TO_IBUG68, measure_expression, rotation

__all__ = ["ATTACKERS", "DEFAULT", "Attacker", "DlibAttacker", "ExpressionAttacker",
           "GeometryAttacker", "ShapeAttacker", "create_attackers"]

#: Who attacks unless somebody asks for more.
DEFAULT = ("dlib", "shape", "geometry")
_CAUSES = 5   # yaw, pitch, roll, openings of mouth and eyes


class Attacker(Protocol):
    """One way of recognising people.

    ``name``       its key in the results.
    ``title``      for readers.
    ``threshold``  the distance below which it usually says 'the same person', or None.
    ``recogniser``  whether it is a face recogniser, of which the report takes the worst.
    """

    name: str
    title: str
    threshold: float | None
    recogniser: bool

    def describe(self, frame: np.ndarray, view: View) -> np.ndarray:
        """One face, BGR uint8 (H, W, 3), as float (D,)."""
        ...

    def distances(self, probes: np.ndarray, against: np.ndarray, *,
                  known: np.ndarray) -> np.ndarray:
        """Distances of (P, D) to (K, D): float (P, K), smaller is more alike.

        Args:
            known: (N, D), the originals: all that the attacker may learn from.
        """
        ...


class DlibAttacker:
    """dlib's descriptor, Euclidean distance: see ``dlib_face``."""

    name = "dlib"
    title = "dlib descriptor"
    threshold = 0.6
    recogniser = True
    independent = False
    note = ("in no loss, but the gallery is matched, and surrogates are chosen, by its "
            "descriptors")

    def __init__(self, observer: Observer) -> None:
        self._dlib = observer.dlib

    def describe(self, frame: np.ndarray, view: View) -> np.ndarray:
        """See ``Attacker.describe``: (128,)."""
        return self._dlib.descriptor(frame, view.rectangle)

    def distances(self, probes: np.ndarray, against: np.ndarray, *,
                  known: np.ndarray) -> np.ndarray:
        """See ``Attacker.distances``."""
        return euclidean(probes, against)


class _Standardised:
    """Compares rows of unlike numbers: each in standard deviations of the originals."""

    def distances(self, probes: np.ndarray, against: np.ndarray, *,
                  known: np.ndarray) -> np.ndarray:
        """See ``Attacker.distances``; in standard deviations of the originals."""
        known = np.asarray(known, np.float64)
        if not len(known):
            return np.zeros((len(probes), len(against)))
        mean, spread = known.mean(axis=0), known.std(axis=0)
        # A coordinate in which the known people agree tells nobody apart.
        use = spread > 1e-6
        scale = np.where(use, spread, 1.0)
        return euclidean(((np.asarray(probes) - mean) / scale)[:, use],
                         ((np.asarray(against) - mean) / scale)[:, use])


class GeometryAttacker(_Standardised):
    """Where jaw, brows and nose lie, turned to the front.

    The landmarks get their depth from the face mesh, are turned to the front, scaled
    to model units and centred; the points of eyelids and mouth are left out. Each
    coordinate is standardised over the originals; the nearest neighbour wins. Head
    pose is not gone for good: the points of a jaw slide along it as the head turns.
    """

    name = "geometry"
    title = "landmark geometry alone"
    threshold = None
    recogniser = False

    def __init__(self, observer: Observer) -> None:
        pass

    def describe(self, frame: np.ndarray, view: View) -> np.ndarray:
        """See ``Attacker.describe``: (72,), x and y of 36 points in model units."""
        return frontal_shape(view)


class ShapeAttacker(GeometryAttacker):
    """The shape of jaw, brows and nose alone, head pose and expression removed.

    The numbers of ``GeometryAttacker``, and of those only what the face's own angles
    and openings of mouth and eyes do not explain in the originals (ridge regression;
    Hoerl and Kennard, 1970): what a surrogate shows on purpose is no shape.
    """

    name = "shape"
    title = "face shape alone"

    def describe(self, frame: np.ndarray, view: View) -> np.ndarray:
        """See ``Attacker.describe``: (77,), the 72 numbers, then the five to remove."""
        openings = mouth_opening(view.landmarks), eye_opening(view.landmarks)
        return np.concatenate([frontal_shape(view), view.angles, openings])

    def distances(self, probes: np.ndarray, against: np.ndarray, *,
                  known: np.ndarray) -> np.ndarray:
        """See ``Attacker.distances``; in standard deviations of what is left."""
        remove = _Unexplained(np.asarray(known, np.float64))
        return super().distances(remove(probes), remove(against), known=remove(known))


class _Unexplained:
    """What the last five columns of rows, and the first three squared, do not explain.

    Args:
        rows: float (N, 5 + D), those that it is learned from.
    """

    def __init__(self, rows: np.ndarray) -> None:
        causes = rows[:, -_CAUSES:]
        self._mean = causes.mean(axis=0) if len(rows) else np.zeros(_CAUSES)
        spread = causes.std(axis=0) if len(rows) else np.ones(_CAUSES)
        self._scale = np.where(spread > 1e-6, spread, 1.0)
        design, shapes = self._design(rows), rows[:, :-_CAUSES]
        centred = shapes - shapes.mean(axis=0) if len(rows) else shapes
        self._weights = np.linalg.solve(design.T @ design + np.eye(design.shape[1]),
                                        design.T @ centred)

    def _design(self, rows: np.ndarray) -> np.ndarray:
        causes = (np.asarray(rows, np.float64)[:, -_CAUSES:] - self._mean) / self._scale
        return np.hstack([causes, causes[:, :3] ** 2 - 1])

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Of (N, 5 + D) the (N, D)."""
        rows = np.asarray(rows, np.float64)
        return rows[:, :-_CAUSES] - self._design(rows) @ self._weights


class ExpressionAttacker(_Standardised):
    """The expression alone: what the tool passes on to the surrogate on purpose.

    The numbers of ``faces.EXPRESSION`` (openings of mouth and eyes, width of the
    mouth, brows), each standardised over the originals.
    """

    name = "expression"
    title = "expression alone"
    threshold = None
    recogniser = False

    def __init__(self, observer: Observer) -> None:
        pass

    def describe(self, frame: np.ndarray, view: View) -> np.ndarray:
        """See ``Attacker.describe``: (7,), in eye distances."""
        return measure_expression(view.mesh, view.pose).astype(np.float64)


def frontal_shape(view: View) -> np.ndarray:
    """Jaw, brows and nose of a view, frontal and centred: float (72,), model units."""
    depth = view.mesh[MESH_TO_IBUG68, 2:].astype(np.float64)
    points = np.hstack([view.landmarks - view.pose.center, depth])
    turned = points @ rotation(*view.angles) / max(view.pose.scale, 1e-6)
    chosen = turned[shape_points, :2]
    return (chosen - chosen.mean(axis=0)).ravel()


#: Name -> maker of an attacker from the instruments it shares.
ATTACKERS: dict[str, Callable[[Observer], Attacker]] = {
    attacker.name: attacker for attacker in (
        DlibAttacker, ShapeAttacker, GeometryAttacker, ExpressionAttacker, Eigenfaces,
        Fisherfaces, Lbph)}


def create_attackers(names: Sequence[str], observer: Observer) -> list[Attacker]:
    """The attackers of these names; a name that is a path is a recogniser's file or folder.

    Raises:
        EvaluationError: an unknown name, a name given twice, a file that is no
            recogniser, a library that is missing.
    """
    out: list[Attacker] = []
    for name in names:
        if name in ATTACKERS:
            out.append(ATTACKERS[name](observer))
        elif is_recogniser(name):
            out.append(Recogniser(Path(name)))
        else:
            raise EvaluationError(f"There is no attacker called '{name}'; choose from "
                                  f"{', '.join(ATTACKERS)}, or give a recogniser's file ending in "
                                  ".onnx or .xml.")
    if len({attacker.name for attacker in out}) < len(out):
        raise EvaluationError(f"An attacker is given twice in {', '.join(names)}; "
                              "name each once.")
    return out
