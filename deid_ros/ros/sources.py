"""Where frames of a ``video_source`` come from: files, folders, cameras, a photograph.

Pure Python without ROS. A source is an iterator of frames uint8 (H, W, 3), BGR.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from deid_ros.errors import MediaError

__all__ = ["ASTRONAUT", "IMAGE_SUFFIXES", "RATE", "open_source", "own_rate", "pan_and_zoom"]

#: The name of the built-in moving picture.
ASTRONAUT = "astronaut"

#: Frames a second (Hz) of what has no rate of its own.
RATE = 30.0

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def open_source(source: str, *, loop: bool = False, width: int = 0,
                height: int = 0) -> Iterator[np.ndarray]:
    """The frames of a source.

    Args:
        source: ``astronaut`` (a photograph in the public domain, panned and
            zoomed), a video file, an image, a folder of images, or the number of
            a V4L2 camera.
        loop: begin again at the end; a still image and the astronaut never end.
        width, height: scale to this size (px); 0: as the source has it, the
            astronaut 640x480.

    Raises:
        MediaError: there is no such source, or it cannot be read.
    """
    frames = _open(source, loop=loop, width=width, height=height)
    if not (width and height) or source == ASTRONAUT:
        return frames
    return (cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames)


def own_rate(source: str) -> float:
    """Frames a second (Hz) that a source has by itself: a video's; ``RATE`` where it has none."""
    path = Path(source).expanduser()
    if not path.is_file() or path.suffix.lower() in IMAGE_SUFFIXES:
        return RATE
    capture = cv2.VideoCapture(str(path))
    found = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return found if 0.1 <= found <= 1000 else RATE


def _open(source: str, *, loop: bool, width: int, height: int) -> Iterator[np.ndarray]:
    if source == ASTRONAUT:
        return pan_and_zoom(_astronaut(), size=(width or 640, height or 480))
    if source.isdecimal():
        return _capture(int(source), source, loop=False)
    path = Path(source).expanduser()
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise MediaError(f"The folder {path} has no images ({', '.join(IMAGE_SUFFIXES)}); "
                             "name another source.")
        return _images(files, loop=loop)
    if not path.is_file():
        raise MediaError(f"The source {source!r} is neither a file, nor a folder, nor the number "
                         f"of a camera, nor {ASTRONAUT!r}; check the path.")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _still(path)
    return _capture(str(path), source, loop=loop)


def _astronaut() -> np.ndarray:
    try:
        from skimage import data
    except ImportError:
        raise MediaError("The photograph 'astronaut' comes with scikit-image; bring it with: "
                         "pip install scikit-image") from None
    return np.ascontiguousarray(data.astronaut()[:, :, ::-1])


def pan_and_zoom(picture: np.ndarray, *, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """An endless stream in which a camera moves slowly over a picture.

    Args:
        picture: uint8 (H, W, 3), BGR.
        size: width and height of the frames (px).
    """
    width, height = size
    rows, columns = picture.shape[:2]
    fit = max(width / columns, height / rows)
    i = 0
    while True:
        zoom = fit * (1.3 + 0.25 * math.sin(i / 61))
        # The middle of the view wanders within the picture...
        free_x, free_y = columns - width / zoom, rows - height / zoom
        # ... and keeps to the upper part, where the face of a portrait is.
        x = columns / 2 + free_x / 2 * 0.6 * math.sin(i / 37)
        y = rows / 2 + free_y / 2 * (-0.8 + 0.2 * math.sin(i / 53))
        move = np.array([[zoom, 0, width / 2 - zoom * x], [0, zoom, height / 2 - zoom * y]])
        yield cv2.warpAffine(picture, move, size, flags=cv2.INTER_LINEAR,
                             borderMode=cv2.BORDER_REFLECT)
        i += 1


def _read(path: Path) -> np.ndarray:
    frame = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if frame is None:
        raise MediaError(f"The image {path} cannot be read; check that it is one.")
    return frame


def _images(files: list[Path], *, loop: bool) -> Iterator[np.ndarray]:
    while True:
        for path in files:
            yield _read(path)
        if not loop:
            return


def _still(path: Path) -> Iterator[np.ndarray]:
    frame = _read(path)

    def forever() -> Iterator[np.ndarray]:
        while True:
            yield frame
    return forever()


def _capture(opened: int | str, source: str, *, loop: bool) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(opened)
    if not capture.isOpened():
        raise MediaError(f"The source {source!r} cannot be opened as a video or camera; check the "
                         "file, or the device's permissions.")

    def frames() -> Iterator[np.ndarray]:
        any_frame = False
        try:
            while True:
                ok, frame = capture.read()
                if ok:
                    any_frame = True
                    yield frame
                elif not any_frame:
                    raise MediaError(f"The source {source!r} gave no frame; check that it is a "
                                     "video.")
                elif not loop:
                    return
                else:
                    capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
                    any_frame = False
        finally:
            capture.release()
    return frames()
