"""The generator at work, on a network that makes one colour for each code."""

from __future__ import annotations

import numpy as np
import pytest
from generator_support import FakeNetwork, make_face, make_space

from deid_ros import geometry
from deid_ros.errors import GeneratorError, ModelError
from deid_ros.faces import empty_faces, match_dtype
from deid_ros.generator.surrogate import MAX_TRACKS, SurrogateGenerator, TextureNetwork


def matches(*tracks: int, value: float = 1.0) -> np.ndarray:
    rows = np.zeros(len(tracks), match_dtype(make_space().code_size))
    rows["track_id"] = tracks
    rows["code"][:, :3] = value
    return rows


@pytest.fixture
def network() -> FakeNetwork:
    return FakeNetwork()


@pytest.fixture
def generator(network) -> SurrogateGenerator:
    return SurrogateGenerator(network)


def test_no_faces(generator, network):
    out = generator.generate(empty_faces())
    assert out.shape == (0, 0, 0, 4) and out.dtype == np.uint8
    generator.learn(matches())
    assert not network.calls


def test_patches_are_the_squares_of_the_frame(generator):
    faces = np.concatenate([make_face(1, scale=40), make_face(2, scale=90)])
    sizes = geometry.patch_sizes(geometry.patch_squares(faces))
    out = generator.generate(faces)
    assert out.shape == (2, sizes.max(), sizes.max(), 4)
    assert not out[0, sizes[0]:].any() and not out[0, :, sizes[0]:].any()
    for patch, size in zip(out, sizes):
        alpha = patch[:size, :size, 3]
        assert alpha[size // 2, size // 2] == 255 and not alpha[0].any()


def test_the_mask_falls_off_softly_and_stays_within_what_is_drawn(generator):
    patch = generator.generate(make_face(scale=100))[0]
    alpha = patch[..., 3]
    assert ((alpha > 20) & (alpha < 235)).sum() > 500
    assert 0.15 < (alpha == 255).mean() < 0.6
    assert (patch[..., :3][alpha > 0] > 0).any(axis=-1).all()


def middle(patch: np.ndarray) -> np.ndarray:
    ys, xs = np.nonzero(patch[..., 3] > 128)
    return np.array([xs.mean(), ys.mean()])


def test_the_pose_is_followed(generator):
    def alpha(**pose: float) -> np.ndarray:
        return generator.generate(make_face(scale=80, **pose))[0]

    front, left, right = alpha(), alpha(yaw=-35), alpha(yaw=35)
    assert abs((middle(left) + middle(right) - 2 * middle(front))[0]) < 4
    assert abs((middle(left) - middle(right))[0]) > 15
    # Mirror images of each other, as the mean face is symmetric.
    flipped = left[:, ::-1, 3] > 128
    assert ((right[..., 3] > 128) ^ flipped).mean() < 0.05
    tilted = alpha(roll=90)[..., 3] > 128
    height, width = np.ptp(np.nonzero(tilted), axis=1)
    upright = np.ptp(np.nonzero(front[..., 3] > 128), axis=1)
    assert abs(height - upright[1]) < 8 and abs(width - upright[0]) < 8


def test_the_expression_is_followed(generator):
    closed, opened = make_face(), make_face()
    closed["expression"][:, 0], opened["expression"][:, 0] = 0.0, 0.3
    low = np.nonzero(generator.generate(closed)[0][..., 3] > 200)[0].max()
    assert np.nonzero(generator.generate(opened)[0][..., 3] > 200)[0].max() > low + 5


def test_the_channels_are_red_green_blue(generator):
    rows = matches(1)
    rows["code"][:, :3] = (-1, 0, 2)         # blue, green, red of the fake texture
    generator.learn(rows)
    patch = generator.generate(make_face())[0]
    red, _, blue = patch[len(patch) // 2, len(patch) // 2, :3].astype(int)
    assert red > blue + 100


def test_a_face_that_is_not_trusted_gets_nothing(generator, network):
    faces = make_face()
    faces["trusted"] = 0
    assert not generator.generate(faces).any() and not network.calls


def test_before_its_match_a_face_is_nobody_and_then_becomes_somebody(generator):
    def colour() -> int:
        patch = generator.generate(make_face())[0]
        return int(patch[len(patch) // 2, len(patch) // 2, 0])

    nobody = colour()
    generator.learn(matches(1, value=2.0))
    first = colour()
    for _ in range(20):
        last = colour()
    other = SurrogateGenerator(FakeNetwork())
    other.learn(matches(1, value=2.0))
    patch = other.generate(make_face())[0]
    final = int(patch[len(patch) // 2, len(patch) // 2, 0])
    assert nobody < first < last
    # Never a jump, and it arrives.
    assert first - nobody < 0.6 * (final - nobody) and final - last < 0.2 * (final - nobody)


def test_the_network_runs_for_new_identities_and_moved_mouths_only(generator, network):
    generator.learn(matches(1))
    for yaw in range(5):
        generator.generate(make_face(yaw=yaw))
    assert network.calls == 1
    moved = make_face()
    moved["expression"][:, 0] += 0.3
    generator.generate(moved)
    assert network.calls == 2


def test_other_tracks_do_not_matter(generator):
    generator.learn(np.concatenate([matches(1, value=1), matches(2, value=-1)]))
    both = generator.generate(np.concatenate([make_face(1), make_face(2)]))
    alone = SurrogateGenerator(FakeNetwork())
    alone.learn(matches(2, value=-1))
    assert np.array_equal(alone.generate(make_face(2))[0], both[1])


def test_codes_of_another_size_are_refused(generator):
    rows = np.zeros(1, match_dtype(3))
    with pytest.raises(GeneratorError, match=rf"have 3 numbers.*takes {make_space().code_size}"):
        generator.learn(rows)


def test_memory_is_bounded_and_the_oldest_goes_first(generator, network):
    generator.learn(matches(*range(1, MAX_TRACKS + 1)))
    generator.generate(make_face(1))        # seen again: it stays
    generator.learn(matches(9000, 9001))
    assert len(generator._tracks) == MAX_TRACKS
    assert 1 in generator._tracks and 2 not in generator._tracks and 3 not in generator._tracks
    generator.reset()
    assert not generator._tracks


@pytest.fixture
def exported(tmp_path):
    """A network of two inputs whose textures are -0.5 plus a hundredth of the code's sum."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def write(code_size: int):
        nodes = [
            helper.make_node("ReduceSum", ["code", "axes"], ["sum"], keepdims=1),
            helper.make_node("Mul", ["sum", "little"], ["small"]),
            helper.make_node("Reshape", ["small", "shape"], ["four"]),
            helper.make_node("Add", ["base", "four"], ["texture"]),
        ]
        constants = {"axes": np.array([1]), "little": np.float32([0.01]),
                     "shape": np.array([-1, 1, 1, 1]),
                     "base": np.full((1, 384, 384, 3), -0.5, np.float32)}
        graph = helper.make_graph(
            nodes, "g",
            [helper.make_tensor_value_info("code", TensorProto.FLOAT, ["n", code_size]),
             helper.make_tensor_value_info("expression", TensorProto.FLOAT, ["n", 7])],
            [helper.make_tensor_value_info("texture", TensorProto.FLOAT, ["n", 384, 384, 3])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = tmp_path / "generator.onnx"
        onnx.save(model, path)
        return path

    return write


def test_the_texture_network(exported, tmp_path):
    space = make_space()
    space.save(tmp_path / "face_space.npz")
    network = TextureNetwork(exported(space.code_size), num_threads=1)
    dark = network.texture(np.zeros(space.code_size), space.expression_mean)
    assert dark.shape == (384, 384, 3) and dark.dtype == np.uint8
    assert np.abs(dark.astype(int) - 64).max() <= 2     # the rim is blended
    # Beyond what a picture can show it is cut off, not wrapped around.
    bright = network.texture(np.full(space.code_size, 1e3), space.expression_mean)
    assert bright.min() >= 253
    dark = network.texture(np.full(space.code_size, -1e3), space.expression_mean)
    assert dark.max() <= 2


def test_the_texture_network_without_its_face_space(exported):
    with pytest.raises(ModelError, match="face_space.npz cannot be read"):
        TextureNetwork(exported(5))


def test_the_texture_network_of_another_training(exported, tmp_path):
    make_space().save(tmp_path / "face_space.npz")
    with pytest.raises(ModelError, match=f"codes of 5 numbers.*{make_space().code_size}"):
        TextureNetwork(exported(5))


@pytest.mark.parametrize("content", [None, b"", b"no network"])
def test_no_network_in_the_file(tmp_path, content):
    make_space().save(tmp_path / "face_space.npz")
    path = tmp_path / "generator.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="generator.onnx cannot be loaded"):
        TextureNetwork(path)
