"""The student of dlib's extractor, and what it tells the generator."""

from __future__ import annotations

import numpy as np
import pytest
from generator_support import make_people, make_space

from deid_ros.generator import skin
from deid_ros.training.blends import LARGEST_MIX, blend_and_say
from deid_ros.training.face_space import codes_of, mirrored
from deid_ros.training.student import (
    SIDE,
    Lessons,
    build_student,
    linear_texture,
    measure_student,
    reduce_textures,
    train_student,
)

keras = pytest.importorskip("keras")


def lessons(count: int = 60, *, seed: int = 0) -> Lessons:
    """Faces of one colour each, and a stand-in for dlib that sees the colour."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(count), 2)
    colours = rng.uniform(40, 215, (count, 3)).astype(np.float32)[owner]
    textures = np.repeat(np.repeat(colours[:, None, None], SIDE, 1), SIDE, 2).astype(np.uint8)
    embeddings = np.zeros((2 * count, 128), np.float32)
    embeddings[:, :3] = colours / 127.5 - 1
    embeddings[:, 3] = 1.5
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    apart = owner % 4 == 0
    return Lessons(textures, np.zeros((2 * count, 5), np.float32), embeddings, owner,
                   np.ones(2 * count, bool), apart)


def test_blends_say_who_is_in_them():
    rng = np.random.default_rng(0)
    codes, sex = rng.normal(size=(20, 7)).astype(np.float32), np.array(list("MF" * 10))
    among = np.arange(20) < 8
    for mix in (1, 3, 9):
        out, people = blend_and_say(codes, sex, rng, 12, mix, among=among)
        assert out.shape == (12, 7) and people.shape == (12, LARGEST_MIX)
        assert among[people].all() and (sex[people] == sex[people[:, :1]]).all()
        assert {len(set(row)) for row in people} == {min(mix, 4)}
    out, people = blend_and_say(codes, sex, rng, 5, 1)
    assert np.allclose(out, codes[people[:, 0]], atol=1e-6)
    assert blend_and_say(codes, sex, rng, 0)[0].shape == (0, 7)


def test_the_linear_texture_is_the_face_spaces():
    people, space = make_people(), make_space()
    code = codes_of(space, people)[0]
    made = linear_texture(space, code, people.expressions[0]).astype(float)
    inner = skin.kept() > 0.99
    assert np.abs(made - people.textures[0])[inner].mean() < 6


def test_textures_are_reduced_as_the_loss_reduces_them():
    textures = make_people(2).textures
    face = skin.kept()[None, :, :, None]
    pooled = np.asarray(keras.ops.average_pool((textures / np.float32(127.5) - 1) * face, 4))
    gap = np.abs(reduce_textures(textures) - pooled)
    assert gap.max() < 0.1 and gap.mean() < 0.005
    assert reduce_textures(textures[:0]).shape == (0, SIDE, SIDE, 3)


def test_it_starts_at_the_mean_and_learns_what_it_is_taught():
    taught = lessons()
    mean = taught.embeddings.mean(0)
    start = build_student(mean, 5)
    out = np.asarray(start([reduce_textures(taught.textures), taught.shapes], training=False))
    assert np.allclose(np.linalg.norm(out, axis=1), 1, atol=1e-4)
    assert (out @ (mean / np.linalg.norm(mean))).min() > 0.9
    marks = measure_student(train_student(taught, steps=60, seed=0), taught)
    assert (marks.faces, marks.people) == (30, 15)
    assert marks.correlation > 0.8 and marks.area > 0.8
    assert "15 people" in str(marks)


def test_nobody_held_out_gives_no_marks():
    taught = lessons(6)
    few = Lessons(**{**vars(taught), "apart": np.zeros(12, bool)})
    marks = measure_student(build_student(few.embeddings.mean(0), 5), few)
    assert np.isnan(marks.correlation) and np.isnan(marks.area) and marks.people == 0


def test_lessons_are_kept(tmp_path):
    from deid_ros.errors import TrainingError

    taught = lessons(3)
    taught.save(tmp_path / "student.npz")
    again = Lessons.load(tmp_path / "student.npz")
    assert all(np.array_equal(a, b) for a, b in zip(vars(taught).values(), vars(again).values()))
    (tmp_path / "torn.npz").write_bytes(b"torn")
    with pytest.raises(TrainingError, match="cannot be read"):
        Lessons.load(tmp_path / "torn.npz")


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """The loss of a run whose dlib is the stand-in."""
    from deid_ros.training.identity import IdentityLoss

    space, everybody = make_space(), mirrored(make_people())
    codes = codes_of(space, everybody)
    folder = tmp_path_factory.mktemp("identity")
    taught = lessons()
    Lessons(**{**vars(taught), "shapes": np.zeros(
        (120, space.code_size - len(space.texture_basis)), np.float32)}).save(
            folder / "student.npz")
    loss = IdentityLoss(space, everybody, codes, folder, faces=0, steps=60, seed=0)
    assert (folder / "student.keras").exists()
    return loss, everybody, codes


def told(identity, textures, people) -> float:
    loss, _, codes = identity
    face = skin.kept()[None, :, :, None]
    return float(loss(np.float32(textures) / 127.5 * face - face, codes[:len(textures)],
                      loss.known(np.array(people))))


def test_a_change_of_identity_and_a_likeness_cost(identity):
    flat = np.ones((2, 256, 256, 3))
    red, blue = flat * [60, 60, 200], flat * [200, 60, 60]
    _, everybody, _ = identity
    # Whom it was blended from: somebody of the opposite colour would be far.
    far = [[0] * LARGEST_MIX] * 2
    changed = told(identity, np.stack([red[0], blue[0]]), far)
    steady = told(identity, red, far)
    assert changed > steady + 0.3
    itself = everybody.textures[[1, 1]]
    assert told(identity, itself, [[1] * LARGEST_MIX] * 2) > told(identity, red, far) >= 0


def test_the_loss_of_one_blend_alone_is_a_number(identity):
    assert np.isfinite(told(identity, np.full((1, 256, 256, 3), 90), [[0] * LARGEST_MIX]))


def test_blends_get_no_reconstruction_and_people_no_identity(identity, tmp_path):
    from deid_ros.training.generator import GeneratorTraining, TrainingOptions
    from deid_ros.training.options import load_options

    options = TrainingOptions(**load_options("generator", {
        "batch": 4, "warm_up": 0, "steps": 4, "identity": 0.0, "fooling": 0.0}))
    training = GeneratorTraining(make_people(), tmp_path / "run", options)
    assert training.student is None
    training._identity = identity[0]
    batch = training._batch()
    assert batch["codes"].shape[0] == 4 and batch["real"].shape[0] == 2
    assert batch["known"].shape == (2, LARGEST_MIX, 128)
    # Two expressions of each blend, one after the other.
    assert np.array_equal(batch["codes"][2::2], batch["codes"][3::2])
    assert not np.array_equal(batch["expressions"][2::2], batch["expressions"][3::2])
    first = [float(v) for v in training._engine.compiled(
        lambda b: training._train(b, kind="full"))(batch)]
    assert first[4] > 0
    # Other blends change what identity costs and nothing of the reconstruction.
    other = GeneratorTraining(make_people(), tmp_path / "other", options)
    other._identity = identity[0]
    changed = {**batch, "codes": batch["codes"].copy()}
    changed["codes"][2:] *= -2
    second = [float(v) for v in other._engine.compiled(
        lambda b: other._train(b, kind="full"))(changed)]
    assert second[:2] == pytest.approx(first[:2], rel=1e-5) and second[4] != first[4]
    # Other textures of the people change the reconstruction and not the identity.
    third = GeneratorTraining(make_people(), tmp_path / "third", options)
    third._identity = identity[0]
    changed = {**batch, "real": -batch["real"]}
    third = [float(v) for v in third._engine.compiled(
        lambda b: third._train(b, kind="full"))(changed)]
    assert third[4] == pytest.approx(first[4], rel=1e-4) and third[0] > 2 * first[0]
