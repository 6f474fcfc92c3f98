"""Identities mixed by hand: ``A000369+B001135`` and the like."""

from __future__ import annotations

import difflib

import numpy as np

from deid_ros.errors import GalleryError
from deid_ros.matcher.gallery import Gallery

__all__ = ["mix_by_id", "parse_recipe", "random_mix"]


def parse_recipe(recipe: str) -> dict[str, float]:
    """id -> weight of ``'A000369+B001135'`` or ``'A000369*2+B001135*0.5'``.

    Raises:
        GalleryError: an empty part, a weight that is no positive number.
    """
    weights: dict[str, float] = {}
    for part in str(recipe).split("+"):
        name, star, number = (word.strip() for word in part.partition("*"))
        try:
            weight = float(number) if star else 1.0
        except ValueError:
            weight = -1.0
        if not name or not 0 < weight < 1e6:
            raise GalleryError(f"The mixture '{recipe}' cannot be read at '{part.strip()}'; write "
                               "ids with + between and a weight behind *: A000369*2+B001135")
        weights[name] = weights.get(name, 0.0) + weight
    return weights


def mix_by_id(gallery: Gallery, recipe: str) -> np.ndarray:
    """float32 (C,): the code of the identities of a recipe, its variance restored.

    As ``blending.Pool.blend``; contributors of both sexes are blended around the
    mean that lies between their means in the same proportion.

    Raises:
        GalleryError: an id that the gallery does not hold (the message names close
            ones), a recipe that cannot be read.
    """
    chosen = parse_recipe(recipe)
    ids = gallery.ids.tolist()
    rows = []
    for name in chosen:
        if name not in ids:
            close = difflib.get_close_matches(name, ids, n=3, cutoff=0.5)
            hint = f"; close are {', '.join(close)}" if close else ""
            raise GalleryError(f"The gallery has nobody with the id '{name}'{hint}; its "
                               f"{len(gallery)} ids go from {min(ids)} to {max(ids)}.")
        rows.append(ids.index(name))
    return _blend(gallery, np.array(rows), np.array(list(chosen.values())))


def random_mix(gallery: Gallery, rng: np.random.Generator, *, mix: int,
               sex: str | None = None) -> tuple[np.ndarray, str]:
    """The code of ``mix`` random identities of one sex, and its recipe.

    Args:
        sex: 'M', 'F', '?'; as often as each can be had without it.

    Raises:
        GalleryError: fewer than ``mix`` identities of that sex.
    """
    sexes = sorted(set(gallery.sex.tolist())) if sex is None else [sex]
    pools = []
    for letter in sexes:
        rows = np.flatnonzero(gallery.sex == letter)
        usable = rows[gallery.usable[rows]]
        rows = usable if len(usable) >= mix else rows
        if len(rows) >= mix:
            pools.append(rows)
    if mix < 1 or not pools:
        most = max(int((gallery.sex == letter).sum()) for letter in sexes)
        raise GalleryError(f"mix is {mix}, but the gallery has at most {most} identities of one "
                           f"sex{f' ({sex})' if sex else ''}; choose mix from 1 to {most}.")
    pool = pools[int(rng.integers(len(pools)))]
    rows = np.sort(rng.choice(pool, mix, replace=False))
    return _blend(gallery, rows, np.ones(mix)), "+".join(gallery.ids[rows])


def _blend(gallery: Gallery, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    weights = weights / weights.sum()
    codes = gallery.codes.astype(np.float64)
    means = {sex: codes[gallery.sex == sex].mean(0) for sex in set(gallery.sex[rows].tolist())}
    mean = weights @ np.array([means[sex] for sex in gallery.sex[rows].tolist()])
    blend = weights @ codes[rows]
    return (mean + (blend - mean) / np.sqrt((weights ** 2).sum())).astype(np.float32)
