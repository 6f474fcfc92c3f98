"""Policies and blending: what is drawn, how it is blended, what is rejected."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic_gallery import faces, make_gallery

from deid_ros.errors import ConfigError, GalleryError
from deid_ros.faces import MATCH_BASE
from deid_ros.matcher import POLICIES, policy_index
from deid_ros.matcher.blending import GROUP, Pool
from deid_ros.matcher.policies import LEADING, choose, generator_for
from deid_ros.matcher.traits import AGE

PINNED_RANDOM = 0.5517659673122628
PINNED_IDS = ("id031", "id006", "id018", "id022", "id011")


@pytest.fixture(scope="module")
def gallery():
    return make_gallery()


def draw(gallery, name, *, mix=5, sex="M", words=("w", 1), face=None, min_distance=0.0, taken=(),
         pool=None):
    pool = pool or Pool(gallery, mix=mix)
    face = faces(sex, 1, 99) if face is None else face
    return choose(POLICIES[name], pool, group=sex, distances=gallery.distances(face)[0],
                  rng=generator_for(*words), min_distance=min_distance, taken=taken)


def rows_of(gallery, mixture):
    return [gallery.ids.tolist().index(name) for name in mixture.ids]


def test_order_and_words():
    """The order is part of the messages; the words must not promise too much."""
    assert list(POLICIES) == ["independent", "nearest", "margin", "k_same"]
    assert [policy_index(name) for name in POLICIES] == [0, 1, 2, 3]
    assert np.dtype(MATCH_BASE)["policy"] == np.uint8
    assert "leaks" in POLICIES["nearest"].description
    assert "second photograph" in POLICIES["margin"].description
    assert "nothing about composites" in POLICIES["k_same"].description
    with pytest.raises(ConfigError, match="'random'.*independent, nearest, margin, k_same"):
        policy_index("random")


def test_blend_restores_the_variance(gallery):
    pool = Pool(gallery, mix=4)
    rows, weights = np.array([1, 5, 9, 20]), np.array([1.0, 1, 1, 1])
    codes = gallery.codes.astype(float)
    mean = codes[:40].mean(axis=0)
    expected = mean + np.sqrt(4) * (codes[rows].mean(axis=0) - mean)
    np.testing.assert_allclose(pool.blend("M", rows, weights), expected, rtol=1e-5)
    # Uneven shares average out less: 1 / sum(w^2) of them count.
    shares = np.array([0.7, 0.1, 0.1, 0.1])
    expected = mean + (shares @ codes[rows] - mean) / np.sqrt((shares ** 2).sum())
    np.testing.assert_allclose(pool.blend("M", rows, 3 * shares), expected, rtol=1e-5)


def test_blends_vary_as_people_do():
    gallery = make_gallery(200, 5)
    pool = Pool(gallery, mix=5)
    codes = np.stack([draw(gallery, "independent", words=("v", i), pool=pool).code
                      for i in range(300)])
    ratio = codes.std(axis=0) / gallery.codes[:200].std(axis=0)
    assert 0.85 < ratio.mean() < 1.15
    np.testing.assert_allclose(codes.mean(axis=0), gallery.codes[:200].mean(axis=0), atol=0.5)


def test_contributors_are_of_one_sex_and_usable():
    usable = np.ones(70, bool)
    usable[:20] = False
    gallery = make_gallery(usable=usable)
    for i in range(40):
        men = draw(gallery, "independent", words=("m", i))
        assert min(rows_of(gallery, men)) >= 20 and max(rows_of(gallery, men)) < 40
        assert len(set(men.ids)) == 5
        women = draw(gallery, "independent", sex="F", words=("f", i))
        assert min(rows_of(gallery, women)) >= 40
    for name in ("nearest", "margin"):
        assert min(rows_of(gallery, draw(gallery, name))) >= 20
    # Too few usable ones: then everybody may contribute.
    usable = np.zeros(70, bool)
    usable[:4] = True
    pool = Pool(make_gallery(usable=usable), mix=5)
    assert len(pool.groups["M"]) == 40 and len(pool.groups["F"]) == 30
    assert len(Pool(make_gallery(usable=usable), mix=4).groups["M"]) == 4


def test_draws_cover_everybody_and_ignore_the_face(gallery):
    drawn = set()
    for i in range(100):
        one = draw(gallery, "independent", words=("c", i), face=faces("M", 1, 1))
        other = draw(gallery, "independent", words=("c", i), face=faces("M", 1, 2))
        assert one.ids == other.ids
        np.testing.assert_array_equal(one.code, other.code)
        drawn.update(one.ids)
    assert len(drawn) > 35


def test_the_generator_depends_on_every_word():
    first = generator_for("track", "key", "cam", 1).random(4)
    np.testing.assert_array_equal(first, generator_for("track", "key", "cam", 1).random(4))
    for words in (("track", "kez", "cam", 1), ("track", "key", "ca", 1),
                  ("track", "key", "cam", 2), ("track", "keycam", "", 1),
                  ("track", "key", "cam", "1")):
        assert not np.allclose(first, generator_for(*words).random(4))


def test_draws_stay_the_same_between_versions():
    """A key reproduces a run on another machine: seed and draw are pinned."""
    assert generator_for("track", "key", "cam", 1).random() == pytest.approx(
        PINNED_RANDOM, abs=1e-15)
    assert draw(make_gallery(), "independent", words=("pin", 1)).ids == PINNED_IDS


def test_nearest_are_the_nearest(gallery):
    face = faces("M", 1, 5)
    mixture = draw(gallery, "nearest", face=face)
    ids, _ = gallery.nearest(face, 40)
    men = [name for name in ids[0] if gallery.sex[gallery.ids.tolist().index(name)] == "M"]
    assert list(mixture.ids) == men[:5]
    np.testing.assert_allclose(mixture.weights, 0.2)
    np.testing.assert_array_equal(mixture.code, draw(gallery, "nearest", face=face,
                                                     words=("other", 9)).code)


def test_nearest_moves_on_where_taken(gallery):
    face = faces("M", 1, 5)
    first = draw(gallery, "nearest", face=face)
    second = draw(gallery, "nearest", face=face, taken=[first.code])
    third = draw(gallery, "nearest", face=face, taken=[first.code, second.code])
    assert second.ids[:4] == first.ids[1:] and third.ids[:3] == first.ids[2:]


def test_margin_is_kept_and_never_empty(gallery):
    face = faces("M", 1, 5)
    distances = gallery.distances(face)[0]
    among = np.sort(distances[:40])
    margin = float(among[10])
    mixture = draw(gallery, "margin", face=face, min_distance=margin)
    chosen = distances[rows_of(gallery, mixture)]
    np.testing.assert_allclose(chosen, among[11:16], atol=1e-6)
    # With a margin beyond everybody it takes the farthest there are.
    far = distances[rows_of(gallery, draw(gallery, "margin", face=face, min_distance=2.0))]
    np.testing.assert_allclose(far, among[-5:], atol=1e-6)
    # Without one it is `nearest`.
    assert draw(gallery, "margin", face=face).ids == draw(gallery, "nearest", face=face).ids


def test_mix_of_one_is_somebody(gallery):
    mixture = draw(gallery, "independent", mix=1)
    np.testing.assert_allclose(mixture.code, gallery.codes[rows_of(gallery, mixture)[0]],
                               rtol=1e-5)


def test_a_taken_surrogate_is_not_given_again():
    gallery = make_gallery(5, 5)
    for name in ("independent", "nearest", "margin"):
        taken = []
        for _ in range(8):   # five of five men: only the shares can differ
            code = draw(gallery, name, words=("t", 1), taken=taken).code
            assert all(np.linalg.norm(code - other) > 1e-4 for other in taken)
            taken.append(code)


def test_no_free_surrogate_left():
    gallery = make_gallery(2, 2)
    taken = [gallery.codes[0], gallery.codes[1]]
    for name in ("independent", "nearest"):
        with pytest.raises(GalleryError, match="2 surrogates are in use.*mix 1"):
            draw(gallery, name, mix=1, taken=taken)


@pytest.mark.parametrize(("mix", "words"), [
    (0, "mix is 0.*70 identities; choose mix from 1 to 30"),
    (71, "mix is 71, but the gallery has 70 identities; choose mix from 1 to 30"),
    (31, "mix is 31, but the gallery has only 30 identities of sex 'F'.*1 to 30"),
])
def test_mix_out_of_range(gallery, mix, words):
    with pytest.raises(ConfigError, match=words):
        Pool(gallery, mix=mix)


def test_groups_that_are_too_small_are_left_out(gallery):
    assert list(Pool(gallery, mix=31, keep=()).groups) == ["M"]
    with pytest.raises(ConfigError, match="mix is 41.*40 identities; choose mix from 1"):
        Pool(gallery, mix=41, keep=())


def test_unknown_sex_is_its_own_group_only_when_alone(gallery):
    alone = dataclasses.replace(gallery, sex=np.array(["?"] * 70))
    assert {sex: len(rows) for sex, rows in Pool(alone, mix=5).groups.items()} == {
        "?": 70}
    sex = gallery.sex.copy()
    sex[:3] = "?"
    some = dataclasses.replace(gallery, sex=sex)
    groups = Pool(some, mix=5).groups
    assert {sex: len(rows) for sex, rows in groups.items()} == {"M": 37, "F": 30}


def test_random_sexes_in_proportion(gallery):
    pool = Pool(gallery, mix=5, keep=())
    rng = np.random.default_rng(0)
    drawn = [pool.random_sex(rng) for _ in range(2000)]
    assert drawn.count("M") / 2000 == pytest.approx(40 / 70, abs=0.03)


def people_of_all_kinds():
    """90 people of a sex, of all ages and complexions, which their embeddings show."""
    rng = np.random.default_rng(4)
    ages, complexions = rng.uniform(18, 85, 180), rng.uniform(-30, 55, 180)
    gallery = make_gallery(90, 90, age=ages, complexion=complexions)
    embeddings = gallery.embeddings.copy()
    embeddings[:, 8], embeddings[:, 9] = (ages - 50) / 40, complexions / 50
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return dataclasses.replace(gallery, embeddings=embeddings)


def test_groups_by_age_and_complexion():
    gallery = people_of_all_kinds()
    pool = Pool(gallery, mix=2, keep=("sex", "age", "complexion"))
    assert len(pool.groups) == 18 and {len(rows) for rows in pool.groups.values()} == {GROUP}
    for sex, low, high, name in (("M", 18, 30, "young"), ("F", 70, 85, "old")):
        rows = np.flatnonzero((gallery.sex == sex) & (gallery.age > low) & (gallery.age < high)
                              & (gallery.complexion > 40))
        assert len(rows) and {pool.group_of(gallery.embeddings[row]) for row in rows} == {
            f"{sex} {name} light"}
    for name, middle in zip(("young", "middle", "old"), AGE.middles):
        ages = gallery.age[Pool(gallery, mix=2, keep=("sex", "age")).groups[f"M {name}"]]
        assert len(ages) == GROUP and abs(ages.mean() - middle) < 6


def test_a_small_band_takes_the_nearest_to_its_middle():
    gallery = people_of_all_kinds()
    few = dataclasses.replace(gallery, usable=(gallery.complexion > 10)
                              | (np.arange(180) % 90 < 8))
    rows = Pool(few, mix=2, keep=("sex", "complexion")).groups["M dark"]
    dark = np.flatnonzero((gallery.complexion < 0) & few.usable & (few.sex == "M"))
    assert len(rows) == GROUP and len(dark) and set(dark.tolist()) <= set(rows.tolist())
    others = np.setdiff1d(np.flatnonzero(few.usable & (few.sex == "M")), rows)
    assert gallery.complexion[rows].mean() < gallery.complexion[others].mean() - 10


def test_what_the_gallery_does_not_know_is_not_kept(gallery):
    pool = Pool(gallery, mix=2, keep=("sex", "age", "complexion"))
    assert sorted(pool.groups) == ["F", "M"]
    assert pool.group_of(gallery.embeddings[-1]) == "F"


def test_somebody_leads_a_random_draw(gallery):
    for mix in (2, 5):
        weights = draw(gallery, "independent", mix=mix).weights
        assert LEADING[0] <= weights[0] <= LEADING[1] and weights.sum() == pytest.approx(1)
