"""What faces seem to be: sex, age and complexion from embeddings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic_gallery import DIMENSIONS, faces, make_gallery

from deid_ros.matcher.traits import AGE, COMPLEXION, Traits


def test_the_sex_of_strangers():
    traits = Traits(make_gallery())
    assert (traits.sexes(faces("M", 50, 7)) == "M").mean() > 0.95
    assert (traits.sexes(faces("F", 50, 8)) == "F").mean() > 0.95
    assert traits.sexes(np.zeros((0, DIMENSIONS))).shape == (0,)


def test_few_of_one_sex_are_not_drawn_to_the_other():
    traits = Traits(make_gallery(60, 6))
    assert (traits.sexes(faces("F", 50, 8)) == "F").mean() > 0.9


def test_unknown_sexes_say_nothing():
    few = make_gallery(sex=np.array(["?"] * 65 + ["F"] * 5))
    assert Traits(few).sexes(faces("M", 3, 7)).tolist() == ["F"] * 3
    nobody = make_gallery(sex=np.array(["?"] * 70))
    assert Traits(nobody).sexes(faces("M", 3, 7)).tolist() == ["?"] * 3
    assert Traits(make_gallery(1, 0)).sexes(faces("F", 1, 3)).tolist() == ["M"]


def test_age_is_read_where_it_is_known():
    gallery = make_gallery()
    assert list(Traits(gallery).names) == ["sex"]
    age = 40 + 60 * gallery.embeddings[:, 5]
    known = np.where(np.arange(70) % 2, age, np.nan)
    traits = Traits(dataclasses.replace(gallery, age=known))
    assert list(traits.names) == ["sex", "age"]
    read = traits.read("age", gallery.embeddings[::2])
    assert np.corrcoef(read, age[::2])[0, 1] > 0.8
    known[7:] = np.nan      # three people are too few to learn from
    assert list(Traits(dataclasses.replace(gallery, age=known)).names) == ["sex"]


@pytest.mark.parametrize("bands", [AGE, COMPLEXION])
def test_bands_are_in_order(bands):
    assert len(bands.names) == len(bands.middles) == len(bands.seen) + 1
    assert np.searchsorted(bands.seen, bands.middles).tolist()[::2] == [0, 2]
    assert sorted(bands.middles) == list(bands.middles) and sorted(bands.seen) == list(bands.seen)
