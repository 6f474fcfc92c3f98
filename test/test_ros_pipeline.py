"""The real stages behind real topics: composed, in processes, and after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from ros_support import (  # noqa: E402
    DOMAIN,
    Probe,
    context_fixture,  # noqa: F401
    running,
    settled,
    wait,
)
from sensor_msgs.msg import Image  # noqa: E402

from deid_ros.config import file_of, load  # noqa: E402
from deid_ros.faces import boxes_of  # noqa: E402
from deid_ros.ros.codec import stamp_ns  # noqa: E402
from deid_ros.ros.qos import keep_last  # noqa: E402
from deid_ros.ros.runtime import Runner  # noqa: E402
from deid_ros.ros.sources import pan_and_zoom  # noqa: E402

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def models() -> None:
    """Skips where a model or the gallery has not been built."""
    for path in ("DB/gallery.npz", "models/generator.onnx"):
        if not file_of(path).is_file():
            pytest.skip(f"{path} has not been built")


@pytest.mark.usefixtures("models")
def test_a_moving_face_gets_another_one(context, astronaut):
    """All five stages, composed, on the astronaut: who is seen is somebody else."""
    from deid_ros.detector import FaceFinder
    frames = [frame for frame, _ in zip(pan_and_zoom(astronaut, size=(640, 480)), range(12))]
    with running(context, overrides={"matcher": {"key": "test"},
                                     "replacer": {"deadline_ms": 4000.0}}) as (graph, probe):
        for i, frame in enumerate(frames):
            probe.send(frame, 10**8 * (i + 1))
            time.sleep(0.12)
        assert settled(graph, 12, timeout=30) and wait(lambda: len(probe.images) == 12)
        assert probe.stamps() == [10**8 * (i + 1) for i in range(12)]
        values = graph.values()
        assert values["replacer"]["faces.surrogate"] >= 10, values
        assert values["generator"]["matches"] >= 1
        after = probe.frames()
    options = {name: load()["detector"][name] for name in (
        "margin", "min_surrogate_px", "carry_frames", "extractor")}
    finder = FaceFinder(detector=["centerface"], threshold=0.5, **options)
    for before, out in zip(frames, after):
        faces = finder.find(before).faces
        assert len(faces) >= 1
        x, y, w, h = boxes_of(faces)[0]
        inner = np.s_[y + h // 4:y + 3 * h // 4, x + w // 4:x + 3 * w // 4]
        assert np.abs(before[inner].astype(int) - out[inner]).mean() > 6
        # Far from every face nothing has changed.
        changed = (before != out).any(axis=2)
        for x, y, w, h in boxes_of(faces):
            changed[max(y - h, 0):y + 2 * h, max(x - w, 0):x + 2 * w] = False
        assert not changed.any()


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "deid_ros", "pipeline", "--detector", "ssd", "--replace", "solid",
            "--params", "deadline_ms:=4000.0", "replacer.queue:=100", "detector.queue:=50", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN), "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1"}


def test_the_command_records_and_sums_up(tmp_path):
    pytest.importorskip("skimage")
    done = subprocess.run(
        command("--source", "astronaut", "--frames", "20", "--rate", "15",
                "--record", str(tmp_path / "bag"), "--summary", str(tmp_path / "s.json"),
                "--topics", "deidentified/image,deidentified/camera_info,/camera/image_raw"),
        cwd=tmp_path, env=environment(), text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "20 in" in done.stdout and "latency" in done.stdout
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["frames_in"] == 20
    assert summary["frames_out"] + sum(summary["withheld"].values()) == 20
    assert summary["frames_out"] >= 15 and summary["faces"]["solid"] >= 15
    from rosbags.highlevel import AnyReader
    stamps: dict[str, list[int]] = {}
    with AnyReader([tmp_path / "bag"]) as reader:
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            stamps.setdefault(connection.topic, []).append(stamp_ns(message.header))
    assert set(stamps["/deidentified/image"]) <= set(stamps["/camera/image_raw"])
    assert stamps["/deidentified/camera_info"] == stamps["/deidentified/image"]


@pytest.mark.parametrize("words, says", [
    (["--source", "nowhere.mp4"], "nowhere.mp4"),
    (["--params", "nothing:=1"], "nothing"),
    (["--params", "threshold:=7"], "threshold"),
    (["--config", "nowhere.yaml"], "nowhere.yaml"),
    (["--mix", "abc"], "matcher.mix is 'abc' but must be a whole number from 1 to 1000"),
    (["--preset", "fst"], "did you mean 'fast'"),
    (["--params", "presett:=fast"], "did you mean 'preset'"),
    (["--params", "matcher.margin:=0.3"], "min_distance"),
    (["--namespace", "a-b"], "a namespace such as"),
    (["--image-topic", "/a//b"], "a topic such as"),
])
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, words, says):
    done = subprocess.run([sys.executable, "-m", "deid_ros", "pipeline", "--replace", "solid",
                           *words], cwd=tmp_path, env=environment(), text=True,
                          capture_output=True, timeout=60)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("deid:")]
    assert len(lines) == 1 and says in lines[0] and "Traceback" not in done.stderr


def test_a_signal_ends_the_run_with_a_summary(tmp_path):
    process = subprocess.Popen(command(), cwd=tmp_path, env=environment(), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "frames   0 in" in said and "Traceback" not in errors


def children_of(pid: int) -> dict[str, int]:
    """Node -> process id of the children of a process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except (OSError, IndexError):
            continue
        module = next((w for w in words if w.startswith("deid_ros.ros.")), "")
        if parent == pid and module:
            found[module.removeprefix("deid_ros.ros.").removesuffix("_node")] = int(folder.name)
    return found


def test_processes_come_back_after_a_kill(context, tmp_path):
    pytest.importorskip("skimage")
    came: list[Image] = []
    listener = Runner(Probe(context, outputs=False))
    listener.node.create_subscription(Image, "deidentified/image", came.append, keep_last(5))
    listener.start()
    process = subprocess.Popen(
        command("--source", "astronaut", "--rate", "8", "--processes",
                "--summary", str(tmp_path / "s.json")),
        cwd=tmp_path, env=environment(), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stderr))
    reader.start()
    try:
        assert wait(lambda: len(came) > 3, 30), "".join(lines)
        first = children_of(process.pid)
        assert set(first) == {"detector", "replacer", "video_source"}
        os.kill(first["detector"], signal.SIGKILL)
        assert wait(lambda: children_of(process.pid).get("detector", first["detector"])
                    != first["detector"], 10)
        seen = len(came)
        assert wait(lambda: len(came) > seen + 3, 20), "the stream did not come back"
    finally:
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        process.wait(30)
        reader.join()
        listener.stop()
    assert process.returncode == 0, "".join(lines)
    assert "detector 1" in said and any("starts again" in line for line in lines)
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["restarts"] == {"detector": 1}
    assert summary["frames_out"] >= len(came) - 1 and summary["withheld"]
    assert not children_of(process.pid)


def clip(path: Path, *, frames: int, fps: int) -> Path:
    """A video without a face."""
    import cv2
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (320, 240))
    for i in range(frames):
        writer.write(np.full((240, 320, 3), 40 + 3 * i, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("words, rate", [([], 12.0), (["--rate", "20"], 20.0),
                                         (["--processes"], 12.0)])
def test_a_video_comes_at_its_own_rate_and_whole(tmp_path, words, rate):
    """Also its first frames, though the stages load their models, and its last."""
    clip(tmp_path / "clip.avi", frames=36, fps=12)
    done = subprocess.run(
        command("--source", "clip.avi", "--summary", "s.json", "--record", "bag", *words),
        cwd=tmp_path, env=environment(), text=True, capture_output=True, timeout=90)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "s.json").read_text())
    assert (summary["frames_in"], summary["frames_out"]) == (36, 36), done.stdout + done.stderr
    assert f"{rate:g} frames a second" in done.stderr and "ready after" in done.stderr
    from rosbags.highlevel import AnyReader
    with AnyReader([tmp_path / "bag"]) as reader:
        stamps = [stamp_ns(reader.deserialize(data, connection.msgtype).header)
                  for connection, _, data in reader.messages(
                      [c for c in reader.connections if c.topic == "/deidentified/image"])]
    assert len(stamps) == 36
    assert (stamps[-1] - stamps[0]) / 1e9 == pytest.approx(35 / rate, rel=0.1)


def test_a_source_that_cannot_be_read_ends_the_run_with_a_status(tmp_path):
    done = subprocess.run(command("--source", "nowhere.mp4", "--processes"), cwd=tmp_path,
                          env=environment(), text=True, capture_output=True, timeout=60)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "nowhere.mp4" in done.stderr


def orphans(pid: int) -> list[str]:
    """Processes that were started by one that has gone."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"DEID_SUPERVISOR={pid}\0".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return found


def wait_until_it_imports(pid: int, *, seconds: float = 60.0) -> None:
    """Until a process has loaded a library: Python is up, and our own code runs."""
    end = time.monotonic() + seconds
    while "site-packages" not in Path(f"/proc/{pid}/maps").read_text():
        assert time.monotonic() < end, "it did not start"
        time.sleep(0.02)


@pytest.mark.parametrize("words", [[], ["--processes"]])
@pytest.mark.parametrize("seconds", [0.1, 0.8, 2.0, 3.5])
def test_it_ends_cleanly_in_every_phase(tmp_path, words, seconds):
    """While it imports, loads, runs: no traceback, and nobody is left behind."""
    process = subprocess.Popen(command("--source", "astronaut", *words), cwd=tmp_path,
                               env=environment(), text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True,
                               # Ignored where these tests run in the background.
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        wait_until_it_imports(process.pid)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        said, errors = process.communicate(timeout=120)
    finally:
        # Whatever happens here must not run on beside the tests that follow.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode in (0, 130), errors
    for word in ("Traceback", "InvalidHandle", "KeyboardInterrupt", "Exception ignored"):
        assert word not in errors, errors
    assert not orphans(process.pid)
