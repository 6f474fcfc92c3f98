"""Whether a run with ``k_same`` may be called k-anonymous, and what is guaranteed.

Newton, Sweeney and Malin, "Preserving privacy by de-identifying face images", IEEE
TKDE 2005: the guarantee is one about a closed set with one picture of each person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deid_ros.errors import EvaluationError
from deid_ros.matcher.gallery import cosine_distances

__all__ = ["DUPLICATE", "canonical_rank_1", "examine", "refusals"]

#: Two faces this near (cosine distance; 0.3 between dlib's descriptors, half of what
#: it calls the same person) are taken for one person.
DUPLICATE = 0.3 ** 2 / (2 * 1.44 ** 2)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def refusals(pictured: Sequence[str], enrolled: Sequence[str], embeddings: np.ndarray,
             assigned: Mapping[str, int], groups: Sequence[Sequence[str]], k: int) -> list[str]:
    """Why this is not k-anonymous, a sentence each; nothing where the premise holds.

    Args:
        pictured: who is in the pictures, once for every picture.
        enrolled: the E people of the closed set.
        embeddings: (E, D), theirs.
        assigned: person -> number of the group whose surrogate the picture got.
        groups: the people of each group.
        k: what was asked for.
    """
    out = []
    strangers = sorted(set(pictured) - set(enrolled))
    if strangers:
        out.append(f"{len(strangers)} of {len(set(pictured))} people in the pictures are not "
                   f"enrolled ({_names(strangers)}), so the set is not closed; enrol them or "
                   "leave their pictures out.")
    several = sorted(name for name, count in Counter(pictured).items() if count > 1)
    if several:
        out.append(f"There are several pictures of {_names(several)}; whoever puts two of them "
                   "side by side learns more than one surrogate says, so keep one of each.")
    near = np.argwhere(np.triu(cosine_distances(embeddings, embeddings) < DUPLICATE, 1)) \
        if len(embeddings) > 1 else []
    if len(near):
        pairs = [f"{enrolled[a]} and {enrolled[b]}" for a, b in near]
        out.append(f"{_names(pairs)} look like one person enrolled twice, who counts as two "
                   "towards k; keep one picture of each person.")
    home = {name: number for number, members in enumerate(groups) for name in members}
    astray = sorted(name for name, group in assigned.items()
                    if name in home and home[name] != group)
    if astray:
        out.append(f"{len(astray)} people ({_names(astray)}) got the surrogate of a group that "
                   "is not theirs; enrol the pictures that are shown.")
    small = [members for members in groups if len(members) < k]
    if small:
        out.append(f"A group has {min(map(len, small))} people, fewer than k = {k}.")
    return out


def examine(certificate: Mapping[str, Any], reasons: Sequence[str],
            measured: Mapping[str, float]) -> dict[str, Any]:
    """The certificate with its premise checked and what it does not cover beside it.

    Args:
        certificate: of ``KSame``.
        reasons: from ``refusals``.
        measured: attacker -> rank-1 on the composites.

    Returns:
        For JSON: ``k_anonymous``, ``statement``, ``reasons``, ``bound`` (None where
        refused), ``clusters`` (the people of each), ``smallest``, ``rank_1``.
    """
    if certificate.get("policy") != "k_same":
        raise EvaluationError(f"The policy '{certificate.get('policy')}' guarantees no "
                              "k-anonymity; only 'k_same' has a certificate.")
    holds = not reasons
    statement = str(certificate["statement"]) if holds else (
        "This must not be called k-anonymous: " + " ".join(reasons))
    return {"k": certificate["k"], "k_anonymous": holds, "statement": statement,
            "reasons": list(reasons), "smallest": certificate["smallest_group"],
            "bound": certificate["highest_chance_of_recognition"] if holds else None,
            "clusters": [list(group["people"]) for group in certificate["groups"]],
            "rank_1": dict(measured)}


def canonical_rank_1(shown: np.ndarray, known: np.ndarray) -> float:
    """The rank-1 of a nearest neighbour that sees each person's canonical surrogate.

    Args:
        shown: (N, D) surrogates, row i of person i.
        known: (N, D) what is known of the people, in the same space.
    """
    from deid_ros.evaluation.recognition import euclidean, hits, ranks

    return float(hits(ranks(euclidean(shown, known)), 1).mean()) if len(shown) else float("nan")
