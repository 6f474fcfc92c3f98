"""The launch file: described, typed, and really started. Needs launch_ros."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "launch" / "pipeline.launch.py"

ARGUMENTS = ["config", "namespace", "image_topic", "detector", "preset", "threshold", "margin",
             "cover", "replace", "blend", "deadline_ms", "policy", "mix", "preserve",
             "min_distance", "k", "enrolled", "memory_seconds", "key", "gallery", "record",
             "network", "use_sim_time", "log_level"]


def test_there_is_no_opaque_function():
    assert "OpaqueFunction" not in FILE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def launch_file():
    """The module of the launch file; skips where launch_ros is not installed."""
    pytest.importorskip("launch_ros", reason="launch_ros is not installed")
    import importlib.util
    spec = importlib.util.spec_from_file_location("pipeline_launch", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def perform(launch_file, **given) -> tuple[dict[str, dict], object]:
    """node -> parameters, as launch would write them for these arguments."""
    from launch.actions import DeclareLaunchArgument
    from launch_ros.actions import Node
    from launch_ros.parameter_descriptions import ParameterValue

    from launch import LaunchContext
    context = LaunchContext()
    context.launch_configurations.update(given)
    description = launch_file.generate_launch_description()
    for action in description.entities:
        if isinstance(action, DeclareLaunchArgument):
            action.visit(context)
    found = {}
    for action in description.entities:
        if not isinstance(action, Node):
            continue
        values = {}
        for source in action._Node__parameters:
            if isinstance(source, dict):
                for name, value in source.items():
                    name = "".join(part.perform(context) for part in name)
                    assert isinstance(value, ParameterValue), f"{name} has no type"
                    values[name] = value.evaluate(context)
        found[action.node_executable] = values
    return found, context


def test_every_argument_is_described(launch_file):
    arguments = launch_file.generate_launch_description().get_launch_arguments()
    assert [argument.name for argument in arguments] == ARGUMENTS
    for argument in arguments:
        assert len(argument.description) > 15, argument.name
        assert argument.default_value is not None
        " ".join(part.describe() for part in argument.default_value)


def test_defaults_are_those_of_the_configuration(launch_file):
    from deid_ros.config import defaults
    nodes, _ = perform(launch_file)
    assert list(nodes) == ["detector", "matcher", "generator", "replacer", "recorder"]
    for node, values in nodes.items():
        for name, value in values.items():
            expected = {"use_sim_time": False, "output": ""}.get(
                name, defaults()[node].get(name))
            assert value == expected and type(value) is type(expected), (node, name)


@pytest.mark.parametrize("given, node, name, value", [
    ({"mix": "1"}, "matcher", "mix", 1),
    ({"policy": "margin", "min_distance": "1"}, "matcher", "min_distance", 1.0),
    ({"margin": "1"}, "detector", "margin", 1.0),
    ({"deadline_ms": "500"}, "replacer", "deadline_ms", 500.0),
    ({"key": "123"}, "matcher", "key", "123"),
    ({"k": "3"}, "matcher", "k", 3),
    ({"enrolled": "/data/17"}, "matcher", "enrolled", "/data/17"),
    ({}, "matcher", "enrolled", ""),
    ({"memory_seconds": "5"}, "matcher", "memory_seconds", 5.0),
    ({"preserve": "none"}, "matcher", "preserve", ["none"]),
    ({"detector": "ssd"}, "detector", "detector", ["ssd"]),
    ({"detector": "ssd,centerface"}, "detector", "detector", ["ssd", "centerface"]),
    ({"detector": "[ssd, 'centerface']"}, "detector", "detector", ["ssd", "centerface"]),
    ({"image_topic": "/a/b"}, "replacer", "image_topic", "/a/b"),
    ({"image_topic": "/a/b"}, "detector", "image_topic", "/a/b"),
    ({"use_sim_time": "true"}, "generator", "use_sim_time", True),
    ({"record": "/tmp/123"}, "recorder", "output", "/tmp/123"),
])
def test_arguments_arrive_with_their_type(launch_file, given, node, name, value):
    came = perform(launch_file, **given)[0][node][name]
    assert came == value and type(came) is type(value)


def test_a_parameter_file_holds_where_no_argument_is_given(launch_file, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("/**/matcher:\n  ros__parameters:\n    mix: 9\n    policy: nearest\n")
    nodes, _ = perform(launch_file, config=str(file), policy="independent")
    assert nodes["matcher"]["mix"] == 9 and nodes["matcher"]["policy"] == "independent"


@pytest.fixture
def prefix(tmp_path) -> Path:
    """An installation of nothing but the node executables and the marker."""
    (tmp_path / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (tmp_path / "share/ament_index/resource_index/packages/deid_ros").touch()
    (tmp_path / "share/deid_ros").symlink_to(ROOT)
    (tmp_path / "lib/deid_ros").mkdir(parents=True)
    for script in (ROOT / "scripts").iterdir():
        copy = tmp_path / "lib/deid_ros" / script.name
        copy.write_bytes(script.read_bytes())
        copy.chmod(0o755)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python3"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return tmp_path


SCRIPT = ("import sys; from launch import LaunchService, LaunchDescription as D\n"
          "from launch.actions import IncludeLaunchDescription as I\n"
          "from launch.launch_description_sources import PythonLaunchDescriptionSource as P\n"
          "s = LaunchService(noninteractive=True)\n"
          "s.include_launch_description(D([I(P(sys.argv[1]), launch_arguments="
          "[a.split(':=') for a in sys.argv[2:]])]))\n"
          "sys.exit(s.run())")


@pytest.mark.ros
def test_a_node_that_refuses_its_parameters_ends_the_launch(launch_file, prefix):
    pytest.importorskip("rclpy")
    from ros_support import DOMAIN
    environment = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN), "AMENT_PREFIX_PATH": str(prefix),
                   "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(FILE), "namespace:=cam", "image_topic:=image_raw",
         "gallery:=nowhere.npz", "detector:=ssd"], env=environment, text=True, timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert "nowhere.npz" in done.stdout and "refused to start" in done.stdout
    assert done.stdout.count("matcher: ") <= 2 and "Traceback" not in done.stdout
    assert done.returncode == 1, done.stdout


def nodes_of(launch: int) -> set[int]:
    """Process ids of the nodes that a launch has started."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"DEID_SUPERVISOR={launch}\0".encode() in (folder / "environ").read_bytes()
            alive = b"deid_ros.ros.start" in (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if mine and alive:
            found.add(int(folder.name))
    return found


@contextmanager
def four_nodes(prefix):
    """The launch file as a process, once its four nodes run; nothing of it stays behind."""
    from ros_support import DOMAIN, wait
    environment = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN), "AMENT_PREFIX_PATH": str(prefix),
                   "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(FILE), "namespace:=cam", "replace:=solid",
         "detector:=ssd"], env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
        # Ignored where these tests run in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        assert wait(lambda: len(nodes_of(process.pid)) == 4, 30)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.ros
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_nodes_end_when_their_launch_dies(launch_file, prefix, number):
    pytest.importorskip("rclpy")
    from ros_support import wait
    with four_nodes(prefix) as process:
        process.send_signal(number)
        assert wait(lambda: not nodes_of(process.pid), 20)


@pytest.mark.ros
@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.2, 3.0])
def test_ctrl_c_is_no_traceback_in_any_phase(launch_file, prefix, seconds):
    """Launch and nodes all get the signal, as in a terminal, so long after they were started."""
    pytest.importorskip("rclpy")
    with four_nodes(prefix) as process:
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        for word in ("Traceback", "KeyboardInterrupt", "InvalidHandle", "failed to terminate"):
            assert word not in said, said


@pytest.mark.ros
def test_it_starts_four_processes_that_answer(launch_file, prefix):
    """With ``replace:=solid`` and the light detector, a frame goes in and out."""
    pytest.importorskip("rclpy")
    from ros_fakes import scene
    from ros_support import DOMAIN, Probe, wait

    from deid_ros.config import file_of
    from deid_ros.ros.runtime import Runner, ros_context
    if not file_of("DB/gallery.npz").is_file():
        pytest.skip("DB/gallery.npz has not been built")
    environment = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN),
                   "AMENT_PREFIX_PATH": str(prefix),
                   "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(FILE), "namespace:=cam", "image_topic:=image_raw",
         "replace:=solid", "detector:=ssd"], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout))
    reader.start()
    try:
        with ros_context(network="host", domain_id=DOMAIN) as context:
            probe = Runner(Probe(context, topic="image_raw", namespace="cam"))
            probe.start()
            assert wait(probe.node.connected, 30), "".join(lines)
            for i in range(100):
                probe.node.send(scene(i, faces=0), 10**8 * (i + 1))
                time.sleep(0.1)
                if probe.node.images:
                    break
            assert probe.node.images, "".join(lines)
            names = {name for name, _ in probe.node.get_node_names_and_namespaces()}
            assert {"detector", "matcher", "generator", "replacer"} <= names
            probe.stop()
    finally:
        process.send_signal(2)
        assert process.wait(20) == 0, "".join(lines)
        reader.join()
