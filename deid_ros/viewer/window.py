"""A window that shows streams side by side, with tkinter from the standard library.

The package depends on the headless OpenCV, which has no windows of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from deid_ros.viewer.stream import Stream, line

__all__ = ["Window", "no_window_because"]

_LOOK_MS = 15
_LEAST = 160  # px of a side


def no_window_because() -> str:
    """Why there can be no window here; '' where there can."""
    if not os.environ.get("DISPLAY"):
        return "there is no screen (DISPLAY is not set)"
    try:
        import tkinter
    except ImportError:
        return "Python was built without tkinter (Debian and Ubuntu: apt install python3-tk)"
    try:
        tkinter.Tk().destroy()
    except tkinter.TclError as error:
        return f"the screen cannot be used ({error})"
    return ""


def photo_bytes(frame: np.ndarray) -> bytes:
    """A PPM file of a frame BGR uint8 (H, W, 3): what tkinter reads without Pillow."""
    height, width = frame.shape[:2]
    return b"P6 %d %d 255 " % (width, height) + np.ascontiguousarray(frame[:, :, ::-1]).tobytes()


class Window:
    """Streams side by side, each with its topic and numbers below.

    To be made and run in the main thread. ``closed`` is set when the user closes it.
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        import tkinter

        self._streams = list(streams)
        self.closed = threading.Event()
        self.root = tkinter.Tk(className="deid_view")
        self.root.title("deid view")
        self.root.configure(background="#0e1114")
        self.root.protocol("WM_DELETE_WINDOW", self.closed.set)
        for key in ("<Escape>", "q"):
            self.root.bind(key, lambda _: self.closed.set())
        count = len(self._streams)
        wide = self.root.winfo_screenwidth() * 9 // 10
        self.root.geometry(f"{min(count * 800, wide)}x{min(660, wide)}")
        self.root.rowconfigure(1, weight=1)
        self._screens: list[Any] = []
        self._words: list[Any] = []
        self._photos: list[Any] = [None] * count
        self._shown: list[Any] = [None] * count
        for i, stream in enumerate(self._streams):
            self.root.columnconfigure(i, weight=1, uniform="streams")
            if count > 1 or stream.raw:
                tkinter.Label(self.root, text="Raw camera: nothing here is de-identified"
                              if stream.raw else "De-identified output", foreground="white",
                              background="#c9302c" if stream.raw else "#1f6f37").grid(
                                  row=0, column=i, sticky="ew", padx=2)
            screen = tkinter.Label(self.root, background="black", foreground="#e6e9ec",
                                   compound="center", wraplength=420)
            screen.grid(row=1, column=i, sticky="nsew", padx=2)
            screen.grid_propagate(False)
            words = tkinter.Label(self.root, background="#161a1e", foreground="#e6e9ec",
                                  anchor="w", padx=8, pady=5)
            words.grid(row=2, column=i, sticky="ew", padx=2)
            self._screens.append(screen)
            self._words.append(words)

    def run(self, over: threading.Event) -> None:
        """Until ``over`` is set or the user closes it."""
        def look() -> None:
            if over.is_set() or self.closed.is_set():
                self.root.quit()
                return
            for i in range(len(self._streams)):
                self._show(i)
            self.root.after(wait, look)
        wait = max(_LOOK_MS, round(1e3 / max(s.style.rate for s in self._streams)))
        look()
        self.root.mainloop()

    def close(self) -> None:
        """Take it off the screen."""
        # Tk must be told of their end by this thread, and while it is there.
        for screen in self._screens:
            screen.configure(image="")
        self._photos = []
        self.root.destroy()

    def _show(self, i: int) -> None:
        import tkinter

        import cv2

        stream, screen = self._streams[i], self._screens[i]
        status = stream.status()
        live = status["state"] == "live"
        self._words[i].configure(text=stream.topic + (f"   {line(status)}" if live else ""))
        space = screen.winfo_width(), screen.winfo_height()
        number, frame = stream.picture()
        key = number, space, live
        if key == self._shown[i]:
            if not live:
                screen.configure(text=line(status))
            return
        self._shown[i] = key
        if frame is None:
            self._photos[i] = None
            screen.configure(image="", text=line(status))
            return
        height, width = frame.shape[:2]
        scale = min(max(space[0], _LEAST) / width, max(space[1], _LEAST) / height)
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1
                           else cv2.INTER_LINEAR)
        if not live:  # an old picture must not look like a live one
            frame = (frame // 4).astype(np.uint8)
        self._photos[i] = tkinter.PhotoImage(data=photo_bytes(frame), format="PPM")
        screen.configure(image=self._photos[i], text="" if live else line(status))
