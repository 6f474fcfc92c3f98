"""The Matcher: once per track, memory, keys, and the bad settings."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_gallery import DIMENSIONS, faces, make_gallery

from deid_ros.errors import ConfigError, GalleryError
from deid_ros.faces import match_dtype
from deid_ros.matcher import POLICIES, Matcher, policy_index
from deid_ros.matcher.matcher import MEMORY_LIMIT

RANDOM = {"policy": "independent", "mix": 5, "preserve": ["sex"], "key": "secret"}


@pytest.fixture(scope="module")
def gallery():
    return make_gallery()


def moved(face: np.ndarray, amount: float, seed: int = 0) -> np.ndarray:
    """Another view of the same person."""
    face = face + amount * np.random.default_rng(seed).normal(size=face.shape)
    return (face / np.linalg.norm(face, axis=-1, keepdims=True)).astype(np.float32)


def sexes(gallery, mixture):
    table = dict(zip(gallery.ids.tolist(), gallery.sex.tolist()))
    return {table[name] for name in mixture.ids}


@pytest.mark.parametrize("policy", ["independent", "nearest", "margin"])
def test_nobody(gallery, policy):
    matcher = Matcher(gallery, **{**RANDOM, "policy": policy})
    for embeddings in (np.zeros((0, DIMENSIONS), np.float32), np.zeros((0, 0))):
        matches = matcher.match([], embeddings, now=0.0)
        assert matches.shape == (0,) and matches.dtype == match_dtype(12)


def test_rows(gallery):
    matcher = Matcher(gallery, **RANDOM)
    people = np.concatenate([faces("M", 2, 5), faces("F", 1, 6)])
    matches = matcher.match([4, 9, 2], people, now=0.0)
    assert matches["track_id"].tolist() == [4, 9, 2]
    assert set(matches["policy"]) == {policy_index("independent")}
    assert set(matches["mix"]) == {5}
    np.testing.assert_allclose(matches["distance"], gallery.nearest(people, 1)[1][:, 0])
    for match in matches:
        mixture = matcher.mixture_of(int(match["track_id"]))
        np.testing.assert_array_equal(match["code"], mixture.code)
    assert [sexes(gallery, matcher.mixture_of(t)) for t in (4, 9, 2)] == [{"M"}, {"M"}, {"F"}]


def test_once_per_track(gallery):
    matcher = Matcher(gallery, **RANDOM)
    first = matcher.match([1], faces("M", 1, 5), now=0.0)
    # Whatever the later chip looks like: the track has its surrogate.
    again = matcher.match([1], faces("F", 1, 6), now=1.0)
    np.testing.assert_array_equal(first, again)


def test_the_key_reproduces(gallery):
    people = faces("M", 3, 5)

    def codes(**changes):
        matcher = Matcher(gallery, **{**RANDOM, **changes})
        return matcher.match([1, 2, 3], people, stream="cam", now=0.0)["code"]

    np.testing.assert_array_equal(codes(), codes())
    assert not np.allclose(codes(), codes(key="other"))
    assert not np.allclose(codes(key=""), codes(key=""))


def test_stream_and_track_make_the_draw(gallery):
    face = faces("M", 1, 5)
    codes = [Matcher(gallery, **RANDOM).match([track], face, stream=stream, now=0.0)["code"][0]
             for stream, track in (("a", 1), ("a", 2), ("b", 1))]
    assert not np.allclose(codes[0], codes[1]) and not np.allclose(codes[0], codes[2])
    # Another face of the same sex changes nothing.
    other = Matcher(gallery, **RANDOM).match([1], faces("M", 1, 77), stream="a", now=0.0)
    np.testing.assert_array_equal(other["code"][0], codes[0])


def test_who_comes_back_keeps_the_surrogate(gallery):
    matcher = Matcher(gallery, **RANDOM, memory_seconds=10)
    face, stranger = faces("M", 2, 5)[:, None]
    first = matcher.match([1], face, now=0.0)["code"][0]
    other = matcher.match([2], stranger, now=1.0)["code"][0]
    back = matcher.match([3], moved(face, 0.01), now=5.0)["code"][0]
    np.testing.assert_array_equal(back, first)
    assert not np.allclose(other, first)
    # Seen again at 5 s, so still known at 14 s, but not 11 s after that.
    np.testing.assert_array_equal(matcher.match([4], face, now=14.0)["code"][0], first)
    assert not np.allclose(matcher.match([5], face, now=25.1)["code"][0], first)


def test_who_comes_back_looking_another_way_is_known_by_a_later_chip(gallery):
    matcher = Matcher(gallery, **RANDOM)
    profile, frontal = faces("M", 2, 5)
    code = matcher.match([1], profile[None], now=0.0)["code"][0]
    matcher.match([1], frontal[None], now=1.0)      # a better chip of the same track
    matcher.match([], np.zeros((0, DIMENSIONS)), now=2.0)
    back = matcher.match([2], moved(frontal[None], 0.001), now=3.0)["code"][0]
    np.testing.assert_array_equal(back, code)
    for t in range(20):
        matcher.match([2], faces("M", 1, 50 + t), now=4.0 + t)
    assert len(matcher._memory.get("", 2).embeddings) == 4


def test_two_in_view_never_share(gallery):
    for policy in ("independent", "nearest", "margin"):
        matcher = Matcher(gallery, **{**RANDOM, "policy": policy})
        face = faces("M", 1, 5)
        twins = matcher.match([1, 2], np.repeat(face, 2, axis=0), now=0.0)["code"]
        assert not np.allclose(*twins)
        # Track 1 is still in view: 3 is somebody else, however alike.
        third = matcher.match([3], face, present=[1, 2, 3], now=1.0)["code"][0]
        assert not any(np.allclose(third, twin) for twin in twins)
        # Track 2 has left: 4 is that person.
        fourth = matcher.match([4], face, present=[1, 3, 4], now=2.0)["code"][0]
        np.testing.assert_array_equal(fourth, twins[1])


def test_being_present_keeps_the_memory(gallery):
    matcher = Matcher(gallery, **RANDOM, memory_seconds=3)
    none = np.zeros((0, DIMENSIONS), np.float32)
    face = faces("M", 1, 5)
    first = matcher.match([1], face, now=0.0)["code"][0]
    for second in range(1, 9):
        matcher.match([], none, present=[1], now=float(second))
    assert matcher.mixture_of(1) is not None
    np.testing.assert_array_equal(matcher.match([2], face, now=10.0)["code"][0], first)
    matcher.match([], none, now=13.1)
    assert matcher.mixture_of(2) is None


def test_memory_is_per_stream_and_can_be_off(gallery):
    face = faces("M", 1, 5)
    matcher = Matcher(gallery, **RANDOM)
    first = matcher.match([1], face, stream="a", now=0.0)["code"][0]
    assert not np.allclose(matcher.match([2], face, stream="b", now=0.0)["code"][0], first)
    matcher = Matcher(gallery, **RANDOM, memory_seconds=0)
    first = matcher.match([1], face, now=0.0)["code"][0]
    assert not np.allclose(matcher.match([2], face, now=0.1)["code"][0], first)


def test_memory_is_bounded_and_forgets(gallery):
    matcher = Matcher(gallery, **RANDOM)
    for track in range(MEMORY_LIMIT + 20):
        matcher.match([track], faces("M", 1, 500 + track, spread=1.0), now=0.001 * track)
    assert len(matcher._memory) == MEMORY_LIMIT
    assert matcher.mixture_of(0) is None
    matcher.match([], np.zeros((0, DIMENSIONS)), now=1000.0)
    assert len(matcher._memory) == 0
    matcher.match([1], faces("M", 1, 5), now=1001.0)
    matcher.match([], np.zeros((0, DIMENSIONS)), now=5.0)   # the clock went back
    assert len(matcher._memory) == 0
    matcher.match([1], faces("M", 1, 5), now=6.0)
    matcher.reset()
    assert matcher.mixture_of(1) is None


def test_the_steady_clock_is_used_without_now(gallery):
    matcher = Matcher(gallery, **RANDOM)
    face = faces("M", 1, 5)
    first = matcher.match([1], face)["code"][0]
    np.testing.assert_array_equal(matcher.match([2], face)["code"][0], first)


def test_nothing_preserved(gallery):
    """One sex a surrogate, in proportion to the gallery, whoever stands there."""
    matcher = Matcher(gallery, **{**RANDOM, "preserve": ["none"]}, memory_seconds=0)
    drawn = []
    for track in range(200):
        matcher.match([track], faces("M", 1, 5), now=float(track))
        drawn.append(sexes(gallery, matcher.mixture_of(track)))
    assert all(len(found) == 1 for found in drawn)
    assert sum(found == {"F"} for found in drawn) / 200 == pytest.approx(3 / 7, abs=0.1)
    for policy in ("nearest", "margin"):
        matcher = Matcher(gallery, policy=policy, mix=5, preserve=[])
        matcher.match([1, 2], np.concatenate([faces("M", 1, 5), faces("F", 1, 6)]), now=0.0)
        assert [sexes(gallery, matcher.mixture_of(t)) for t in (1, 2)] == [{"M"}, {"F"}]


def test_the_margin_of_the_gallery(gallery):
    matcher = Matcher(gallery, policy="margin", mix=5, preserve=["sex"])
    assert 0 < matcher.min_distance < 1
    face = faces("M", 1, 5)
    matcher.match([1], face, now=0.0)
    rows = [gallery.ids.tolist().index(name) for name in matcher.mixture_of(1).ids]
    assert gallery.distances(face)[0, rows].min() > matcher.min_distance


@pytest.mark.parametrize(("changes", "words"), [
    ({"policy": "closest"}, "'closest'"),
    ({"mix": 0}, "mix is 0"),
    ({"mix": 500}, "mix is 500, but the gallery has 70"),
    ({"preserve": ["hair"]}, "preserve names 'hair', but can only name sex, age, complexion"),
    ({"preserve": ["sex", "none"]}, "preserve names 'none'"),
    ({"memory_seconds": -1.0}, "memory_seconds is -1.0"),
    ({"memory_seconds": float("nan")}, "memory_seconds is nan"),
    ({"min_distance": 3.0}, "min_distance is 3.0"),
    ({"policy": "k_same"}, "needs k and the enrolled"),
])
def test_bad_settings(gallery, changes, words):
    with pytest.raises(ConfigError, match=words):
        Matcher(gallery, **{**RANDOM, **changes})


@pytest.mark.parametrize(("tracks", "embeddings"), [
    ([1], np.zeros((0, DIMENSIONS))),
    ([1, 1], faces("M", 2, 5)),
    ([1], faces("M", 1, 5)[0]),
    ([1], np.full((1, DIMENSIONS), np.nan)),
    ([1], np.ones((1, 5))),
])
def test_bad_calls(gallery, tracks, embeddings):
    with pytest.raises(GalleryError):
        Matcher(gallery, **RANDOM).match(tracks, embeddings, now=0.0)


def test_certificate_only_for_k_same(gallery):
    with pytest.raises(ConfigError, match="'independent' has no certificate"):
        Matcher(gallery, **RANDOM).certificate()
    assert not POLICIES["independent"].shares
