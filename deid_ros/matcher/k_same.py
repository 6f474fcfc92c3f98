"""k-same for a closed set: at least k enrolled people share one surrogate.

After E. M. Newton, L. Sweeney, B. Malin, "Preserving Privacy by De-identifying
Face Images", IEEE Transactions on Knowledge and Data Engineering, 2005, with the
surrogate of a group drawn from a gallery instead of averaged from the group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deid_ros.errors import ConfigError, GalleryError
from deid_ros.matcher.blending import Pool
from deid_ros.matcher.gallery import cosine_distances
from deid_ros.matcher.policies import POLICIES, Mixture, choose, generator_for

__all__ = ["KSame", "clusters_of"]


def clusters_of(embeddings: np.ndarray, k: int) -> list[np.ndarray]:
    """Partition people into groups of k to 2k - 1 whose faces are alike.

    The person farthest from the middle takes the k - 1 nearest, over and over
    (maximum distance to average vector: Domingo-Ferrer and Mateo-Sanz,
    "Practical data-oriented microaggregation", IEEE TKDE, 2002).

    Args:
        embeddings: (E, D), E >= k.

    Returns:
        Groups of row numbers, ascending; ties go to the smaller row number.
    """
    distances = cosine_distances(embeddings, embeddings)
    left = np.arange(len(embeddings))
    groups = []
    while len(left) >= 2 * k:
        inner = distances[np.ix_(left, left)]
        far = int(inner.sum(axis=1).round(6).argmax())
        order = np.argsort(inner[far], kind="stable")
        # Itself first, even where somebody else's embedding is the same.
        order = np.concatenate([[far], order[order != far]])[:k]
        groups.append(np.sort(left[order]))
        left = np.delete(left, order)
    groups.append(left)
    return sorted(groups, key=lambda group: int(group[0]))


class KSame:
    """Groups of enrolled people, and one surrogate for each group.

    Args:
        pool: the candidates for surrogates.
        ids: (E,) the names of the enrolled people, unique.
        embeddings: (E, D), one row for each of them.
        k: size of the smallest group.
        key: groups get the same surrogates again under the same key.
        keep_sex: form the groups within the apparent sex where both have k or
            more, and give them surrogates of that sex.

    Raises:
        ConfigError: k below 2 or more than the enrolled, ids and rows that do
            not fit together.
    """

    def __init__(self, pool: Pool, *, ids: Sequence[str], embeddings: np.ndarray, k: int,
                 key: str, keep_sex: bool) -> None:
        names = [str(name) for name in ids]
        embeddings = np.asarray(embeddings, np.float32)
        if embeddings.ndim != 2 or len(embeddings) != len(names) or len(set(names)) != len(names):
            raise ConfigError(f"The enrolled people need one unique id and one embedding each, "
                              f"but got {len(names)} ids for embeddings {embeddings.shape}.")
        if not 2 <= k <= len(names):
            raise ConfigError(f"k is {k}, but {len(names)} people are enrolled; choose k from 2 "
                              f"to {len(names)}, or enrol more.")
        # The groups must not depend on the order of enrolment.
        order = np.argsort(np.array(names), kind="stable")
        self.ids = tuple(names[i] for i in order)
        self.k = k
        self._embeddings = embeddings[order]
        self.groups = self._group(pool, keep_sex)
        self.group_of = np.empty(len(names), np.intp)
        for number, rows in enumerate(self.groups):
            self.group_of[rows] = number
        self.mixtures = self._draw(pool, key)

    def _group(self, pool: Pool, keep_sex: bool) -> list[np.ndarray]:
        voted = pool.traits.sexes(self._embeddings)
        parts = [np.flatnonzero(voted == sex) for sex in sorted(set(voted.tolist()))]
        self._split = keep_sex and all(len(part) >= self.k for part in parts)
        if not self._split:
            parts = [np.arange(len(self.ids))]
        return [part[rows] for part in parts
                for rows in clusters_of(self._embeddings[part], self.k)]

    def _draw(self, pool: Pool, key: str) -> list[Mixture]:
        mixtures: list[Mixture] = []
        for number, rows in enumerate(self.groups):
            rng = generator_for("k_same", key, number)
            group = pool.group_of(self._embeddings[rows].mean(axis=0), rng=rng)
            mixtures.append(choose(POLICIES["independent"], pool, group=group,
                                   distances=np.zeros(len(pool.gallery)), rng=rng,
                                   taken=[mixture.code for mixture in mixtures]))
        return mixtures

    def assign(self, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The group of the nearest enrolled person, for M embeddings (M, D).

        Returns:
            ``(groups, distances)``: group numbers (M,) and float32 cosine
            distances (M,) to that person. A large distance means that the
            person is probably not enrolled and not protected by k.
        """
        try:
            distances = cosine_distances(embeddings, self._embeddings)
        except GalleryError as error:
            raise GalleryError(f"The face cannot be compared with the enrolled people: "
                               f"{error}") from None
        nearest = distances.argmin(axis=1)
        return self.group_of[nearest], distances.min(axis=1).astype(np.float32)

    def certificate(self) -> Mapping[str, Any]:
        """What is guaranteed, in numbers and words, ready for JSON."""
        sizes = [len(rows) for rows in self.groups]
        return {
            "policy": "k_same",
            "k": self.k,
            "enrolled": len(self.ids),
            "groups": [{"people": [self.ids[row] for row in rows],
                        "surrogate": list(mixture.ids)}
                       for rows, mixture in zip(self.groups, self.mixtures)],
            "smallest_group": min(sizes),
            "highest_chance_of_recognition": 1 / min(sizes),
            "groups_within_apparent_sex": self._split,
            "statement": (
                f"Each of the {len(self.ids)} enrolled people shares one canonical surrogate "
                f"with at least {min(sizes) - 1} others. An attacker who sees only that "
                "surrogate, and for whom the enrolled people are equally likely beforehand, "
                f"names its person with a chance of at most 1/{min(sizes)}. It holds for "
                "enrolled people who are assigned to their own group; people who are not enrolled "
                "get the surrogate of the group that they look most like, without any guarantee. "
                "It does not hold for composites: a surrogate in a real frame comes with hair, "
                "clothes, pose, expression and place."),
        }
