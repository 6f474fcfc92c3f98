"""OFFLINE: blends that a recogniser takes for none of those they were blended from.

Whether a surrogate will look like one of its contributors cannot be told from codes; it
shows when the face is drawn. So blends are drawn into portraits of several people and
judged there; those that stay nobody's are kept in the gallery, and the live path draws
from them. Of 176 random blends in the portraits of others, 18 % were most like a
contributor; of the half that had come out better in three portraits, none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deid_ros.detector import FaceMesh, create_detector
from deid_ros.detector.chips import cut_chips
from deid_ros.errors import GalleryError
from deid_ros.faces import empty_faces, match_dtype
from deid_ros.geometry import MESH_TO_IBUG68, fit_pose, measure_expression
from deid_ros.matcher.blending import Pool
from deid_ros.matcher.gallery import Gallery
from deid_ros.replacer import Replacer

__all__ = ["SCENES", "Scene", "Vetting", "read_scenes"]

#: What a progress bar wraps: an iterable and its title.
Progress = Callable[[Iterable[int], str], Iterable[int]]

#: Portraits of each sex in which a blend is judged.
SCENES = 4

# A contributor's cosine stays below the most alike other one's by so much, on average.
_CLEAR = 0.022
# The best of so many, as far as it can be foretold from codes, is drawn.
_FORETOLD = 20
# In one portrait it may come as near as this.
_SURELY = 0.005


def silent(items: Iterable[int], title: str) -> Iterable[int]:
    """No progress bar."""
    return items


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


class Vetting:
    """Draws blends and judges them.

    Args:
        gallery: whose identities are blended.
        scenes: from ``read_scenes``.
        generator: a ``SurrogateGenerator`` whose codes are the gallery's.
        extractor: the ``Extractor`` that made the gallery's embeddings.
        mix: identities in a blend.
    """

    def __init__(self, gallery: Gallery, scenes: dict[str, list[Scene]], *, generator: Any,
                 extractor: Any, mix: int, seed: int = 0) -> None:
        gallery.require_extractor(extractor.name)
        self.gallery, self.mix = gallery, mix
        self._pool = Pool(gallery, mix=mix, need_all=True)
        self._scenes, self._generator, self._extractor = scenes, generator, extractor
        self._replacer = Replacer()
        self._rng = np.random.default_rng(seed)

    def vetted(self, sex: str) -> Iterator[np.ndarray | None]:
        """Rows (mix,) of one blend after another; None for each that is refused."""
        rows = self._pool.groups[sex]
        while True:
            draws = np.array([np.sort(self._rng.choice(rows, self.mix, replace=False))
                              for _ in range(_FORETOLD)])
            codes = self._pool.blend(sex, draws, np.ones(draws.shape))
            chosen = draws[self._pool.scores(codes, draws, sex).argmax()]
            yield chosen if self._is_nobody(sex, chosen) else None

    def margin(self, scene: Scene, code: np.ndarray, rows: np.ndarray) -> float:
        """Cosine to the most alike contributor less that to the most alike other person."""
        match = np.zeros(1, match_dtype(len(code)))
        match["track_id"], match["code"] = 1, code
        self._generator.reset()
        self._generator.learn(match)
        made = self._replacer.apply(scene.frame, scene.face, self._generator.generate(scene.face))
        box = np.stack([scene.face[name] for name in ("x_offset", "y_offset", "width", "height")],
                       axis=-1)
        chips = cut_chips(made.frame, box, scene.mesh[None], self._extractor.name)
        alike = self.gallery.embeddings @ self._extractor.embed(chips)[0]
        alike[scene.row] = -1
        return float(alike[rows].max() - np.delete(alike, rows).max())

    def _is_nobody(self, sex: str, rows: np.ndarray) -> bool:
        code = self._pool.blend(sex, rows, np.ones(self.mix))
        margins: list[float] = []
        for scene in self._scenes[sex]:
            if scene.row in rows:
                return False
            margins.append(self.margin(scene, code, rows))
            if margins[-1] > -_SURELY:
                return False
        return float(np.mean(margins)) <= -_CLEAR

    def run(self, count: int, *, progress: Progress = silent) -> Gallery:
        """The gallery with ``count`` vetted blends of each sex that can have them.

        Raises:
            GalleryError: of one sex hardly any blend is nobody's.
        """
        draws: list[np.ndarray] = []
        for sex in self._pool.groups:
            stream = self.vetted(sex)
            for _ in progress(range(count), f"vetting {sex}"):
                draws.append(self._next(stream, sex))
        return replace(self.gallery, draws=np.array(draws, np.int32).reshape(-1, self.mix))

    def _next(self, stream: Iterator[np.ndarray | None], sex: str, tries: int = 200) -> np.ndarray:
        for _ in range(tries):
            rows = next(stream)
            if rows is not None:
                return rows
        raise GalleryError(f"Of {tries} blends of {self.mix} people of sex '{sex}' none was "
                           "nobody's; use a larger gallery or another mix.")

