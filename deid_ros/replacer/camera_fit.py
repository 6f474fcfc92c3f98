"""Give what was drawn the optics of the camera that saw the rest of the frame.

A texture is as sharp as it was made; a camera is as sharp as its lens, its sensor and its
encoder are at the distance of the face. So the detail of the drawn face is held, band by
band, to that of the face it replaces: a few numbers a face, none of which can carry the
features of the source.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["CameraRule", "fit_camera"]


@dataclass(frozen=True, slots=True)
class CameraRule:
    """The numbers of the fit.

    Bands lie between Gaussians of these ``sigmas`` (px); each is weakened at will and
    strengthened up to its ``most``, the coarse rest within ``contrast``.
    """

    sigmas: tuple[float, ...] = (0.8, 1.6, 3.2, 6.4)
    most: tuple[float, ...] = (1.4, 1.3, 1.2, 1.1)
    contrast: tuple[float, float] = (0.3, 1.1)
    rounds: int = 3             # that hold total contrast and sharpness to the source's
    chroma_sigma: float = 0.8   # px: cameras see colours less sharply than light
    inner: float = 0.5          # weight from which a pixel tells about the drawn face,
    depth: float = 0.3          # and part of the way from its rim to its middle: there is hair
    least_pixels: int = 24      # fewer tell nothing


RULE = CameraRule()
_LUMA = np.array([[0.114, 0.587, 0.299]], np.float32)
_AROUND = 8     # px beside the face that its bands are made from


def fit_camera(drawn: np.ndarray, source: np.ndarray, weight: np.ndarray, *,
               rule: CameraRule = RULE) -> np.ndarray:
    """Hold a drawn face's sharpness and contrast to those of the face it replaces.

    Args:
        drawn: BGR float32 (h, w, 3), 0..255, the face blended into its surroundings.
        source: the same part of the frame as the camera saw it, float32 (h, w, 3).
        weight: float32 (h, w), 0..1, how much of ``drawn`` is the drawn face.

    Returns:
        BGR float32 (h, w, 3); ``drawn`` where ``weight`` is 0.
    """
    inner = _inner(weight, rule)
    if cv2.countNonZero(inner) < rule.least_pixels:
        return drawn
    luma = cv2.transform(drawn, _LUMA)
    bands = _bands(luma, rule)
    # The source is only measured, and only where the middle of the face is.
    x, y, w, h = cv2.boundingRect(inner)
    around = np.s_[max(y - _AROUND, 0):y + h + _AROUND, max(x - _AROUND, 0):x + w + _AROUND]
    wanted = _bands(cv2.transform(np.ascontiguousarray(source[around]), _LUMA), rule)
    here, there = inner > 0, inner[around] > 0
    gains = _gains(bands, here, wanted, there, rule)
    fitted = np.full_like(luma, (1 - gains[-1]) * float(bands[-1][here].mean()))
    for band, gain in zip(bands, gains, strict=True):
        cv2.scaleAdd(band, gain, fitted, dst=fitted)
    chroma = cv2.GaussianBlur(drawn - luma[..., None], (0, 0), rule.chroma_sigma)
    moved = cv2.multiply(chroma + fitted[..., None] - drawn, cv2.merge([weight] * 3))
    return cv2.add(drawn, moved, dst=moved)


def _inner(weight: np.ndarray, rule: CameraRule) -> np.ndarray:
    """uint8 (h, w), 1 in the middle of the drawn face."""
    depth = cv2.distanceTransform((weight > rule.inner).astype(np.uint8), cv2.DIST_L2, 3)
    return (depth > rule.depth * depth.max()).astype(np.uint8)


def _bands(luma: np.ndarray, rule: CameraRule) -> list[np.ndarray]:
    """The image float32 (h, w) as a sum, finest first; the last holds the coarse rest."""
    out, before = [], luma
    for sigma in rule.sigmas:
        blurred = cv2.GaussianBlur(luma, (0, 0), sigma)
        out.append(before - blurred)
        before = blurred
    return [*out, before]


def _gains(bands: list[np.ndarray], here: np.ndarray, wanted: list[np.ndarray],
           there: np.ndarray, rule: CameraRule) -> list[float]:
    """A factor for each band, from where the face is in both images (bool (h, w))."""
    want = np.cov([band[there] for band in wanted])
    want_edge = float(cv2.Laplacian(sum(wanted), cv2.CV_32F)[there].std())
    have = np.cov([band[here] for band in bands])
    edges = np.cov([cv2.Laplacian(band, cv2.CV_32F)[here] for band in bands])
    low = np.array([0.0] * len(rule.most) + [rule.contrast[0]])
    high = np.array([*rule.most, rule.contrast[1]])
    gains = np.clip(np.sqrt(want.diagonal() / np.maximum(have.diagonal(), 1e-6)), low, high)
    # How much each band adds to sharpness and to contrast: fine ones to the one, coarse
    # ones to the other.
    fine = np.linspace(1.0, 0.0, len(gains))
    for _ in range(rule.rounds):
        edge = want_edge / max(float(gains @ edges @ gains), 1e-6) ** 0.5
        total = (max(float(want.sum()), 0.0)
                 / max(float(gains @ have @ gains), 1e-6)) ** 0.5
        change = np.clip(edge, 0.5, 2.0) ** fine * np.clip(total, 0.5, 2.0) ** (1 - fine)
        gains = np.clip(gains * change, low, high)
    return gains.tolist()
