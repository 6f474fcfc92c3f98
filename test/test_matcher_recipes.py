"""Identities mixed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_gallery import make_gallery

from deid_ros.errors import GalleryError
from deid_ros.matcher.blending import Pool
from deid_ros.matcher.recipes import mix_by_id, parse_recipe, random_mix


def test_recipes():
    assert parse_recipe("A") == {"A": 1}
    assert parse_recipe(" A + B*0.5 +A*2") == {"A": 3, "B": 0.5}


@pytest.mark.parametrize("recipe", ["", "+", "A+", "A*", "A*x", "A*-1", "A*0", "A*nan", "*2"])
def test_recipes_that_are_none(recipe):
    with pytest.raises(GalleryError, match="cannot be read at"):
        parse_recipe(recipe)


def test_one_identity_is_that_identity():
    gallery = make_gallery()
    assert np.allclose(mix_by_id(gallery, "id003"), gallery.codes[3], atol=1e-5)


def test_a_mixture_is_the_matchers_blend():
    gallery = make_gallery()
    rows, weights = np.array([2, 5, 9]), np.array([1.0, 2.0, 0.5])
    pool = Pool(gallery, mix=3, keep=())
    assert np.allclose(mix_by_id(gallery, "id002+id005*2+id009*0.5"),
                       pool.blend("M", rows, weights), atol=1e-5)


def test_a_mixture_of_a_man_and_a_woman_lies_between():
    gallery = make_gallery()
    code = mix_by_id(gallery, "id001+id060")[0]
    assert abs(code) < 3.5      # men are at 5, women at -5


def test_an_unknown_id_names_close_ones():
    with pytest.raises(GalleryError, match="'id0033'; close are id033, id003.*"
                                           "70 ids go from id000 to id069"):
        mix_by_id(make_gallery(), "id001+id0033")


def test_random_mixtures():
    gallery = make_gallery(usable=np.arange(70) % 2 == 0)
    draws = [random_mix(gallery, np.random.default_rng(7), mix=4, sex="F") for _ in range(2)]
    assert draws[0][1] == draws[1][1] and np.array_equal(draws[0][0], draws[1][0])
    ids = draws[0][1].split("+")
    assert len(set(ids)) == 4
    rows = [gallery.ids.tolist().index(name) for name in ids]
    assert (gallery.sex[rows] == "F").all() and gallery.usable[rows].all()
    rng = np.random.default_rng(0)
    sexes = {random_mix(gallery, rng, mix=2)[0][0] > 0 for _ in range(20)}
    assert sexes == {True, False}


@pytest.mark.parametrize(("mix", "sex"), [(0, None), (41, None), (31, "F"), (1, "?")])
def test_mixtures_larger_than_the_gallery(mix, sex):
    with pytest.raises(GalleryError, match=f"mix is {mix}, but the gallery has at most"):
        random_mix(make_gallery(), np.random.default_rng(0), mix=mix, sex=sex)
