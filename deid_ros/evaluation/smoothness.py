"""How restless a face is in an anonymised video, against the original's own restlessness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import EvaluationError
from deid_ros.evaluation.utility import eye_distance, jitter
from deid_ros.geometry import MESH_TO_IBUG68

__all__ = ["compare_tracks", "measure_video"]


def compare_tracks(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Restlessness of landmarks in the original and in the output.

    Args:
        before, after: float (T, 68, 2) px; NaN where the face is not seen.

    Returns:
        ``before`` and ``after`` in thousandths of the original's eye distance
        (``utility.jitter``), and ``ratio`` of the two; 1 is as smooth as life.
    """
    sizes = [eye_distance(points) for points in before if np.isfinite(points).all()]
    size = float(np.median(sizes)) if sizes else float("nan")
    first, second = (1000 * jitter(track) / max(size, 1e-6) for track in (before, after))
    return {"before": first, "after": second,
            "ratio": second / first if first > 0 else float("nan")}


def measure_video(path: Path, config: Mapping[str, Any], *, frames: int = 60,
                  make: Any = None) -> dict[str, Any]:
    """Anonymise the first frames of a video and compare the longest seen face.

    Args:
        frames: how many of them.
        make: from a configuration to a ``Pipeline``; the real one.

    Raises:
        EvaluationError: no face is seen in three frames that follow one another.
        DeidError: the video cannot be read, a model is missing.
    """
    from deid_ros.detector.mesh import FaceMesh
    from deid_ros.faces import DETECTION, boxes_of
    from deid_ros.media.videos import VideoReader
    from deid_ros.pipeline import Pipeline

    pipeline, mesh = (make or Pipeline)(config), FaceMesh()
    tracks: dict[int, list[tuple[int, np.ndarray, np.ndarray]]] = {}
    count = 0
    with VideoReader(path) as reader:
        for index, (frame, stamp) in enumerate(islice(_images(reader), frames)):
            done = pipeline.process(frame, stamp_ns=stamp)
            count += 1
            detections = np.zeros(len(done.faces), DETECTION)
            detections["box"], detections["score"] = boxes_of(done.faces), 1.0
            pairs = [mesh.locate(image, detections)[0][:, MESH_TO_IBUG68, :2]
                     for image in (frame, done.frame)]
            for face, one, other in zip(done.faces, *pairs):
                tracks.setdefault(int(face["track_id"]), []).append((index, one, other))
    longest = max(tracks.values(), key=len, default=[])
    both = np.full((2, count, 68, 2), np.nan)
    for index, one, other in longest:
        both[0, index], both[1, index] = one, other
    found = compare_tracks(*both)
    if np.isnan(found["ratio"]):
        raise EvaluationError(f"No face is seen in three frames that follow one another in {path}; "
                              "give a video with a face.")
    return {"video": path.name, "frames": count, "faces_seen": len(longest), **found}


def _images(reader: Any) -> Iterator[tuple[np.ndarray, int]]:
    """BGR frame and stamp (ns) of everything that a reader gives."""
    for pixels, pts, _ in reader:
        yield pixels, max(1, round(pts * reader.time_base * 1_000_000_000))
