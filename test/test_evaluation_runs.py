"""Runs made for measuring, and the gallery they are measured against."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from deid_ros.errors import EvaluationError, GalleryError
from deid_ros.evaluation import GalleryPeople
from deid_ros.evaluation.runs import pipeline_anonymiser
from deid_ros.faces import empty_faces
from deid_ros.matcher.gallery import Gallery


class FakePipeline:
    """Two faces: track 1 has a surrogate, track 2 was covered flat."""

    makes_surrogates = True

    def __init__(self, config):
        self.matcher = SimpleNamespace(mixture_of=self._mixture_of)

    def prepare(self):
        pass

    def reset(self, *, stream):
        self.stream = stream

    def process(self, frame):
        faces = empty_faces(2)
        faces["track_id"] = 1, 2
        return SimpleNamespace(frame=frame + 1, faces=faces, covered_by=["surrogate", "solid"],
                               mask=np.full(frame.shape[:2], 255, np.uint8))

    def _mixture_of(self, track, *, stream):
        assert stream == self.stream
        return SimpleNamespace(ids=(f"{stream}-{track}-a", f"{stream}-{track}-b"))


def test_contributors_are_those_of_the_surrogates_shown(monkeypatch):
    monkeypatch.setattr("deid_ros.pipeline.Pipeline", FakePipeline)
    done = pipeline_anonymiser({})(np.zeros((4, 4, 3), np.uint8), "x.jpg")
    assert done.contributors == ("x.jpg-1-a", "x.jpg-1-b")
    assert (done.frame == 1).all() and (done.mask == 255).all()


def test_the_gallery_is_read(tmp_path):
    gallery = Gallery(ids=np.array(["a", "b"]), embeddings=np.eye(2, 128, dtype=np.float32),
                      sex=np.array(["F", "M"]), shapes=np.zeros((2, 468, 3), np.float32),
                      codes=np.zeros((2, 4), np.float32), sha256=np.array(["0" * 64] * 2),
                      extractor="dlib_resnet")
    gallery.save(tmp_path / "g.npz")
    people = GalleryPeople.load(tmp_path / "g.npz")
    assert people.ids == ("a", "b") and people.embeddings.shape == (2, 128)
    replace(gallery, extractor="vggface").save(tmp_path / "v.npz")
    with pytest.raises(EvaluationError, match="'vggface'"):
        GalleryPeople.load(tmp_path / "v.npz")
    with pytest.raises(GalleryError, match="no gallery"):
        GalleryPeople.load(tmp_path / "none.npz")


def test_importing_the_room_loads_no_instrument():
    heavy = "cv2", "dlib", "onnxruntime", "tensorflow", "ai_edge_litert", "rclpy"
    code = ("import sys, deid_ros.evaluation, deid_ros.cli.evaluate; "
            f"sys.exit(', '.join(m for m in {heavy} if m in sys.modules) or 0)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
