"""``deid view`` over real topics: the output, and the camera only where it was asked for."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from rclpy.node import Node  # noqa: E402
from ros_support import CAMERA, DOMAIN, context_fixture, header, wait  # noqa: E402, F401
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from test_viewer_page import parts  # noqa: E402
from test_viewer_window import screen_fixture  # noqa: E402, F401

from deid_ros.cli import main  # noqa: E402
from deid_ros.resources import share_path  # noqa: E402
from deid_ros.ros.codec import image_of  # noqa: E402
from deid_ros.ros.compressed import compress  # noqa: E402
from deid_ros.ros.qos import keep_last  # noqa: E402

pytestmark = pytest.mark.ros

RAW, COVERED = (20, 20, 240), (20, 240, 20)
OUTPUT = "/deidentified/image"


def flat(colour) -> np.ndarray:
    return np.full((48, 64, 3), colour, np.uint8)


class Publisher:
    """A camera and a replacer: red pictures go in, green ones come out."""

    def __init__(self, context, *, namespace="", output="deidentified/image", camera=CAMERA,
                 reliable=True) -> None:
        self.node = Node("publisher", context=context, namespace=namespace)
        self.compressed = output.endswith("/compressed")
        kind = CompressedImage if self.compressed else Image
        self.output = self.node.create_publisher(kind, output, keep_last(5))
        self.camera = self.node.create_publisher(Image, camera, keep_last(5, reliable=reliable))

    def send(self) -> None:
        now = self.node.get_clock().now().nanoseconds
        self.camera.publish(image_of(flat(RAW), header(now)))
        frame = flat(COVERED)
        self.output.publish(
            compress(frame, header(now), encoding="bgr8", quality=90)
            if self.compressed else image_of(frame, header(now)))


@contextmanager
def viewing(*arguments: str, display: str = "", page: bool = True):
    """``deid view`` as a user runs it: the process and the address of its page."""
    environment = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN), "DISPLAY": display,
                   "FASTDDS_DEFAULT_PROFILES_FILE": str(share_path("config", "fastdds_host.xml"))}
    process = subprocess.Popen([sys.executable, "-m", "deid_ros", "view", "--port", "0",
                                "--rate", "100", *arguments], text=True, env=environment,
                               stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    lines = []
    try:
        for text in process.stderr:
            lines.append(text)
            if "Ctrl-C ends" in text:
                break
        assert lines and ("http://127.0.0.1:" in lines[-1]) == page, lines
        process.said = lines
        found = re.search(r"http://127\.0\.0\.1:\d+", lines[-1])
        yield process, found[0] if found else ""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        process.stdout.close()


def states(address: str) -> dict[str, dict]:
    with urllib.request.urlopen(address + "/status.json", timeout=5) as answer:
        return {state["name"]: state for state in json.load(answer)["streams"]}


def shown(address: str, name: str, publisher: Publisher, count: int = 3) -> list[np.ndarray]:
    """So many pictures of a stream, while frames are published."""
    def live() -> bool:
        publisher.send()
        time.sleep(0.02)
        return states(address)[name]["state"] == "live"
    assert wait(live, 20), states(address)
    with urllib.request.urlopen(f"{address}/{name}.mjpg", timeout=5) as answer:
        pictures = parts(answer, 1)
        for _ in range(count - 1):
            publisher.send()
            pictures += parts(answer, 1, first=False)
    return pictures


def close_to(picture: np.ndarray, colour) -> bool:
    return picture.shape == (48, 64, 3) and np.abs(picture.astype(int) - colour).max() < 10


def ended(process, number: int) -> int:
    process.send_signal(number)
    return process.wait(timeout=10)


def test_only_the_output_unless_asked(context):
    publisher = Publisher(context)
    with viewing() as (process, address):
        assert "there is no screen" in process.said[-1] and "raw" not in "".join(process.said)
        for picture in shown(address, "output", publisher):
            assert close_to(picture, COVERED)

        def numbers() -> bool:
            publisher.send()
            state, = states(address).values()
            return (state["topic"] == OUTPUT and state["fps"] > 0
                    and 0 <= state["latency_ms"] < 4000)
        assert wait(numbers)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + "/input.mjpg", timeout=5)
        # It does not even listen to the camera.
        assert publisher.camera.get_subscription_count() == 0
        assert ended(process, signal.SIGINT) == 0
        assert process.stdout.read() == "" and "Traceback" not in process.stderr.read()


def test_input_beside_it_with_a_warning(context):
    publisher = Publisher(context, reliable=False)
    with viewing("--show-input") as (process, address):
        assert f"WARNING: {CAMERA} is shown as it is, faces and all" in process.said[0]
        assert all(close_to(picture, RAW) for picture in shown(address, "input", publisher))
        assert all(close_to(picture, COVERED) for picture in shown(address, "output", publisher))
        assert [name for name, state in states(address).items() if state["raw"]] == ["input"]
        assert ended(process, signal.SIGTERM) == 0


def test_it_says_why_nothing_comes(context):
    publisher = Publisher(context, namespace="front")
    diagnostics = publisher.node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def tell(level: bytes, *names: str) -> None:
        diagnostics.publish(DiagnosticArray(status=[
            DiagnosticStatus(name=name, level=level, message=f"{name[1:]} is ill")
            for name in names]))
        time.sleep(0.05)
    with viewing("--namespace", "front") as (process, address):
        def note() -> str:
            return states(address)["output"]["note"]

        def heard() -> bool:
            tell(DiagnosticStatus.WARN, "/replacer", "/front/replacer", "/front/detector")
            return bool(note())
        assert wait(heard, 20)
        assert note() == "/front/replacer: front/replacer is ill"

        def well() -> bool:
            tell(DiagnosticStatus.OK, "/front/replacer")
            return not note()
        assert wait(well)
        assert ended(process, signal.SIGINT) == 0


def test_it_says_what_it_waits_for_and_ends_in_time(context):
    with viewing("--seconds", "4", "--namespace", "front") as (process, address):
        state, = states(address).values()
        assert state["state"] == "waiting"
        assert "waiting for /front/deidentified/image: nobody publishes it" in state["words"]
        assert process.wait(timeout=20) == 0
        assert "waiting for /front/deidentified/image" in process.stderr.read()


def test_compressed_output_of_a_namespace(context):
    publisher = Publisher(context, namespace="front", output="deidentified/image/compressed")
    with viewing("--namespace", "front", "--compressed") as (_, address):
        assert all(close_to(picture, COVERED) for picture in shown(address, "output", publisher))
        assert states(address)["output"]["topic"] == f"/front{OUTPUT}/compressed"


@pytest.mark.parametrize("remap", [
    [f"{OUTPUT}:={CAMERA}"], [f"{OUTPUT}:={CAMERA}/compressed"], [f"{OUTPUT}:=/deid/_chips"],
    [f"{OUTPUT}:=/other", f"/other:={CAMERA}"]])
def test_raw_topics_are_not_taken_for_the_output(remap, monkeypatch, capsys):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    monkeypatch.delenv("DISPLAY", raising=False)
    assert main(["view", "--port", "0", "--seconds", "5", "--remap", *remap]) == 2
    words = capsys.readouterr().err
    assert words.startswith("deid: ") and words.count("\n") == 1
    assert "raw faces" in words or "remapped twice" in words


@pytest.mark.parametrize("arguments, words", [
    (["--rate", "0"], "--rate is 0"), (["--quality", "101"], "--quality is 101"),
    (["--port", "70000"], "--port is 70000"), (["--seconds", "-1"], "--seconds is -1")])
def test_options_out_of_range_are_refused(arguments, words, monkeypatch, capsys):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    assert main(["view", "--web", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_window_where_there_is_a_screen(context, screen):
    """On an X server in memory; it ends at Ctrl-C like the page."""
    from PIL import ImageGrab
    publisher = Publisher(context)
    display = os.environ["DISPLAY"]
    with viewing("--show-input", display=display, page=False) as (process, _):
        assert "a window shows" in process.said[-1] and "http" not in "".join(process.said)

        def seen() -> bool:
            publisher.send()
            time.sleep(0.02)
            pixels = np.asarray(ImageGrab.grab(xdisplay=display).convert("RGB"))[..., ::-1]
            counts = [(np.abs(pixels.astype(int) - colour).max(axis=2) < 10).sum()
                      for colour in (RAW, COVERED)]
            return min(counts) > 1000
        assert wait(seen, 20)
        assert ended(process, signal.SIGINT) == 0
        assert "Traceback" not in process.stderr.read()


def test_there_is_no_option_for_another_address(capsys):
    with pytest.raises(SystemExit):
        main(["view", "--help"])
    help_ = capsys.readouterr().out
    assert "127.0.0.1" in help_ and "0.0.0.0" not in help_
    for option in ("--host", "--bind", "--address"):
        assert option not in help_.replace("--network {host", "")
