"""Synthetic people, a face space and a stand-in for the network: no models needed."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from deid_ros import geometry
from deid_ros.faces import empty_faces
from deid_ros.generator.face_space import FaceSpace
from deid_ros.training.face_space import fit_face_space
from deid_ros.training.textures import TrainingSet

SIDE = 384


def make_people(count: int = 6, *, seed: int = 0) -> TrainingSet:
    """People with smooth random textures and shapes around the mean face."""
    rng = np.random.default_rng(seed)
    textures, shapes = [], []
    for _ in range(count):
        noise = cv2.resize(rng.normal(0, 25, (8, 8, 3)), (SIDE, SIDE),
                           interpolation=cv2.INTER_CUBIC)
        textures.append(np.clip(noise + [110, 130, 180], 0, 255).astype(np.uint8))
        shape = geometry.reference_mesh() * (1 + rng.normal(0, 0.04, 3))
        shape = shape + 0.3 * np.tensordot(rng.normal(0, 0.05, 7),
                                           geometry.mesh_model()["fields"], 1)
        shapes.append(shape)
    shapes = np.array(shapes, np.float32)
    return TrainingSet(
        np.array([f"p{i}" for i in range(count)]), np.array(list("MF" * count)[:count]),
        np.array(textures), np.ones((count, SIDE, SIDE), bool), shapes,
        np.array([geometry.measure_expression(s) for s in shapes], np.float32),
        np.zeros(count, int))


@functools.cache
def make_space() -> FaceSpace:
    """The face space of ``make_people()``."""
    return fit_face_space(make_people())


class FakeNetwork:
    """Textures of one colour for each code, brighter with an open mouth; counts its calls."""

    def __init__(self) -> None:
        self.space = make_space()
        self.calls = 0

    def texture(self, code: np.ndarray, expression: np.ndarray) -> np.ndarray:
        self.calls += 1
        colour = np.clip(128 + 40 * np.asarray(code[:3]) + 100 * expression[0], 0, 255)
        return np.full((SIDE, SIDE, 3), colour, np.uint8)


def make_face(track: int = 1, *, yaw: float = 0, pitch: float = 0, roll: float = 0,
              scale: float = 80, center: tuple[float, float] = (160, 120)) -> np.ndarray:
    """One trusted row of ``FACE`` with the mean expression."""
    faces = empty_faces(1)
    faces["track_id"], faces["trusted"], faces["score"] = track, 1, 0.9
    faces["yaw"], faces["pitch"], faces["roll"] = yaw, pitch, roll
    faces["scale"], faces["center"] = scale, center
    faces["expression"] = make_space().expression_mean
    pose = geometry.Pose(yaw, pitch, roll, scale, center)
    mesh = geometry.project(geometry.reference_mesh(), pose)
    faces["landmarks"] = mesh[geometry.MESH_TO_IBUG68, :2].reshape(1, -1)
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    for name, value in zip(("x_offset", "y_offset", "width", "height"), (*low, *(high - low))):
        faces[name] = int(value)
    return faces
