"""The decoder in image space: what it sees, how it is trained, where it paints."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from generator_support import FakeNetwork, make_face, make_people, make_space

from deid_ros import geometry
from deid_ros.errors import ModelError
from deid_ros.faces import empty_faces, match_dtype
from deid_ros.generator import SurrogateGenerator, create_generator
from deid_ros.generator.face_space import apply_expression
from deid_ros.generator.image_decoder import (
    CHIP_SIDE,
    IMAGE_SPACE,
    LAYERS,
    ImageSpaceGenerator,
    chip_pose,
    draw_geometry,
)

ACROSS, OPENINGS, FACE = (LAYERS.index(name) for name in ("across", "openings", "face"))


def test_the_drawing_shows_the_face_in_the_middle_and_to_its_rim():
    drawn = draw_geometry(geometry.reference_mesh(), 0, 0)
    assert drawn.shape == (CHIP_SIDE, CHIP_SIDE, len(LAYERS)) and drawn.dtype == np.uint8
    face = drawn[..., FACE] > 0
    assert 0.3 < face.mean() < 0.8
    assert not (face[[0, -1]].any() or face[:, [0, -1]].any())
    assert not drawn[~face].any()
    assert (face == face[:, ::-1]).mean() > 0.98
    across = drawn[64, face[64], ACROSS].astype(int)
    assert (np.diff(across) >= 0).all() and across[-1] - across[0] > 150


@pytest.mark.parametrize("yaw", [-45, 45])
def test_a_turned_face_stays_within_the_chip(yaw):
    face = draw_geometry(geometry.reference_mesh(), yaw, 20)[..., FACE] > 0
    assert not (face[[0, -1]].any() or face[:, [0, -1]].any())


def test_an_opened_mouth_is_seen():
    mood = make_space().expression_mean.copy()
    seen = []
    for opening in (0.0, 0.3):
        mood[0] = opening
        drawn = draw_geometry(apply_expression(geometry.reference_mesh(), mood), 0, 0)
        seen.append((drawn[70:, :, OPENINGS] > 128).sum())
    assert seen[1] > seen[0] + 50


class Painter(ImageSpaceGenerator):
    """Paints a white dot where a point of the mesh lies, without a network."""

    point = 291  # a corner of the mouth

    def __init__(self):
        self.space, self._codes = make_space(), {}
        product = SurrogateGenerator(FakeNetwork())
        self._overlay = np.dstack([np.full((256, 256), 128, np.uint8), product._alpha])

    def paint(self, code, expression, yaw, pitch):
        shape = apply_expression(self.space.shape(code), expression)
        where = geometry.project(shape[[self.point]], chip_pose(yaw, pitch))[0, :2]
        xs, ys = np.meshgrid(np.arange(CHIP_SIDE), np.arange(CHIP_SIDE))
        dot = 255 * np.exp(-((xs - where[0]) ** 2 + (ys - where[1]) ** 2) / 8)
        return np.repeat(dot[..., None].astype(np.uint8), 3, axis=2)


@pytest.mark.parametrize(("yaw", "pitch", "roll", "scale"),
                         [(0, 0, 0, 80), (20, 10, 0, 60), (-20, 5, 30, 90), (0, 0, -25, 240)])
def test_the_chip_lies_where_the_face_is(yaw, pitch, roll, scale):
    face = make_face(yaw=yaw, pitch=pitch, roll=roll, scale=scale, center=(300.3, 220.7))
    painter = Painter()
    patch = painter.generate(face)[0]
    square = geometry.patch_squares(face)[0]
    zoom = len(patch) / square[2]
    shape = apply_expression(painter.space.shape(np.zeros(painter.space.code_size)),
                             face["expression"][0])
    pose = geometry.Pose(yaw, pitch, roll, scale, (300.3, 220.7))
    wanted = (geometry.project(shape[[painter.point]], pose)[0, :2] - square[:2] + 0.5) * zoom - 0.5
    ys, xs = np.mgrid[:len(patch), :len(patch)]
    weight = patch[..., 0].astype(float)
    found = np.array([(xs * weight).sum(), (ys * weight).sum()]) / weight.sum()
    assert np.abs(found - wanted).max() < 0.02 * scale * zoom


def test_its_mask_is_the_products():
    faces = np.concatenate([make_face(1, yaw=25, roll=10), make_face(2, scale=40)])
    product = SurrogateGenerator(FakeNetwork())
    mine, wanted = (g.generate(faces)[..., 3].astype(int) for g in (Painter(), product))
    # Their arithmetic differs in the last digit, which moves single pixels of the outline.
    assert np.abs(mine - wanted).mean() < 0.05 and wanted.max() == 255


def test_no_faces_and_unsure_faces():
    painter, unsure = Painter(), make_face()
    assert painter.generate(empty_faces()).shape == (0, 0, 0, 4)
    unsure["trusted"] = 0
    assert not painter.generate(unsure).any()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A decoder of a few steps, exported with its face space."""
    pytest.importorskip("keras")
    tf = pytest.importorskip("tensorflow")
    from deid_ros.training.export import export_generator
    from deid_ros.training.image_space import ImageOptions, ImageTraining

    folder = tmp_path_factory.mktemp("decoder")
    tf.config.run_functions_eagerly(True)
    try:
        training = ImageTraining(make_people(), make_space(), folder,
                                 ImageOptions(steps=4, batch=4, views=2, blends=16,
                                              penalty_every=3))
        training.run()
    finally:
        tf.config.run_functions_eagerly(False)
    path = folder / f"decoder{IMAGE_SPACE}"
    export_generator(training.averaged(), path)
    make_space().save(folder / "face_space.npz")
    return path


def test_training_goes_through_all_its_phases(trained):
    with open(trained.with_name("losses.csv"), newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["fooling"]) != 0 for row in rows] == [False, False, True, True]
    assert [float(row["penalty"]) != 0 for row in rows] == [False, False, False, True]
    assert trained.with_name("sheet.png").stat().st_size > 10_000


def test_the_file_name_says_which_generator_it_is(trained):
    generator = create_generator(trained)
    assert isinstance(generator, ImageSpaceGenerator)
    generator.warm_up()
    match = np.zeros(1, match_dtype(generator.space.code_size))
    match["track_id"], match["code"][:, 0] = 1, 1.0  # the texture, not the shape
    before = generator.generate(make_face())
    generator.learn(match)
    after = generator.generate(make_face())
    assert np.array_equal(before[..., 3], after[..., 3])
    assert np.abs(before.astype(int) - after).max() > 2


def test_a_file_of_something_else_is_refused(trained, tmp_path):
    from deid_ros.resources import share_path

    odd = tmp_path / f"odd{IMAGE_SPACE}"
    odd.write_bytes(share_path("models", "generator.onnx").read_bytes())
    (tmp_path / "face_space.npz").write_bytes(trained.with_name("face_space.npz").read_bytes())
    with pytest.raises(ModelError, match="train it again"):
        create_generator(odd)


def test_blends_have_geometry_of_their_own_and_no_image():
    from deid_ros.training.image_space import blended_chips, portrait_chips

    people, space = make_people(), make_space()
    chips = portrait_chips(people, space, views=1)
    assert len(chips.codes) == 2 * len(people)
    assert set(np.unique(chips.weights)) <= {0, 1, 2, 3, 4}
    face = chips.geometry[..., FACE] > 0
    assert (face[chips.weights > 0]).mean() > 0.99
    assert chips.images[chips.weights == 4].mean() > 60
    blends = blended_chips(chips, np.concatenate([people.sex] * 2), space, 3)
    assert blends.geometry.shape[0] == 3 and not len(blends.images)
    assert not any(np.array_equal(g, h) for g in blends.geometry for h in chips.geometry)


def test_the_command_wants_the_file_to_be_named_for_what_it_is(tmp_path, capsys):
    from deid_ros.training.image_space import main

    assert main([str(tmp_path), "-o", str(tmp_path / "decoder.onnx")]) == 2
    assert IMAGE_SPACE in capsys.readouterr().err
