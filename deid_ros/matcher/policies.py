"""How a face is given the identity of its surrogate."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deid_ros.errors import ConfigError, GalleryError
from deid_ros.matcher.blending import Pool

__all__ = ["POLICIES", "Mixture", "Policy", "choose", "generator_for", "policy_index"]

#: Draws at most until one is free.
TRIES = 64

#: Share of the first contributor in a random draw, from and to. Detail comes from one
#: person: evenly mixed, skin is smooth and eyes are double.
LEADING = (0.55, 0.75)

#: Two codes closer than this, relative to their size, are the same surrogate.
SAME_CODE = 1e-4

Draw = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Mixture:
    """One surrogate identity.

    Attributes:
        ids: who contributes, as many as ``mix``.
        weights: (mix,) float64, their shares, which sum to 1.
        code: (C,) float32, the identity code for the generator.
        group: the group of the pool that the contributors are from.
    """

    ids: tuple[str, ...]
    weights: np.ndarray
    code: np.ndarray
    group: str


@dataclass(frozen=True)
class Policy:
    """A way to choose contributors.

    Attributes:
        name: its value of the parameter ``policy``.
        description: what it does and what it is worth, for people who decide.
        shares: whether different people may get the same surrogate.
        random: whether it draws at random, so that a bad draw can be repeated.
        draws: yields (rows, weights), most wanted first; None where the policy
            has its own machinery.
    """

    name: str
    description: str
    shares: bool = False
    random: bool = False
    draws: Callable[..., Iterator[Draw]] | None = None


def generator_for(*words: str | int) -> np.random.Generator:
    """A random generator that is a function of ``words`` alone.

    Its seed is the SHA-256 of the words, so that nobody without the key among
    them can foretell a draw.
    """
    text = json.dumps(["deid_ros", *words])
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest(), "big"))


def _independent(pool: Pool, group: str, rng: np.random.Generator, **_: object) -> Iterator[Draw]:
    rows = pool.groups[group]
    while True:
        # Not Generator.choice, whose draws may change between versions of numpy.
        chosen = rows[np.argsort(rng.random(len(rows)), kind="stable")[:pool.mix]]
        lead = LEADING[0] + (LEADING[1] - LEADING[0]) * rng.random()
        weights = np.full(pool.mix, (1 - lead) / max(pool.mix - 1, 1))
        weights[0] = lead
        yield chosen, weights


def _in_order(pool: Pool, ordered: np.ndarray) -> Iterator[Draw]:
    """The first ``mix`` of ``ordered``, then, where those are taken, a window further on."""
    equal = np.ones(pool.mix)
    for start in range(len(ordered) - pool.mix + 1):
        yield ordered[start:start + pool.mix], equal
    for step in range(TRIES):
        weights = equal.copy()
        weights[step % pool.mix] += 1 + step // pool.mix
        yield ordered[:pool.mix], weights


def _nearest(pool: Pool, group: str, distances: np.ndarray, **_: object) -> Iterator[Draw]:
    rows = pool.groups[group]
    yield from _in_order(pool, rows[np.argsort(distances[rows], kind="stable")])


def _margin(pool: Pool, group: str, distances: np.ndarray, *, min_distance: float,
            **_: object) -> Iterator[Draw]:
    rows = pool.groups[group]
    rows = rows[np.argsort(distances[rows], kind="stable")]
    # Where too few are far enough, the farthest there are.
    start = min(int(np.searchsorted(distances[rows], min_distance, side="right")),
                len(rows) - pool.mix)
    yield from _in_order(pool, rows[start:])


#: Name -> policy. The order is that of the number in ``faces.MATCH_BASE``.
POLICIES: dict[str, Policy] = {policy.name: policy for policy in (
    Policy(
        "independent",
        "Draws the identities at random for each track. The draw depends on the face through "
        "nothing but what 'preserve' names (by default the apparent sex and the bands of age and "
        "complexion), so the surrogate's identity says no more about the person than that. "
        "Within one run a person who comes back soon keeps the surrogate. With a key, the same "
        "input gets the same surrogates again; keep the key secret and do not use it twice for "
        "what must not be linked.",
        random=True, draws=_independent),
    Policy(
        "nearest",
        "The method of the 2017 paper: blends the identities that look most like the person. It "
        "leaks: in an experiment with 5 identities and 74 people, a modern face recogniser named "
        "the right person for 55 to 73 % of the surrogates, where guessing gives 1.4 %. Use it "
        "to reproduce the paper, not to protect people.",
        draws=_nearest),
    Policy(
        "margin",
        "Blends the identities that look most like the person among those farther away than "
        "'min_distance', which keeps something of age and complexion. It is deterministic in the "
        "face: in an experiment with 74 people, comparing surrogates with the originals named 2, "
        "but an attacker who ran the same tool on a second photograph of each person named 18.",
        draws=_margin),
    Policy(
        "k_same",
        "For a closed set of enrolled people: groups them so that at least k share one surrogate "
        "identity. An attacker who sees only the canonical surrogate of an enrolled person cannot "
        "name that person with a better chance than 1/k. This says nothing about people who are "
        "not enrolled or are taken for somebody else, and nothing about composites: a surrogate "
        "put into a real frame comes with hair, clothes, pose and place, whose risk has to be "
        "measured apart.",
        shares=True),
)}


def policy_index(name: str) -> int:
    """The number of a policy in ``faces.MATCH_BASE``.

    Raises:
        ConfigError: there is no such policy.
    """
    try:
        return list(POLICIES).index(name)
    except ValueError:
        raise ConfigError(f"There is no policy called '{name}'; choose one of "
                          f"{', '.join(POLICIES)}.") from None


def choose(policy: Policy, pool: Pool, *, group: str, distances: np.ndarray,
           rng: np.random.Generator, min_distance: float = 0.0,
           taken: Sequence[np.ndarray] = ()) -> Mixture:
    """The surrogate identity for one face: the policy's first draw that is free.

    Args:
        policy: one with ``draws``.
        pool: the candidates.
        group: the group to choose from.
        distances: (n,) cosine distance of the face to every gallery identity.
        rng: what random policies draw from.
        min_distance: least cosine distance for the policy ``margin``.
        taken: codes that are in use and must not be given again.

    Raises:
        GalleryError: no free surrogate is left.
    """
    used = np.array(list(taken), np.float32).reshape(-1, pool.gallery.code_size)
    near = SAME_CODE * np.linalg.norm(used, axis=1)
    assert policy.draws is not None
    draws = policy.draws(pool, group, rng=rng, distances=distances, min_distance=min_distance)
    for rows, weights in itertools.islice(draws, TRIES if policy.random else None):
        code = pool.blend(group, rows, weights)
        if (np.linalg.norm(code - used, axis=1) > near).all():
            return Mixture(tuple(pool.gallery.ids[rows].tolist()), weights / weights.sum(), code,
                           group)
    raise GalleryError(
        f"{len(taken)} surrogates are in use and the gallery's {len(pool.groups[group])} "
        f"candidates give no other one with mix {pool.mix}; use a larger gallery.")
