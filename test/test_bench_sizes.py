"""deid bench sizes: what a face of a given size is worth to dlib's recogniser."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from deid_ros.bench import sizes
from deid_ros.cli import main


@pytest.fixture
def folder(tmp_path, astronaut):
    """The astronaut, somebody with a face stretched out of likeness, and no face."""
    head = astronaut[:270, 80:370]
    (where := tmp_path / "faces").mkdir()
    cv2.imwrite(str(where / "a.png"), cv2.resize(head, None, fx=1.6, fy=1.6))
    other = cv2.resize(255 - (255 - head) // 2, None, fx=2.1, fy=1.5)[:, ::-1]
    cv2.imwrite(str(where / "b.png"), other)
    cv2.imwrite(str(where / "c.png"), np.full((90, 90, 3), 99, np.uint8))
    return where


def test_shrinking_takes_away_what_is_fine():
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    small = sizes._enlarged(image, 0.1)
    assert small.shape == image.shape and small.std() < 0.3 * image.std()
    assert (sizes._enlarged(image, 1.0) == image).all()


def test_the_command(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sizes, "SIZES", (6, 100))
    path, plot = tmp_path / "s.json", tmp_path / "s.png"
    assert main(["bench", "sizes", str(folder), "--people", "2", "--known", "3", "--json",
                 str(path), "--plot", str(plot)]) == 0
    assert "100 px" in capsys.readouterr().out
    rates = json.loads(path.read_text())["sizes"]
    assert rates["100"] == {"rank1": 1.0, "same": 1.0, "people": 2, "known": 2}
    assert rates["6"]["same"] < 1.0
    assert plot.stat().st_size > 5000


def test_refusals(folder, tmp_path, capsys):
    assert main(["bench", "sizes", str(tmp_path / "none")]) == 2
    (folder / "b.png").unlink()
    assert main(["bench", "sizes", str(folder)]) == 2
    assert main(["bench", "sizes", str(folder), "--people", "1"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [word in line for word, line in zip(("folder", "fewer than two", "people"), [
        line for line in errors if "INFO" not in line], strict=True)] == [True] * 3
