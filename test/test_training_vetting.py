"""Blends that look like one of their contributors are not drawn."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_gallery import make_gallery

from deid_ros.errors import GalleryError
from deid_ros.faces import empty_faces
from deid_ros.matcher.blending import Pool
from deid_ros.matcher.gallery import Gallery
from deid_ros.matcher.matcher import Matcher
from deid_ros.training.vetting import SCENES, Scene, Vetting, read_scenes


class Extractor:
    name = "dlib_resnet"


class Judge(Vetting):
    """Judges by a table in the place of drawing."""

    def __init__(self, gallery: Gallery, bad: set[int]) -> None:
        face, frame = empty_faces(1), np.zeros((4, 4, 3), np.uint8)
        scenes = {sex: [Scene(frame, face, np.zeros((468, 3), np.float32), -1)] * SCENES
                  for sex in "MF"}
        super().__init__(gallery, scenes, generator=None, extractor=Extractor(), mix=3)
        self.bad = bad

    def margin(self, scene, code, rows):
        return 0.1 if self.bad & set(rows.tolist()) else -0.1


@pytest.fixture
def gallery():
    return make_gallery(40)


def test_only_what_was_judged_nobody_is_kept_and_drawn(gallery, tmp_path):
    bad = set(range(0, 40, 5))
    done = Judge(gallery, bad).run(4)
    assert done.draws.shape == (8, 3) and not bad & set(done.draws.ravel().tolist())
    done.save(tmp_path / "g.npz")
    done = Gallery.load(tmp_path / "g.npz")
    kept = {tuple(done.ids[rows].tolist()) for rows in done.draws}
    matcher = Matcher(done, policy="independent", mix=3, key="k")
    matcher.match([1, 2, 3], done.embeddings[[0, 1, 2]])
    drawn = [tuple(matcher.mixture_of(track).ids) for track in (1, 2, 3)]
    assert set(drawn) <= kept
    # Another number of people: nothing was vetted for it.
    assert not any(len(rows) for rows in Pool(done, mix=4, need_all=True).vetted.values())


def test_when_all_vetted_are_taken_others_are_drawn(gallery):
    done = Judge(gallery, set()).run(2)
    matcher = Matcher(done, policy="independent", mix=3, key="k")
    matches = matcher.match(range(1, 11), done.embeddings[:10])
    assert len({row.tobytes() for row in matches["code"]}) == 10


def test_nobody_left_is_said(gallery):
    with pytest.raises(GalleryError, match="none was nobody's"):
        Judge(gallery, set(range(40))).run(1)


def test_a_folder_without_the_portraits(gallery, tmp_path):
    with pytest.raises(GalleryError, match="are needed"):
        read_scenes(gallery, tmp_path)
