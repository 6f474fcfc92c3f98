"""Parameters, diagnostics, the runtime, and the small pure parts of the nodes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rcl_interfaces.msg import ParameterType  # noqa: E402
from ros_fakes import FakeFinder, FakeGenerator, fake_cores, scene  # noqa: E402
from ros_support import (  # noqa: E402
    DOMAIN,
    Fault,
    context_fixture,  # noqa: F401
    header,
    running,
    wait,
)
from sensor_msgs.msg import CameraInfo  # noqa: E402

from deid_ros.config import defaults, load  # noqa: E402
from deid_ros.errors import ConfigError, MediaError  # noqa: E402
from deid_ros.faces import empty_faces  # noqa: E402
from deid_ros.parameters import BUILTIN, PARAMETERS  # noqa: E402
from deid_ros.release import check_covered  # noqa: E402
from deid_ros.ros.camera import CameraInfos, info_topic  # noqa: E402
from deid_ros.ros.graph import NODES  # noqa: E402
from deid_ros.ros.health import Health, Histogram  # noqa: E402
from deid_ros.ros.markers import outlines  # noqa: E402
from deid_ros.ros.runtime import Runner, ros_context  # noqa: E402
from deid_ros.ros.sources import open_source, pan_and_zoom  # noqa: E402
from deid_ros.ros.summary import Summary  # noqa: E402
from deid_ros.ros.video_source_node import VideoSourceNode  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
KINDS = {bool: ParameterType.PARAMETER_BOOL, int: ParameterType.PARAMETER_INTEGER,
         float: ParameterType.PARAMETER_DOUBLE, str: ParameterType.PARAMETER_STRING,
         list: ParameterType.PARAMETER_STRING_ARRAY}


def made(name: str, context, tmp_path, **overrides):
    cores = {**fake_cores(), "video_source": {"source": iter([])}}
    if name == "recorder":
        overrides.setdefault("output", str(tmp_path / "bag"))
    return NODES[name](context=context, overrides=overrides, **cores.get(name, {}))


@pytest.mark.ros
@pytest.mark.parametrize("name", NODES)
def test_nodes_declare_what_the_configuration_holds(context, tmp_path, name):
    node = made(name, context, tmp_path)
    declared = {p: node.get_parameter(p).value for p in node._parameters
                if p.split(".")[0] not in BUILTIN}
    expected = defaults()[name]
    if name == "recorder":
        expected["output"] = str(tmp_path / "bag")
    assert declared == expected == node.options
    for parameter, entry in PARAMETERS[name].items():
        descriptor = node.describe_parameter(parameter)
        assert entry.description in descriptor.description
        assert entry.unit in descriptor.description
        assert descriptor.type == KINDS[entry.kind]
        ranges = descriptor.floating_point_range or descriptor.integer_range
        assert bool(ranges) == (entry.minimum is not None)
    node.close()
    node.destroy_node()


@pytest.mark.ros
def test_a_node_is_not_destroyed_in_the_middle_of_its_callback(context, capfd):
    """Also where it runs in the thread of another."""
    cores = fake_cores()
    generate = cores["generator"]["generator"].generate
    begun = []

    def slow(faces):
        begun.append(1)
        time.sleep(0.6)
        return generate(faces)
    cores["generator"]["generator"].generate = slow
    with running(context, cores) as (graph, probe):
        node = graph.node("generator")
        probe.send(scene(0), 10**8)
        assert wait(lambda: begun)
    assert node.health.total("failed.") == 0
    assert "InvalidHandle" not in "".join(capfd.readouterr())


@pytest.mark.ros
def test_a_whole_number_serves_as_a_number_in_a_file_too(context, tmp_path):
    """As ``deid run`` and ``deid pipeline`` take it."""
    file = tmp_path / "mine.yaml"
    file.write_text("/**/replacer:\n  ros__parameters: {deadline_ms: 500}\n")
    with ros_context(["--ros-args", "--params-file", str(file)], network="host",
                     domain_id=DOMAIN) as own:
        node = NODES["replacer"](context=own, **fake_cores()["replacer"])
        assert node.options["deadline_ms"] == 500.0
        assert node.get_parameter("deadline_ms").value == 500.0
        node.destroy_node()
    assert load(file)["replacer"]["deadline_ms"] == 500.0


@pytest.mark.ros
@pytest.mark.parametrize("name, overrides, words", [
    ("detector", {"threshold": 1.5}, "threshold"),
    ("detector", {"threshold": "high"}, "threshold"),
    ("detector", {"detector": ["retina"]}, "retina"),
    ("replacer", {"replace": "emoji"}, "emoji"),
    ("replacer", {"queue": 0}, "queue"),
    ("recorder", {"output": ""}, "output is empty"),
    ("recorder", {"output": "."}, "exists"),
])
def test_wrong_parameters_are_refused_with_the_value(context, tmp_path, name, overrides, words):
    with pytest.raises((ConfigError, MediaError), match=words):
        made(name, context, tmp_path, **overrides)


@pytest.mark.ros
def test_a_new_detector_does_not_use_the_ids_of_the_one_before(context):
    from deid_ros.faces import match_dtype
    from deid_ros.ros.codec import image_of
    from deid_ros.ros.tables import to_table
    finder = FakeFinder()
    node = NODES["detector"](context=context, finder=finder)
    matches = np.zeros(2, match_dtype(3))
    matches["track_id"] = (3, 57)
    finder.done.add(1)
    node._on_matches(to_table(matches, header(0)))
    assert not finder.done  # chips are cut again under the new ids
    found = finder.find(scene(0))
    assert node._numbered(found.faces)["track_id"].tolist() == [58]
    matches["track_id"] = (3, 58)
    node._on_image(image_of(scene(0), header(0)))
    node._on_matches(to_table(matches, header(0)))  # an answer to this one
    assert node._numbered(found.faces)["track_id"].tolist() == [58]
    node.destroy_node()


@pytest.mark.ros
def test_a_new_generator_learns_what_was_matched_before(context):
    cores = fake_cores()
    with running(context, cores) as (graph, probe):
        probe.send(scene(0), 10**8)
        assert wait(lambda: graph.node("generator").health.values().get("matches"))
        graph.runners["generator"].stop()
        again = FakeGenerator()
        graph.runners["generator"] = Runner(
            NODES["generator"](context=context, generator=again))
        graph.runners["generator"].start()
        assert wait(lambda: 1 in again.known)


@pytest.mark.ros
@pytest.mark.parametrize("wish, came", [("best_effort", "BEST_EFFORT"), ("reliable", "RELIABLE")])
def test_quality_of_service_can_be_overridden(context, wish, came):
    node = NODES["replacer"](context=context, replacer=object(), overrides={
        "qos_overrides./deidentified/image.publisher.reliability": wish,
        "qos_overrides./camera/image_raw.subscription.reliability": wish,
        "qos_overrides./camera/image_raw.subscription.depth": 3})
    output = node.get_publishers_info_by_topic("/deidentified/image")[0].qos_profile
    camera = node.get_subscriptions_info_by_topic("/camera/image_raw")[0].qos_profile
    assert output.reliability.name == camera.reliability.name == came
    node.destroy_node()
    with pytest.raises(ConfigError, match="'maybe'"):
        NODES["replacer"](context=context, overrides={
            "qos_overrides./camera/image_raw.subscription.reliability": "maybe"})


@pytest.mark.ros
def test_diagnostics_count_by_cause(context):
    cores = fake_cores()
    cores["detector"]["finder"].find = Fault(lambda: None)
    with running(context, cores, overrides={"replacer": {"deadline_ms": 200.0}}) as (_, probe):
        came = []
        probe.create_subscription(DiagnosticArray, "/diagnostics", came.append, 10)
        for i in range(5):
            probe.send(scene(i), 10**8 * (i + 1))

        def status(name):
            found = [s for m in came for s in m.status if s.name == f"/{name}"
                     and any(v.key.startswith(("failed.", "withheld.")) for v in s.values)]
            return found[0] if found else None
        assert wait(lambda: status("detector") and status("replacer"))
        values = {v.key: v.value for v in status("replacer").values}
        assert values["withheld.deadline"] == values["in"] == "5"
        assert status("replacer").level == b"\x02"  # ERROR: none leaves
        assert "failed.on_image" in status("detector").message


@pytest.mark.ros
def test_node_executables_stop_cleanly_and_refuse_in_one_sentence(tmp_path):
    import os
    environment = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN), "PYTHONPATH": str(ROOT)}

    def start(*words):
        return subprocess.Popen(
            [sys.executable, "-m", "deid_ros.ros.replacer_node", "--ros-args", *words],
            stderr=subprocess.PIPE, text=True, env=environment)
    stopped = start()
    refused = start("-p", "deadline_ms:=-5.0")
    assert refused.wait(30) == 2
    said = refused.stderr.read().strip().splitlines()
    assert len(said) == 1 and "deadline_ms" in said[0], said
    time.sleep(1.0)
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(10) == 0, stopped.stderr.read()


@pytest.mark.ros
def test_video_source_publishes_a_folder_and_ends(context, tmp_path):
    import cv2
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), scene(i))
    from ros_support import Probe

    probe = Runner(Probe(context, outputs=False))
    images, infos = [], []
    from sensor_msgs.msg import Image
    probe.node.create_subscription(Image, "/camera/image_raw", images.append, 10)
    probe.node.create_subscription(CameraInfo, "/camera/camera_info", infos.append, 10)
    probe.start()
    source = Runner(VideoSourceNode(context=context, overrides={
        "source": str(tmp_path), "rate": 50.0, "frame_id": "head"}))
    source.start()
    assert source.node.finished.wait(8)
    assert wait(lambda: len(images) == len(infos) == 3)
    np.testing.assert_array_equal(np.frombuffer(images[1].data, np.uint8), scene(1).ravel())
    assert [m.header for m in images] == [m.header for m in infos]
    assert images[0].header.frame_id == "head"
    assert (infos[0].width, infos[0].height) == (160, 120) and infos[0].k[0] > 0
    source.stop()
    probe.stop()


@pytest.mark.parametrize("source, words", [
    ("nowhere.mp4", "nowhere.mp4"), ("{empty}", "no images"), ("{text}", "cannot be opened"),
    ("{image}", "cannot be read"), ("97", "97")])
def test_unreadable_sources_are_refused(tmp_path, source, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "bad.png").write_text("no image")
    source = source.format(empty=tmp_path / "empty", text=tmp_path / "text.mp4",
                           image=tmp_path / "bad.png")
    with pytest.raises(MediaError, match=words):
        next(open_source(source))


def test_the_moving_picture_moves_and_has_its_size(astronaut):
    frames = [frame for frame, _ in zip(pan_and_zoom(astronaut, size=(320, 240)), range(30))]
    assert all(frame.shape == (240, 320, 3) for frame in frames)
    assert all((a != b).any() for a, b in zip(frames, frames[1:]))


def test_health_counts_and_the_histogram_is_flat_in_memory():
    health = Health()
    for i in range(1000):
        health.count("in")
        health.time("latency", i / 1000 / 10)
    values = health.values()
    assert values["in"] == 1000
    assert 49 < values["latency_ms.p50"] < 51 and 94 < values["latency_ms.p95"] < 96
    assert health.news() == {"in": 1000} and not health.news()
    assert Histogram().percentile(50) is None


def test_camera_info_waits_for_its_frame():
    infos = CameraInfos(capacity=3)
    first, second = (CameraInfo(header=header(stamp)) for stamp in (1, 2))
    assert infos.came(first) is None
    assert infos.left(1) is first
    assert infos.left(2) is None
    assert infos.came(second) is second
    for stamp in range(10, 20):
        infos.came(CameraInfo(header=header(stamp)))
        infos.left(100 + stamp)
    assert infos.left(10) is None and infos.left(19) is not None


@pytest.mark.parametrize("image, info", [
    ("/camera/image_raw", "/camera/camera_info"),
    ("/camera/image_raw/compressed", "/camera/camera_info"), ("image", "camera_info")])
def test_info_topic(image, info):
    assert info_topic(image) == info


def test_outlines_of_no_and_of_two_faces():
    assert len(outlines(empty_faces(0), header(0)).points) == 0
    faces = empty_faces(2)
    faces["x_offset"], faces["width"], faces["height"] = (10, 50), 20, 30
    points = {(p.x, p.y) for p in outlines(faces, header(0)).points}
    assert points == {(10, 0), (30, 0), (30, 30), (10, 30), (50, 0), (70, 0), (70, 30), (50, 30)}


def covered(box, fill) -> tuple:
    frame = np.full((50, 60, 3), 100, np.uint8)
    frame += np.random.default_rng(0).integers(0, 50, frame.shape, np.uint8)
    faces = empty_faces(1)
    for name, value in zip(("x_offset", "y_offset", "width", "height"), (10, 10, 20, 20)):
        faces[name] = value
    after, mask = frame.copy(), np.zeros(frame.shape[:2], np.uint8)
    x, y, w, h = box
    mask[y:y + h, x:x + w] = 255
    after[y:y + h, x:x + w] = frame[y:y + h, x:x + w] if fill is None else fill
    return frame, after, mask, faces


@pytest.mark.parametrize("box, fill, good", [
    ((10, 10, 20, 20), 0, True), ((12, 12, 14, 14), 0, True), ((0, 0, 60, 50), 0, True),
    ((35, 10, 20, 20), 0, False), ((10, 10, 20, 20), None, False), ((0, 0, 0, 0), 0, False)])
def test_the_proof_sees_what_is_not_covered(box, fill, good):
    if good:
        check_covered(*covered(box, fill))
    else:
        with pytest.raises(Exception, match="not covered"):
            check_covered(*covered(box, fill))


def test_the_proof_ignores_faces_outside_of_the_frame():
    frame, after, mask, faces = covered((10, 10, 20, 20), 0)
    faces["x_offset"] = -500
    check_covered(frame, after, mask, faces)
    with pytest.raises(Exception, match="withheld"):
        check_covered(frame, after[:-1], mask, faces)


def test_summary(tmp_path):
    nodes = {"replacer": {"in": 10, "out": 8, "withheld.deadline": 2, "faces.solid": 1,
                          "faces.surrogate": 7, "latency_ms.p50": 20.0, "latency_ms.p95": 40.0,
                          "age_ms.p50": 25.0, "age_ms.p95": 45.0},
             "detector": {"failed.on_image": 1}}
    summary = Summary.of(nodes, seconds=1.0, restarts={"matcher": 1, "detector": 0})
    assert (summary.frames_in, summary.frames_out, summary.faces_covered) == (10, 8, 8)
    assert summary.withheld == {"deadline": 2} and summary.latency_ms["p95"] == 45.0
    text = summary.text()
    assert "10 in, 8 out" in text and "deadline 2" in text and "median 25.0 ms" in text
    summary.write(tmp_path / "a" / "summary.json")
    assert json.loads((tmp_path / "a" / "summary.json").read_text())["restarts"] == {"matcher": 1}
    assert "0 in" in Summary.of({}, seconds=0.0).text()


def test_parameters_of_the_command_line():
    from deid_ros.cli.pipeline import parameters_of
    overrides = parameters_of(["detector.threshold:=0.5", "key:=123", "extractor:=vggface",
                               "preserve:=[none]"])
    assert overrides["detector"] == {"threshold": 0.5, "extractor": "vggface"}
    assert overrides["matcher"] == {"key": "123", "extractor": "vggface", "preserve": ["none"]}
    assert load(overrides=overrides)["matcher"]["key"] == "123"
    assert parameters_of(["use_sim_time:=true"])["matcher"] == {"use_sim_time": True}
    for word in ("threshold", "=:=", "nothing:=1", "detector.nothing:=1"):
        with pytest.raises(ConfigError):
            load(overrides=parameters_of([word]))
