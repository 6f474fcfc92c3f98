"""OFFLINE: codes of nobody, blended from those of people as the live path blends them."""

from __future__ import annotations

import numpy as np

__all__ = ["LARGEST_MIX", "blend", "blend_and_say"]

#: People in a blend at most.
LARGEST_MIX = 6


def blend(codes: np.ndarray, sex: np.ndarray, rng: np.random.Generator, count: int,
          mix: int = 5) -> np.ndarray:
    """The codes of ``blend_and_say``: float32 (count, code_size)."""
    return blend_and_say(codes, sex, rng, count, mix)[0]


def blend_and_say(codes: np.ndarray, sex: np.ndarray, rng: np.random.Generator, count: int,
                  mix: int = 5, *, among: np.ndarray | None = None
                  ) -> tuple[np.ndarray, np.ndarray]:
    """``count`` blends of ``mix`` people of one sex, with their spread restored.

    Code = mean of the sex + sqrt(mix) * (blend - mean): a plain mean of people would
    be nearer to the average face than any of them.

    Args:
        codes: float32 (n, code_size) of the people; sex (n,) str.
        among: bool (n,), who may be blended; everybody without it.

    Returns:
        float32 (count, code_size), and whom each was blended from: int (count,
        ``LARGEST_MIX``), repeated where they are fewer.
    """
    allowed = np.ones(len(codes), bool) if among is None else among
    out = np.empty((count, codes.shape[1]), np.float32)
    people = np.empty((count, LARGEST_MIX), int)
    kinds = np.unique(sex[allowed])
    for i in range(count):
        # As many women as men, however few the set holds.
        kind = sex == kinds[rng.integers(len(kinds))]
        pool = np.flatnonzero(kind & allowed)
        chosen = rng.choice(pool, min(mix, len(pool), LARGEST_MIX), replace=False)
        mean = codes[kind].mean(0)
        out[i] = mean + np.sqrt(len(chosen)) * (codes[chosen].mean(0) - mean)
        people[i] = np.resize(chosen, LARGEST_MIX)
    return out, people
