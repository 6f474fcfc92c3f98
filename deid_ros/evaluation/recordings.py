"""What the manifests beside outputs say: coverage of every recording over its frames."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import MediaError
from deid_ros.media.evidence import read_faces, read_manifest
from deid_ros.media.files import MANIFEST

__all__ = ["Recording", "over_time", "read_recordings"]

_PARTS = 40


@dataclass(frozen=True, slots=True)
class Recording:
    """One output: its ``manifest``, and ``parts``, what covers a face -> float (T,), mean
    faces a frame in T parts of its frames (empty for a single picture)."""

    name: str
    manifest: dict[str, Any]
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    problem: str = ""


def over_time(frames: list[Counter[str]], *, parts: int = _PARTS) -> dict[str, np.ndarray]:
    """Mean faces a frame by what covers them, in at most ``parts`` parts of the frames."""
    if not frames:
        return {}
    chunks = np.array_split(np.arange(len(frames)), min(parts, len(frames)))
    names = sorted({name for frame in frames for name in frame})
    return {name: np.array([np.mean([frames[i][name] for i in chunk]) for chunk in chunks])
            for name in names}


def read_recordings(folder: Path) -> list[Recording]:
    """Every output below a folder that has a manifest, by name."""
    out = []
    for path in sorted(Path(folder).rglob(f"*{MANIFEST}")):
        target = path.with_name(path.name.removesuffix(MANIFEST))
        name = target.relative_to(folder).as_posix()
        try:
            manifest = read_manifest(path)
            lines = list(read_faces(target))
        except MediaError as error:
            out.append(Recording(name, {}, {}, str(error)))
            continue
        if None in lines:
            out.append(Recording(name, {}, {}, f"The evidence of {target} is damaged."))
            continue
        frames = [Counter("carried" if face.get("carried") else face["covered_by"]
                          for face in line["faces"]) for line in lines if line]
        out.append(Recording(name, manifest, over_time(frames) if len(frames) > 1 else {}))
    return out
