"""From parameters to a Matcher: every setting arrives, wrong ones are refused."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from synthetic_gallery import faces, make_gallery

from deid_ros.config import defaults
from deid_ros.errors import ConfigError, GalleryError, ModelError
from deid_ros.matcher import POLICIES, Matcher, create_matcher
from deid_ros.parameters import PARAMETERS

SPACE = b"a face space"


@pytest.fixture
def files(tmp_path):
    """A generator with its face space, a gallery made with it, and enrolled people."""
    (tmp_path / "generator.onnx").write_bytes(b"")
    (tmp_path / "face_space.npz").write_bytes(SPACE)
    make_gallery(space=hashlib.sha256(SPACE).hexdigest()).save(tmp_path / "gallery.npz")
    make_gallery(5, 4, embeddings=np.concatenate([faces("M", 5, 50), faces("F", 4, 51)])
                 ).save(tmp_path / "enrolled.npz")
    return tmp_path


def options(files, **changes):
    return {**defaults()["matcher"], "gallery": str(files / "gallery.npz"), "key": "secret",
            "generator": str(files / "generator.onnx"), **changes}


def test_the_choices_are_the_policies():
    assert PARAMETERS["matcher"]["policy"].choices == tuple(POLICIES)
    for name in POLICIES:
        assert f"{name} " in PARAMETERS["matcher"]["policy"].description


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_works_and_introduces_itself(files, policy):
    matcher = create_matcher(options(files, policy=policy, k=3,
                                     enrolled=str(files / "enrolled.npz")))
    assert matcher.policy.name == policy
    assert matcher.introduction == f"policy '{policy}': {POLICIES[policy].description}"
    people = np.concatenate([faces("M", 3, 5), faces("F", 2, 6)])
    matches = matcher.match([1, 2, 3, 4, 5], people, now=0.0)
    assert set(matches["policy"]) == {list(POLICIES).index(policy)}
    assert np.isfinite(matches["code"]).all()


def test_every_setting_arrives(files, monkeypatch):
    given = {}

    def spy(self, gallery, **settings):
        given.update(settings)

    monkeypatch.setattr(Matcher, "__init__", spy)
    create_matcher(options(files, policy="k_same", mix=3, preserve=["none"], min_distance=0.25, k=4,
                           memory_seconds=7.0, enrolled=str(files / "enrolled.npz")), warn=print)
    ids, embeddings = given.pop("enrolled")
    assert ids == [f"id{i:03d}" for i in range(9)] and embeddings.shape == (9, 16)
    assert given == {"policy": "k_same", "mix": 3, "preserve": [], "key": "secret",
                     "memory_seconds": 7.0, "min_distance": 0.25, "k": 4, "warn": print}


def test_no_margin_is_the_median_of_the_gallery(files):
    gallery = make_gallery()
    distances = gallery.distances(gallery.embeddings)
    same = (gallery.sex[:, None] == gallery.sex) & ~np.eye(len(gallery), dtype=bool)
    matcher = create_matcher(options(files, policy="margin"))
    assert matcher.min_distance == pytest.approx(np.median(distances[same]))
    assert create_matcher(options(files, policy="margin", min_distance=0.1)).min_distance == 0.1


def test_enrolled_people_are_asked_for(files):
    with pytest.raises(ConfigError, match="'k_same' needs the enrolled people.*deid db build"):
        create_matcher(options(files, policy="k_same"))
    with pytest.raises(GalleryError, match="no gallery at"):
        create_matcher(options(files, policy="k_same", enrolled=str(files / "nobody.npz")))
    with pytest.raises(ConfigError, match="k is 10, but 9 people are enrolled"):
        create_matcher(options(files, policy="k_same", k=10,
                               enrolled=str(files / "enrolled.npz")))
    make_gallery(5, 5, extractor="vggface").save(files / "other.npz")
    with pytest.raises(GalleryError, match="'vggface'"):
        create_matcher(options(files, policy="k_same", enrolled=str(files / "other.npz")))


def test_a_retrained_face_space_refuses_the_old_gallery(files):
    (files / "face_space.npz").write_bytes(b"another face space")
    with pytest.raises(GalleryError) as refused:
        create_matcher(options(files))
    for words in (str(files / "gallery.npz"), str(files / "face_space.npz"), "deid db build",
                  hashlib.sha256(SPACE).hexdigest()[:12],
                  hashlib.sha256(b"another face space").hexdigest()[:12]):
        assert words in str(refused.value)
    (files / "face_space.npz").unlink()
    with pytest.raises(ModelError, match="face_space.npz of the generator"):
        create_matcher(options(files))


def test_faces_of_one_person_are_warned_of(files):
    said = []
    create_matcher(options(files, mix=1), warn=said.append)
    assert len(said) == 1 and "mix is 1" in said[0] and "one person of the gallery" in said[0]


def test_the_stored_gallery_names_its_space(files):
    from deid_ros.matcher import Gallery

    gallery = Gallery.load(files / "gallery.npz")
    assert gallery.space == hashlib.sha256(SPACE).hexdigest()
    dataclasses.replace(gallery, space="").save(files / "gallery.npz")
    with pytest.raises(GalleryError, match="one that it does not name"):
        create_matcher(options(files))
