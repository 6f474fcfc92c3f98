"""A small web page that shows streams, for this host only.

It listens on 127.0.0.1 and nowhere else; there is no option for another address.
A web site opened in a browser on this host must not see the pictures either:
requests by another name (DNS rebinding) and from other sites are refused, and the
pictures may be embedded by this page alone.
"""

from __future__ import annotations

import contextlib
import errno
import json
import select
import socket
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deid_ros.errors import ConfigError
from deid_ros.viewer.stream import Stream

__all__ = ["HOST", "Page"]

#: The only address there is.
HOST = "127.0.0.1"

_NAMES = (HOST, "localhost")
_MAX_VIEWERS = 8
_TIMEOUT_S = 10.0    # a browser that takes nothing for so long is let go
_BOUNDARY = "deid-frame"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; connect-src 'self'; "
                               "style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                               "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Page:
    """Serves ``/``, ``/status.json`` and ``/NAME.mjpg`` for each stream.

    Pictures are encoded only while somebody looks at them.

    Args:
        streams: what is shown; nothing else can be asked for.
        port: 0: any that is free.

    Raises:
        ConfigError: the port is taken or not allowed.
    """

    def __init__(self, streams: Sequence[Stream], *, port: int = 0) -> None:
        self.streams = {stream.name: stream for stream in streams}
        self.closing = threading.Event()
        #: Browsers that are sent pictures now.
        self.viewers = 0
        self._lock = threading.Lock()
        self.html = Path(__file__).with_name("page.html").read_bytes()
        if not 0 <= port <= 65535:
            raise ConfigError(f"--port is {port} but must be from 0 to 65535.")
        try:
            self._server = _Server((HOST, port), _Handler)
        except OSError as error:
            reason = ("is in use" if error.errno == errno.EADDRINUSE else
                      f"cannot be used ({error.strerror})")
            raise ConfigError(f"The port {port} of {HOST} {reason}; name another one with --port, "
                              "or 0 for any that is free.") from None
        self._server.page = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,),
                                        name="page", daemon=True)

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{HOST}:{self._server.server_address[1]}/"

    def __enter__(self) -> Page:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for stream in self.streams.values():
            stream.wake()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextlib.contextmanager
    def viewer(self) -> Any:
        """A place for one more browser; False where there is none."""
        with self._lock:
            free = self.viewers < _MAX_VIEWERS
            self.viewers += free
        try:
            yield free
        finally:
            with self._lock:
                self.viewers -= free

    def status(self) -> bytes:
        """What ``/status.json`` says."""
        return json.dumps({"streams": [stream.status() for stream in self.streams.values()],
                           "viewers": self.viewers}).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Whoever looks must not keep the program from ending.
    block_on_close = False
    page: Page

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT_S
    server_version, sys_version = "deid", ""

    def do_GET(self) -> None:
        page = self.server.page
        if not self._from_here():
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"only for pages of this host\n")
            return
        path = urlsplit(self.path).path
        name, dot, kind = path[1:].partition(".")
        if path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", page.html)
        elif path == "/status.json":
            self._send(HTTPStatus.OK, "application/json", page.status())
        elif kind == "mjpg" and name in page.streams:
            self._stream(page.streams[name])
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is no such thing here\n")

    do_HEAD = do_GET

    def _from_here(self) -> bool:
        host = urlsplit("//" + self.headers.get("Host", "")).hostname
        site = self.headers.get("Sec-Fetch-Site", "none")
        return host in _NAMES and site in ("none", "same-origin")

    def _head(self, status: HTTPStatus, kind: str, **more: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **_HEADERS, **more}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._head(status, kind, Content_Length=str(len(body)))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream(self, stream: Stream) -> None:
        page = self.server.page
        with page.viewer() as free:
            if not free:
                self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain",
                           f"{_MAX_VIEWERS} are looking already\n".encode())
                return
            self._head(HTTPStatus.OK, f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            if self.command == "HEAD":
                return
            with contextlib.suppress(OSError):  # gone, or too slow
                self._pictures(stream, page.closing)

    def _pictures(self, stream: Stream, closing: threading.Event) -> None:
        number, due = 0, time.monotonic()
        # A browser shows a part when the next boundary comes: it is sent at once.
        self.wfile.write(f"--{_BOUNDARY}\r\n".encode())
        while not closing.is_set():
            if stream.newer(number, 0.5) == number:
                if self._gone():
                    return
                continue
            number, data = stream.jpeg()
            if data:
                self.wfile.write(b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n--%b"
                                 b"\r\n" % (len(data), data, _BOUNDARY.encode()))
                self.wfile.flush()
            due = max(due + 1 / stream.style.rate, time.monotonic())
            closing.wait(due - time.monotonic())

    def _gone(self) -> bool:
        """Whether the browser has closed: without pictures no write would tell."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def log_message(self, *_: Any) -> None:
        """Requests are nobody's business."""
