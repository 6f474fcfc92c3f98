"""What was set while a node ran holds after it died and was started again."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

import pytest

pytest.importorskip("rclpy")

from rcl_interfaces.srv import GetParameters  # noqa: E402
from ros_fakes import fake_cores  # noqa: E402
from ros_support import (  # noqa: E402
    Probe,
    context_fixture,  # noqa: F401
    running,
    wait,
)
from test_ros_controls import matchers, set_all  # noqa: E402, F401
from test_ros_pipeline import children_of, command, environment  # noqa: E402

from deid_ros.config import load  # noqa: E402
from deid_ros.ros.detector_node import DetectorNode  # noqa: E402
from deid_ros.ros.remembered import RUN_VARIABLE, Remembered, file_of_run, forget  # noqa: E402
from deid_ros.ros.runtime import Runner  # noqa: E402
from deid_ros.ros.searcher import Searcher  # noqa: E402

pytestmark = pytest.mark.ros


@pytest.fixture(name="run")
def run_fixture(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv(RUN_VARIABLE, "4711-abc")
    return "4711-abc"


@pytest.mark.usefixtures("run", "matchers")
def test_every_node_takes_up_what_was_set(context):
    with running(context, fake_cores()) as (_, probe):
        assert set_all(probe, "detector", margin=0.4).successful
        assert set_all(probe, "detector", threshold=0.2).successful
        assert set_all(probe, "matcher", mix=3, preserve=["none"]).successful
        assert set_all(probe, "replacer", replace="solid", deadline_ms=900.0).successful
        assert not set_all(probe, "replacer", blend="glue").successful
    with running(context, fake_cores()) as (graph, probe):
        assert graph.node("detector").options["margin"] == 0.4
        assert graph.node("detector").options["threshold"] == 0.2
        assert graph.node("matcher").options["mix"] == 3
        assert graph.node("matcher").options["preserve"] == ["none"]
        replacer = graph.node("replacer")
        assert replacer.options["replace"] == "solid" and replacer.options["blend"] == "inplace"
        assert replacer._queue.deadline == 0.9 and not replacer._queue.wants_surrogates
        # And whoever asks the node hears it too.
        assert replacer.get_parameter("deadline_ms").value == 900.0


def test_another_run_remembers_nothing(run, monkeypatch, context):
    Remembered("/replacer").add({"deadline_ms": 900.0})
    assert file_of_run("/replacer", "parameters").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv(RUN_VARIABLE, "4711-abd")
    assert Remembered("/replacer").values() == {}
    monkeypatch.setenv(RUN_VARIABLE, run)
    forget(run)
    assert Remembered("/replacer").values() == {}


@pytest.mark.parametrize("kept", [{"threshold": 0.9}, {"threshold": 0.2, "preset": "fast"},
                                  {"threshold": 7.0}, {"image_topic": "/other"}, {"gone": 1}])
@pytest.mark.usefixtures("run")
def test_a_detector_never_comes_back_weaker_than_the_replacer_was_told(context, kept):
    Remembered("/detector").add(kept)
    options = load()["detector"]
    node = DetectorNode(context=context, overrides=options, told=Searcher.of(options),
                        finder=fake_cores()["detector"]["finder"])
    assert node.options == options
    assert node.get_parameter("threshold").value == options["threshold"]
    node.destroy_node()


@pytest.mark.usefixtures("run")
def test_a_damaged_file_is_no_reason_not_to_start(context):
    file_of_run("/detector", "parameters").write_text("{")
    options = load()["detector"]
    node = DetectorNode(context=context, overrides=options,
                        finder=fake_cores()["detector"]["finder"])
    assert node.options == options
    node.destroy_node()


def test_a_killed_process_comes_back_with_what_was_set(context, tmp_path):
    pytest.importorskip("skimage")
    probe = Runner(Probe(context, outputs=False))
    probe.start()
    process = subprocess.Popen(
        command("--source", "astronaut", "--rate", "8", "--processes"), cwd=tmp_path,
        env={**environment(), "TMPDIR": str(tmp_path)}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stderr))
    reader.start()
    try:
        assert wait(lambda: any("ready after" in line for line in lines), 30), "".join(lines)
        assert set_all(probe.node, "replacer", deadline_ms=4321.0).successful
        first = children_of(process.pid)["replacer"]
        os.kill(first, signal.SIGKILL)
        assert wait(lambda: children_of(process.pid).get("replacer", first) != first, 10)
        assert wait(lambda: any("deadline_ms is 4321.0" in line and "as it was set" in line
                                for line in lines), 20), "".join(lines)
        # Asked again and again: the dead one's service is seen for some seconds more.
        client = probe.node.create_client(GetParameters, "/replacer/get_parameters")
        asked = []

        def answered() -> bool:
            asked.append(client.call_async(GetParameters.Request(names=["deadline_ms"])))
            return wait(lambda: any(future.done() for future in asked), 1)
        assert wait(answered, 30)
        answer = next(future for future in asked if future.done()).result()
        assert answer.values[0].double_value == 4321.0
    finally:
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        process.wait(30)
        reader.join()
        probe.stop()
    assert process.returncode == 0, "".join(lines)
    assert not list(tmp_path.rglob("*.parameters"))
