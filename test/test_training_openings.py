"""How open identities' eyes and mouths come out is learned from what was drawn."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros.cli import main
from deid_ros.generator import FaceSpace, SurrogateGenerator
from deid_ros.training.openings import fit_openings, with_openings


def test_what_belongs_to_the_code_is_found():
    rng = np.random.default_rng(0)
    codes, nudges = rng.normal(size=(600, 20)), rng.normal(size=(600, 2)) * [0.03, 0.012]
    own = rng.normal(size=(20, 2)) * [[0.004, 0.002]]
    # Seven tenths of what is asked for shows, and half for the eyes.
    seen = (nudges + codes @ own) * [0.7, 0.5] + rng.normal(size=(600, 2)) * 0.001
    found = fit_openings(codes, nudges, seen)
    assert found.shape == (20, 2) and found.dtype == np.float32
    left = codes @ (own - found)
    assert (left.std(axis=0) < 0.2 * (codes @ own).std(axis=0)).all()


def test_the_generator_asks_for_so_much_less():
    plain, corrected = SurrogateGenerator(), SurrogateGenerator()
    more = np.zeros_like(plain.space.openings)
    space = plain._network.space = with_openings(plain.space, -plain.space.openings)
    more[3] = 0.002, 0.001
    corrected._network.space = with_openings(space, more)
    code = np.zeros(space.code_size, np.float32)
    code[3] = 4.0
    asked = space.expression_mean + np.float32([0.02, 0, 0, 0.01, 0.01, 0, 0])
    gap = plain._drawn(asked, code) - corrected._drawn(asked, code)
    assert gap == pytest.approx([0.008, 0, 0, 0.004, 0.004, 0, 0], abs=1e-6)
    code[3] = 1e6  # what no identity has moves nothing far
    assert np.abs(corrected._drawn(asked, code) - asked).max() < 0.1


def test_the_space_keeps_them(tmp_path):
    space = FaceSpace.load()
    more = np.full_like(space.openings, 0.5)
    with_openings(space, more).save(tmp_path / "s.npz")
    assert np.array_equal(FaceSpace.read(tmp_path / "s.npz").openings, space.openings + more)


@pytest.mark.parametrize(("change", "message"), [
    (["-o", "s.onnx"], "ends in .npz"),
    (["-o", "s.npz", "--count", "1"], "give 2 or more"),
    (["-o", "s.npz", "--gallery", "none.npz"], "none.npz"),
])
def test_refusals(tmp_path, monkeypatch, capsys, change, message):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "openings", ".", "--gallery", "g.npz", *change]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())
