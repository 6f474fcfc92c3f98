"""The newest picture of a topic: its words, its numbers, and who pays for it."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros.errors import ConfigError, FrameError
from deid_ros.viewer.stream import Stream, Style, line


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Camera:
    """A stream of grey pictures and how often they were converted."""

    def __init__(self, **options) -> None:
        self.clock, self.converted = Clock(), 0
        self.stream = Stream("output", "/deidentified/image", convert=self.convert,
                             clock=self.clock, **options)

    def convert(self, message) -> np.ndarray:
        self.converted += 1
        if isinstance(message, str):
            raise FrameError(message)
        return np.full((40, 60, 3), message, np.uint8)

    def send(self, *messages, step=0.1, latency=0.04) -> None:
        for message in messages:
            self.clock.now += step
            self.stream.put(message, latency)


def test_nothing_came_yet():
    camera = Camera()
    status = camera.stream.status()
    assert status["state"] == "waiting" and status["fps"] == 0 and status["latency_ms"] is None
    assert "waiting for /deidentified/image: nobody publishes it" in line(status)
    camera.stream.publishers = 1
    assert "it is published, but no image has come" in camera.stream.status()["words"]
    assert camera.stream.picture() == (0, None) and camera.stream.jpeg() == (0, b"")
    assert camera.stream.newer(0, 0.0) == 0


def test_rate_and_latency():
    camera = Camera()
    camera.send(*range(50), step=0.1, latency=0.04)
    status = camera.stream.status()
    assert status["state"] == "live" and status["fps"] == pytest.approx(10)
    assert status["latency_ms"] == 40 and status["frames"] == 50
    assert line(status) == "10.0 frames/s, 40 ms after the camera's stamp"


def test_stamps_of_another_clock_give_no_latency():
    camera = Camera()
    camera.send(1, 2, latency=None)
    assert camera.stream.status()["latency_ms"] is None
    assert line(camera.stream.status()) == "10.0 frames/s"


def test_what_stopped_is_called_so():
    camera = Camera()
    camera.send(1, 2, 3)
    camera.clock.now += 5
    status = camera.stream.status()
    assert status["state"] == "stalled" and status["fps"] == 0 and status["latency_ms"] is None
    assert status["words"].startswith("no image on /deidentified/image for 5 s; nobody")
    camera.stream.publishers = 1
    assert camera.stream.status()["words"] == "no image on /deidentified/image for 5 s"
    camera.send(4)
    assert camera.stream.status()["state"] == "live"


def test_what_the_publisher_says_is_shown_with_it():
    camera = Camera()
    camera.stream.publishers, camera.stream.note = 1, "/replacer: paused: nothing leaves"
    assert line(camera.stream.status()).endswith("no image has come; /replacer: paused: nothing "
                                                 "leaves")
    camera.send(1, 2, latency=None)
    assert line(camera.stream.status()) == "10.0 frames/s   (/replacer: paused: nothing leaves)"


def test_pictures_are_made_when_somebody_looks_and_once():
    camera = Camera()
    camera.send(*range(30))
    assert camera.converted == 0
    for _ in range(3):
        number, data = camera.stream.jpeg()
        assert number == 30 and data[:3] == b"\xff\xd8\xff"
        assert (camera.stream.picture()[1] == 29).all()
    assert camera.converted == 1


def test_wide_pictures_are_scaled_down():
    camera = Camera(style=Style(width=30))
    camera.send(7)
    assert camera.stream.picture()[1].shape == (20, 30, 3)
    camera = Camera(style=Style(width=0))
    camera.send(7)
    assert camera.stream.picture()[1].shape == (40, 60, 3)


def test_what_cannot_be_read_shows_nothing_but_the_reason():
    camera = Camera()
    camera.send(7)
    assert camera.stream.jpeg()[1]
    camera.send("The image encoding '32FC1' is not supported.")
    assert camera.stream.picture() == (2, None) and camera.stream.jpeg() == (2, b"")
    status = camera.stream.status()
    assert status["state"] == "unreadable" and "32FC1" in status["words"]
    camera.send(8)
    assert camera.stream.jpeg()[1] and camera.stream.status()["state"] == "live"


@pytest.mark.parametrize("changes", [{"rate": 0}, {"rate": 999}, {"width": -1}, {"quality": 0},
                                     {"quality": 101}])
def test_styles_out_of_range_are_refused(changes):
    name, value = next(iter(changes.items()))
    with pytest.raises(ConfigError, match=f"--{name} is {value} but must be"):
        Style(**changes)
