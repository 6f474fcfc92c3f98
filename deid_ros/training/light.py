"""OFFLINE: taking the light of a photograph out of a texture.

A surrogate is lit by the frame that it is drawn into. What its portrait brought along
(one side darker, a shining forehead, the blue shadow of a shaved chin) would be light
from nowhere.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from deid_ros import geometry
from deid_ros.generator import skin
from deid_ros.generator.atlas import TEXTURE_SIDE

__all__ = ["LightRule", "even_light"]

_BELOW_NOSE = [98, 327, 436, 432, 434, 430, 394, 395, 369, 396, 175, 171, 140, 170, 169, 210, 214,
               212, 216]
_CHEEKS = [[118, 117, 50, 101, 36, 205], [347, 346, 280, 330, 266, 425]]


@dataclass(frozen=True)
class LightRule:
    """How much light is taken out; widths in texels, 384 to a face."""

    even_width: float = 22.0     # what is broader and differs between the halves, goes
    shading: float = 0.33        # part of the broad shading that goes as well
    shine_width: float = 9.0     # what is brighter than its surroundings of this size, shines
    shine: float = 0.65          # part of it that goes
    shine_least: float = 0.05    # log-luminance from which on skin shines
    shaved: float = 0.8          # part of what a man's chin is darker than his cheeks


RULE = LightRule()


@functools.cache
def _masks() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bool (384, 384): where light is read (no eyes, brows, lips); float32: where men shave;
    bool: the cheeks."""
    uv = geometry.mesh_model()["uv"]

    def polygon(points: list[int]) -> np.ndarray:
        mask = np.zeros((TEXTURE_SIDE,) * 2, np.uint8)
        corners = (uv[points] * TEXTURE_SIDE - 0.5).astype(np.float32)
        cv2.fillConvexPoly(mask, cv2.convexHull(corners).astype(np.int32), 1)
        return mask > 0

    plain = ~(skin.regions()["eyes"] | skin.regions()["lips"])
    shaved = cv2.GaussianBlur((polygon(_BELOW_NOSE) & plain).astype(np.float32), (0, 0), 6)
    return plain, shaved, polygon(_CHEEKS[0]) | polygon(_CHEEKS[1])


def _smooth(values: np.ndarray, weight: np.ndarray, width: float) -> np.ndarray:
    """Weighted local means of (H, W, c); where nothing is near, of everything."""
    mean = (values * weight[..., None]).sum((0, 1)) / max(weight.sum(), 1e-6)
    sums = cv2.GaussianBlur((values - mean) * weight[..., None], (0, 0), width)
    total = cv2.GaussianBlur(weight, (0, 0), width)[..., None]
    return sums.reshape(values.shape) / (total + 0.02) + mean


def even_light(texture: np.ndarray, valid: np.ndarray, *, shaved: bool = False,
               rule: LightRule = RULE) -> np.ndarray:
    """A texture as it would be in soft light from the front.

    Args:
        texture: BGR uint8 (384, 384, 3).
        valid: bool (384, 384), texels that were really seen.
        shaved: lift the chin to the colour of the cheeks.

    Returns:
        BGR uint8 (384, 384, 3).
    """
    plain, chin, cheeks = _masks()
    seen = (valid & plain).astype(np.float32)
    if seen.sum() < 1000:
        return texture
    log = np.log(np.maximum(texture, 4).astype(np.float32))
    broad = _smooth(log, seen, rule.even_width)
    even = (broad + broad[:, ::-1]) / 2
    shading = even.mean(axis=2, keepdims=True)
    mean = float((shading[..., 0] * seen).sum() / seen.sum())
    change = even - broad + rule.shading * (mean - shading)
    level = log.mean(axis=2, keepdims=True)
    fine = cv2.GaussianBlur(level, (0, 0), 1.5)[..., None]
    shine = np.maximum(fine - _smooth(level, seen, rule.shine_width) - rule.shine_least, 0)
    change -= rule.shine * shine * cv2.GaussianBlur(seen, (0, 0), 2)[..., None]
    out = log + change
    if shaved:
        colour = _smooth(out, seen, rule.even_width)
        want = np.median(out[cheeks & valid], axis=0) if (cheeks & valid).any() else colour
        gap = np.clip(want - colour, -0.1, 0.6)
        out += rule.shaved * chin[..., None] * gap
    return np.clip(np.exp(out), 0, 255).astype(np.uint8)
