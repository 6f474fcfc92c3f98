"""Blending gallery identities into one that is somebody, but nobody.

A plain mean of identities is pale and close to everybody. Its deviation from the
mean of the sex is therefore stretched until it varies as much as real
identities do, and ``scores`` tells a blend that landed on a real one, or that a
recogniser would take for one of its contributors (``likeness``).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deid_ros.errors import ConfigError
from deid_ros.matcher.gallery import Gallery
from deid_ros.matcher.likeness import Likeness

__all__ = ["SPACE_DIMENSIONS", "Pool"]

#: Leading directions of the codes, brought to equal variance, in which it is judged
#: whether a blend landed on a real identity; they hold nine tenths of the variance. In
#: more of them all strangers are equally far.
SPACE_DIMENSIONS = 16

#: A blend must be at least as far from every real identity as the nearest
#: neighbour of this part of the real identities is.
TOO_CLOSE = 0.25


class Pool:
    """The identities that may contribute, in groups of one sex.

    Args:
        gallery: where they come from.
        mix: how many are blended.
        need_all: every group must have ``mix`` identities, because any of them
            may be asked for; otherwise smaller groups are left out.

    Attributes:
        groups: sex -> row numbers (ascending by id) that may contribute: the
            usable ones where they suffice for ``mix``, else all.
        vetted: sex -> (d, mix) row numbers of blends that were seen to be nobody's.

    Raises:
        ConfigError: ``mix`` is below 1 or larger than a group.
    """

    def __init__(self, gallery: Gallery, *, mix: int, need_all: bool) -> None:
        self.gallery = gallery
        self.mix = mix
        if mix < 1 or mix > len(gallery):
            raise ConfigError(f"mix is {mix}, but the gallery has {len(gallery)} identities; "
                              f"choose mix from 1 to {self._limit(need_all)}.")
        self.groups = self._groups(need_all)
        draws = gallery.draws if gallery.draws.shape[1:] == (mix,) else np.zeros((0, mix), int)
        self.vetted = {sex: draws[np.isin(draws, rows).all(axis=1)]
                       for sex, rows in self.groups.items()}
        codes = self._codes = gallery.codes.astype(np.float64)
        self._likeness = Likeness(gallery)
        self._means = {sex: codes[rows].mean(axis=0) for sex, rows in self.groups.items()}
        self._fit(codes)

    def _rows(self) -> Mapping[str, np.ndarray]:
        gallery = self.gallery
        rows = {sex: np.flatnonzero(gallery.sex == sex) for sex in ("M", "F", "?")}
        rows = {sex: found[np.argsort(gallery.id_rank[found])] for sex, found in rows.items()
                if found.size}
        # Somebody of unknown sex fits no group; they serve only among themselves.
        return {sex: found for sex, found in rows.items() if sex != "?" or len(rows) == 1}

    def _limit(self, need_all: bool) -> int:
        sizes = [len(rows) for rows in self._rows().values()]
        return min(sizes) if need_all else max(sizes)

    def _groups(self, need_all: bool) -> dict[str, np.ndarray]:
        groups = {}
        for sex, rows in self._rows().items():
            usable = rows[self.gallery.usable[rows]]
            if len(usable) >= self.mix:
                groups[sex] = usable
            elif len(rows) >= self.mix:
                groups[sex] = rows
            elif need_all:
                raise ConfigError(
                    f"mix is {self.mix}, but the gallery has only {len(rows)} identities of sex "
                    f"'{sex}'; choose mix from 1 to {self._limit(True)} or a larger gallery.")
        if not groups:
            raise ConfigError(f"mix is {self.mix}, but the largest group of one sex in the "
                              f"gallery has {self._limit(False)} identities; choose mix from 1 "
                              f"to {self._limit(False)} or a larger gallery.")
        return groups

    def _fit(self, codes: np.ndarray) -> None:
        """The space in which likeness is judged, and what counts as too close."""
        deviations = [codes[rows] - self._means[sex] for sex, rows in self.groups.items()]
        # Singular vectors come with arbitrary signs, to which distances are blind.
        _, sizes, axes = np.linalg.svd(np.concatenate(deviations), full_matrices=False)
        count = sum(len(part) for part in deviations)
        keep = np.flatnonzero(sizes > 1e-9 * max(sizes[0], 1e-12))[:SPACE_DIMENSIONS]
        self._axes = (axes[keep] / sizes[keep, None] * np.sqrt(count)).T
        self._points = codes @ self._axes
        gaps = [np.delete(np.linalg.norm(self._points - point, axis=1), row).min(initial=np.inf)
                for row, point in enumerate(self._points)]
        self.threshold = float(np.quantile(gaps, TOO_CLOSE)) if len(codes) > 1 else 0.0

    def random_group(self, rng: np.random.Generator) -> str:
        """A sex, drawn in proportion to how many of it may contribute."""
        sexes = list(self.groups)
        ends = np.cumsum([len(self.groups[sex]) for sex in sexes])
        return sexes[int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))]

    def blend(self, sex: str, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """float32 (..., C): codes of weighted blends with their variance restored.

        mean + sqrt(mix_eff) * (blend - mean), where the mean is that of the
        group and mix_eff = 1 / sum(w^2) the number of equal contributors that
        would average out as much.

        Args:
            rows: (..., mix) row numbers, ``weights``: (..., mix) their shares.
        """
        weights = np.asarray(weights, np.float64)
        weights = weights / weights.sum(axis=-1, keepdims=True)
        mean = self._means[sex]
        blend = np.einsum("...i,...ij->...j", weights, self._codes[rows])
        stretch = 1 / np.sqrt((weights ** 2).sum(axis=-1, keepdims=True))
        return (mean + (blend - mean) * stretch).astype(np.float32)

    def scores(self, codes: np.ndarray, rows: np.ndarray, sex: str) -> np.ndarray:
        """How much blended codes of ``sex`` are nobody's: at least 1 is good enough.

        Below 1 a code is nearer to a real identity than those are to each other, or
        a recogniser would find one of its contributors most like it. Above, the
        less it looks like its contributors the better.

        Args:
            codes: (M, C), ``rows``: (M, mix) row numbers of their contributors.

        Returns:
            float64 (M,).
        """
        points = np.asarray(codes, np.float64) @ self._axes
        gaps = np.sqrt(((points[:, None] - self._points) ** 2).sum(axis=2)).min(axis=1)
        apart = gaps / self.threshold if self.threshold > 0 else np.full(len(gaps), np.inf)
        excess, named = self._likeness.excess(codes, rows, sex)
        strange = np.where(named, 0.5 - 0.25 * np.clip(excess, -1, 2), 3 - excess)
        return np.where(apart < 1, np.minimum(apart, strange), strange)
