"""Frames with a known number of faces that move: a head pasted on a texture.

The head is that of scikit-image's photograph of an astronaut (public domain). All
frames are made beforehand and form a loop, so that driving a pipeline with them
costs nothing and its motion never jumps.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

from deid_ros.errors import ConfigError, MediaError

__all__ = ["FACE_PX", "MAX_FACES", "composed", "face_area", "frames_of", "texture"]

#: Height of the face (chin to hairline, px) where there is room for it.
FACE_PX = 110
MAX_FACES = 40

# The head in the photograph: its middle, the half axes of the soft ellipse that is cut
# out, the height of the face from chin to hairline, and its width from ear to ear.
_HEAD = (221, 117)
_AXES = (84, 112)
_FACE_HEIGHT = 118.0
_FACE_WIDTH = 92.0

_LEAST_FACE = 24     # px
_MEMORY = 160e6      # bytes of frames at most
_FRAMES = 90
_SPEED = 3.0         # px from one frame to the next, at most


@functools.cache
def _head() -> np.ndarray:
    """BGR and alpha, float32 (h, w, 4), 0..255 and 0..1."""
    try:
        from skimage import data
    except ImportError:
        raise MediaError("The photograph of an astronaut comes with scikit-image; bring it with: "
                         "pip install scikit-image") from None
    half = np.array(_AXES) + 6
    left, top = np.maximum(np.array(_HEAD) - half, 0)
    right, bottom = np.array(_HEAD) + half
    picture = data.astronaut()[top:bottom, left:right, ::-1].astype(np.float32)
    ys, xs = np.mgrid[top:bottom, left:right].astype(np.float32)
    far = np.hypot((xs - _HEAD[0]) / _AXES[0], (ys - _HEAD[1]) / _AXES[1])
    alpha = np.clip((1.04 - far) / 0.08, 0, 1)
    return np.dstack([picture, alpha]).astype(np.float32)


def texture(width: int, height: int, *, seed: int = 0) -> np.ndarray:
    """Coloured noise of every coarseness, as walls and trees have it: BGR uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    total = np.full((height, width, 3), 118.0, np.float32)
    cell = max(width, height)
    while cell >= 2:
        shape = (height // cell + 2, width // cell + 2, 3)
        noise = rng.normal(0, 1, shape).astype(np.float32)
        # Mostly grey: a coloured checkerboard looks like nothing there is.
        noise = 0.7 * noise.mean(axis=2, keepdims=True) + 0.3 * noise
        large = cv2.resize(noise, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        total += 11 * large[:height, :width]
        cell //= 2
    return np.clip(total, 0, 255).astype(np.uint8)


def frames_of(width: int, height: int, faces: int, *, face_px: int = FACE_PX,
              seed: int = 0) -> list[np.ndarray]:
    """The frames of ``composed`` alone."""
    return [frame for frame, _ in composed(width, height, faces, face_px=face_px, seed=seed)]


def composed(width: int, height: int, faces: int, *, face_px: int = FACE_PX,
             seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """A loop of frames in which faces wander, nod and come nearer; the camera pans.

    Args:
        width, height: of the frames (px).
        faces: in every frame, all of them visible in full.
        face_px: height of the faces (px); smaller where they would not fit.
        seed: of the background and the motion.

    Returns:
        Frames, BGR uint8 (height, width, 3), and where their faces are: float64 (faces, 3),
        middle x, y and height from chin to hairline (px).

    Raises:
        ConfigError: no room for so many faces of 24 px.
        MediaError: the photograph is not installed.
    """
    if not 0 <= faces <= MAX_FACES:
        raise ConfigError(f"There are to be {faces} faces; it must be from 0 to {MAX_FACES}.")
    count = int(min(_FRAMES, max(12, _MEMORY // (3 * width * height))))
    rng = np.random.default_rng(seed)
    pan = round(min(0.15 * width, _SPEED * count / math.tau))
    wall = texture(width + 2 * pan, height, seed=seed)
    places = _places(width, height, faces, face_px)
    wander = [rng.uniform(0, math.tau, 4) for _ in places]
    noise = rng.normal(0, 2, (height + 16, width + 16, 1)).astype(np.float32)
    frames = []
    for i in range(count):
        turn = math.tau * i / count
        shift = pan + round(pan * math.sin(turn))
        frame = wall[:, shift:shift + width].astype(np.float32)
        where = np.zeros((faces, 3))
        for j, ((x, y, room, size), phase) in enumerate(zip(places, wander, strict=True)):
            free = min(room, _SPEED * count / math.tau)
            where[j] = (x + free * math.sin(turn + phase[0]),
                        y + 0.5 * free * math.sin(turn + phase[1]),
                        size * (1 + 0.06 * math.sin(turn + phase[2])))
            _paste(frame, *where[j, :2], where[j, 2] / _FACE_HEIGHT,
                   8 * math.sin(turn + phase[3]))
        dx, dy = rng.integers(0, 16, 2)   # the sensor's noise
        frame += noise[dy:dy + height, dx:dx + width]
        frames.append((np.clip(frame, 0, 255).astype(np.uint8), where))
    return frames


def face_area(width: int, height: int, faces: int, *, face_px: int = FACE_PX) -> float:
    """The area (px) of the boxes around all faces of a frame, ear to ear, chin to hairline."""
    return sum(_FACE_WIDTH / _FACE_HEIGHT * size * size
               for *_, size in _places(width, height, faces, face_px))


def _places(width: int, height: int, faces: int,
            face_px: int) -> list[tuple[float, float, float, float]]:
    """For each face: middle x, y, room to either side, and height (px)."""
    if not faces:
        return []
    # The grid whose cells leave most room for a head.
    grids = [(columns, math.ceil(faces / columns)) for columns in range(1, faces + 1)]
    whole = 2 * (np.array(_AXES) + 6) * 1.15 / _FACE_HEIGHT   # of a head, in heights of its face
    size, columns, rows = max(
        (min(width / columns / (whole[0] + 0.25), height / rows / (whole[1] + 0.12)), columns, rows)
        for columns, rows in grids)
    size = min(size, face_px)
    if size < _LEAST_FACE:
        raise ConfigError(f"{faces} faces do not fit into {width}x{height} pixels; ask for fewer "
                          "or for larger frames.")
    places = []
    for i in range(faces):
        row, column = divmod(i, columns)
        across = min(columns, faces - row * columns)
        x, y = (column + 0.5) * width / across, (row + 0.5) * height / rows
        room = min(width / across - whole[0] * size, height / rows - whole[1] * size)
        places.append((x, y, max(room / 2, 0.0), float(size)))
    return places


def _paste(frame: np.ndarray, x: float, y: float, scale: float, roll: float) -> None:
    """Blend the head into a float32 frame, its middle at x, y."""
    head = _head()
    if scale < 0.5:  # fewer samples than pixels: average first
        head = cv2.resize(head, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA)
        scale = 0.5
    rows, columns = head.shape[:2]
    half = math.ceil(max(rows, columns) * scale * 0.5 * 1.2) + 1
    x0, y0 = max(int(x) - half, 0), max(int(y) - half, 0)
    x1, y1 = min(int(x) + half, frame.shape[1]), min(int(y) + half, frame.shape[0])
    move = cv2.getRotationMatrix2D((columns / 2, rows / 2), roll, scale)
    move[:, 2] += np.array([x - x0 - columns / 2, y - y0 - rows / 2])
    drawn = cv2.warpAffine(head, move, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    part = frame[y0:y1, x0:x1]
    part += drawn[..., 3:] * (drawn[..., :3] - part)
