"""The Matcher: embeddings of new tracks in, identity codes of surrogates out."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from deid_ros.errors import ConfigError, GalleryError
from deid_ros.faces import match_dtype
from deid_ros.matcher.blending import Pool
from deid_ros.matcher.gallery import Gallery
from deid_ros.matcher.k_same import KSame
from deid_ros.matcher.memory import Memory, Person
from deid_ros.matcher.policies import (
    POLICIES,
    Mixture,
    choose,
    generator_for,
    policy_index,
)

__all__ = ["MEMORY_LIMIT", "PRESERVABLE", "Matcher", "silent"]

#: What ``preserve`` may name.
PRESERVABLE = ("sex", "age", "complexion")

#: People remembered at once, over all streams.
MEMORY_LIMIT = 256


def silent(message: str) -> None:
    """Says nothing; the default of ``Matcher``'s ``warn``."""


class Matcher:
    """Gives every track a surrogate identity, once.

    Everything is a function of the gallery, the settings, the key and the calls
    made so far: with the same key the same calls give the same answers.

    Args:
        gallery: the identities to blend.
        policy: a key of ``POLICIES``.
        mix: identities blended in one surrogate.
        preserve: some of ``PRESERVABLE``, or ``['none']`` or ``[]`` for nothing; age
            and complexion in bands (``traits.AGE``, ``traits.COMPLEXION``). Where the sex
            is not kept, a random policy draws that of all contributors in proportion to
            the gallery, because blends across the sexes look wrong, and the
            deterministic ones take that of the nearest identity.
        key: what random draws are seeded with, besides stream and track; '': a
            fresh one that nobody learns.
        memory_seconds: how long a person who left keeps the surrogate; 0 to
            forget at once.
        min_distance: policy ``margin``: least cosine distance of a contributor; None:
            the median distance between two of the gallery of the same sex.
        k: policy ``k_same``: how many people share a surrogate at least.
        enrolled: policy ``k_same``: ids and embeddings (E, D) of the closed set.
        warn: is told, in a sentence, what is doubtful about the settings.

    Raises:
        ConfigError: an unknown or contradictory setting, ``mix`` larger than
            what the gallery offers.
    """

    def __init__(self, gallery: Gallery, *, policy: str, mix: int,
                 preserve: Sequence[str] = PRESERVABLE, key: str = "",
                 memory_seconds: float = 60.0, min_distance: float | None = None,
                 k: int | None = None,
                 enrolled: tuple[Sequence[str], np.ndarray] | None = None,
                 warn: Callable[[str], None] = silent) -> None:
        self._index = policy_index(policy)
        self.policy = POLICIES[policy]
        self.gallery = gallery
        self.preserve = _preserved(preserve)
        if not memory_seconds >= 0:
            raise ConfigError(f"memory_seconds is {memory_seconds}; give 0 or more.")
        if min_distance is not None and not 0 <= min_distance <= 2:
            raise ConfigError(f"min_distance is {min_distance}; give a cosine distance from 0 "
                              "to 2.")
        self._pool = Pool(gallery, mix=mix, keep=self.preserve)
        self._key = key or secrets.token_hex(32)
        self.min_distance = (_median_distance(gallery) if min_distance is None
                             else min_distance)
        # Two thirds of what separates a person of the gallery from the one most alike: with
        # dlib's extractor, one pair of strangers of a sex in 40,000 is as close, and every
        # second pair of chips of somebody who turns from one side to the other.
        spacing = float(np.median(gallery.neighbour_distances)) if len(gallery) > 1 else 0.0
        self._memory = Memory(seconds=memory_seconds, same=spacing * 2 / 3, limit=MEMORY_LIMIT)
        self._dtype = match_dtype(gallery.code_size)
        self._k_same: KSame | None = None
        if policy == "k_same":
            if k is None or enrolled is None:
                raise ConfigError("The policy 'k_same' needs k and the enrolled people; give both "
                                  "or choose the policy 'independent'.")
            self._k_same = KSame(self._pool, ids=enrolled[0], embeddings=enrolled[1], k=k,
                                 key=self._key, keep_sex="sex" in self.preserve)
        if mix == 1:
            warn("mix is 1: every surrogate has the face of one person of the gallery; a larger "
                 "mix makes others.")

    @property
    def introduction(self) -> str:
        """What the policy does and what it is worth, for the log at start."""
        return f"policy '{self.policy.name}': {self.policy.description}"

    @property
    def mix(self) -> int:
        """Identities blended in one surrogate."""
        return self._pool.mix

    def match(self, track_ids: Sequence[int] | np.ndarray, embeddings: np.ndarray, *,
              stream: str = "", present: Collection[int] | np.ndarray = (),
              now: float | None = None) -> np.ndarray:
        """The surrogate identities of M tracks.

        Called for every frame, also with M = 0, it knows who is in view and
        forgets in time those who are not.

        Args:
            track_ids: (M,) positive ints, each once.
            embeddings: (M, D), in the same order.
            stream: name of the input; tracks and people of different streams
                have nothing to do with each other.
            present: all tracks in view at this frame; those of ``track_ids``
                always are.
            now: time of the frame on a clock that only goes forward (s); None:
                the steady clock.

        Returns:
            M rows of ``match_dtype(code_size)`` in the order of ``track_ids``.
            A track asked for again gets the same answer.

        Raises:
            GalleryError: embeddings that do not fit, or no free surrogate left.
        """
        tracks = [int(track) for track in np.asarray(track_ids).reshape(-1)]
        embeddings = np.asarray(embeddings, np.float32)
        if not tracks and embeddings.size == 0:
            embeddings = np.zeros((0, self.gallery.embeddings.shape[1]), np.float32)
        if embeddings.ndim != 2 or len(embeddings) != len(tracks) \
                or len(set(tracks)) != len(tracks):
            raise GalleryError(f"Each track needs one row of embeddings and one mention, but got "
                               f"tracks {tracks} and embeddings {embeddings.shape}.")
        live = {*tracks, *(int(track) for track in present)}
        seen = time.monotonic() if now is None else now
        self._memory.tick(stream, live, seen)
        distances = self.gallery.distances(embeddings)
        matches = np.zeros(len(tracks), self._dtype)
        for row, track in enumerate(tracks):
            person = self._memory.get(stream, track)
            if person is not None:
                person.add_view(embeddings[row])
            elif self._k_same is None:
                person = self._memory.returned(stream, track, embeddings[row], live)
            if person is None:
                mixture = self._mixture(stream, track, embeddings[row], distances[row])
                person = Person(embeddings[row:row + 1].copy(), mixture,
                                float(distances[row].min()), seen)
                self._memory.put(stream, track, person)
            person.seen = seen
            matches[row] = (track, self._index, self.mix, person.distance, person.mixture.code)
        return matches

    def _mixture(self, stream: str, track: int, embedding: np.ndarray,
                 distances: np.ndarray) -> Mixture:
        if self._k_same is not None:
            groups, _ = self._k_same.assign(embedding[None])
            return self._k_same.mixtures[groups[0]]
        rng = generator_for("track", self._key, stream, track)
        group = self._pool.group_of(embedding, rng=rng if self.policy.random else None,
                                    distances=distances)
        return choose(self.policy, self._pool, group=group, distances=distances, rng=rng,
                      min_distance=self.min_distance, taken=self._memory.codes(stream))

    def mixture_of(self, track: int, *, stream: str = "") -> Mixture | None:
        """The surrogate identity of a track (who contributes), while remembered."""
        person = self._memory.get(stream, track)
        return person.mixture if person else None

    def certificate(self) -> Mapping[str, Any]:
        """What the policy ``k_same`` guarantees, in numbers and words.

        Raises:
            ConfigError: any other policy guarantees nothing of the kind.
        """
        if self._k_same is None:
            raise ConfigError(f"The policy '{self.policy.name}' has no certificate; only 'k_same' "
                              "gives one.")
        return self._k_same.certificate()

    def reset(self) -> None:
        """Forget every track and every person; key and settings stay."""
        self._memory.clear()


def _preserved(preserve: Sequence[str]) -> tuple[str, ...]:
    names = [preserve] if isinstance(preserve, str) else list(preserve)
    if names == ["none"]:
        return ()
    for name in names:
        if name not in PRESERVABLE:
            raise ConfigError(f"preserve names '{name}', but can only name "
                              f"{', '.join(PRESERVABLE)}, or be ['none'].")
    return tuple(dict.fromkeys(names))


def _median_distance(gallery: Gallery) -> float:
    distances = gallery.distances(gallery.embeddings)
    same = (gallery.sex[:, None] == gallery.sex[None]) & ~np.eye(len(gallery), dtype=bool)
    return float(np.median(distances[same])) if same.any() else 0.0
