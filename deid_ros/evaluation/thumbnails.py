"""Small pictures of faces for the report; those of originals only on request."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

from deid_ros.evaluation.observations import read_frame
from deid_ros.evaluation.utility import grow_boxes

__all__ = ["SIDE", "cut_out", "data_uri", "hide"]

#: Longer side of a small picture (px).
SIDE = 176

_AROUND, _HIDDEN = 0.6, 0.12


def data_uri(image: np.ndarray) -> str:
    """A BGR picture as a ``data:`` address, JPEG."""
    import cv2

    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def hide(frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """A copy with every face's surroundings painted grey; all of it without a box.

    Args:
        frame: BGR uint8 (H, W, 3).
        boxes: (n, 4) px.
    """
    out = frame.copy()
    if not len(boxes):
        out[:] = 128
    for x, y, w, h in grow_boxes(boxes, _HIDDEN):
        rows = slice(max(int(y), 0), max(int(np.ceil(y + h)), 0))
        out[rows, max(int(x), 0):max(int(np.ceil(x + w)), 0)] = 128
    return out


def cut_out(path: Path | None, box: np.ndarray, *, hidden: np.ndarray | None = None) -> str | None:
    """The neighbourhood of a face as a ``data:`` address; None where there is no picture.

    Args:
        box: (4,) px of the face.
        hidden: (n, 4) boxes of faces to paint over first.
    """
    import cv2

    frame = None if path is None else read_frame(path)
    if frame is None:
        return None
    if hidden is not None:
        frame = hide(frame, hidden)
    [[x, y, w, h]] = grow_boxes(np.asarray(box)[None], _AROUND)
    part = frame[max(int(y), 0):max(int(y + h), 1), max(int(x), 0):max(int(x + w), 1)]
    if not part.size:
        part = frame
    scale = SIDE / max(part.shape[:2])
    size = tuple(max(round(side * scale), 1) for side in part.shape[1::-1])
    return data_uri(cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1
                               else cv2.INTER_CUBIC))
