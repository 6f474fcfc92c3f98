"""The page: what it shows, to whom, and what it never does."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest

from deid_ros.errors import ConfigError
from deid_ros.viewer import Page, Stream, Style

RED, GREEN = (0, 0, 250), (0, 250, 0)


def flat(colour) -> np.ndarray:
    return np.full((48, 64, 3), colour, np.uint8)


def stream_of(name="output", **options) -> Stream:
    return Stream(name, f"/{name}", convert=flat, style=Style(rate=100), **options)


@pytest.fixture
def output():
    return stream_of()


@pytest.fixture
def page(output):
    with Page([output]) as made:
        yield made


def get(page: Page, path: str, **headers: str):
    request = urllib.request.Request(page.address + path, headers=headers)
    return urllib.request.urlopen(request, timeout=5)


def status_of(page: Page, path: str, **headers: str) -> int:
    try:
        with get(page, path, **headers) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def parts(answer, count: int, *, first: bool = True) -> list[np.ndarray]:
    """So many pictures of an MJPEG stream, decoded: BGR uint8 (H, W, 3)."""
    kind, _, name = answer.headers["Content-Type"].partition("; boundary=")
    boundary = b"--" + name.encode()
    assert kind == "multipart/x-mixed-replace" and name
    assert not first or answer.readline().strip() == boundary
    pictures = []
    for _ in range(count):
        headers = http.client.parse_headers(answer)
        assert headers["Content-Type"] == "image/jpeg"
        data = answer.read(int(headers["Content-Length"]))
        pictures.append(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
        assert answer.readline() == b"\r\n"
        # The next boundary comes with the picture: a browser shows it without waiting.
        assert answer.readline().strip() == boundary
    return pictures


def wait(condition, timeout=5.0) -> bool:
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_it_listens_on_the_loopback_device_alone(page):
    assert page.address.startswith("http://127.0.0.1:")
    assert page._server.server_address[0] == "127.0.0.1"
    listening = page._server.socket.getsockname()
    assert listening[0] == "127.0.0.1"


def test_the_page_needs_nothing_from_anywhere_else(page):
    with get(page, "") as answer:
        text = answer.read().decode()
        policy = answer.headers["Content-Security-Policy"]
    assert "http:" not in text and "https:" not in text and "//cdn" not in text
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert 'name="viewport"' in text


def test_pictures_of_a_stream(page, output):
    output.put(RED, None)
    with get(page, "output.mjpg") as answer:
        first, = parts(answer, 1)
        output.put(GREEN, None)
        second, = parts(answer, 1, first=False)
    for picture, colour in ((first, RED), (second, GREEN)):
        assert picture.shape == (48, 64, 3)
        assert np.abs(picture.astype(int) - colour).max() < 8


def test_only_the_streams_that_it_was_given_are_there(page):
    assert status_of(page, "status.json") == 200
    for path in ("input.mjpg", "input.jpg", "input", "output", "output.mjpg/..", "page.html",
                 "../page.py", "status"):
        assert status_of(page, path) == 404, path


def test_input_is_there_when_it_was_given():
    with Page([stream_of("input", raw=True), stream_of()]) as page:
        page.streams["input"].put(RED, None)
        with get(page, "input.mjpg") as answer:
            assert np.abs(parts(answer, 1)[0].astype(int) - RED).max() < 8
        states = json.load(get(page, "status.json"))["streams"]
    assert [(state["name"], state["raw"]) for state in states] == [("input", True),
                                                                  ("output", False)]


@pytest.mark.parametrize("path", ["", "status.json", "output.mjpg"])
@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Host": "evil.example:80"},
                                     {"Host": ""}, {"Sec-Fetch-Site": "cross-site"},
                                     {"Sec-Fetch-Site": "same-site"},
                                     {"Host": "127.0.0.1.evil.example"}])
def test_other_sites_are_refused(page, output, path, headers):
    output.put(RED, None)
    assert status_of(page, path, **headers) == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:9000"])
def test_a_forwarded_port_is_this_host_too(page, host):
    assert status_of(page, "status.json", Host=host) == 200


def test_no_picture_may_be_embedded_elsewhere_or_kept(page, output):
    output.put(RED, None)
    with get(page, "output.mjpg") as answer:
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_only_shows(page, method):
    connection = http.client.HTTPConnection(page.address.split("/")[2], timeout=5)
    connection.request(method, "/")
    assert connection.getresponse().status == 501
    connection.close()


def test_nothing_is_encoded_while_nobody_looks():
    calls = []

    def convert(message):
        calls.append(message)
        return flat(message)
    stream = Stream("output", "/output", convert=convert, style=Style(rate=100))
    with Page([stream]) as page:
        for _ in range(20):
            stream.put(RED, None)
        json.load(get(page, "status.json"))
        assert calls == []
        with get(page, "output.mjpg") as answer:
            parts(answer, 1)
        assert wait(lambda: page.viewers == 0)
        before = len(calls)
        stream.put(GREEN, None)
        assert len(calls) == before >= 1


def test_a_browser_that_leaves_while_nothing_comes_makes_room(page):
    answers = [get(page, "output.mjpg") for _ in range(8)]
    assert wait(lambda: page.viewers == 8)
    assert status_of(page, "output.mjpg") == 503
    for answer in answers:
        answer.close()
    assert wait(lambda: page.viewers == 0)


def test_a_browser_that_takes_nothing_holds_nobody_up(page, output):
    """The other one is served on, and the page ends at once."""
    host, port = page.address.split("/")[2].split(":")
    with socket.create_connection((host, int(port))) as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.sendall(b"GET /output.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        over = threading.Event()

        def publish():
            while not over.wait(0.002):
                output.put(RED, None)
        thread = threading.Thread(target=publish)
        thread.start()
        try:
            with get(page, "output.mjpg") as answer:
                assert len(parts(answer, 30)) == 30
        finally:
            over.set()
            thread.join()


def test_a_port_that_is_taken_is_named(page):
    port = int(page.address.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is in use.*--port"):
        Page([], port=port)
    with pytest.raises(ConfigError, match="--port is 70000"):
        Page([], port=70000)
