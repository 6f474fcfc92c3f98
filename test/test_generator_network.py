"""The network: shapes, where it starts, and that it can be kept and exported."""

from __future__ import annotations

import numpy as np
import pytest
from generator_support import make_people, make_space

from deid_ros.errors import TrainingError
from deid_ros.generator.face_space import window
from deid_ros.training.face_space import codes_of

keras = pytest.importorskip("keras")


@pytest.fixture(scope="module")
def network():
    from deid_ros.generator.network import build_generator

    return build_generator(make_space(), seed=3)


@pytest.fixture(scope="module")
def inputs():
    people, space = make_people(), make_space()
    return [codes_of(space, people)[:2], people.expressions[:2].astype(np.float32)]


def test_untrained_it_makes_the_linear_texture(network, inputs):
    out = np.asarray(network(inputs))
    assert out.shape == (2, 384, 384, 3)
    wanted = make_people().textures[:2].astype(np.float32)
    rows, columns = (slice(2 * s.start + 2, 2 * s.stop - 2) for s in window())
    gap = (out + 1) * 127.5 - wanted
    assert np.abs(gap[:, rows, columns]).mean() < 6


def test_it_depends_on_identity_and_mouth_and_not_on_the_eyes(network, inputs):
    codes, expressions = inputs
    base = np.asarray(network([codes, expressions]))
    assert np.abs(np.asarray(network([codes[::-1], expressions])) - base).max() > 0.05
    blink = expressions.copy()
    blink[:, 3:] = 0
    assert np.array_equal(np.asarray(network([codes, blink])), base)


def test_the_same_seed_gives_the_same_network(network, inputs):
    from deid_ros.generator.network import build_generator

    again = build_generator(make_space(), seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), again.get_weights()))
    other = build_generator(make_space(), seed=4)
    assert any(not np.array_equal(a, b)
               for a, b in zip(network.get_weights(), other.get_weights()))


def test_kept_and_loaded(network, inputs, tmp_path):
    network.save(tmp_path / "generator.keras")
    again = keras.models.load_model(tmp_path / "generator.keras")
    assert np.array_equal(np.asarray(again(inputs)), np.asarray(network(inputs)))


def test_any_mouth_gives_a_finite_texture(network, inputs):
    out = np.asarray(network([inputs[0], np.full((2, 7), 50, np.float32)]))
    assert np.isfinite(out).all() and np.abs(out).max() < 20


def test_the_judge_has_two_scales(network):
    from deid_ros.generator.network import build_discriminator

    answers = build_discriminator()(np.zeros((1, 384, 384, 3), np.float32))
    assert all(a.shape[0] == 1 and a.shape[1] == a.shape[2] for a in answers)
    assert [a.shape[-1] for a in answers[:2]] == [1, 1]
    assert len(answers) > 4 and min(a.shape[-1] for a in answers[2:]) > 1


def test_an_export_that_differs_is_not_kept(network, tmp_path):
    pytest.importorskip("onnxruntime")
    from deid_ros.training.export import export_generator

    with pytest.raises(TrainingError, match="differs from the trained network"):
        export_generator(network, tmp_path / "generator.onnx", tolerance=-1)
    assert list(tmp_path.iterdir()) == []
