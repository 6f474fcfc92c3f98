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
_LUMA = np.array([0.114, 0.587, 0.299], np.float32)


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
    if np.count_nonzero(inner) < rule.least_pixels:
        return drawn
    luma = drawn @ _LUMA
    bands, wanted = _bands(luma, rule), _bands(source @ _LUMA, rule)
    gains = [float(gain) for gain in _gains(bands, wanted, inner, rule)]
    fitted = np.full_like(luma, (1 - gains[-1]) * float(bands[-1][inner].mean()))
    for band, gain in zip(bands, gains, strict=True):
        fitted += gain * band
    chroma = cv2.GaussianBlur(drawn - luma[..., None], (0, 0), rule.chroma_sigma)
    return drawn + (fitted[..., None] + chroma - drawn) * weight[..., None]


def _inner(weight: np.ndarray, rule: CameraRule) -> np.ndarray:
    """bool (h, w): the middle of the drawn face."""
    depth = cv2.distanceTransform((weight > rule.inner).astype(np.uint8), cv2.DIST_L2, 3)
    return depth > rule.depth * depth.max()


def _bands(luma: np.ndarray, rule: CameraRule) -> list[np.ndarray]:
    """The image float32 (h, w) as a sum, finest first; the last holds the coarse rest."""
    out, before = [], luma
    for sigma in rule.sigmas:
        blurred = cv2.GaussianBlur(luma, (0, 0), sigma)
        out.append(before - blurred)
        before = blurred
    return [*out, before]


def _gains(bands: list[np.ndarray], wanted: list[np.ndarray], inner: np.ndarray,
           rule: CameraRule) -> np.ndarray:
    """A factor for each band."""
    have = np.array([band[inner] for band in bands])
    want = np.array([band[inner] for band in wanted])
    edges = np.array([cv2.Laplacian(band, cv2.CV_32F)[inner] for band in bands])
    want_edge = float(sum(cv2.Laplacian(band, cv2.CV_32F) for band in wanted)[inner].std())
    low = np.array([0.0] * len(rule.most) + [rule.contrast[0]])
    high = np.array([*rule.most, rule.contrast[1]])
    gains = np.clip(want.std(axis=1) / np.maximum(have.std(axis=1), 1e-3), low, high)
    # How much each band adds to sharpness and to contrast: fine ones to the one, coarse
    # ones to the other.
    fine = np.linspace(1.0, 0.0, len(gains))
    for _ in range(rule.rounds):
        edge = want_edge / max(float((gains @ edges).std()), 1e-3)
        total = float(want.sum(axis=0).std()) / max(float((gains @ have).std()), 1e-3)
        change = np.clip(edge, 0.5, 2.0) ** fine * np.clip(total, 0.5, 2.0) ** (1 - fine)
        gains = np.clip(gains * change, low, high)
    return gains
