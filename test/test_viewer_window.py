"""The window: where there can be one, and what it draws."""

from __future__ import annotations

import builtins
import os
import shutil
import subprocess
import threading

import numpy as np
import pytest

from deid_ros.viewer import Stream, Window, no_window_because
from deid_ros.viewer.window import photo_bytes


def test_no_screen_no_window(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    assert "DISPLAY is not set" in no_window_because()


def test_a_python_without_tkinter_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name == "tkinter":
            raise ImportError(name)
        return real(name, *args, **options)
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr(builtins, "__import__", without)
    assert "python3-tk" in no_window_because()


def test_a_screen_that_cannot_be_used_is_named(monkeypatch):
    pytest.importorskip("tkinter")
    monkeypatch.setenv("DISPLAY", "127.0.0.1:9876")
    assert "the screen cannot be used" in no_window_because()


def test_pictures_as_tkinter_reads_them():
    frame = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    data = photo_bytes(frame)
    assert data.startswith(b"P6 3 2 255 ")
    pixels = np.frombuffer(data[-18:], np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(pixels[..., ::-1], frame)


@pytest.fixture(name="screen")
def screen_fixture(monkeypatch):
    """A screen in memory; skips where there is none to be had."""
    pytest.importorskip("tkinter")
    if not shutil.which("Xvfb"):
        pytest.skip("no Xvfb")
    reading, writing = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(writing), "-nolisten", "tcp", "-screen",
                               "0", "800x600x24"], pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading) as stream:
            number = stream.readline().strip()
        if not number:
            pytest.skip("Xvfb does not start")
        monkeypatch.setenv("DISPLAY", f":{number}")
        yield
    finally:
        server.terminate()
        server.wait()


def middle(window: Window, index: int) -> tuple[int, ...]:
    """The colour (RGB) in the middle of the picture that a stream shows."""
    photo = window._photos[index]
    return tuple(photo.get(photo.width() // 2, photo.height() // 2))


def test_what_comes_is_drawn_and_what_stops_is_dimmed(screen):
    now = [100.0]
    streams = [Stream(name, f"/{name}", raw=name == "input", clock=lambda: now[0],
                      convert=lambda colour: np.full((30, 40, 3), colour, np.uint8))
               for name in ("input", "output")]
    assert no_window_because() == ""
    window = Window(streams)
    try:
        over = threading.Event()
        steps = []

        def check() -> None:
            step = len(steps)
            if step == 0:
                steps.append([label["text"] for label in window._screens])
                for stream, colour in zip(streams, [(0, 0, 240), (0, 240, 0)]):
                    stream.put(colour, 0.02)
                    stream.put(colour, 0.02)
            elif step == 1:
                steps.append([middle(window, 0), middle(window, 1)])
                now[0] += 9
            else:
                steps.append([middle(window, 0), middle(window, 1),
                              window._screens[1]["text"]])
                over.set()
                return
            window.root.after(300, check)
        window.root.after(300, check)
        window.run(over)
    finally:
        window.close()
    assert steps[0][1].startswith("waiting for /output")
    assert steps[1] == [(240, 0, 0), (0, 240, 0)]
    assert steps[2] == [(60, 0, 0), (0, 60, 0), "no image on /output for 9 s; nobody publishes "
                                                "it any more"]
