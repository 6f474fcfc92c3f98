"""What the manifests beside outputs say: coverage of every recording over its frames."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import MediaError
from deid_ros.media.evidence import read_faces, read_manifest

__all__ = ["Recording", "over_time", "read_recordings"]

_ENDING = ".manifest.json"
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
    for path in sorted(Path(folder).rglob(f"*{_ENDING}")):
        target = path.with_name(path.name.removesuffix(_ENDING))
        name = target.relative_to(folder).as_posix()
        try:
            manifest = read_manifest(path)
            frames = [Counter("carried" if face.get("carried") else face["covered_by"]
                              for face in line["faces"]) for line in read_faces(target)]
        except (MediaError, KeyError, TypeError) as error:
            out.append(Recording(name, {}, {}, str(error) or "its evidence is damaged"))
            continue
        out.append(Recording(name, manifest, over_time(frames) if len(frames) > 1 else {}))
    return out
