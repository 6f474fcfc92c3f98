"""OFFLINE: pictures of a training: how the faces look, how the losses go."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from deid_ros import geometry
from deid_ros.generator import atlas, skin
from deid_ros.generator.face_space import FaceSpace

__all__ = ["draw_losses", "draw_sheet", "forget_rows"]

_POSES = ((0, 0), (25, 0), (-40, 0), (0, 15))


def _texture(network: object, codes: np.ndarray, expressions: np.ndarray) -> np.ndarray:
    out = np.asarray(network([codes, expressions], training=False), np.float32)
    out = np.clip((out + 1) * 127.5, 0, 255).astype(np.uint8)
    return np.array([skin.smooth_rim(texture) for texture in out])


def _face(space: FaceSpace, texture: np.ndarray, code: np.ndarray, expression: np.ndarray,
          yaw: float, pitch: float) -> np.ndarray:
    shape = geometry.with_skirt(geometry.apply_expression(space.shape(code), expression))
    side = atlas.TEXTURE_SIDE
    pose = geometry.Pose(yaw, pitch, 0, 0.39 * side, (side / 2, side / 2))
    return atlas.render(texture, geometry.project(shape, pose), side)[..., :3]


def draw_sheet(network: object, space: FaceSpace, blends: np.ndarray, codes: np.ndarray,
               expressions: np.ndarray, textures: np.ndarray, path: Path) -> None:
    """Rows: people, the network's people, blends at four poses and four expressions.

    Args:
        blends, codes: float32 (n, code_size); expressions (n, 7) and textures uint8
            (n, 384, 384, 3) belong to ``codes``.
    """
    neutral = space.expression_mean.astype(np.float32)
    rows = [np.hstack(textures), np.hstack(_texture(network, codes, expressions))]
    moods = []
    for changes in ({}, {0: 0.0, 2: 0.03}, {0: 0.25}, {3: 0.01, 4: 0.01}, {5: 0.27, 6: 0.27}):
        mood = neutral.copy()
        for index, value in changes.items():
            mood[index] = value
        moods.append(mood)
    many = np.repeat(neutral[None], len(blends), axis=0)
    made = _texture(network, blends, many)
    for yaw, pitch in _POSES:
        rows.append(np.hstack([_face(space, t, c, neutral, yaw, pitch)
                               for t, c in zip(made, blends)]))
    for mood in moods[1:]:
        made = _texture(network, blends, np.repeat(mood[None], len(blends), axis=0))
        rows.append(np.hstack([_face(space, t, c, mood, 0, 0) for t, c in zip(made, blends)]))
    cv2.imwrite(str(path), np.vstack(rows))


def forget_rows(table: Path, step: int) -> None:
    """Take the rows after ``step`` out of ``losses.csv``: a resumed run writes them again."""
    with open(table, newline="", encoding="utf-8") as stream:
        names, *rows = csv.reader(stream)
    with open(table, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([names, *(row for row in rows if int(row[0]) <= step)])


def draw_losses(table: Path, path: Path) -> None:
    """Draw the columns of ``losses.csv`` against the steps, smoothed."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with open(table, newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    names, values = rows[0], np.array(rows[1:], float).reshape(-1, len(rows[0]))
    if len(values) < 2:
        return
    figure, axes = plt.subplots(2, -(-(len(names) - 2) // 2), figsize=(12, 6), sharex=True)
    window = max(1, len(values) // 60)
    for axis, name, column in zip(axes.flat, names[2:], values.T[2:]):
        smooth = np.convolve(column, np.ones(window) / window, mode="valid")
        axis.plot(values[window - 1:, 0], smooth)
        axis.set_title(name)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(names) - 2:]:
        axis.set_visible(False)
    figure.supxlabel("step")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
