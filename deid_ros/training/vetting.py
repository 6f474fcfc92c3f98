"""OFFLINE: blends that a recogniser takes for none of those they were blended from, and
that hide who wears them.

Whether a surrogate will look like one of its contributors cannot be told from codes; it
shows when the face is drawn. So blends are drawn into portraits of several people and
judged there; those that stay nobody's are kept in the gallery, and the live path draws
from them. Of 176 random blends in the portraits of others, 18 % were most like a
contributor; of the half that had come out better in three portraits, none. And some hide
their wearers better than others: how far a recogniser finds them from those in one half
of 16 portraits and in the other half goes together (correlation 0.8 for men, 0.2 for
women). This is said about a blend, not about who will wear it: draws stay independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
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

__all__ = ["SCENES", "WEARERS", "Scene", "Vetting", "read_scenes"]

#: What a progress bar wraps: an iterable and its title.
Progress = Callable[[Iterable[int], str], Iterable[int]]

#: Portraits of each sex in which a blend is judged: in the first four for whom it is taken,
#: in all for how well it hides who wears it.
SCENES, WEARERS = 4, 10

# A contributor's cosine stays below the most alike other one's by so much, on average.
_CLEAR = 0.022
# The best of so many, as far as it can be foretold from codes, is drawn.
_FORETOLD = 20
# In one portrait it may come as near as this.
_SURELY = 0.005
# Of so many that are nobody, the one part that hides its wearers best is kept.
_ONE_IN = 2
# So many refusals one after another, and no more are to be had.
_TRIES = 200


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
    """Sex -> ``WEARERS`` portraits of usable people of the gallery.

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
            if len(found) == WEARERS:
                break
        if len(found) < WEARERS:
            raise GalleryError(f"{folder} has {len(found)} portraits of usable people of sex "
                               f"'{sex}' of the gallery, {WEARERS} are needed; give the folder "
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

    def vetted(self, sex: str) -> Iterator[tuple[np.ndarray, float] | None]:
        """Rows (mix,) of one blend after another, first those that the gallery has, and how
        much each shows of its wearers: a mean cosine, the less the better. None for each
        that is refused."""
        rows = self._pool.groups[sex]
        for chosen in self._pool.vetted.get(sex, ()):
            shown = self._judge(sex, chosen)
            yield None if shown is None else (chosen, shown)
        while True:
            draws = np.array([np.sort(self._rng.choice(rows, self.mix, replace=False))
                              for _ in range(_FORETOLD)])
            codes = self._pool.blend(sex, draws, np.ones(draws.shape))
            chosen = draws[self._pool.scores(codes, draws, sex).argmax()]
            shown = self._judge(sex, chosen)
            yield None if shown is None else (chosen, shown)

    def alike(self, scene: Scene, code: np.ndarray) -> np.ndarray:
        """Cosines (n,) of a portrait with the face of ``code`` to everybody of the gallery."""
        match = np.zeros(1, match_dtype(len(code)))
        match["track_id"], match["code"] = 1, code
        self._generator.reset()
        self._generator.learn(match)
        made = self._replacer.apply(scene.frame, scene.face, self._generator.generate(scene.face))
        box = np.stack([scene.face[name] for name in ("x_offset", "y_offset", "width", "height")],
                       axis=-1)
        chips = cut_chips(made.frame, box, scene.mesh[None], self._extractor.name)
        return self.gallery.embeddings @ self._extractor.embed(chips)[0]

    def _judge(self, sex: str, rows: np.ndarray) -> float | None:
        """The mean cosine to those who wear a blend; None where it is not nobody."""
        code = self._pool.blend(sex, rows, np.ones(self.mix))
        margins: list[float] = []
        shown: list[float] = []
        scenes = self._scenes[sex]
        if any(scene.row in rows for scene in scenes[:SCENES]):
            return None
        for number, scene in enumerate(scenes):
            if scene.row in rows:
                continue
            alike = self.alike(scene, code)
            if scene.row >= 0:
                shown.append(float(alike[scene.row]))
                alike[scene.row] = -1
            if number < SCENES:
                margins.append(float(alike[rows].max() - np.delete(alike, rows).max()))
                if margins[-1] > -_SURELY:
                    return None
                if len(margins) == SCENES and np.mean(margins) > -_CLEAR:
                    return None
        return float(np.mean(shown)) if shown else 0.0

    def run(self, count: int, *, progress: Progress = silent) -> Gallery:
        """The gallery with ``count`` vetted blends of each sex that can have them.

        Raises:
            GalleryError: of one sex hardly any blend is nobody's.
        """
        draws: list[np.ndarray] = []
        for sex in self._pool.groups:
            stream = self.vetted(sex)
            found: list[tuple[np.ndarray, float]] = []
            for _ in progress(range(_ONE_IN * count), f"vetting {sex}"):
                more = self._next(stream)
                if more is None:  # with enough for everybody the choice is smaller, no more
                    break
                found.append(more)
            if len(found) < count:
                raise GalleryError(f"Of {_TRIES} blends of {self.mix} people of sex '{sex}' none "
                                   "was nobody's; use a larger gallery or another mix.")
            hiding = np.argsort([shown for _, shown in found], kind="stable")[:count]
            draws += [found[i][0] for i in np.sort(hiding)]
        return replace(self.gallery, draws=np.array(draws, np.int32).reshape(-1, self.mix))

    def _next(self, stream: Iterator[tuple[np.ndarray, float] | None]) \
            -> tuple[np.ndarray, float] | None:
        return next((found for found in islice(stream, _TRIES) if found is not None), None)
