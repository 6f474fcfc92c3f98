"""The newest picture of one topic, and how well pictures come.

Pure Python without ROS; messages are opaque and turned into pixels only when
somebody looks, once for everybody who does. Nothing is queued: who is slow misses
pictures, and nobody sees old ones.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deid_ros.errors import ConfigError, DeidError

__all__ = ["Stream", "Style", "line"]

_STALLED_S = 1.5
#: The rate and the latency are those of the last so many seconds.
_WINDOW_S = 3.0


@dataclass(frozen=True)
class Style:
    """How pictures are shown.

    Attributes:
        rate: pictures a second at most.
        width: wider ones are scaled down to this (px); 0: never.
        quality: of JPEG, 1 to 100.

    Raises:
        ConfigError: out of range.
    """

    rate: float = 15.0
    width: int = 1280
    quality: int = 80

    def __post_init__(self) -> None:
        for name, least, most in (("rate", 0.1, 120), ("width", 0, 16384), ("quality", 1, 100)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"--{name} is {value:g} but must be from {least:g} to {most:g}.")


class Stream:
    """What one topic shows. Safe to use from several threads.

    Args:
        name: ``output`` or ``input``.
        topic: its full name, for the words.
        raw: whether nothing in it is de-identified.
        convert: message -> BGR uint8 (H, W, 3); may raise ``DeidError``.
        style: how pictures are shown.
        clock: steady seconds.
    """

    def __init__(self, name: str, topic: str, *, convert: Callable[[Any], np.ndarray],
                 raw: bool = False, style: Style | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.topic, self.raw = name, topic, raw
        self.style = style or Style()
        #: Nodes that publish the topic, as far as is known.
        self.publishers = 0
        #: What the node that publishes it has to say.
        self.note = ""
        self._convert, self._clock = convert, clock
        self._changed = threading.Condition()
        self._number = 0
        self._message: Any = None
        self._came: deque[tuple[float, float | None]] = deque()
        self._drawing = threading.Lock()
        self._drawn: tuple[int, np.ndarray | None, str] = 0, None, ""
        self._jpeg: tuple[int, bytes] = 0, b""

    def put(self, message: Any, latency: float | None) -> None:
        """A message came; ``latency`` (s) since its stamp, None where that means nothing."""
        with self._changed:
            self._number += 1
            self._message = message
            now = self._clock()
            self._came.append((now, latency))
            while now - self._came[0][0] > _WINDOW_S:
                self._came.popleft()
            self._changed.notify_all()

    def wake(self) -> None:
        """Let everybody who waits look whether there is still something to wait for."""
        with self._changed:
            self._changed.notify_all()

    def newer(self, number: int, timeout: float) -> int:
        """The number of the newest picture, after waiting for one beyond ``number``."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > number, timeout)
            return self._number

    def picture(self) -> tuple[int, np.ndarray | None]:
        """Number and pixels of the newest picture, not wider than ``style.width``.

        BGR uint8 (H, W, 3), not to be written to; None where there is none, or it
        cannot be read.
        """
        import cv2

        with self._drawing:
            with self._changed:
                number, message = self._number, self._message
            if number != self._drawn[0]:
                frame, words = None, ""
                try:
                    frame = self._convert(message)
                    height, width = frame.shape[:2]
                    if self.style.width and width > self.style.width:
                        size = self.style.width, max(round(height * self.style.width / width), 1)
                        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
                except DeidError as error:
                    words = str(error)
                self._drawn = number, frame, words
            return self._drawn[:2]

    def jpeg(self) -> tuple[int, bytes]:
        """Number and JPEG file of the newest picture; no bytes where there is none."""
        import cv2

        number, frame = self.picture()
        with self._drawing:
            if number > self._jpeg[0]:
                data = b"" if frame is None else cv2.imencode(
                    ".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, self.style.quality))[1].tobytes()
                self._jpeg = number, data
            return self._jpeg

    def status(self) -> dict[str, Any]:
        """The state of the stream.

        ``name``, ``topic``, ``raw``; ``state``: ``waiting`` (nothing came yet),
        ``live``, ``stalled`` (nothing for a while) or ``unreadable``; ``words`` for
        people; ``note``, what its publisher says of itself; ``fps``; ``latency_ms``, the
        median, None where stamps are of another clock; ``frames`` so far.
        """
        with self._changed:
            now, number, came = self._clock(), self._number, list(self._came)
        since = now - came[-1][0] if came else 0.0
        recent = [(at, latency) for at, latency in came if now - at <= _WINDOW_S]
        fps = 0.0
        if len(recent) > 1 and recent[-1][0] > recent[0][0]:
            fps = (len(recent) - 1) / (recent[-1][0] - recent[0][0])
        latencies = [latency for _, latency in recent if latency is not None]
        drawn, _, problem = self._drawn
        if not number:
            state = "waiting"
            words = f"waiting for {self.topic}: " + (
                "it is published, but no image has come" if self.publishers else
                "nobody publishes it; is the pipeline running?")
        elif since > _STALLED_S:
            state, words = "stalled", f"no image on {self.topic} for {since:.0f} s" + (
                "" if self.publishers else "; nobody publishes it any more")
            fps, latencies = 0.0, []
        elif problem and drawn == number:
            state, words = "unreadable", problem
        else:
            state, words = "live", ""
        return {"name": self.name, "topic": self.topic, "raw": self.raw, "state": state,
                "words": words, "note": self.note, "frames": number, "fps": round(fps, 1),
                "latency_ms": (round(1e3 * float(np.median(latencies)), 1) if latencies
                               else None)}


def line(status: dict[str, Any]) -> str:
    """The numbers of a status for people: ``29.9 frames/s, 41 ms``."""
    if status["state"] != "live":
        return "; ".join(filter(None, (status["words"], status["note"])))
    text = f"{status['fps']:.1f} frames/s"
    latency = status["latency_ms"]
    text += "" if latency is None else f", {latency:.0f} ms after the camera's stamp"
    return text + (f"   ({status['note']})" if status["note"] else "")
