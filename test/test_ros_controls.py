"""Changing a running pipeline: parameters, renewal, pause, and what diagnostics say."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from rcl_interfaces.srv import SetParametersAtomically  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from ros_fakes import FakeMatcher, canary, fake_cores, leaks, scene  # noqa: E402
from ros_support import (  # noqa: E402
    Probe,
    context_fixture,  # noqa: F401
    header,
    running,
    wait,
)
from sensor_msgs.msg import Image  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from deid_ros.config import load  # noqa: E402
from deid_ros.errors import ConfigError  # noqa: E402
from deid_ros.parameters import PARAMETERS  # noqa: E402
from deid_ros.ros.codec import image_of  # noqa: E402
from deid_ros.ros.graph import NODES, Graph  # noqa: E402
from deid_ros.ros.pause import PauseMark  # noqa: E402
from deid_ros.ros.remembered import RUN_VARIABLE  # noqa: E402

pytestmark = pytest.mark.ros

STEP = 100_000_000


def ask(probe, kind: type, name: str, **fields):
    """The answer of a service."""
    client = probe.create_client(kind, name)
    assert wait(client.service_is_ready)
    future = client.call_async(kind.Request(**fields))
    assert wait(future.done)
    probe.destroy_client(client)
    return future.result()


def set_all(probe, node: str, **values):
    """Parameters set together; the result."""
    return ask(probe, SetParametersAtomically, f"/{node}/set_parameters_atomically", parameters=[
        Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]).result


@pytest.fixture
def matchers(monkeypatch):
    """What the matcher node makes instead of matchers of the gallery: their options."""
    import deid_ros.matcher
    made = []

    def create(options, *, warn):
        if options["mix"] > 50:
            raise ConfigError(f"mix is {options['mix']} but the gallery has 50 people.")
        made.append(dict(options))
        matcher = FakeMatcher()
        matcher.introduction = "a fake"
        return matcher
    monkeypatch.setattr(deid_ros.matcher, "create_matcher", create)
    return made


def test_parameters_change_while_it_runs(context, matchers):
    cores = fake_cores()
    finder = cores["detector"]["finder"]
    with running(context, cores) as (graph, probe):
        assert set_all(probe, "detector", margin=0.4, min_surrogate_px=30).successful
        assert finder.adjusted == {"margin": 0.4, "min_surrogate_px": 30}
        assert graph.node("detector").options["margin"] == 0.4
        probe.send(scene(0), STEP)
        assert wait(lambda: graph.node("generator").health.values().get("matches") == 1)
        assert set_all(probe, "matcher", mix=3, policy="nearest").successful
        assert matchers[-1]["mix"] == 3 and matchers[-1]["policy"] == "nearest"
        # Everybody gets another surrogate.
        assert wait(lambda: not finder.done)
        probe.send(scene(1), 2 * STEP)
        assert wait(lambda: graph.node("generator").health.values().get("matches") == 2)
        assert set_all(probe, "replacer", replace="solid", deadline_ms=900.0).successful
        assert not graph.node("replacer")._queue.wants_surrogates
        assert graph.node("replacer")._queue.deadline == 0.9
        probe.send(scene(2), 3 * STEP)
        assert wait(lambda: len(probe.images) == 3)
        assert graph.node("replacer").health.values()["faces.solid"] >= 1


@pytest.mark.parametrize("node, values, words", [
    ("detector", {"margin": 0.5, "threshold": 7.0}, "threshold"),
    ("detector", {"margin": 0.5, "cover": "feet"}, "feet"),
    ("detector", {"margin": 0.5, "image_topic": "/x"}, "image_topic"),
    ("matcher", {"policy": "nearest", "mix": 51}, "50 people"),
    ("replacer", {"deadline_ms": 90.0, "blend": "glue"}, "glue"),
    ("replacer", {"deadline_ms": 90.0, "jpeg_quality": 0}, "jpeg_quality"),
])
def test_a_set_that_cannot_be_is_refused_as_a_whole(context, matchers, node, values, words):
    with running(context, fake_cores()) as (graph, probe):
        before = dict(graph.node(node).options)
        result = set_all(probe, node, **values)
        assert not result.successful and words in result.reason
        assert graph.node(node).options == before and not matchers
        for name in values:
            assert graph.node(node).get_parameter(name).value == before[name]


@pytest.mark.parametrize("values, words", [
    ({"margin": 0.01}, "margin is 0.01 instead of 0.1"), ({"threshold": 0.9}, "threshold is 0.9"),
    ({"preset": "fast"}, "preset is fast"), ({"detector": ["ssd"], "margin": 0.5}, "lacks the")])
def test_a_detector_is_not_made_weaker_than_its_replacer_was_told(context, values, words):
    with running(context, fake_cores()) as (graph, probe):
        result = set_all(probe, "detector", **values)
        assert not result.successful and words in result.reason
        assert "no frame would leave; start them anew" in result.reason
        assert set_all(probe, "detector", margin=0.3, threshold=0.1).successful
        assert set_all(probe, "detector", margin=0.2).successful   # and back, not below
        probe.send(scene(0), STEP)
        assert wait(lambda: len(probe.images) == 1)


def test_what_may_change_is_said(context):
    for name in ("detector", "matcher", "replacer"):
        node = NODES[name](context=context, **fake_cores()[name])
        for key, entry in PARAMETERS[name].items():
            assert node.describe_parameter(key).read_only == (not entry.live), key
        node.destroy_node()


def test_renewal_is_a_service_and_a_key_forbids_it(context, matchers):
    cores = fake_cores()
    with running(context, cores) as (graph, probe):
        probe.send(scene(0), STEP)
        assert wait(lambda: graph.node("generator").health.values().get("matches") == 1)
        answer = ask(probe, Trigger, "/matcher/renew_surrogates")
        assert answer.success and len(matchers) == 1
        assert wait(lambda: graph.node("detector").health.values().get("chips_renewed"))
        probe.send(scene(1), 2 * STEP)
        assert wait(lambda: graph.node("generator").health.values().get("matches") == 2)
        graph.node("matcher").options["key"] = "secret"
        answer = ask(probe, Trigger, "/matcher/renew_surrogates")
        assert not answer.success and "key" in answer.message and len(matchers) == 1


def test_a_real_matcher_draws_anew(context):
    from deid_ros.config import file_of
    if not file_of("DB/gallery.npz").is_file():
        pytest.skip("DB/gallery.npz has not been built")
    node = NODES["matcher"](context=context, extractor=fake_cores()["matcher"]["extractor"],
                            matcher=object())
    codes = []
    for _ in range(2):
        assert node._on_renew(Trigger.Request(), Trigger.Response()).success
        gallery = node._matcher.gallery
        codes.append(node._matcher.match([1], gallery.embeddings[:1])["code"][0])
    assert np.abs(codes[0] - codes[1]).max() > 1e-3
    node.destroy_node()


def test_paused_nothing_leaves_and_nothing_of_it_later(context):
    with running(context, fake_cores(), probe={"compressed": True}) as (graph, probe):
        probe.send(canary(0), STEP)
        assert wait(lambda: len(probe.images) == 1)
        assert ask(probe, SetBool, "/replacer/pause", data=True).success
        for i in range(1, 9):
            probe.send(canary(i), STEP * (i + 1))
            time.sleep(0.01)
        health = graph.node("replacer").health
        assert wait(lambda: health.values().get("withheld.paused") == 8)
        assert len(probe.images) == 1 and len(probe.compressed) <= 1
        assert graph.node("replacer").judged({"in": 8}, {"withheld.paused": 8}) == (
            DiagnosticStatus.WARN, "paused: nothing leaves")
        assert ask(probe, SetBool, "/replacer/pause", data=False).success
        probe.send(canary(9), STEP * 10)
        assert wait(lambda: len(probe.images) == 2)
        assert probe.stamps() == [STEP, STEP * 10]
        assert not leaks(probe.frames()[1], 9)


def test_a_replacer_that_dies_paused_comes_back_paused(context, monkeypatch, tmp_path):
    monkeypatch.setenv(RUN_VARIABLE, "4711")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    node = NODES["replacer"](context=context, replacer=object())
    node._paused.mark.set(True)
    node.destroy_node()   # without close: as if it had been killed
    again = NODES["replacer"](context=context, replacer=object())
    assert again._paused
    assert not PauseMark("/replacer", run="4712") and not PauseMark("/other/replacer")
    assert not PauseMark("/replacer", run="")
    again.close()         # an end that was asked for
    again.destroy_node()
    assert not PauseMark("/replacer")
    (folder,) = tmp_path.iterdir()
    assert not list(folder.iterdir()) and folder.stat().st_mode & 0o077 == 0


def test_marks_are_not_looked_for_where_others_could_put_them(monkeypatch, tmp_path):
    import os
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"deid_ros-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="TMPDIR"):
        PauseMark("/replacer", run="1")


@pytest.mark.parametrize("new, level", [
    ({"in": 30, "out": 30}, DiagnosticStatus.OK),
    ({"in": 30, "out": 20, "withheld.deadline": 10}, DiagnosticStatus.WARN),
    ({"in": 30, "withheld.deadline": 30}, DiagnosticStatus.ERROR),
    ({"in": 30}, DiagnosticStatus.ERROR),
    ({}, DiagnosticStatus.WARN),
])
def test_levels_of_the_replacer(context, new, level):
    node = NODES["replacer"](context=context, replacer=object())
    lost = {name: number for name, number in new.items() if name.startswith("withheld.")}
    assert node.judged(new, lost)[0] == level
    node.destroy_node()


def test_causes_are_logged_every_ten_seconds(context, monkeypatch):
    from deid_ros.ros import base
    monkeypatch.setattr(base, "_REPORT_S", 0.0)
    node = NODES["replacer"](context=context, replacer=object())
    said = []
    monkeypatch.setattr(node, "get_logger", lambda: type("L", (), {"warning": said.append}))
    node._diagnose()
    assert not said
    node.health.count("withheld.deadline", 3)
    node.health.count("withheld.queue", 2)
    node._diagnose()
    assert len(said) == 1 and "withheld.deadline: 3, withheld.queue: 2" in said[0]
    node.destroy_node()


def test_the_replacer_says_that_it_waits_and_that_it_flows(context, capfd):
    """The waiting names topics that are alike, and none that carries raw faces in between."""
    said = ""

    def heard(words: str) -> bool:
        nonlocal said
        said += "".join(capfd.readouterr())
        return words in said
    probe = Probe(context, topic="/front/image_raw")
    probe.create_publisher(Image, "/deid/_secret", 1)
    with Graph(load(), context=context, cores=fake_cores()):
        assert wait(lambda: heard("waiting for images on /camera/image_raw (nobody publishes; "
                                  "similar topics: /front/image_raw)"), 10), said
        camera = probe.create_publisher(Image, "/camera/image_raw", 10)
        assert wait(lambda: camera.get_subscription_count() == 2)
        camera.publish(image_of(scene(0, faces=0), header(STEP)))
        assert wait(lambda: heard("first frame left"), 10), said
    probe.destroy_node()
    assert "_secret" not in said
