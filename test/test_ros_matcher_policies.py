"""The matcher node says at start what its policy is worth, and takes every setting."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

pytest.importorskip("rclpy")

from ros_support import context_fixture  # noqa: E402, F401
from synthetic_gallery import DIMENSIONS, faces, make_gallery  # noqa: E402

from deid_ros.errors import ConfigError, GalleryError  # noqa: E402
from deid_ros.faces import empty_faces  # noqa: E402
from deid_ros.matcher import POLICIES  # noqa: E402
from deid_ros.parameters import POLICIES_IN_A_LINE  # noqa: E402
from deid_ros.ros.matcher_node import MatcherNode  # noqa: E402


class Extractor:
    name, chip_size, dimensions = "dlib_resnet", 150, DIMENSIONS

    def embed(self, chips):
        return np.repeat(faces("M", 1, 5), len(chips), axis=0)


@pytest.fixture
def made(tmp_path, context, monkeypatch):
    """Makes matcher nodes with a real matcher and no models."""
    monkeypatch.setattr("deid_ros.extractor.create_extractor", lambda *_, **__: Extractor())
    (tmp_path / "face_space.npz").write_bytes(b"space")
    make_gallery(space=hashlib.sha256(b"space").hexdigest()).save(tmp_path / "gallery.npz")
    make_gallery(6, 5).save(tmp_path / "staff.npz")
    nodes = []

    def make(**overrides):
        nodes.append(MatcherNode(context=context, overrides={
            "gallery": str(tmp_path / "gallery.npz"),
            "generator": str(tmp_path / "generator.onnx"),
            "enrolled": str(tmp_path / "staff.npz"), **overrides}))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


@pytest.mark.ros
@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_is_said_at_start_and_matches(made, capfd, policy):
    node = made(policy=policy, k=3, min_distance=0.1, memory_seconds=5.0)
    said = "".join(capfd.readouterr())
    assert f"policy {policy} {POLICIES_IN_A_LINE[policy]}" in said
    matches = node._call(np.array([1, 2]), faces("M", 2, 5), empty_faces(0))
    assert set(matches["policy"]) == {list(POLICIES).index(policy)}
    assert node._matcher.min_distance == 0.1


@pytest.mark.ros
def test_real_faces_are_warned_of(made, capfd):
    made(mix=1)
    said = "".join(capfd.readouterr())
    assert "[WARN]" in said and "mix is 1" in said


@pytest.mark.ros
def test_what_cannot_work_is_refused(made, tmp_path):
    with pytest.raises(ConfigError, match="needs the enrolled people"):
        made(policy="k_same", enrolled="")
    (tmp_path / "face_space.npz").write_bytes(b"trained anew")
    with pytest.raises(GalleryError, match="another face space"):
        made()
