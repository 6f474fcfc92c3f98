"""Contact sheets: originals beside outputs, those where something is wrong first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deid_ros.errors import DeidError

__all__ = ["ContactSheet", "in_rows", "write_picture"]

#: Who saw a face, its box x, y, width, height (px), and whether it is covered.
Mark = tuple[str, np.ndarray, bool]

_TILES, _TILE = 16, 320       # frames at most; width of one picture in px
_BARE = (0, 0, 255)
_SPARE = ((0, 255, 0), (255, 160, 0), (255, 0, 255))
_COLOURS: dict[str, tuple[int, int, int]] = {}


class ContactSheet:
    """Collects frames in bounded memory; an even choice of them is drawn."""

    def __init__(self) -> None:
        self._good: list[tuple[int, np.ndarray]] = []
        self._bad: list[tuple[int, np.ndarray]] = []

    def add(self, index: int, frame: np.ndarray, output: np.ndarray, marks: list[Mark]) -> None:
        """Take one frame and its output, BGR uint8 (H, W, 3) both."""
        store = self._good if all(covered for _, _, covered in marks) else self._bad
        store.append((index, _pair(frame, output, marks)))
        if len(store) > 2 * _TILES:
            del store[1::2]

    def write(self, path: Path) -> None:
        """Write the sheet.

        Raises:
            DeidError: no frame was added, or ``path`` cannot be written.
        """
        bad = _evenly(self._bad, _TILES)
        chosen = bad + _evenly(self._good, _TILES - len(bad))
        if not chosen:
            raise DeidError("No frame could be processed; there is nothing for a contact sheet.")
        for index, tile in chosen:
            cv2.putText(tile, str(index), (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45,
                        (255, 255, 255), 1, cv2.LINE_AA)
        tiles = [tile for _, tile in chosen]
        write_picture(path, in_rows(tiles, 2))


def in_rows(tiles: list[np.ndarray], across: int) -> np.ndarray:
    """Tiles of one size, BGR uint8 (h, w, 3), as one picture with ``across`` in a row."""
    tiles = tiles + [np.zeros_like(tiles[0])] * (-len(tiles) % across)
    return np.vstack([np.hstack(tiles[i:i + across]) for i in range(0, len(tiles), across)])


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write BGR uint8 (H, W, 3) as what the path's ending says, and the folder for it.

    Raises:
        DeidError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        written = cv2.imwrite(str(path), picture)
    except cv2.error:
        written = False
    if not written:
        raise DeidError(f"{path} could not be written; check the folder and the ending.")


def _evenly(items: list[Any], count: int) -> list[Any]:
    if count < 1:
        return []
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / max(count - 1, 1))] for i in range(count)]


def _pair(frame: np.ndarray, output: np.ndarray, marks: list[Mark]) -> np.ndarray:
    """Original with the reference detectors' boxes, and output, side by side and small."""
    scale = _TILE / frame.shape[1]
    size = (_TILE, max(round(frame.shape[0] * scale), 1))
    left, right = (cv2.resize(image, size, interpolation=cv2.INTER_AREA)
                   for image in (frame, output))
    for name, box, covered in marks:
        x, y, w, h = (round(float(v) * scale) for v in box)
        colour = (0, 0, 255) if not covered else (
            _COLOURS.setdefault(name, _SPARE[len(_COLOURS) % len(_SPARE)]))
        for picture in (left, right) if not covered else (left,):
            cv2.rectangle(picture, (x, y), (x + w, y + h), colour, 1)
    return np.hstack([left, right])
