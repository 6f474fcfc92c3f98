"""The detail of a face's mesh, a face at a time.

The quick mesh runs for every face and frame. It places lips and lids poorly: against
dlib's landmarks, its mouth opening correlates with 0.77 and its eye opening with 0.45
over 88 portraits, that of the fine mesh with 0.92 and 0.87. But the fine mesh costs four
times as much. What the two differ by changes slowly, seen in the frame of the head; so
the difference is measured in turns, one face a frame, and added to every quick mesh.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from deid_ros.detector.boxes import iou
from deid_ros.detector.mesh import FaceMesh, mesh_box, mesh_squares
from deid_ros.detector.tracker import Track
from deid_ros.faces import DETECTION
from deid_ros.geometry import fit_pose, frontalise, rotation

__all__ = ["Refiner"]

# Belief of the quick mesh from which the fine one looks, and of the fine one to be used.
_LEAST = 0.5
# Quick and fine mesh overlap at least so much (IoU of their boxes).
_AGREE = 0.6
_TURNED = 15.0   # degrees of roll between them at most
# Weight of a new difference against those before.
_NEWS = 0.5
# Faces that are seen for the first time and get their detail at once, a frame.
_FRESH = 6


class Refiner:
    """Adds the fine mesh's detail to quick meshes.

    Args:
        every: frames after which a face's detail is looked at again; may be changed.
        mesh: the fine mesh, to share; by default one is made.
    """

    def __init__(self, *, every: int = 1, mesh: Any = None) -> None:
        self.every = every
        self._mesh = FaceMesh(kind="fine") if mesh is None else mesh

    def refine(self, frame: np.ndarray, tracks: list[Track], meshes: np.ndarray,
               confidence: np.ndarray) -> np.ndarray:
        """The meshes with their detail.

        Args:
            frame: BGR uint8 (H, W, 3).
            tracks: N, which keep the detail; in the order of
            meshes: float32 (N, 468, 3) px, quick ones of this frame, and
            confidence: (N,), their network's belief.

        Returns:
            float32 (N, 468, 3) px.
        """
        out = meshes.copy()
        for i in self._due(tracks, confidence, self.every):
            out[i] = self._look(frame, tracks[i], meshes[i])
        for mesh, track in zip(out, tracks, strict=True):
            if track.detail is not None:
                track.detail_age += 1
                pose = fit_pose(mesh)
                mesh += pose.scale * track.detail @ rotation(pose.yaw, pose.pitch, pose.roll).T
        return out

    @staticmethod
    def _due(tracks: list[Track], confidence: np.ndarray, every: int) -> list[int]:
        """Whom to look at now: faces without detail, and the one whose is oldest."""
        able = [i for i in range(len(tracks)) if confidence[i] >= _LEAST]
        fresh = [i for i in able if tracks[i].detail is None][:_FRESH]
        known = [i for i in able if tracks[i].detail is not None
                 and tracks[i].detail_age >= every]
        return fresh or sorted(known, key=lambda i: -tracks[i].detail_age)[:1]

    def _look(self, frame: np.ndarray, track: Track, quick: np.ndarray) -> np.ndarray:
        """Measure one face's detail; the mesh (468, 3) to add it to."""
        track.detail_age = 0
        square = mesh_squares(quick[None])
        fine, belief = self._mesh.locate(frame, np.zeros(1, DETECTION), squares=square)
        pose = fit_pose(quick)
        if belief[0] < _LEAST:
            if track.detail is None:
                track.detail = np.zeros_like(quick)
            return quick
        if iou(mesh_box(fine[0]), mesh_box(quick))[0, 0] < _AGREE \
                or abs((fit_pose(fine[0]).roll - pose.roll + 180) % 360 - 180) > _TURNED:
            # The quick mesh lies on its side, or elsewhere: it starts anew from the fine.
            track.detail = None
            return fine[0]
        news = (frontalise(fine[0], pose) - frontalise(quick, pose)).astype(np.float32)
        track.detail = news if track.detail is None else (
            track.detail + _NEWS * (news - track.detail))
        return quick
