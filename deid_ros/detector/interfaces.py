"""What every detector back end is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

__all__ = ["DEFAULT_THRESHOLD", "Detector"]

#: Least score of a back end made without one, as in ``config/pipeline.yaml``.
DEFAULT_THRESHOLD = 0.3


@runtime_checkable
class Detector(Protocol):
    """Finds the faces of one frame; keeps nothing from frame to frame.

    Every back end answers with the same kind of box, whatever its network was
    trained on: about the bounding box of the face mesh of a frontal face, from
    the chin to the top of the forehead and from temple to temple. Scores are
    mapped to 0..1 such that a threshold of 0.3 errs towards finding too much.
    """

    name: str

    def detect(self, frame: np.ndarray) -> np.ndarray:
        """Find the faces of a frame.

        Args:
            frame: BGR uint8 (H, W, 3) of any size from one pixel up.

        Returns:
            Rows of ``faces.DETECTION`` by descending score; zero rows where
            there is no face. Boxes may reach beyond the frame.

        Raises:
            FrameError: ``frame`` is not such an array.
        """
        ...
