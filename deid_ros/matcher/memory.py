"""Who has which surrogate: in memory only, for a while, and not too many.

Nothing here is ever written to disk, and what is forgotten is gone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from deid_ros.matcher.gallery import cosine_distances
from deid_ros.matcher.policies import Mixture

__all__ = ["Memory", "Person"]

_VIEWS = 4      # embeddings kept of one person


@dataclass(eq=False)
class Person:
    """One person while remembered.

    Attributes:
        embeddings: (1.._VIEWS, D) of the chips seen: the first, and better ones.
        mixture: the surrogate identity given.
        distance: cosine distance of the nearest gallery identity.
        seen: when a track of theirs was last live (s).
    """

    embeddings: np.ndarray
    mixture: Mixture
    distance: float
    seen: float

    def add_view(self, embedding: np.ndarray) -> None:
        """Learn what the person looks like in another chip, (D,)."""
        if len(self.embeddings) < _VIEWS:
            self.embeddings = np.concatenate([self.embeddings, embedding[None]])


class Memory:
    """People by stream and track.

    Args:
        seconds: how long a person is remembered after the last frame.
        same: two embeddings at most this cosine distance apart are one person.
        limit: people remembered at once; the one not seen for longest goes first.
    """

    def __init__(self, *, seconds: float, same: float, limit: int) -> None:
        self.seconds = seconds
        self.same = same
        self.limit = limit
        # Ordered by `seen`: the first was not seen for longest.
        self._people: OrderedDict[tuple[str, int], Person] = OrderedDict()

    def __len__(self) -> int:
        return len(self._people)

    def tick(self, stream: str, live: Collection[int], now: float) -> None:
        """Note who is there at ``now`` (s) and forget who was gone for too long."""
        for track in sorted(live):
            person = self._people.get((stream, track))
            if person is not None:
                person.seen = now
                self._people.move_to_end((stream, track))
        # A clock that went back tells nothing about an age: forget.
        for key in [key for key, person in self._people.items()
                    if not 0 <= now - person.seen <= self.seconds]:
            del self._people[key]

    def get(self, stream: str, track: int) -> Person | None:
        """The person of a track, if remembered."""
        return self._people.get((stream, track))

    def put(self, stream: str, track: int, person: Person) -> None:
        """Remember a person under a track."""
        self._people[stream, track] = person
        self._people.move_to_end((stream, track))
        while len(self._people) > self.limit:
            self._people.popitem(last=False)

    def returned(self, stream: str, track: int, embedding: np.ndarray,
                 live: Collection[int]) -> Person | None:
        """The remembered person whose face this is, from now on under ``track``.

        Only somebody whose track is not among the ``live`` ones: two people in
        view never share a surrogate.
        """
        away = sorted(known for name, known in self._people
                      if name == stream and known not in live)
        if not away or self.same <= 0:
            return None
        # Somebody who left in profile may come back facing the camera.
        distances = np.array([cosine_distances(embedding[None],
                                               self._people[stream, known].embeddings).min()
                              for known in away])
        if distances.min() > self.same:
            return None
        person = self._people.pop((stream, away[int(distances.argmin())]))
        self.put(stream, track, person)
        return person

    def codes(self, stream: str) -> list[np.ndarray]:
        """The codes that are in use in a stream, by people in view or remembered."""
        return [person.mixture.code for (name, _), person in self._people.items()
                if name == stream]

    def clear(self) -> None:
        """Forget everybody."""
        self._people.clear()
