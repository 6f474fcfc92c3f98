"""VGG-Face: size, weights files of three layouts, preprocessing."""

from __future__ import annotations

import os

import numpy as np
import pytest

from deid_ros.errors import ExtractorError
from deid_ros.extractor import create_extractor
from deid_ros.extractor.vggface import MEAN_BGR, VggFace, build_vggface
from deid_ros.extractor.weights import load_by_name

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SMALL = {"size": 32, "units": 24, "classes": 7}


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


@pytest.fixture(scope="module")
def small(keras):
    """The same layers on 32 px with 24 units: every weight random, 15 M parameters."""
    keras.utils.set_random_seed(3)
    return build_vggface(**SMALL)


def legacy_file(path, model, *, below="", skip=(), fill=None):
    """An HDF5 file as the public Keras port has it."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        root = file.require_group(below) if below else file
        names = [layer.name for layer in model.layers if layer.name not in skip]
        root.attrs["layer_names"] = [name.encode() for name in names]
        for layer in model.layers:
            if layer.name in skip:
                continue
            group = root.create_group(layer.name)
            weights = layer.get_weights()
            keys = [f"{layer.name}/kernel:0", f"{layer.name}/bias:0"][:len(weights)]
            group.attrs["weight_names"] = [key.encode() for key in keys]
            for key, value in zip(keys, weights, strict=True):
                group.create_dataset(key, data=value)
    return path


def test_parameter_count_and_layer_names(keras):
    model = build_vggface(initializer="zeros")
    assert model.count_params() == 145_002_878
    assert model.input_shape == (None, 224, 224, 3) and model.output_shape == (None, 2622)
    weighted = [layer.name for layer in model.layers if layer.weights]
    assert weighted == [
        "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3",
        "conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3",
        "fc6", "fc7", "fc8"]


@pytest.mark.parametrize("layout", ["legacy", "legacy_model", "weights.h5", "keras"])
def test_weights_round_trip(keras, small, tmp_path, layout):
    if layout == "weights.h5":
        path = tmp_path / "w.weights.h5"
        small.save_weights(path)
    elif layout == "keras":
        path = tmp_path / "w.keras"
        small.save(path)
    else:
        path = legacy_file(tmp_path / "w.h5", small,
                           below="model_weights" if layout == "legacy_model" else "")
    pictures = np.random.default_rng(0).normal(0, 50, (2, 32, 32, 3)).astype(np.float32)
    # Without its last layers it takes what it has from the same file.
    other = build_vggface(**SMALL, top="fc8" if layout == "keras" else "fc6", initializer="zeros")
    assert not np.any(other.get_layer("fc6").get_weights()[0])
    load_by_name(other, path)
    for layer in other.layers:
        for mine, theirs in zip(layer.get_weights(),
                                small.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    other = keras.Model(other.inputs[0], other.get_layer("fc6").output)
    reference = keras.Model(small.inputs[0], small.get_layer("fc6").output)
    np.testing.assert_allclose(other.predict_on_batch(pictures),
                               reference.predict_on_batch(pictures), rtol=1e-5)


def test_a_missing_layer_is_named(small, tmp_path):
    path = legacy_file(tmp_path / "w.h5", small, skip=("conv3_2",))
    with pytest.raises(ExtractorError, match="has no layer 'conv3_2'"):
        load_by_name(build_vggface(**SMALL, initializer="zeros"), path)


def test_another_shape_is_named(small, tmp_path):
    path = legacy_file(tmp_path / "w.h5", small)
    other = build_vggface(**{**SMALL, "units": 25}, initializer="zeros")
    with pytest.raises(ExtractorError, match=r"'fc6'.*\(512, 24\).*expected.*\(512, 25\)"):
        load_by_name(other, path)


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
def test_a_file_that_is_no_weights_file(small, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"not a weights file")
    with pytest.raises(ExtractorError, match=f"{name} cannot be read"):
        load_by_name(small, path)


def test_the_missing_file_is_named(tmp_path, monkeypatch):
    with pytest.raises(ExtractorError, match=f"{tmp_path}/no.h5 .*extractor_weights"):
        create_extractor("vggface", weights=tmp_path / "no.h5")
    monkeypatch.delenv("DEID_MODELS", raising=False)
    with pytest.raises(ExtractorError, match="models/vggface.h5"):
        create_extractor("vggface", weights="")


def test_the_models_folder_is_searched_first(tmp_path, monkeypatch):
    monkeypatch.setenv("DEID_MODELS", str(tmp_path))
    (tmp_path / "vggface.h5").write_bytes(b"")
    assert VggFace.weights_path() == tmp_path / "vggface.h5"


def test_unknown_layer():
    with pytest.raises(ExtractorError, match="'fc9'.*fc6, fc7"):
        create_extractor("vggface", layer="fc9")
    with pytest.raises(ExtractorError, match="'pool5'"):
        build_vggface(top="pool5")


def test_full_size_extractor_on_chips(keras, tmp_path):
    """The real network on 224 px chips; the kernels pick single pixels, so that the
    expected feature can be computed by hand."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "full.h5"
    shapes = {layer.name: [tuple(w.shape) for w in layer.weights]
              for layer in build_vggface(top="fc6", initializer="zeros").layers if layer.weights}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in shapes]
        for name, (kernel, bias) in shapes.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [b"kernel:0", b"bias:0"]
            # Unwritten chunks take no room: 117 M weights in a small file.
            data = group.create_dataset("kernel:0", kernel, "f4", chunks=True, fillvalue=0)
            group.create_dataset("bias:0", data=np.zeros(bias, "f4"))
            for channel in range(3):
                if name == "fc6":
                    data[channel, channel] = 1
                else:
                    data[1, 1, channel, channel] = 1
    extractor = create_extractor("vggface", weights=path, layer="fc6")
    assert extractor.embed(np.zeros((0, 224, 224, 3), np.uint8)).shape == (0, 4096)
    chips = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    embeddings = extractor.embed(chips)
    assert embeddings.shape == (2, 4096) and embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    # Five poolings of 2: the first 32x32 pixels decide the first three features.
    expected = chips[:, :32, :32].reshape(2, -1, 3).max(axis=1) - np.array(MEAN_BGR)
    expected = np.maximum(expected, 0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embeddings[:, :3], expected, atol=1e-5)
    assert not embeddings[:, 3:].any()
    with pytest.raises(ExtractorError, match="224"):
        extractor.embed(chips[:, :200])
