"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Every run draws the same examples; `pytest --hypothesis-profile=search` looks for others.
settings.register_profile("same", derandomize=True, print_blob=True)
settings.register_profile("search", derandomize=False, print_blob=True)
settings.load_profile("same")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test data beside the checkout; skips where there is none."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no test data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def astronaut():
    """A photograph with one face: BGR uint8 (512, 512, 3), public domain."""
    data = pytest.importorskip("skimage.data")
    return data.astronaut()[:, :, ::-1].copy()
