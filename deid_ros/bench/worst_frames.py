"""A picture of the frames in which most is wrong, with labels and covers drawn in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deid_ros.bench.contact_sheet import in_rows, write_picture
from deid_ros.bench.scene_measures import belongs
from deid_ros.errors import DeidError

__all__ = ["WorstFrames"]

_TILES, _ACROSS, _WIDE, _HIGH = 24, 4, 480, 360    # frames, in a row; px of one
_LABEL, _SURROGATE, _FLAT = (0, 255, 0), (0, 160, 255), (0, 0, 255)


class WorstFrames:
    """Keeps the frames with most uncovered faces, false covers and flat faces."""

    def __init__(self) -> None:
        self._worst: list[tuple[float, np.ndarray]] = []

    def add(self, title: str, frame: np.ndarray, covers: list[dict[str, Any]],
            faces: list[Any]) -> None:
        """Take an output, BGR uint8 (H, W, 3), its covers and its labelled faces."""
        own = [[cover for cover in covers if belongs(cover["box"], face)] for face in faces]
        false = [cover for cover in covers if not any(belongs(cover["box"], face)
                                                      for face in faces)]
        flat = sum(any(cover.get("covered_by") != "surrogate" for cover in each) for each in own)
        score = 5.0 * sum(not each for each in own) + 2.0 * len(false) + flat
        if len(self._worst) >= _TILES and score <= self._worst[-1][0]:
            return
        self._worst.append((score, _tile(title, frame, covers, faces)))
        self._worst = sorted(self._worst, key=lambda entry: -entry[0])[:_TILES]

    def write(self, path: Path) -> None:
        """Write the picture.

        Raises:
            DeidError: no frame was added, or ``path`` cannot be written.
        """
        if not self._worst:
            raise DeidError("There is no frame to draw; check the clips.")
        write_picture(path, in_rows([tile for _, tile in self._worst], _ACROSS))


def _tile(title: str, frame: np.ndarray, covers: list[dict[str, Any]], faces: list[Any]
          ) -> np.ndarray:
    scale = min(_WIDE / frame.shape[1], _HIGH / frame.shape[0])
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.zeros((_HIGH, _WIDE, 3), np.uint8)
    tile[:small.shape[0], :small.shape[1]] = small
    marks = [(cover["box"], _SURROGATE if cover.get("covered_by") == "surrogate" else _FLAT)
             for cover in covers] + [(face, _LABEL) for face in faces]
    for (x, y, w, h), colour in marks:
        corners = [tuple(int(v * scale) for v in corner) for corner in ((x, y), (x + w, y + h))]
        cv2.rectangle(tile, *corners, colour, 1)
    cv2.putText(tile, title, (4, _HIGH - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    return tile
