"""What every extractor offers, and the checks they share."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from deid_ros.errors import ExtractorError

__all__ = ["Extractor", "check_chips", "unit_rows"]


@runtime_checkable
class Extractor(Protocol):
    """Turns chips into embeddings.

    Attributes:
        name: the key in ``EXTRACTORS``; a gallery remembers it.
        chip_size: side of a chip (px).
        dimensions: length of an embedding.
    """

    name: str
    chip_size: int
    dimensions: int

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """The unit embeddings of M chips.

        Args:
            chips: uint8 (M, chip_size, chip_size, 3), BGR, cut for this
                extractor (``detector.cut_chips``); M = 0 is allowed.

        Returns:
            float32 (M, dimensions), each row of length 1.

        Raises:
            ExtractorError: chips of another shape or type.
        """
        ...


def check_chips(chips: np.ndarray, *, size: int, name: str) -> np.ndarray:
    """The chips as a contiguous array, if they are uint8 (M, size, size, 3)."""
    chips = np.asarray(chips)
    if chips.dtype != np.uint8 or chips.ndim != 4 or chips.shape[1:] != (size, size, 3):
        raise ExtractorError(
            f"The extractor '{name}' takes chips uint8 (M, {size}, {size}, 3), but got "
            f"{chips.dtype} {chips.shape}; cut them for this extractor.")
    return np.ascontiguousarray(chips)


def unit_rows(features: np.ndarray, *, name: str) -> np.ndarray:
    """float32 rows of length 1 from any features (M, D).

    A row that is zero or not finite has no direction: it must not pass for
    somebody, so it is an error.
    """
    features = np.asarray(features, np.float64)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(length[:, 0]) & (length[:, 0] > 0)))
    if bad.size:
        raise ExtractorError(
            f"The extractor '{name}' gave no direction for chip {bad[0]} (length "
            f"{length[bad[0], 0]}); check its weights file.")
    return (features / length).astype(np.float32)
