"""OFFLINE: how open the eyes and mouths of identities come out.

Where lips and lids are painted in a texture differs from identity to identity by more
than faces move: on 20 blends in 12 portraits nine tenths of what is wrong with the
opening of the eyes belongs to the blend. A ridge regression from codes to openings,
measured on drawn blends with the fine mesh, foretells six tenths of it; the generator
takes that much off what it asks of the mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from deid_ros.detector import FaceMesh
from deid_ros.faces import DETECTION, match_dtype
from deid_ros.generator import FaceSpace, SurrogateGenerator
from deid_ros.geometry import fit_pose, measure_expression
from deid_ros.matcher.blending import Pool
from deid_ros.matcher.gallery import Gallery
from deid_ros.replacer import Replacer
from deid_ros.training.scenes import Scene

__all__ = ["fit_openings", "measure_openings", "with_openings"]

#: What a progress bar wraps.
Progress = Callable[[Iterable[int]], Iterable[int]]

# Every blend is drawn with mouth and eyes opened by so much more or less (eye distances,
# standard deviations), so that it is known how much of it shows.
_NUDGE = np.array([0.03, 0.012])
_RIDGE = 0.1


class _Nudged(SurrogateGenerator):
    """A generator that opens mouth and eyes by ``nudge`` (2,) more than it is asked to."""

    nudge = np.zeros(2)

    def _drawn(self, expression: np.ndarray, code: np.ndarray) -> np.ndarray:
        moved = super()._drawn(expression, code)
        moved[0] += self.nudge[0]
        moved[3:5] += self.nudge[1]
        return moved


def measure_openings(gallery: Gallery, scenes: Mapping[str, Sequence[Scene]], count: int, *,
                     mix: int, seed: int = 0, progress: Progress = iter) -> tuple[np.ndarray, ...]:
    """Draw ``count`` random blends of each sex into portraits and look at them.

    Args:
        gallery, scenes: as of ``scenes.read_scenes``.
        progress: wraps the numbers of the blends.

    Returns:
        ``(codes, nudges, seen)``: float64 (N, C), (N, 2), (N, 2): codes less the mean of
        their sex, what was added to the openings of mouth and eyes, and the openings that
        came out, less the mean of their portrait.
    """
    pool = Pool(gallery, mix=mix)
    generator, replacer, mesh = _Nudged(), Replacer(), FaceMesh(kind="fine")
    rng = np.random.default_rng(seed)
    sexes = [sex for sex in pool.groups for _ in range(count)]
    codes, nudges, seen, places = [], [], [], []
    for number in progress(range(len(sexes))):
        sex = sexes[number]
        rows = np.sort(rng.choice(pool.groups[sex], mix, replace=False))
        code = pool.blend(sex, rows, np.ones(mix))
        scene = scenes[sex][number % len(scenes[sex])]
        match = np.zeros(1, match_dtype(len(code)))
        match["track_id"], match["code"] = scene.face["track_id"], code
        generator.nudge = rng.normal(size=2) * _NUDGE
        generator.reset()
        generator.learn(match)
        made = replacer.apply(scene.frame, scene.face, generator.generate(scene.face))
        place = np.zeros(1, DETECTION)
        place["box"] = [float(scene.face[name][0]) for name in
                        ("x_offset", "y_offset", "width", "height")]
        place["score"] = 1
        [found], _ = mesh.locate(made.frame, place)
        shown = measure_expression(found, fit_pose(found))
        codes.append(code)
        nudges.append(generator.nudge)
        seen.append((shown[0], shown[3:5].mean()))
        places.append(sex + str(number % len(scenes[sex])))
    return _within(codes, sexes), np.array(nudges).reshape(-1, 2), _within(seen, places)


def _within(rows: Sequence[object], groups: Sequence[str]) -> np.ndarray:
    """Rows less the mean of those of their group."""
    out, names = np.array(rows, np.float64), np.array(groups)
    for name in set(groups):
        out[names == name] -= out[names == name].mean(axis=0)
    return out


def fit_openings(codes: np.ndarray, nudges: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """What a unit of code adds to the openings that the mesh should be asked for.

    Args:
        codes (N, C), nudges (N, 2), seen (N, 2): as from ``measure_openings``.

    Returns:
        float32 (C, 2), for mouth and eyes, in eye distances.
    """
    spread = np.maximum(nudges.std(axis=0), 1e-9)
    design = np.hstack([nudges / spread, codes])
    ridge = np.r_[1e-6, 1e-6, np.full(codes.shape[1], _RIDGE * len(codes) * codes.var())]
    weights = np.linalg.solve(design.T @ design + np.diag(ridge), design.T @ seen)
    response = np.diag(weights[:2] / spread[:, None])
    return (weights[2:] / np.maximum(response, 0.2)).astype(np.float32)


def with_openings(space: FaceSpace, more: np.ndarray) -> FaceSpace:
    """The space with openings (C, 2) added to those that it has."""
    return replace(space, openings=space.openings + more)
