"""Looks: by name, by number, and on the way between."""

from __future__ import annotations

import numpy as np
import pytest
from generator_support import FakeNetwork, make_space

from deid_ros.errors import GeneratorError
from deid_ros.faces import EXPRESSION
from deid_ros.generator.play import (
    EXPRESSIONS,
    Look,
    Studio,
    at_times,
    expression_of,
    orientation_of,
    stroll,
)


def look(value: float = 0.0, *, yaw: float = 0.0, **expression: float) -> Look:
    space = make_space()
    return Look(np.full(space.code_size, value, np.float32),
                expression_of(space, expression or "mean"), orientation_of({"yaw": yaw}))


def test_expressions_by_name():
    space = make_space()
    made = {name: dict(zip(EXPRESSION, expression_of(space, name))) for name in EXPRESSIONS}
    assert made["open"]["mouth_open"] > made["neutral"]["mouth_open"] + 0.1
    assert made["smile"]["smile"] > made["neutral"]["smile"] + 0.03
    assert made["smile"]["mouth_width"] > made["neutral"]["mouth_width"] + 0.05
    assert max(made["closed_eyes"]["eye_left"], made["closed_eyes"]["eye_right"]) < 0.02
    assert made["raised_brows"]["brow_left"] > made["neutral"]["brow_left"] + 0.02
    assert np.array_equal(expression_of(space, "mean"), space.expression_mean)


def test_expressions_by_number():
    made = expression_of(make_space(), {"base": "smile", "mouth_open": 0.2})
    assert made[0] == pytest.approx(0.2) and made[2] == pytest.approx(0.09)


@pytest.mark.parametrize(("wanted", "message"), [
    ("smil", "no expression 'smil'; did you mean 'smile'"),
    ({"mouth": 1}, "no number 'mouth'.*known are mouth_open"),
    ({"smile": "wide"}, "smile is 'wide'"),
    ({"smile": float("nan")}, "smile is nan"),
    ({"smile": 4}, "smile is 4"),
])
def test_expressions_that_are_none(wanted, message):
    with pytest.raises(GeneratorError, match=message):
        expression_of(make_space(), wanted)


@pytest.mark.parametrize(("wanted", "message"), [
    ({"jaw": 4}, "no angle 'jaw'; did you mean 'yaw'"),
    ({"yaw": 90}, "Yaw is 90; give a number from -75 to 75 degrees"),
    ({"pitch": None}, "Pitch is None")])
def test_orientations_that_are_none(wanted, message):
    with pytest.raises(GeneratorError, match=message):
        orientation_of(wanted)


def test_half_way_is_half_of_everything():
    a, b = look(0, yaw=-40, mouth_open=0.0), look(1, yaw=20, mouth_open=0.2)
    half = a.towards(b, 0.5)
    assert np.allclose(half.code, 0.5) and half.angles[0] == -10
    assert half.expression[0] == pytest.approx(0.1)


def test_looks_at_times():
    looks = [look(0, yaw=0), look(1, yaw=30), look(3, yaw=-30)]
    made = at_times(looks, [0.5, 1.0, 3.0], [0, 0.5, 0.75, 1.0, 2.0, 3.0, 9.0])
    assert [float(m.code[0]) for m in made] == [0, 0, 0.5, 1, 2, 3, 3]
    assert [m.angles[0] for m in made] == [0, 0, 15, 30, 0, -30, -30]
    assert at_times(looks[:1], [0], []) == []


def test_a_stroll_passes_all_and_comes_back():
    looks = [look(v, yaw=y) for v, y in ((0, 0), (1, 20), (2, -20), (1, 5))]
    made = stroll(looks, 40)
    assert len(made) == 40 and stroll(looks, 0) == []
    for place, wanted in enumerate(looks):
        assert np.allclose(made[10 * place].code, wanted.code, atol=1e-6)
        assert np.allclose(made[10 * place].angles, wanted.angles)
    steps = [abs(b.code[0] - a.code[0]) for a, b in zip(made, [*made[1:], made[0]])]
    assert max(steps) < 0.2


def test_drawing():
    studio = Studio(FakeNetwork(), size=96, background=(10, 200, 30))
    picture = studio.draw(look())
    assert picture.shape == (96, 96, 3) and picture.dtype == np.uint8
    assert (picture[[0, 0, -1, -1], [0, -1, 0, -1]] == (10, 200, 30)).all()
    assert np.abs(picture[48, 48].astype(int) - 128).max() < 45

    def middle(yaw: float) -> float:
        changed = np.abs(studio.draw(look(yaw=yaw)).astype(int) - (10, 200, 30)).max(-1) > 60
        return np.nonzero(changed)[1].mean()

    assert abs(middle(0) - 47.5) < 1
    assert abs(middle(30) - middle(-30)) > 4


def test_drawing_what_cannot_be():
    with pytest.raises(GeneratorError, match="size is 3 px"):
        Studio(FakeNetwork(), size=3)
    with pytest.raises(GeneratorError, match="have 4 numbers"):
        Studio(FakeNetwork()).draw(Look(np.zeros(4), np.zeros(7), np.zeros(3)))
