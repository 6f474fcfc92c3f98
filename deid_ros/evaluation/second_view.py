"""A second photo of somebody of whom there is only one."""

from __future__ import annotations

import numpy as np

__all__ = ["second_view"]


def second_view(frame: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The picture mirrored, turned, scaled, shifted, relit, blurred and compressed anew.

    It is more like the first than a real second photo is (expression, age and hair
    stay), so an attack that has it to compare with is stronger than a real one.

    Args:
        frame: uint8 (H, W, 3); not modified.
        seed: another one gives another view.

    Returns:
        uint8 (H, W, 3).
    """
    import cv2

    rng = np.random.default_rng(seed)
    height, width = frame.shape[:2]
    turn = float(rng.uniform(3, 7) * rng.choice([-1, 1]))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, float(rng.uniform(0.92, 1.0)))
    matrix[:, 2] += rng.uniform(-0.02, 0.02, 2) * (width, height)
    out = cv2.warpAffine(frame[:, ::-1], matrix, (width, height), flags=cv2.INTER_CUBIC,
                         borderMode=cv2.BORDER_REPLICATE)
    gamma, gain = rng.uniform(0.8, 1.25), rng.uniform(0.9, 1.1, 3)
    levels = 255 * (np.arange(256) / 255.0) ** gamma
    table = np.clip(levels[:, None] * gain, 0, 255).astype(np.uint8)[None]
    out = cv2.LUT(np.ascontiguousarray(out), np.ascontiguousarray(table))
    out = cv2.GaussianBlur(out, (0, 0), 0.6)
    _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)
