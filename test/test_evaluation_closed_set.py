"""k_same: what is promised, over many random closed sets, and when it is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_gallery import make_gallery

from deid_ros.errors import EvaluationError
from deid_ros.evaluation.closed_set import canonical_rank_1, examine, refusals
from deid_ros.matcher.blending import Pool
from deid_ros.matcher.k_same import KSame

POOL = Pool(make_gallery(14, 12), mix=2)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(k=st.integers(2, 6), more=st.integers(0, 12), seed=st.integers(0, 2 ** 32 - 1),
       spread=st.sampled_from([0.0, 0.05, 0.5, 3.0]), keep_sex=st.booleans())
def test_random_closed_sets(k, more, seed, spread, keep_sex):
    rng = np.random.default_rng(seed)
    count = k + more
    faces = rng.normal(size=(count, 16)) * spread + rng.normal(size=16)
    faces[rng.random(count) < 0.2] = faces[0]              # twins, and enrolled twice
    names = [f"p{i}" for i in range(count)]
    closed = KSame(POOL, ids=names, embeddings=faces, k=k, key=str(seed), keep_sex=keep_sex)
    groups = [[closed.ids[row] for row in rows] for rows in closed.groups]
    # Everybody is in exactly one group, and every group has k or more.
    assert sorted(name for group in groups for name in group) == sorted(names)
    assert min(map(len, groups)) >= k
    # Members share one surrogate bit for bit; groups do not.
    codes = {name: mixture.code.tobytes() for group, mixture in zip(groups, closed.mixtures)
             for name in group}
    assert all(len({codes[name] for name in group}) == 1 for group in groups)
    assert len(set(codes.values())) == len(groups)
    # Whatever is known of the people: who sees surrogates alone is right once in k.
    shown = np.stack([np.frombuffer(codes[name], np.float32) for name in names])
    for known in (rng.normal(size=shown.shape), shown + 1e-3 * rng.normal(size=shown.shape), shown,
                  faces[:, :shown.shape[1]]):
        assert canonical_rank_1(shown, known) <= 1 / k + 1e-9


def test_the_bound_is_reached_and_not_by_accident():
    """An attacker who knows the grouping gets 1/k; one whose surrogates differ, all."""
    rng = np.random.default_rng(0)
    shown = np.repeat(rng.normal(size=(4, 8)), 3, axis=0)
    assert canonical_rank_1(shown, shown) == pytest.approx(1 / 3)
    assert canonical_rank_1(shown + rng.normal(size=shown.shape) * 1e-6, shown) <= 1 / 3 + 1e-9
    own = rng.normal(size=(12, 8))
    assert canonical_rank_1(own, own) == 1.0
    assert np.isnan(canonical_rank_1(own[:0], own[:0]))


GROUPS = [["a", "b"], ["c", "d"]]
FAR = np.eye(4)
HOME = {"a": 0, "b": 0, "c": 1, "d": 1}


def test_where_the_premise_holds_nothing_is_refused():
    assert refusals("abcd", "abcd", FAR, HOME, GROUPS, 2) == []


@pytest.mark.parametrize("change, words", [
    ({"pictured": "abcde"}, "1 of 5 people in the pictures are not enrolled (e)"),
    ({"pictured": "abbcd"}, "several pictures of b"),
    ({"embeddings": FAR[[0, 1, 2, 2]]}, "c and d look like one person enrolled twice"),
    ({"assigned": HOME | {"d": 0}}, "1 people (d) got the surrogate of a group"),
    ({"k": 3}, "fewer than k = 3"),
])
def test_refusals_are_in_words(change, words):
    options = {"pictured": "abcd", "enrolled": "abcd", "embeddings": FAR, "assigned": HOME,
               "groups": GROUPS, "k": 2, **change}
    [reason] = refusals(**options)
    assert words in reason and reason.endswith(".")
    certificate = {"policy": "k_same", "k": 2, "smallest_group": 2, "statement": "Good.",
                   "highest_chance_of_recognition": 0.5,
                   "groups": [{"people": group} for group in GROUPS]}
    refused = examine(certificate, [reason], {"dlib": 0.9})
    assert refused["bound"] is None and not refused["k_anonymous"]
    assert "must not be called k-anonymous" in refused["statement"]
    held = examine(certificate, [], {"dlib": 0.9})
    assert held["bound"] == 0.5 and held["statement"] == "Good."
    assert held["clusters"] == GROUPS and held["rank_1"] == {"dlib": 0.9}


def test_other_policies_have_no_certificate():
    with pytest.raises(EvaluationError, match="'independent' guarantees no k-anonymity"):
        examine({"policy": "independent"}, [], {})
