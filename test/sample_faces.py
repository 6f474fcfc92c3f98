"""Synthetic faces, surrogates and stages for tests of what lies behind the detector."""

from __future__ import annotations

import cv2
import numpy as np

from deid_ros import geometry
from deid_ros.detector import Found
from deid_ros.faces import CHIP_NONE, empty_faces, match_dtype


def make_face(center=(100.0, 90.0), size=80.0, *, yaw=0.0, roll=0.0, trusted=True, track=1,
              margin=0.15) -> np.ndarray:
    """One row of FACE (1,): the mean face, ``size`` px from hairline to chin."""
    reference = geometry.reference_mesh()
    scale = size / float(np.ptp(reference[:, 1]))
    pose = geometry.Pose(yaw, 0.0, roll, scale, (float(center[0]), float(center[1])))
    points = geometry.project(reference, pose)[:, :2]
    faces = empty_faces(1)
    low, high = points.min(0), points.max(0)
    low, high = low - margin * (high - low), high + margin * (high - low)
    faces["track_id"], faces["score"], faces["trusted"] = track, 0.9, trusted
    faces["x_offset"], faces["y_offset"] = np.floor(low)
    faces["width"], faces["height"] = np.ceil(high - low)
    faces["yaw"], faces["roll"], faces["scale"] = yaw, roll, scale
    faces["center"] = center
    faces["landmarks"] = points[geometry.MESH_TO_IBUG68].reshape(-1)
    return faces


def make_surrogates(faces: np.ndarray, colour=(200, 150, 120), *, grow: float = 1.12,
                    soft: bool = True) -> np.ndarray:
    """RGBA (N, S, S, 4): each face's hull, grown, in one RGB colour with stripes."""
    squares = geometry.patch_squares(faces)
    sizes = geometry.patch_sizes(squares)
    out = np.zeros((len(faces), int(sizes.max(initial=1)), int(sizes.max(initial=1)), 4), np.uint8)
    for face, square, size, slot in zip(faces, squares, sizes, out, strict=True):
        hull = geometry.face_hull(face)
        middle = hull.mean(0)
        hull = ((hull - middle) * grow + middle - square[:2]) * (size / square[2])
        patch = slot[:size, :size]
        patch[..., :3] = colour
        patch[::3, :, :3] = np.array(colour) * 0.92
        alpha = np.zeros((size, size), np.uint8)
        cv2.fillConvexPoly(alpha, np.round(hull).astype(np.int32), 255)
        if soft:
            side = 2 * (int(size) // 40) + 1
            alpha = cv2.blur(alpha, (side, side))
        patch[..., 3] = alpha
    return out


class FakeFinder:
    """Gives the same faces for every frame."""

    def __init__(self, faces: np.ndarray) -> None:
        self.faces, self.resets, self.renewed = faces, 0, 0

    def find(self, frame, *, stamp_ns=0) -> Found:
        faces = self.faces.copy()
        trusted = np.flatnonzero(faces["trusted"])
        faces["chip"] = CHIP_NONE
        faces["chip"][trusted] = np.arange(len(trusted))
        return Found(faces, np.zeros((len(trusted), 8, 8, 3), np.uint8))

    def reset(self) -> None:
        self.resets += 1

    def renew_chips(self) -> None:
        self.renewed += 1


class FakeExtractor:
    """Embeds every chip as the same direction."""

    dimensions = 4

    def embed(self, chips):
        return np.tile(np.float32([1, 0, 0, 0]), (len(chips), 1))


class FakeMatcher:
    """Gives every track a code of zeros."""

    def __init__(self) -> None:
        self.calls = []

    def match(self, track_ids, embeddings, *, stream="", present=(), now=None):
        self.calls.append((list(track_ids), stream, now))
        matches = np.zeros(len(track_ids), match_dtype(2))
        matches["track_id"] = track_ids
        return matches


class FakeGenerator:
    """Makes surrogates for the tracks it has learnt, as the real one does."""

    def __init__(self) -> None:
        self.known: set[int] = set()

    def learn(self, matches) -> None:
        self.known |= set(matches["track_id"].tolist())

    def generate(self, faces):
        surrogates = make_surrogates(faces)
        for i, track in enumerate(faces["track_id"].tolist()):
            if track not in self.known:
                surrogates[i, ..., 3] = 0
        return surrogates
