"""k-same: groups of at least k, one surrogate each, and what it promises."""

from __future__ import annotations

import json

import numpy as np
import pytest
from synthetic_gallery import faces, make_gallery

from deid_ros.errors import ConfigError
from deid_ros.matcher import Matcher
from deid_ros.matcher.k_same import clusters_of
from deid_ros.matcher.traits import Traits


@pytest.fixture(scope="module")
def gallery():
    return make_gallery()


@pytest.fixture(scope="module")
def enrolled():
    embeddings = np.concatenate([faces("M", 11, 21), faces("F", 7, 22)])
    return [f"person{i:02d}" for i in range(18)], embeddings


def make(gallery, people, **changes):
    settings = {"policy": "k_same", "mix": 3, "preserve": ["sex"], "key": "secret", "k": 3,
                "enrolled": people}
    return Matcher(gallery, **{**settings, **changes})


@pytest.mark.parametrize(("count", "k"), [(2, 2), (5, 2), (7, 3), (12, 5), (10, 5), (30, 4)])
def test_clusters_partition(count, k):
    groups = clusters_of(faces("M", count, count), k)
    assert sorted(np.concatenate(groups).tolist()) == list(range(count))
    assert all(k <= len(group) < 2 * k for group in groups)


def test_clusters_gather_the_alike():
    centres = np.eye(16)[:4]
    rows = np.repeat(centres, 3, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(12, 16))
    assert [group.tolist() for group in clusters_of(rows, 3)] == [
        [0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]


def test_clusters_of_identical_faces():
    groups = clusters_of(np.ones((7, 16)), 3)
    assert sorted(np.concatenate(groups).tolist()) == list(range(7))


def test_at_least_k_share_exactly_one_surrogate(gallery, enrolled):
    matcher = make(gallery, enrolled)
    names, embeddings = enrolled
    matches = matcher.match(np.arange(1, 19), embeddings, now=0.0)
    codes, counts = np.unique(matches["code"], axis=0, return_counts=True)
    assert counts.min() >= 3
    certificate = matcher.certificate()
    assert len(codes) == len(certificate["groups"])
    for group in certificate["groups"]:
        rows = [names.index(name) for name in group["people"]]
        assert len(np.unique(matches["code"][rows], axis=0)) == 1
    # The surrogate is that of the group, whichever track, time or memory.
    again = matcher.match([99], embeddings[:1], present=[1], now=1.0)
    np.testing.assert_array_equal(again["code"][0], matches["code"][0])


def test_certificate(gallery, enrolled):
    certificate = make(gallery, enrolled).certificate()
    json.dumps(certificate)
    people = [name for group in certificate["groups"] for name in group["people"]]
    assert sorted(people) == enrolled[0]
    sizes = [len(group["people"]) for group in certificate["groups"]]
    assert certificate["smallest_group"] == min(sizes) >= certificate["k"] == 3
    assert certificate["highest_chance_of_recognition"] == pytest.approx(1 / min(sizes))
    assert certificate["groups_within_apparent_sex"] is True
    assert "does not hold for composites" in certificate["statement"]


def test_groups_and_surrogates_keep_the_sex(gallery, enrolled):
    matcher = make(gallery, enrolled)
    table = dict(zip(gallery.ids.tolist(), gallery.sex.tolist()))
    voted = dict(zip(enrolled[0], Traits(gallery).sexes(enrolled[1]).tolist()))
    for group in matcher.certificate()["groups"]:
        shown = {table[name] for name in group["surrogate"]}
        assert shown == {voted[name] for name in group["people"]}


def test_a_sex_with_fewer_than_k_joins_the_others(gallery):
    embeddings = np.concatenate([faces("M", 8, 21), faces("F", 1, 22)])
    certificate = make(gallery, (list("abcdefghi"), embeddings)).certificate()
    assert certificate["groups_within_apparent_sex"] is False
    assert certificate["smallest_group"] >= 3
    none = make(gallery, (list("abcdefghi"), embeddings), preserve=["none"]).certificate()
    assert none["groups_within_apparent_sex"] is False


def test_key_and_order_of_enrolment(gallery, enrolled):
    first = make(gallery, enrolled).certificate()
    order = np.random.default_rng(1).permutation(18)
    shuffled = ([enrolled[0][i] for i in order], enrolled[1][order])
    assert make(gallery, shuffled).certificate() == first
    other = make(gallery, enrolled, key="another").certificate()
    assert [g["people"] for g in other["groups"]] == [g["people"] for g in first["groups"]]
    assert [g["surrogate"] for g in other["groups"]] != [g["surrogate"] for g in first["groups"]]


@pytest.mark.parametrize(("changes", "words"), [
    ({"k": 1}, "k is 1, but 18 people are enrolled; choose k from 2 to 18"),
    ({"k": 19}, "k is 19"),
    ({"k": None}, "needs k"),
    ({"enrolled": (["a", "a"], faces("M", 2, 1))}, "unique id"),
    ({"enrolled": (["a", "b", "c"], faces("M", 2, 1))}, r"3 ids for embeddings \(2, 16\)"),
])
def test_bad_settings(gallery, enrolled, changes, words):
    with pytest.raises(ConfigError, match=words):
        make(gallery, enrolled, **changes)
