"""The inside of a mouth that opens wider than portraits show.

Portraits smile: between their lips are teeth from one lip to the other. Drawn in a mouth
that is opened to speak, these would be as long as the mouth is wide. So teeth keep their
length below the upper lip, and what is below them is dark.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from deid_ros.generator import skin

__all__ = ["open_wide"]

#: Up to this opening (eye distances) teeth reach from lip to lip.
USUAL = 0.09
_CAVITY = (30, 24, 48)      # BGR, deep in the mouth
_SOFT = 0.12                # of the mouth's height, between teeth and dark


@functools.cache
def _place() -> tuple[tuple[slice, slice], np.ndarray, np.ndarray, np.ndarray]:
    """The rows and columns of the mouth in a texture; how far down in the mouth each texel
    there is, float32 (h, w), 0 at the upper lip and 1 at the lower; how high the mouth is
    there, in texels, float32 (w,); the mouth with a soft edge, float32 (h, w)."""
    inside = skin.regions()["mouth"]
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    part = inside[box]
    top = part.argmax(axis=0).astype(np.float32)
    high = np.maximum(part.sum(axis=0), 1).astype(np.float32)
    down = (np.arange(part.shape[0], dtype=np.float32)[:, None] - top) / high
    soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1.0)[box]
    return box, down, high, soft


def open_wide(texture: np.ndarray, opening: float) -> np.ndarray:
    """A texture for a mouth opened by ``opening``; as it is where that is usual.

    Args:
        texture: BGR uint8 (384, 384, 3).
        opening: gap between the inner lips in eye distances (``faces.EXPRESSION``).
    """
    if opening <= USUAL:
        return texture
    box, down, high, soft = _place()
    teeth = USUAL / opening
    ys, xs = np.indices(down.shape, np.float32)
    # Above the lower end of the teeth the texture is pressed together upwards.
    wanted = np.where(down < 0, down, down / teeth)
    where = ys + (np.minimum(wanted, 1) - down) * high
    mouth = texture[box]
    pressed = cv2.remap(mouth, xs, where.astype(np.float32), cv2.INTER_LINEAR,
                        borderMode=cv2.BORDER_REPLICATE)
    dark = (np.clip((down - teeth) / _SOFT + 0.5, 0, 1) * soft)[..., None]
    pressed = mouth * (1 - soft[..., None]) + pressed * soft[..., None]
    out = texture.copy()
    out[box] = np.round(pressed * (1 - dark) + np.float32(_CAVITY) * dark)
    return out
