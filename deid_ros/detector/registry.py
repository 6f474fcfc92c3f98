"""The back ends by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deid_ros.detector.interfaces import Detector
from deid_ros.errors import DetectorError

__all__ = ["DETECTORS", "check_threshold", "create_detector", "known_names"]


# Each back end is imported when it is made: a robot that runs one of them needs
# the packages of that one only.
def _centerface(**options: object) -> Detector:
    from deid_ros.detector.centerface import CenterFace
    return CenterFace(**options)  # type: ignore[arg-type]


def _ssd(**options: object) -> Detector:
    from deid_ros.detector.ssd import BlazeFace
    return BlazeFace(**options)  # type: ignore[arg-type]


def _viola_jones(**options: object) -> Detector:
    from deid_ros.detector.viola_jones import ViolaJones
    return ViolaJones(**options)  # type: ignore[arg-type]


def _dlib_hog(**options: object) -> Detector:
    from deid_ros.detector.dlib_hog import DlibHog
    return DlibHog(**options)  # type: ignore[arg-type]


#: Name -> maker of a back end; makers take keyword options (``threshold``).
DETECTORS: dict[str, Callable[..., Detector]] = {
    "viola_jones": _viola_jones,
    "ssd": _ssd,
    "centerface": _centerface,
    "dlib_hog": _dlib_hog,
}


def known_names(names: str | Sequence[str]) -> list[str]:
    """One or more names of back ends as a list without repetitions.

    Raises:
        DetectorError: no name, or an unknown one.
    """
    names = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    if not names:
        raise DetectorError("No detector was named; choose one or more of "
                            f"{', '.join(DETECTORS)}.")
    for name in names:
        if name not in DETECTORS:
            raise DetectorError(f"There is no detector called '{name}'; choose one or more of "
                                f"{', '.join(DETECTORS)}.")
    return names


def check_threshold(threshold: float | None) -> None:
    """Refuse what is no score.

    Raises:
        DetectorError: it does not lie in 0..1.
    """
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise DetectorError(f"The detector's threshold must lie in 0..1, got {threshold}.")


def create_detector(names: str | Sequence[str], *, threshold: float | None = None) -> Detector:
    """Make the detector of a name, or the union of several names.

    Args:
        names: one or more keys of ``DETECTORS``.
        threshold: least score, 0..1; None: each back end's own.

    Raises:
        DetectorError: no name, an unknown one, or a threshold out of range.
        ModelError: a model or package of a back end is missing.
    """
    names = known_names(names)
    if len(names) > 1:
        from deid_ros.detector.searcher import Searcher
        return Searcher(names, preset=None, threshold=threshold)
    check_threshold(threshold)
    options = {} if threshold is None else {"threshold": float(threshold)}
    return DETECTORS[names[0]](**options)
