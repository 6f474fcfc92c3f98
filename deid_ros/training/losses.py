"""OFFLINE: what the generator's training compares, in Keras operations alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from deid_ros.generator.atlas import TEXTURE_SIDE

__all__ = ["augment", "detail_gap", "draw_looks", "judged", "texel_gap"]

_HOLE = 48  # texels, half the side of the square that is hidden


def draw_looks(rng: np.random.Generator, count: int) -> np.ndarray:
    """Numbers for ``augment``: float32 (count, 7).

    Light, contrast, tint of three channels, row and column of the hidden square.
    """
    low = np.array([-0.15, 0.85, -0.06, -0.06, -0.06, 0, 0])
    high = np.array([0.15, 1.15, 0.06, 0.06, 0.06, TEXTURE_SIDE, TEXTURE_SIDE])
    return rng.uniform(low, high, (count, 7)).astype(np.float32)


def augment(images: Any, looks: Any) -> Any:
    """Random colours and hidden squares for what the judge sees, differentiable.

    Args:
        images: (n, 384, 384, 3) in -1..1.
        looks: (n, 7) of ``draw_looks``.
    """
    looks = looks[:, None, None, :]
    line = ops.arange(TEXTURE_SIDE, dtype="float32")
    far_down = ops.abs(line[None, :, None, None] - looks[..., 5:6]) > _HOLE
    far_across = ops.abs(line[None, None, :, None] - looks[..., 6:7]) > _HOLE
    seen = ops.cast(ops.logical_or(far_down, far_across), images.dtype)
    return (images * looks[..., 1:2] + looks[..., 0:1] + looks[..., 2:5]) * seen


def texel_gap(gap: Any, share: Any) -> Any:
    """Mean absolute difference of textures (n, h, w, 3), weighted by share (n, h, w, 1)."""
    return ops.mean(ops.abs(gap) * share)


def detail_gap(gap: Any, share: Any) -> Any:
    """The same of the differences between neighbouring texels, across and down."""
    across = (gap[:, :, 1:] - gap[:, :, :-1]) * share[:, :, 1:]
    down = (gap[:, 1:] - gap[:, :-1]) * share[:, 1:]
    return ops.mean(ops.abs(across)) + ops.mean(ops.abs(down))


def judged(made: list, real: list) -> Any:
    """Hinge loss of the judge's score maps (Lim and Ye, "Geometric GAN", 2017)."""
    return sum(ops.mean(ops.relu(1 + a)) + ops.mean(ops.relu(1 - b))
               for a, b in zip(made, real)) / len(made)
