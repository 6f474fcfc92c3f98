"""Blending gallery identities into one that is somebody, but nobody."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from deid_ros.errors import ConfigError
from deid_ros.matcher.gallery import Gallery
from deid_ros.matcher.traits import AGE, COMPLEXION, Traits

__all__ = ["GROUP", "Pool"]

#: Identities in a group: those nearest to the middle of its bands.
GROUP = 16
# How far people must differ to look as different: years, degrees.
_SCALE = {"age": 20.0, "complexion": 15.0}


class Pool:
    """The identities that may contribute, in groups of people who look alike in kind.

    A group is named by what its people share: 'F', or 'F young light'.

    Args:
        gallery: where they come from.
        mix: how many are blended.
        keep: of ``sex``, ``age`` and ``complexion``, what groups go by. Sexes are never
            mixed, because blends across them look wrong. What the gallery does not know
            of its people is left out.

    Attributes:
        groups: name -> row numbers (ascending by id) that may contribute: the usable ones
            where they suffice for ``mix``, else all.

    Raises:
        ConfigError: ``mix`` is below 1 or larger than a group.
    """

    def __init__(self, gallery: Gallery, *, mix: int, keep: Collection[str] = ("sex",)) -> None:
        self.gallery = gallery
        self.mix = mix
        self.traits = Traits(gallery)
        if mix < 1 or mix > len(gallery):
            raise ConfigError(f"mix is {mix}, but the gallery has {len(gallery)} identities; "
                              f"choose mix from 1 to {self._limit('sex' in keep)}.")
        self._keep_sex = "sex" in keep
        self._bands = [(name, bands) for name, bands in (("age", AGE), ("complexion", COMPLEXION))
                       if name in keep and name in self.traits.names]
        self._sexes = self._usable(self._keep_sex)
        self.groups = {name: rows for sex in self._sexes for name, rows in self._within(sex)}
        codes = self._codes = gallery.codes.astype(np.float64)
        self._means = {name: codes[rows].mean(axis=0) for name, rows in self.groups.items()}

    def _rows(self) -> dict[str, np.ndarray]:
        gallery = self.gallery
        rows = {sex: np.flatnonzero(gallery.sex == sex) for sex in ("M", "F", "?")}
        rows = {sex: found[np.argsort(gallery.id_rank[found])] for sex, found in rows.items()
                if found.size}
        # Somebody of unknown sex fits no group; they serve only among themselves.
        return {sex: found for sex, found in rows.items() if sex != "?" or len(rows) == 1}

    def _limit(self, need_all: bool) -> int:
        sizes = [len(rows) for rows in self._rows().values()]
        return min(sizes) if need_all else max(sizes)

    def _usable(self, need_all: bool) -> dict[str, np.ndarray]:
        sexes = {}
        for sex, rows in self._rows().items():
            usable = rows[self.gallery.usable[rows]]
            if len(usable) >= self.mix:
                sexes[sex] = usable
            elif len(rows) >= self.mix:
                sexes[sex] = rows
            elif need_all:
                raise ConfigError(
                    f"mix is {self.mix}, but the gallery has only {len(rows)} identities of sex "
                    f"'{sex}'; choose mix from 1 to {self._limit(True)} or a larger gallery.")
        if not sexes:
            raise ConfigError(f"mix is {self.mix}, but the largest group of one sex in the "
                              f"gallery has {self._limit(False)} identities; choose mix from 1 "
                              f"to {self._limit(False)} or a larger gallery.")
        return sexes

    def _within(self, sex: str) -> Iterator[tuple[str, np.ndarray]]:
        """The groups of a sex: every combination of the bands that are kept."""
        rows = self._sexes[sex]
        # By the same measure as people before a camera: one photograph's light misleads.
        numbers = [self.traits.read(name, self.gallery.embeddings[rows]) for name, _ in self._bands]
        shape = [len(bands.names) for _, bands in self._bands]
        for place in np.ndindex(*shape):
            far = np.zeros(len(rows))
            for (name, bands), values, band in zip(self._bands, numbers, place):
                far += np.abs(values - bands.middles[band]) / _SCALE[name]
            count = max(GROUP, self.mix) if self._bands else len(rows)
            yield self._name(sex, place), rows[np.sort(np.argsort(far, kind="stable")[:count])]

    def _name(self, sex: str, place: tuple[int, ...]) -> str:
        return " ".join([sex, *(bands.names[band] for (_, bands), band
                                in zip(self._bands, place))])

    def group_of(self, embedding: np.ndarray, *, rng: np.random.Generator | None = None,
                 distances: np.ndarray | None = None) -> str:
        """The group for a face.

        Args:
            embedding: (D,) of the face.
            rng: draws the sex where it is not kept, in proportion to the gallery.
            distances: (n,) cosine distances of the face to everybody: where sex is not kept
                and nothing is drawn, the sex of the nearest.
        """
        row = np.asarray(embedding)[None]
        place = tuple(int(np.searchsorted(bands.seen, self.traits.read(name, row)[0], side="right"))
                      for name, bands in self._bands)
        return self._name(self._sex(row, rng, distances), place)

    def _sex(self, row: np.ndarray, rng: np.random.Generator | None,
             distances: np.ndarray | None) -> str:
        if self._keep_sex:
            return str(self.traits.sexes(row)[0])
        if rng is not None:
            return self.random_sex(rng)
        assert distances is not None
        return min(self._sexes, key=lambda sex: distances[self._sexes[sex]].min())

    def random_sex(self, rng: np.random.Generator) -> str:
        """A sex, drawn in proportion to how many of it may contribute."""
        sexes = list(self._sexes)
        ends = np.cumsum([len(self._sexes[sex]) for sex in sexes])
        return sexes[int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))]

    def blend(self, group: str, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """float32 (..., C): codes of weighted blends with their variance restored.

        mean + sqrt(mix_eff) * (blend - mean), where the mean is that of the group and
        mix_eff = 1 / sum(w^2) the number of equal contributors that would average out as
        much: a plain mean of people is pale and close to everybody.

        Args:
            rows: (..., mix) row numbers, ``weights``: (..., mix) their shares.
        """
        weights = np.asarray(weights, np.float64)
        weights = weights / weights.sum(axis=-1, keepdims=True)
        mean = self._means[group]
        blend = np.einsum("...i,...ij->...j", weights, self._codes[rows])
        stretch = 1 / np.sqrt((weights ** 2).sum(axis=-1, keepdims=True))
        return (mean + (blend - mean) * stretch).astype(np.float32)
