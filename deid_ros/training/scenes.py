"""OFFLINE: portraits ready to get other faces, to see how these come out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deid_ros.detector import FaceMesh, create_detector
from deid_ros.errors import GalleryError
from deid_ros.faces import empty_faces
from deid_ros.geometry import MESH_TO_IBUG68, fit_pose, measure_expression
from deid_ros.matcher.gallery import Gallery

__all__ = ["SCENES", "Scene", "read_scenes"]

#: Portraits of each sex in which a blend is drawn.
SCENES = 4


@dataclass(frozen=True, eq=False)
class Scene:
    """A portrait ready to get other faces.

    ``frame`` BGR uint8 (H, W, 3); ``face`` one row of ``FACE``; ``mesh`` float32
    (468, 3) px; ``row`` the person's in the gallery.
    """

    frame: np.ndarray
    face: np.ndarray
    mesh: np.ndarray
    row: int


def read_scenes(gallery: Gallery, folder: Path, *, seed: int = 0) -> dict[str, list[Scene]]:
    """Sex -> ``SCENES`` portraits of usable people of the gallery.

    Raises:
        GalleryError: the folder lacks their portraits, or shows no faces.
    """
    detector, mesh = create_detector(["centerface"]), FaceMesh(kind="fine")
    rng = np.random.default_rng(seed)
    files = {path.stem: path for path in sorted(Path(folder).iterdir())} \
        if Path(folder).is_dir() else {}
    scenes: dict[str, list[Scene]] = {}
    for sex in sorted(set(gallery.sex.tolist())):
        rows = np.flatnonzero((gallery.sex == sex) & gallery.usable)
        found: list[Scene] = []
        for row in rng.permutation(rows).tolist():
            scene = _scene(files.get(str(gallery.ids[row])), row, detector, mesh)
            found += [scene] if scene else []
            if len(found) == SCENES:
                break
        if len(found) < SCENES:
            raise GalleryError(f"{folder} has {len(found)} portraits of usable people of sex "
                               f"'{sex}' of the gallery, {SCENES} are needed; give the folder "
                               "that the gallery was built from.")
        scenes[sex] = found
    return scenes


def _scene(path: Path | None, row: int, detector: Any, mesher: FaceMesh) -> Scene | None:
    frame = None if path is None else cv2.imread(str(path))
    found = () if frame is None else detector.detect(frame)
    if len(found) != 1:
        return None
    meshes, belief = mesher.locate(frame, found)
    pose = fit_pose(meshes[0])
    if belief[0] < 0.9 or abs(pose.yaw) > 15:
        return None
    face = empty_faces(1)
    face["track_id"], face["trusted"] = 1, True
    face["yaw"], face["pitch"], face["roll"] = pose.yaw, pose.pitch, pose.roll
    face["scale"], face["center"] = pose.scale, pose.center
    face["expression"] = measure_expression(meshes[0], pose)
    face["landmarks"] = meshes[0][MESH_TO_IBUG68, :2].reshape(-1)
    low, high = meshes[0][:, :2].min(0), meshes[0][:, :2].max(0)
    face["x_offset"], face["y_offset"] = low
    face["width"], face["height"] = high - low
    return Scene(frame, face, meshes[0], row)
