"""The gallery: its file, its checks, nearest identities."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic_gallery import DIMENSIONS, faces, make_gallery

from deid_ros.errors import GalleryError
from deid_ros.matcher import SCHEMA, Gallery

ARRAYS = ("ids", "embeddings", "sex", "shapes", "codes", "sha256", "usable", "age", "complexion")


@pytest.fixture
def gallery() -> Gallery:
    return make_gallery()


def line(angles_ids: dict[str, float], **changes: object) -> Gallery:
    """Identities on a circle, by angle in degrees, so that distances are known."""
    angles = np.radians(list(angles_ids.values()))
    embeddings = np.zeros((len(angles), DIMENSIONS), np.float32)
    embeddings[:, 0], embeddings[:, 1] = np.cos(angles), np.sin(angles)
    n = len(angles)
    return make_gallery(n, 0, ids=np.array(list(angles_ids)), embeddings=embeddings, **changes)


def at(degrees: float) -> np.ndarray:
    embedding = np.zeros((1, DIMENSIONS), np.float32)
    embedding[0, :2] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return embedding


def test_nobody_asks(gallery):
    none = np.zeros((0, DIMENSIONS), np.float32)
    ids, distances = gallery.nearest(none, 3)
    assert ids.shape == distances.shape == (0, 3)
    assert distances.dtype == np.float32


def test_file_round_trip_is_exact_and_reproducible(gallery, tmp_path):
    gallery = dataclasses.replace(gallery, usable=np.arange(len(gallery)) % 2 == 0, space="5" * 64,
                                  age=np.arange(len(gallery)))
    gallery.save(tmp_path / "new" / "a.npz")
    gallery.save(tmp_path / "b.npz")
    assert (tmp_path / "new" / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.npz", "new"]
    read = Gallery.load(tmp_path / "b.npz")
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(read, name), getattr(gallery, name))
        assert getattr(read, name).dtype == getattr(gallery, name).dtype
    assert (read.extractor, read.schema, read.code_size) == ("dlib_resnet", SCHEMA, 12)
    assert read.space == "5" * 64


def test_no_pickles_and_read_only(gallery, tmp_path):
    gallery.save(tmp_path / "g.npz")
    with np.load(tmp_path / "g.npz", allow_pickle=False) as file:
        assert all(file[name].dtype.kind in "Ufbi" for name in file.files)
    with pytest.raises(ValueError, match="read-only"):
        gallery.codes[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        gallery.extractor = "other"


def test_missing_file(tmp_path):
    with pytest.raises(GalleryError, match=f"no gallery at {tmp_path}/g.npz.*deid db build"):
        Gallery.load(tmp_path / "g.npz")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken zip"])
def test_not_an_npz(tmp_path, content):
    (tmp_path / "g.npz").write_bytes(content)
    with pytest.raises(GalleryError, match=r"g\.npz cannot be read as a gallery"):
        Gallery.load(tmp_path / "g.npz")


def test_truncated(gallery, tmp_path):
    gallery.save(tmp_path / "g.npz")
    data = (tmp_path / "g.npz").read_bytes()
    (tmp_path / "g.npz").write_bytes(data[:len(data) // 2])
    with pytest.raises(GalleryError, match="cannot be read"):
        Gallery.load(tmp_path / "g.npz")


def test_single_array_and_folder(tmp_path):
    with open(tmp_path / "g.npz", "wb") as stream:
        np.save(stream, np.zeros(3))
    for path in (tmp_path / "g.npz", tmp_path):
        with pytest.raises(GalleryError, match="cannot be read as a gallery"):
            Gallery.load(path)


def stored(gallery: Gallery, path, **changes: object) -> None:
    arrays = {name: getattr(gallery, name) for name in ARRAYS}
    arrays |= {"schema": np.int64(SCHEMA), "extractor": np.str_("dlib_resnet"),
               "space": np.str_("")}
    arrays |= changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


def test_pickles_are_refused(gallery, tmp_path):
    stored(gallery, tmp_path / "g.npz", ids=gallery.ids.astype(object))
    with pytest.raises(GalleryError, match="cannot be read"):
        Gallery.load(tmp_path / "g.npz")


def test_other_schema(gallery, tmp_path):
    stored(gallery, tmp_path / "g.npz", schema=np.int64(7), codes=None)
    with pytest.raises(GalleryError, match=f"schema 7, this version reads schema {SCHEMA}"):
        Gallery.load(tmp_path / "g.npz")
    stored(gallery, tmp_path / "g.npz", schema=None)
    with pytest.raises(GalleryError, match="no schema version"):
        Gallery.load(tmp_path / "g.npz")


def test_missing_arrays(gallery, tmp_path):
    stored(gallery, tmp_path / "g.npz", codes=None, sex=None)
    with pytest.raises(GalleryError, match="lacks codes, sex"):
        Gallery.load(tmp_path / "g.npz")
    stored(gallery, tmp_path / "g.npz", space=None)
    with pytest.raises(GalleryError, match="lacks space"):
        Gallery.load(tmp_path / "g.npz")


@pytest.mark.parametrize(("space", "words"), [
    ("a" * 64, r"\('a{12}\.\.\.'\)"), ("", "one that it does not name")])
def test_codes_of_another_face_space_are_refused_with_both_names(gallery, space, words):
    gallery = dataclasses.replace(gallery, space=space)
    gallery.require_space(space, path="g.npz", space="face_space.npz")
    with pytest.raises(GalleryError, match=rf"gallery DB/g\.npz .*{words}.* /m/face_space\.npz "
                                           r"\('b{12}\.\.\.'\).*deid db build FOLDER -o DB/g"):
        gallery.require_space("b" * 64, path="DB/g.npz", space="/m/face_space.npz")


@pytest.mark.parametrize(("changes", "words"), [
    ({"sex": np.array(["M"] * 69)}, r"'sex' has shape \(69,\) for 70 ids"),
    ({"codes": np.zeros((71, 12), np.float32)}, r"'codes' has shape \(71, 12\) for 70 ids"),
    ({"shapes": np.zeros((70, 467, 3), np.float32)}, "expected .n, 468, 3."),
    ({"ids": np.array(["twice"] * 70)}, "an id occurs twice"),
    ({"sex": np.array(["X"] * 70)}, "'sex' says 'X'"),
    ({"embeddings": np.ones((70, 16), np.float32)}, "not of length 1"),
    ({"codes": np.full((70, 12), np.nan, np.float32)}, "'codes' has numbers that are not finite"),
    ({"usable": np.ones(3, bool)}, "'usable'"),
])
def test_inconsistent_arrays(gallery, tmp_path, changes, words):
    stored(gallery, tmp_path / "g.npz", **changes)
    with pytest.raises(GalleryError, match=words):
        Gallery.load(tmp_path / "g.npz")


def test_empty_gallery_is_refused():
    with pytest.raises(GalleryError, match="no identities"):
        make_gallery(0, 0)


def test_extractor_mismatch_names_both(gallery):
    gallery.require_extractor("dlib_resnet")
    with pytest.raises(GalleryError, match="'dlib_resnet', but 'vggface' is in use"):
        gallery.require_extractor("vggface")


def test_nearest_gives_ids_and_cosine_distances():
    gallery = line({"c": 0, "a": 60, "b": 90})
    ids, distances = gallery.nearest(np.concatenate([at(10), at(80)]), 2)
    assert ids.tolist() == [["c", "a"], ["b", "a"]]
    np.testing.assert_allclose(
        distances, 1 - np.cos(np.radians([[10, 50], [10, 20]])), atol=2e-6)


def test_ties_go_by_id():
    gallery = line({"z": 10, "m": -10, "a": 10, "k": -10})
    ids, distances = gallery.nearest(at(0), 4)
    assert ids.tolist() == [["a", "k", "m", "z"]]
    assert np.ptp(distances) < 1e-6
    # The same in company, where sums may be formed in another order.
    many, _ = gallery.nearest(np.repeat(at(0), 33, axis=0), 4)
    assert (many == ids).all()


def test_count_beyond_the_gallery(gallery):
    for count in (0, 71):
        with pytest.raises(GalleryError, match=f"{count} nearest.*has 70; ask for 1 to 70"):
            gallery.nearest(at(0), count)
    assert gallery.nearest(at(0), 70)[0].shape == (1, 70)


@pytest.mark.parametrize("embeddings", [
    np.zeros((1, DIMENSIONS)), np.full((1, DIMENSIONS), np.nan), np.ones((1, 5)), np.ones(16)])
def test_bad_embeddings(gallery, embeddings):
    with pytest.raises(GalleryError):
        gallery.nearest(embeddings, 1)


def test_a_gallery_of_one():
    gallery = make_gallery(1, 0)
    assert gallery.nearest(faces("F", 1, 3), 1)[0].tolist() == [["id000"]]
