"""Shapes, textures and expressions as codes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from generator_support import make_people, make_space

from deid_ros import geometry
from deid_ros.errors import ModelError
from deid_ros.generator.face_space import FaceSpace
from deid_ros.training.face_space import codes_of, mirrored
from deid_ros.training.textures import TrainingSet


@pytest.mark.parametrize("changes", [
    {}, {0: 0.2}, {0: 0.0}, {1: 0.62, 2: 0.03}, {3: 0.01, 4: 0.01}, {5: 0.27, 6: 0.26},
    {0: 0.15, 1: 0.8, 2: 0.09, 3: 0.05}])
def test_an_expression_applied_is_measured_again(changes):
    wanted = geometry.mesh_model()["expression"].copy()
    for index, value in changes.items():
        wanted[index] = value
    for shape in (geometry.reference_mesh(), make_people().shapes[1]):
        moved = geometry.apply_expression(shape, wanted)
        assert np.abs(geometry.measure_expression(moved) - wanted).max() < 0.006


def test_applying_the_expression_it_has_leaves_a_shape():
    shape = geometry.reference_mesh()
    moved = geometry.apply_expression(shape, geometry.measure_expression(shape))
    assert np.abs(moved - shape).max() < 1e-6


def test_openings_below_zero_are_zero():
    wanted = geometry.mesh_model()["expression"].copy()
    wanted[[0, 3, 4]] = -0.2
    moved = geometry.apply_expression(geometry.reference_mesh(), wanted)
    measured = geometry.measure_expression(moved)
    assert np.abs(measured[[0, 3, 4]]).max() < 0.006


def test_the_identity_stays_when_the_expression_changes():
    shape = make_people().shapes[0]
    space = make_space()
    neutral = geometry.apply_expression(shape, space.expression_mean)
    smile = np.float32([0.1, 0.05, 0.03, 0, 0, 0, 0])
    smiling = geometry.apply_expression(shape, space.expression_mean + smile)
    back = geometry.apply_expression(smiling, space.expression_mean)
    assert np.abs(back - neutral).max() < 0.01


def test_a_person_comes_back_from_their_code():
    people, space = make_people(), make_space()
    for texture, shape, expression in zip(people.textures, people.shapes, people.expressions):
        code = space.project(texture, shape, expression)
        assert code.shape == (space.code_size,) and code.dtype == np.float32
        neutral = geometry.apply_expression(shape, space.expression_mean)
        assert np.abs(space.shape(code) - neutral).max() < 0.01


def test_a_partly_seen_texture_gives_nearly_the_same_code():
    people, space = make_people(), make_space()
    valid = np.ones((384, 384), bool)
    valid[:, 270:] = False
    args = people.textures[2], people.shapes[2], people.expressions[2]
    whole, part = space.project(*args), space.project(*args, valid)
    nearest = [np.linalg.norm(part - code) for code in codes_of(space, people)]
    assert np.argmin(nearest) == 2
    assert np.linalg.norm(part - whole) < 0.5 * np.linalg.norm(whole)


def test_mirror_images_of_mirror_images_are_the_people():
    people = make_people(3)
    twice = mirrored(mirrored(people))
    assert len(twice) == 12
    assert np.array_equal(twice.textures[9:], people.textures)
    assert np.abs(twice.shapes[9:] - people.shapes).max() < 1e-6
    assert np.array_equal(twice.expressions[9:], people.expressions)


def test_saved_and_read_again(tmp_path):
    path = tmp_path / "face_space.npz"
    make_space().save(path)
    space = FaceSpace.read(path)
    for field in dataclasses.fields(FaceSpace):
        ours, theirs = getattr(make_space(), field.name), getattr(space, field.name)
        assert np.allclose(ours, theirs, atol=2e-3 if "basis" in field.name else 0), field.name


@pytest.mark.parametrize("content", [None, b"", b"not a zip file", b"PK\x03\x04 torn off"])
def test_no_face_space_in_the_file(tmp_path, content):
    path = tmp_path / "face_space.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="face_space.npz cannot be read"):
        FaceSpace.read(path)


def test_another_schema_is_refused(tmp_path):
    path = tmp_path / "face_space.npz"
    make_space().save(path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "schema": 99})
    with pytest.raises(ModelError, match="schema 99, expected 4"):
        FaceSpace.read(path)


def test_a_training_set_saved_and_loaded(tmp_path):
    people = make_people(2)
    people.save(tmp_path / "set.npz")
    again = TrainingSet.load(tmp_path / "set.npz")
    for field in dataclasses.fields(TrainingSet):
        assert np.array_equal(getattr(people, field.name), getattr(again, field.name))
