"""Which texels of an unwrapped face show its skin and features, and filling the rest.

Hair, ears, background and what the camera saw only from the side must not enter an
identity's texture: they are masked here, and filled from the texels around.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from deid_ros import geometry
from deid_ros.generator.atlas import TEXTURE_SIDE, texel_weights

__all__ = ["MOUTH_CLOSED", "darken_mouth", "fill_outwards", "kept", "mean_skin", "regions",
           "smooth_rim", "tint", "valid_texels"]

_EYES = ([33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246],
         [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466])
_BROWS = ([70, 63, 105, 66, 107, 46, 53, 52, 65, 55],
          [300, 293, 334, 296, 336, 276, 283, 282, 295, 285])
_LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269,
         270, 409]
_MOUTH = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87,
          178, 88, 95]
_NOSE = [168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 129, 358, 64, 294]
_SKIN = ([116, 123, 147, 187, 205, 36, 101, 118, 117, 50],
         [345, 352, 376, 411, 425, 266, 330, 347, 346, 280],
         [9, 8, 107, 336, 151, 108, 337, 69, 299])

_INNER = [103, 67, 109, 10, 338, 297, 332, 300, 383, 345, 352, 411, 434, 364, 394, 395, 369,
          396, 175, 171, 140, 170, 169, 135, 214, 187, 123, 116, 156, 70]

# Least cosine between a texel's normal and the line of sight.
_LEAST_FACING, _LEAST_FACING_FEATURE = 0.32, 0.15
# Largest squared Mahalanobis distance from the skin's colour.
_SKIN_DISTANCE = 14.0
# What is seen between lips that hardly part: BGR.
_GAP_COLOUR = (34, 28, 56)
# Side of the grid on which skin is spread outwards.
_COARSE = 64
# Above this height of a texture hair throws shadows; skin as dark as this, as parts of its
# usual level, begins to be taken for one, and is one.
_EARS, _SHADOW = 0.6, (0.95, 0.8)
#: A mouth opened less than this (in eye distances) shows no inside.
MOUTH_CLOSED = 0.035


def _polygon(points: list[int], grow: int = 0) -> np.ndarray:
    """Texels within the convex hull of mesh points, grown by ``grow`` texels."""
    uv = geometry.mesh_model()["uv"][points] * TEXTURE_SIDE - 0.5
    mask = np.zeros((TEXTURE_SIDE, TEXTURE_SIDE), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(uv.astype(np.float32)).astype(np.int32), 1)
    if grow:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1))
        mask = cv2.dilate(mask, disc)
    return mask > 0


@functools.cache
def regions() -> dict[str, np.ndarray]:
    """Boolean maps (384, 384) of the texture.

    ``face`` is all of it with the skirt; ``core`` what a frontal portrait shows
    well; ``inner`` the part of it where nobody's hair falls; ``features`` eyes, brows,
    nose and lips, ``eyes`` and ``lips`` these parts of it (brows count as eyes); ``skin``
    cheeks and forehead, where the complexion is read; ``mouth`` the inside of the mouth.
    """
    face = texel_weights()[1].sum(-1) > 0.5
    eyes = np.zeros_like(face)
    for eye, brow in zip(_EYES, _BROWS):
        eyes |= _polygon(eye, 10) | _polygon(brow, 7) | _polygon(eye + brow, 3)
    lips = _polygon(_LIPS, 9)
    features = eyes | lips | _polygon(_NOSE, 5)
    skin = np.any([_polygon(points) for points in _SKIN], axis=0) & ~features
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (19, 19))
    core = cv2.erode(_polygon(list(geometry.OVAL)).astype(np.uint8), disc) > 0
    columns = np.abs(np.linspace(-1, 1, TEXTURE_SIDE))
    core &= (columns < 0.76)[None]
    core[:45] = False
    inner = cv2.erode(_polygon(_INNER).astype(np.uint8), np.ones((11, 11))) > 0
    inner |= features
    inner[:60] = False
    return {"face": face, "core": core, "features": features, "inner": inner, "skin": skin,
            "eyes": eyes, "lips": lips, "mouth": _polygon(_MOUTH)}


def _facing(mesh: np.ndarray) -> np.ndarray:
    """Per texel, the cosine between the surface and the camera: float (384, 384)."""
    points = geometry.with_skirt(np.asarray(mesh, np.float64))
    triangles = geometry.mesh_model()["triangles"]
    a, b, c = (points[triangles[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    summed = np.zeros_like(points)
    for i in range(3):
        np.add.at(summed, triangles[:, i], normals)
    summed /= np.linalg.norm(summed, axis=1, keepdims=True) + 1e-9
    corners, weights = texel_weights()
    return np.einsum("hwk,hwk->hw", np.abs(summed[:, 2])[corners], weights)


def mean_skin(texture: np.ndarray) -> np.ndarray:
    """The complexion of a texture: median L, a, b of its cheeks and forehead."""
    lab = cv2.cvtColor(texture, cv2.COLOR_BGR2LAB)
    return np.median(lab[regions()["skin"]].astype(np.float32), axis=0)


def tint(texture: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """A BGR uint8 texture with ``shift`` (L, a, b in OpenCV's 8-bit units) added."""
    lab = cv2.cvtColor(texture, cv2.COLOR_BGR2LAB).astype(np.float32)
    # Dark texels keep their darkness: pupils and nostrils have no complexion.
    weight = np.clip(lab[..., :1] / 128, 0.2, 1)
    lab = np.clip(lab + weight * shift, 0, 255).astype(np.uint8)
    return cv2.cvtColor(lab, cv2.COLOR_LAB2BGR)


def valid_texels(texture: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """Texels that show this person's own skin and features: bool (384, 384).

    Args:
        texture: BGR uint8 (384, 384, 3) of ``atlas.unwrap``.
        mesh: the mesh (468, 3) in pixels that it was unwrapped with.

    Skin is what lies near the colour of cheeks and forehead (a Gaussian in Lab,
    fitted to them without outliers) and hangs together with them.
    """
    region = regions()
    lab = cv2.cvtColor(texture, cv2.COLOR_BGR2LAB).astype(np.float32)
    lab = cv2.GaussianBlur(lab, (0, 0), 2.2)
    sample = lab[region["skin"]]
    distance = np.abs(sample - np.median(sample, 0))
    sample = sample[(distance < 4.5 * np.median(distance, 0) + 4).all(1)]
    if len(sample) < 50:
        return region["core"].copy()
    spread = np.cov(sample.T) + np.diag([30.0, 6.0, 6.0])
    offset = lab - sample.mean(0)
    # Shade and shine change the lightness more than the colour.
    offset[..., 0] *= np.where(offset[..., 0] < 0, 0.62, 0.75)
    far = np.einsum("hwi,ij,hwj->hw", offset, np.linalg.inv(spread), offset)
    facing = _facing(mesh)
    valid = (far < _SKIN_DISTANCE) & region["core"] & (facing > _LEAST_FACING)
    valid = cv2.erode(cv2.morphologyEx(valid.astype(np.uint8), cv2.MORPH_OPEN, np.ones((7, 7))),
                      np.ones((7, 7))) > 0
    valid |= region["features"] & (facing > _LEAST_FACING_FEATURE)
    count, label = cv2.connectedComponents(valid.astype(np.uint8), connectivity=4)
    if count > 2:
        sizes = np.bincount(label[region["skin"]], minlength=count)[1:]
        valid = label == 1 + int(sizes.argmax())
    valid = cv2.morphologyEx(valid.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((13, 13))) > 0
    if geometry.measure_expression(mesh, geometry.fit_pose(mesh))[0] < MOUTH_CLOSED:
        valid &= ~region["mouth"]
    return valid & region["face"]


def fill_outwards(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Fill what is not ``valid`` smoothly from what is: float32 (H, W, c).

    Push-pull over an image pyramid (Gortler et al., "The Lumigraph", 1996).
    """
    weight = valid.astype(np.float32)
    levels = [(image.astype(np.float32) * weight[..., None], weight)]
    while min(levels[-1][1].shape) > 2:
        levels.append(tuple(cv2.pyrDown(x) for x in levels[-1]))
    total, weight = levels[-1]
    filled = total / np.maximum(weight, 1e-6)[..., None]
    for total, weight in levels[-2::-1]:
        coarse = cv2.pyrUp(filled, dstsize=weight.shape[::-1])
        part = np.clip(weight, 0, 1)[..., None]
        own = total / np.maximum(weight, 1e-6)[..., None]
        filled = np.where(part > 1e-4, own * part + coarse * (1 - part), coarse)
    return filled


@functools.cache
def _rim() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where ``smooth_rim`` keeps the texture: float32 (384, 384), bool (64, 64); where
    shadows of hair may fall, float32 (64, 64), and where skin is read, bool (64, 64)."""
    region = regions()
    inner = cv2.erode(region["inner"].astype(np.float32), np.ones((7, 7)))
    features, skin, coarse = (cv2.resize(part.astype(np.float32), (_COARSE, _COARSE),
                                         interpolation=cv2.INTER_AREA)
                              for part in (region["features"], region["skin"], inner))
    down = np.linspace(0, 1, _COARSE, dtype=np.float32)[:, None]
    shaded = np.clip(1 - 2 * features, 0, 1) * np.clip((_EARS - down) / 0.08, 0, 1)
    return cv2.GaussianBlur(inner, (0, 0), 7.5), coarse > 0.9, shaded, skin > 0.9


def kept() -> np.ndarray:
    """How much of a texture ``smooth_rim`` keeps: float32 (384, 384), 0..1."""
    return _rim()[0]


def smooth_rim(texture: np.ndarray) -> np.ndarray:
    """A BGR uint8 texture (384, 384, 3) whose rim is its own skin, spread outwards.

    Temples, cheeks' edges and hairline of a photograph carry shadows of the hair
    around; on another head they would be stains.
    """
    keep, coarse, shaded, skin = _rim()
    small = cv2.resize(texture, coarse.shape, interpolation=cv2.INTER_AREA)
    level = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
    level = cv2.GaussianBlur(level * (1 / max(float(np.median(level[skin])), 1.0)), (0, 0), 1)
    shadow = shaded * np.clip((_SHADOW[0] - level) / (_SHADOW[0] - _SHADOW[1]), 0, 1)
    keep = keep * cv2.resize(1 - shadow, keep.shape, interpolation=cv2.INTER_LINEAR)
    spread = cv2.GaussianBlur(fill_outwards(small, coarse & (shadow < 0.3)), (0, 0), 2)
    spread = cv2.resize(np.clip(spread, 0, 255).astype(np.uint8), texture.shape[:2],
                        interpolation=cv2.INTER_CUBIC)
    return cv2.blendLinear(texture, spread, keep, 1 - keep)


@functools.cache
def _gap() -> np.ndarray:
    """The inside of the mouth with a soft edge: float32 (384, 384, 1), 0..1."""
    return cv2.GaussianBlur(regions()["mouth"].astype(np.float32), (0, 0), 1.5)[..., None]


def darken_mouth(texture: np.ndarray) -> np.ndarray:
    """A BGR uint8 texture (384, 384, 3) with a dark gap between the lips, without teeth."""
    gap = _gap()
    return np.round(texture * (1 - gap) + np.float32(_GAP_COLOUR) * gap).astype(np.uint8)
