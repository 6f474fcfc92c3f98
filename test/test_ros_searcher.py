"""A frame leaves with the table of its own detector, made as its replacer was told."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest

pytest.importorskip("rclpy")

from ros_support import (  # noqa: E402
    CAMERA,
    DOMAIN,
    context_fixture,  # noqa: F401
    header,
    running,
    wait,
)
from sample_faces import FakeFinder, make_face  # noqa: E402
from sensor_msgs.msg import PointCloud2  # noqa: E402

from deid_ros.config import defaults, load  # noqa: E402
from deid_ros.errors import ConfigError  # noqa: E402
from deid_ros.faces import empty_faces  # noqa: E402
from deid_ros.ros import topics  # noqa: E402
from deid_ros.ros.codec import FrameTag, image_of, tag_of  # noqa: E402
from deid_ros.ros.graph import NODES, Graph  # noqa: E402
from deid_ros.ros.qos import keep_last  # noqa: E402
from deid_ros.ros.runtime import ros_context  # noqa: E402
from deid_ros.ros.searcher import (  # noqa: E402
    SEARCH_VARIABLE,
    SESSION_VARIABLE,
    Searcher,
    Trust,
    session_of,
    words_of,
)
from deid_ros.ros.supervisor import Supervisor  # noqa: E402
from deid_ros.ros.tables import (  # noqa: E402
    from_faces,
    from_matches,
    from_stack,
    searcher_of,
    to_stack,
    to_table,
)

OPTIONS = defaults()["detector"]
TAG = FrameTag(480, 640, 7)
ONE = Searcher.of(OPTIONS, session=b"12345678", process=b"abcdefgh")
SOLID = {"replacer": {"replace": "solid", "deadline_ms": 3000.0}}


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_table_says_who_searched(count):
    faces = empty_faces(count)
    msg = to_table(faces, header(1), TAG, ONE)
    rows, tag = from_faces(msg)
    assert len(rows) == count and tag == TAG
    came = searcher_of(msg)
    assert (came.session, came.process) == (b"12345678", b"abcdefgh") and not came.weaker(ONE)
    assert searcher_of(to_table(faces, header(1), TAG)) == Searcher()
    stack = to_stack(np.zeros((2, 8, 8, 4), np.uint8), header(1), TAG, ONE)
    pictures, tag = from_stack(stack, 4)
    assert pictures.shape == (2, 8, 8, 4) and tag == TAG
    assert searcher_of(stack).session == ONE.session
    from deid_ros.faces import match_dtype
    matches = np.zeros(count, match_dtype(3))
    for msg in (to_table(matches, header(1)), to_table(matches, header(1), TAG, ONE)):
        assert len(from_matches(msg)) == count
    assert searcher_of(PointCloud2()) == Searcher()


@pytest.mark.parametrize("change, word", [
    ({"detectors": 0}, "lacks the detectors"), ({"preset": 0}, "preset is fast"),
    ({"threshold": 0.9}, "threshold is 0.9"), ({"threshold": float("nan")}, "threshold"),
    ({"margin": 0.0}, "margin is 0"), ({"carry_frames": 0}, "for 0 frames"),
    ({"cover": 0}, "face only")])
def test_weaker_settings_are_named(change, word):
    told = dataclasses.replace(ONE, cover=1, preset=1)
    assert word in dataclasses.replace(told, **change).weaker(told)
    assert not told.weaker(dataclasses.replace(told, **change)) or "threshold" in change


def test_stronger_settings_are_taken():
    stronger = dataclasses.replace(ONE, detectors=15, preset=2, cover=1, threshold=0.01,
                                   margin=1.0, carry_frames=99)
    assert stronger.weaker(ONE) == ""


def test_only_the_own_session_is_trusted_and_a_second_one_said_once():
    said = []
    trust = Trust(ONE.session, None, said.append)
    other = dataclasses.replace(ONE, session=b"87654321")
    again = dataclasses.replace(ONE, process=b"restart!")
    assert [trust.refusal(one, 0.0) for one in (ONE, again, other, other, Searcher())] == [
        "", "", "foreign", "foreign", "foreign"]
    assert len(said) == 1 and "another pipeline" in said[0]


def test_without_a_token_one_detector_is_taken_until_it_is_silent():
    said = []
    trust = Trust(session_of("/", ""), None, said.append)
    a, b = (Searcher(process=name) for name in (b"aaaaaaaa", b"bbbbbbbb"))
    assert [trust.refusal(one, now) for one, now in (
        (a, 0.0), (b, 0.1), (a, 0.2), (b, 1.0), (b, 3.0), (a, 3.1))] == [
        "", "foreign", "", "foreign", "", "foreign"]
    assert len(said) == 1 and "second detector" in said[0]
    assert trust.refusal(ONE, 3.2) == "foreign"


def test_a_session_is_a_token_and_a_namespace(monkeypatch):
    monkeypatch.setenv(SESSION_VARIABLE, "token")
    assert session_of("/a") == session_of("/a", "token") != session_of("/b")
    assert session_of("/a", "") == bytes(8)
    assert Supervisor([]).session != Supervisor([]).session


def test_settings_come_by_the_environment(monkeypatch):
    monkeypatch.setenv(SEARCH_VARIABLE, words_of({**OPTIONS, "threshold": 0.1}))
    assert json.loads(words_of(OPTIONS))["detector"] == OPTIONS["detector"]
    assert Trust(bytes(8), None, print).refusal(
        Searcher.of({**OPTIONS, "threshold": 0.5}), 0.0) == "weaker"
    monkeypatch.setenv(SEARCH_VARIABLE, "{}")
    with pytest.raises(ConfigError, match=SEARCH_VARIABLE):
        Trust(bytes(8), None, print)


def blind() -> FakeFinder:
    """A detector that finds nothing."""
    finder = FakeFinder(make_face((0, 0), 10))
    finder.faces = empty_faces(0)
    return finder


def face() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)


@pytest.mark.ros
def test_two_pipelines_in_one_domain_keep_to_their_own(context):
    """One that finds nothing must not release the frames of the other."""
    sees = {"detector": {"finder": FakeFinder(make_face((80, 60), 60, trusted=False))}}
    blank = {"detector": {"finder": blind()}}
    # The blind one has no replacer of its own here, so what leaves is the other's.
    with running(context, sees, overrides=SOLID) as (graph, probe):
        other = Graph(load(overrides=SOLID), context=context, cores=blank)
        other.runners.pop("replacer").node.destroy_node()
        with other:
            assert wait(lambda: probe.camera.get_subscription_count() >= 3)
            for i in range(20):
                probe.send(face(), 10**8 * (i + 1))
                time.sleep(0.03)
            assert wait(lambda: len(probe.images) == 20)
            values = graph.values()["replacer"]
        assert values["ignored.foreign"] >= 15 and values["faces.solid"] == 20
        for frame in probe.frames():
            assert frame[50:70, 70:90].reshape(-1, 3).std(0).max() < 1


@pytest.mark.ros
def test_two_pipelines_with_other_settings_both_deliver(context):
    """On the same topics: every frame leaves twice, each time with its own cover."""
    places = (80, 60), (30, 30)
    cores = [{"detector": {"finder": FakeFinder(make_face(place, 30, trusted=False))}}
             for place in places]
    weaker = {**SOLID, "detector": {"threshold": 0.9}}
    with (running(context, cores[0], overrides=SOLID) as (graph, probe),
          Graph(load(overrides=weaker), context=context, cores=cores[1]) as other):
        assert wait(lambda: probe.camera.get_subscription_count() >= 4)
        for i in range(10):
            probe.send(face(), 10**8 * (i + 1))
            time.sleep(0.05)
        assert wait(lambda: len(probe.images) == 20)
        assert graph.values()["replacer"]["out"] == other.values()["replacer"]["out"] == 10
        covered = [[bool(frame[y - 5:y + 5, x - 5:x + 5].reshape(-1, 3).std(0).max() < 1)
                    for x, y in places] for frame in probe.frames()]
    assert covered.count([True, False]) == covered.count([False, True]) == 10


@pytest.mark.ros
def test_a_weaker_table_releases_nothing(context):
    finder = {"detector": {"finder": FakeFinder(make_face((80, 60), 60, trusted=False))}}
    told = Searcher.of({**OPTIONS, "threshold": 0.01})
    cores = {**finder, "replacer": {"told": told}}
    overrides = {"replacer": {"replace": "solid", "deadline_ms": 300.0}}
    with running(context, cores, overrides=overrides) as (graph, probe):
        for i in range(5):
            probe.send(face(), 10**8 * (i + 1))
        assert wait(lambda: graph.values()["replacer"].get("ignored.weaker", 0) == 5)
        assert wait(lambda: graph.values()["replacer"].get("withheld.deadline", 0) == 5)
        assert probe.images == []


@pytest.mark.ros
def test_a_replacer_with_a_token_takes_no_table_without(context):
    finder = {"detector": {"finder": FakeFinder(make_face((80, 60), 60, trusted=False))}}
    overrides = {"replacer": {"replace": "solid", "deadline_ms": 300.0}}
    with running(context, finder, overrides=overrides) as (graph, probe):
        stray = probe.create_publisher(PointCloud2, topics.FACES, keep_last(8))
        assert wait(lambda: stray.get_subscription_count() >= 1)
        graph.runners["detector"].stop()
        msg = image_of(face(), header(1))
        stray.publish(to_table(empty_faces(0), header(1), tag_of(msg)))
        probe.send(msg, 1)
        assert wait(lambda: graph.values()["replacer"].get("withheld.deadline"))
        assert graph.values()["replacer"]["ignored.foreign"] == 1 and probe.images == []


@pytest.mark.ros
def test_the_key_cannot_be_read(context):
    node = NODES["matcher"](context=context, extractor=object(), matcher=object(),
                            overrides={"key": "secret"})
    assert node.options["key"] == "secret" and node.get_parameter("key").value == ""
    node.destroy_node()


@pytest.mark.ros
@pytest.mark.parametrize("output, name", [
    (topics.IMAGE, CAMERA), (topics.IMAGE_COMPRESSED, CAMERA + "/compressed"),
    (topics.CAMERA_INFO, "/camera/camera_info")])
def test_an_output_is_not_put_onto_the_input(output, name):
    with (ros_context(["--ros-args", "-r", f"{output}:={name}"], network="host",
                      domain_id=DOMAIN) as context,
          pytest.raises(ConfigError, match="which is the camera's")):
        NODES["replacer"](context=context, replacer=object())
