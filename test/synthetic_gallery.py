"""Small galleries for tests: two sexes that an embedding tells apart, no models."""

from __future__ import annotations

import numpy as np

from deid_ros.matcher import Gallery

DIMENSIONS = 16


def faces(sex: str, count: int, seed: int, *, spread: float = 0.35) -> np.ndarray:
    """Unit embeddings (count, 16) of different people of one sex."""
    rng = np.random.default_rng(seed)
    middle = np.zeros(DIMENSIONS)
    middle[0 if sex == "M" else 1] = 1.5
    rows = middle + spread * rng.normal(size=(count, DIMENSIONS))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make_gallery(men: int = 40, women: int = 30, *, seed: int = 0, code_size: int = 12,
                 **changes: object) -> Gallery:
    """A gallery 'id000', 'id001', ... with men first."""
    rng = np.random.default_rng(seed + 1000)
    n = men + women
    sex = np.array(["M"] * men + ["F"] * women)
    codes = rng.normal(size=(n, code_size)) * np.linspace(2, 0.5, code_size)
    codes[:, 0] += np.where(sex == "M", 5, -5)
    arrays: dict[str, object] = {
        "ids": np.array([f"id{i:03d}" for i in range(n)]),
        "embeddings": np.concatenate([faces("M", men, seed), faces("F", women, seed + 1)]),
        "sex": sex,
        "shapes": rng.normal(size=(n, 468, 3)).astype(np.float32),
        "codes": codes.astype(np.float32),
        "sha256": np.array([f"{i:064x}" for i in range(n)]),
        "extractor": "dlib_resnet",
    }
    return Gallery(**{**arrays, **changes})  # type: ignore[arg-type]
