"""Small stand-ins for the stages, so that ROS tests need no models.

They do what the contract of each stage says, on a picture with one bright red
square per 'face'.
"""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np

from deid_ros.faces import boxes_of, empty_faces, match_dtype

#: Colour (BGR) of the square that the fake finder takes for a face.
RED = (0, 0, 250)


def scene(index: int = 0, *, faces: int = 1, height: int = 120, width: int = 160) -> np.ndarray:
    """A noisy grey frame with red squares of 20 px that move with ``index``."""
    rng = np.random.default_rng(1000 + index)
    frame = rng.integers(90, 140, (height, width, 3)).astype(np.uint8)
    for i in range(faces):
        x, y = 10 + 50 * i + index % 15, 20 + index % 30
        frame[y:y + 20, x:x + 20] = RED
        frame[y + 5:y + 15, x + 5:x + 15, :2] = rng.integers(0, 60, (10, 10, 2))
    return frame


def pattern(index: int) -> np.ndarray:
    """The canary of a frame: 24x24 red pixels (BGR) that no other frame has."""
    rng = np.random.default_rng(5000 + index)
    patch = rng.integers(0, 70, (24, 24, 3)).astype(np.uint8)
    patch[..., 2] = rng.integers(201, 256, (24, 24))
    return patch


def canary(index: int) -> np.ndarray:
    """A grey frame (120, 160) whose 'face' is the pattern of ``index``."""
    frame = scene(index, faces=0)
    x, y = 20 + 3 * (index % 30), 30 + 2 * (index % 25)
    frame[y:y + 24, x:x + 24] = pattern(index)
    return frame


def leaks(frame: np.ndarray, index: int) -> bool:
    """Whether a frame shows the pattern of ``index`` anywhere, whole or in good part."""
    patch = pattern(index)
    parts = [patch, *(patch[y:y + 12, x:x + 12] for y in (0, 12) for x in (0, 12))]
    return any(cv2.matchTemplate(frame, part, cv2.TM_CCOEFF_NORMED).max() > 0.7
               for part in parts)


class FakeFinder:
    """Finds red squares; a chip for each track, once."""

    def __init__(self) -> None:
        self.done: set[int] = set()

    def reset(self) -> None:
        self.done.clear()

    renew_chips = reset

    def adjust(self, **options) -> None:
        self.adjusted = options

    def find(self, frame: np.ndarray, *, stamp_ns: int = 0) -> SimpleNamespace:
        red = (frame[..., 2] > 200) & (frame[..., 1] < 80)
        found = []
        columns = np.flatnonzero(red.any(axis=0))
        for part in np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1):
            if len(part):
                rows = np.flatnonzero(red[:, part].any(axis=1))
                found.append((part[0], rows[0], len(part), len(rows)))
        faces = empty_faces(len(found))
        chips = []
        for i, box in enumerate(found):
            faces[i]["track_id"], faces[i]["score"], faces[i]["trusted"] = i + 1, 0.9, 1
            for name, value in zip(("x_offset", "y_offset", "width", "height"), box):
                faces[i][name] = value
            if i + 1 not in self.done:
                self.done.add(i + 1)
                faces[i]["chip"] = len(chips)
                chips.append(np.full((150, 150, 3), 60 + i, np.uint8))
        return SimpleNamespace(faces=faces, chips=np.array(chips, np.uint8).reshape(
            -1, 150, 150, 3))


class FakeExtractor:
    """The mean colour of a chip as an embedding."""

    name, chip_size, dimensions = "fake", 150, 3

    def embed(self, chips: np.ndarray) -> np.ndarray:
        mean = chips.reshape(len(chips), -1, 3).mean(axis=1) + 1
        return (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)


class FakeMatcher:
    """The embedding is the code."""

    def match(self, track_ids, embeddings, *, stream: str = "", present=()) -> np.ndarray:
        rows = np.zeros(len(track_ids), match_dtype(3))
        rows["track_id"], rows["mix"] = track_ids, 1
        rows["code"] = np.reshape(embeddings, (len(track_ids), 3))
        return rows


class FakeGenerator:
    """A green square for every track it has a match of."""

    def __init__(self) -> None:
        self.known: set[int] = set()

    def learn(self, matches: np.ndarray) -> None:
        self.known.update(matches["track_id"].tolist())

    def generate(self, faces: np.ndarray) -> np.ndarray:
        pictures = np.zeros((len(faces), 32, 32, 4), np.uint8)
        for i, face in enumerate(faces):
            if int(face["track_id"]) in self.known:
                pictures[i] = (0, 255, 0, 255)
        return pictures


class FakeReplacer:
    """Fills every box: green where there is a surrogate, black where there is none."""

    def apply(self, frame: np.ndarray, faces: np.ndarray, surrogates=None) -> SimpleNamespace:
        out, mask, covered_by = frame.copy(), np.zeros(frame.shape[:2], np.uint8), []
        for i, (x, y, w, h) in enumerate(boxes_of(faces)):
            surrogate = surrogates is not None and bool(surrogates[i, ..., 3].any())
            part = np.s_[max(y, 0):y + h, max(x, 0):x + w]
            out[part] = (0, 255, 0) if surrogate else (0, 0, 0)
            mask[part] = 255
            covered_by.append("surrogate" if surrogate else "solid")
        return SimpleNamespace(frame=out, mask=mask, covered_by=covered_by)


def fake_cores() -> dict[str, dict]:
    """Keyword arguments for the four stages of a ``Graph``."""
    return {"detector": {"finder": FakeFinder()},
            "matcher": {"extractor": FakeExtractor(), "matcher": FakeMatcher()},
            "generator": {"generator": FakeGenerator()},
            "replacer": {"replacer": FakeReplacer()}}
