"""Frames whose faces carry a random pattern each, and the search for it.

The pattern lies on the middle of every face, from brow to mouth, and is another
one in every frame. An output in which it can be found shows a piece of a face that
should have been covered, whatever the nodes say.
"""

from __future__ import annotations

import cv2
import numpy as np

from deid_ros.bench.scene import composed

__all__ = ["Canary"]

_CELL = 3            # px
_CONTRAST = 24.0     # grey levels
_PART = 0.5          # side of the pattern's square, of the height of the face
# Found where the correlation is above: for the square, and for a quarter of it. Chance
# has a deviation of 0.06 and 0.11 for faces of 110 px.
_WHOLE, _QUARTER = 0.5, 0.6
_LEAST_SIDE = 24     # px
#: Standard deviation (grey levels) below which the middle of a face is one colour.
_FLAT = 3.0


class Canary:
    """A loop of frames with faces that are marked.

    Args:
        width, height, faces: as for ``scene.composed``.
        seed: of the patterns.

    ``frames``: BGR uint8 (H, W, 3).
    """

    def __init__(self, width: int, height: int, faces: int, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.frames: list[np.ndarray] = []
        self._squares: list[np.ndarray] = []
        self._marks: list[list[np.ndarray]] = []
        for frame, where in composed(width, height, faces):
            squares, marks = [], []
            for x, y, size in where:
                side = max(round(_PART * size), _LEAST_SIDE)
                left = int(np.clip(round(x) - side // 2, 0, width - side))
                top = int(np.clip(round(y) - side // 2, 0, height - side))
                cells = rng.choice((-_CONTRAST, _CONTRAST), (-(-side // _CELL), -(-side // _CELL)))
                mark = np.kron(cells, np.ones((_CELL, _CELL)))[:side, :side].astype(np.float32)
                part = frame[top:top + side, left:left + side]
                part[:] = np.clip(part + mark[..., None], 0, 255)
                squares.append((left, top, side))
                marks.append(_fine(mark))
            self.frames.append(frame)
            self._squares.append(np.array(squares, int).reshape(-1, 3))
            self._marks.append(marks)

    def __len__(self) -> int:
        return len(self.frames)

    def found(self, image: np.ndarray, index: int, *, whole: bool = False) -> bool:
        """Whether an output shows the pattern of frame ``index``, a quarter of one at least.

        Args:
            image: BGR uint8 (H, W, 3).
            index: of the frame.
            whole: look for whole patterns only.
        """
        for (left, top, side), mark in zip(self._squares[index], self._marks[index],
                                           strict=True):
            part = image[top:top + side, left:left + side]
            if part.shape[:2] != mark.shape:
                continue
            seen = _fine(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY).astype(np.float32))
            if _alike(seen, mark) > _WHOLE:
                return True
            half = side // 2
            if not whole and any(
                    _alike(seen[a:a + half, b:b + half], mark[a:a + half, b:b + half]) > _QUARTER
                    for a in (0, half) for b in (0, half)):
                return True
        return False

    def flat(self, image: np.ndarray, index: int) -> bool:
        """Whether any face of frame ``index`` is covered with one colour in an output."""
        return any(image[top:top + side, left:left + side].std(axis=(0, 1)).max() < _FLAT
                   for left, top, side in self._squares[index])


def _fine(grey: np.ndarray) -> np.ndarray:
    return grey - cv2.GaussianBlur(grey, (0, 0), 1.5 * _CELL)


def _alike(a: np.ndarray, b: np.ndarray) -> float:
    """Normalised correlation, -1 to 1; 0 where there is nothing."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 1e-3 else 0.0
