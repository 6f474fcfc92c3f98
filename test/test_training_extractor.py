"""Training an extractor: the margin, the chips, a real small run."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from deid_ros.errors import TrainingError
from deid_ros.training.extractor import (
    ExtractorOptions,
    ExtractorTraining,
    build_extractor,
    hold_out,
    margin_logits,
)
from deid_ros.training.identities import ChipSet, augment, load_chips, read_identities
from deid_ros.training.options import load_options

pytest.importorskip("tensorflow")
OPTIONS = ExtractorOptions(**load_options("extractor", {
    "steps": 24, "batch": 8, "width": 4, "dimensions": 8, "learning_rate": 0.01,
    "held_out": 0.25, "average": 0.8, "save_every": 12, "scale": 8.0}))


def people(count: int = 4, each: int = 8, side: int = 48) -> ChipSet:
    """Identities that are patterns of colour; their chips are augmentations."""
    rng = np.random.default_rng(0)
    chips = []
    for _ in range(count):
        one = cv2.resize(rng.uniform(0, 255, (4, 4, 3)).astype(np.float32), (side, side))
        chips.append(augment(np.repeat(one[None], each, 0).astype(np.uint8), rng))
    return ChipSet(np.array([f"p{i}" for i in range(count)]), np.repeat(np.arange(count), each),
                   np.concatenate(chips).astype(np.uint8))


def test_the_margin_is_an_angle():
    angles = np.radians([[20.0, 70.0, 110.0]])
    logits = np.asarray(margin_logits(np.cos(angles).astype(np.float32), np.array([1]),
                                      margin=0.3, scale=10.0))
    wanted = 10 * np.cos(angles + [[0, 0.3, 0]])
    assert np.allclose(logits, wanted, atol=1e-3)


def test_the_margin_goes_on_falling_beyond_the_half_turn():
    cosines = np.cos(np.radians(np.linspace(1, 179, 90))).astype(np.float32)[:, None]
    logits = np.asarray(margin_logits(cosines, np.zeros(90, int), margin=0.5, scale=1.0))[:, 0]
    assert (np.diff(logits) < 0).all()
    assert (logits <= cosines[:, 0]).all()


def test_no_margin_is_a_plain_softmax():
    cosines = np.linspace(-0.9, 0.9, 6).reshape(2, 3).astype(np.float32)
    logits = np.asarray(margin_logits(cosines, np.array([0, 2]), margin=0.0, scale=4.0))
    assert np.allclose(logits, 4 * cosines, atol=1e-5)


def test_held_out_chips():
    labels = np.repeat([0, 1, 2, 3], [1, 2, 10, 20])
    apart = hold_out(labels, 0.25, seed=5)
    assert [int(apart[labels == k].sum()) for k in range(4)] == [0, 0, 2, 5]
    assert np.array_equal(apart, hold_out(labels, 0.25, seed=5))
    assert not hold_out(labels, 0.0, seed=5).any()
    assert [int((~hold_out(labels, 0.9, 1))[labels == k].sum()) for k in range(4)] == [1, 1, 1, 2]


def test_augmented_chips_stay_the_same_person():
    chips = people(2, 2).chips
    moved = augment(chips, np.random.default_rng(1))
    assert moved.shape == chips.shape and moved.dtype == np.float32
    assert moved.min() >= 0 and moved.max() <= 255 and np.abs(moved - chips).mean() > 3
    assert np.array_equal(moved, augment(chips, np.random.default_rng(1)))
    assert augment(chips[:0], np.random.default_rng(1)).shape == (0, *chips.shape[1:])


def test_embeddings_have_length_one():
    network = build_extractor(size=48, dimensions=6, width=4)
    out = np.asarray(network(people(1, 3).chips.astype(np.float32)))
    assert out.shape == (3, 6) and np.allclose(np.linalg.norm(out, axis=1), 1, atol=1e-4)


def rows(folder) -> list[dict[str, str]]:
    with open(folder / "losses.csv", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extractor") / "run"
    training = ExtractorTraining(people(), folder, OPTIONS)
    training.run(stop=lambda: training.step == 10)
    shutil.copytree(folder, folder.with_name("interrupted"))
    training.run()
    return training, folder


def test_the_loss_falls_and_strangers_chips_are_known(trained):
    training, folder = trained
    table = rows(folder)
    assert [int(row["step"]) for row in table] == list(range(1, 25))
    loss = np.array([float(row["loss"]) for row in table])
    assert loss[-5:].mean() < 0.6 * loss[:3].mean()
    assert training.measure() >= 0.75 and float(table[-1]["held_out"]) >= 0.75
    assert (folder / "losses.png").stat().st_size > 1000


def test_resumed_it_is_the_run_that_was_not_interrupted(trained):
    folder = trained[1].with_name("interrupted")
    assert len(rows(folder)) == 10
    # Steps after the last checkpoint are done again, and their rows written once.
    with open(folder / "losses.csv", "a") as stream:
        stream.write("11,1,9,0,0\n")
    again = ExtractorTraining(people(), folder, OPTIONS, resume=True)
    assert again.step == 10
    again.run()
    whole, parts = rows(trained[1]), rows(folder)
    assert [row["step"] for row in parts] == [row["step"] for row in whole]
    for a, b in zip(whole, parts):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-3, abs=1e-3)


def test_runs_do_not_mix(trained):
    _, folder = trained
    with pytest.raises(TrainingError, match="holds a training already"):
        ExtractorTraining(people(), folder, OPTIONS)
    with pytest.raises(TrainingError, match="other options"):
        ExtractorTraining(people(), folder, replace(OPTIONS, seed=1), resume=True)
    with pytest.raises(TrainingError, match="no training to resume"):
        ExtractorTraining(people(), folder / "empty", OPTIONS, resume=True)


def test_given_weights_are_taken_over(trained, tmp_path):
    training, _ = trained
    network = training.averaged()
    network.save(tmp_path / "x.keras")
    options = replace(OPTIONS, head="softmax", steps=2)
    again = ExtractorTraining(people(), tmp_path / "run", options, weights=tmp_path / "x.keras")
    assert again.taken_over > 10 and again.measure() >= 0.75
    with pytest.raises(TrainingError, match="No layer of .* fits"):
        ExtractorTraining(people(), tmp_path / "b", replace(options, width=8, dimensions=4),
                          weights=tmp_path / "x.keras")
    with pytest.raises(TrainingError, match="cannot be read"):
        ExtractorTraining(people(), tmp_path / "c", options, weights=tmp_path / "none.keras")


def write(path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((30, 30, 3), value, np.uint8))


def test_folders_of_identities(tmp_path):
    for name in ("b/1.png", "a/2.png", "a/1.jpg"):
        write(tmp_path / name)
    (tmp_path / "a" / "note.txt").write_text("no image")
    found = read_identities(tmp_path)
    assert [(path.name, name) for path, name in found] == [("1.jpg", "a"), ("2.png", "a"),
                                                           ("1.png", "b")]
    (tmp_path / "b" / "torn.png").write_bytes(b"torn")
    warnings: list[str] = []
    chips = load_chips(read_identities(tmp_path), aligned=True, warn=warnings.append)
    assert chips.names.tolist() == ["a", "b"] and chips.labels.tolist() == [0, 0, 1]
    assert chips.chips.shape == (3, 112, 112, 3) and (chips.chips[1] == 100).all()
    assert len(warnings) == 1 and "torn.png: not an image" in warnings[0]


def test_tables_of_images(tmp_path):
    for name in ("x/1.png", "x/2.png", "3.png"):
        write(tmp_path / name)
    table = tmp_path / "t.csv"
    table.write_text("file,id\nx/1.png,a\nx/2.png,b\n")
    assert [name for _, name in read_identities(tmp_path, table=table)] == ["a", "b"]
    table.write_text("file,id\nx/9.png,a\nx/2.png,b\n")
    with pytest.raises(TrainingError, match="9.png, which is not there"):
        read_identities(tmp_path, table=table)
    table.write_text("id,sex\n3,M\n")
    with pytest.raises(TrainingError, match="has 1 identities"):
        read_identities(tmp_path, table=table)
    table.write_text("name\n3\n")
    with pytest.raises(TrainingError, match="column id"):
        read_identities(tmp_path, table=table)


@pytest.mark.parametrize("names", [(), ("a/1.png",)])
def test_too_few_identities(tmp_path, names):
    for name in names:
        write(tmp_path / name)
    with pytest.raises(TrainingError, match="identities with images, two are the least"):
        read_identities(tmp_path)
    with pytest.raises(TrainingError, match="is no folder"):
        read_identities(tmp_path / "missing")


def test_chips_are_cut_from_photographs(astronaut, tmp_path):
    for name, image in (("a/1.png", astronaut), ("b/1.png", astronaut[:, ::-1]),
                        ("c/1.png", np.zeros((80, 80, 3), np.uint8))):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), image)
    warnings: list[str] = []
    chips = load_chips(read_identities(tmp_path), aligned=False, warn=warnings.append)
    assert chips.names.tolist() == ["a", "b"] and "no face found" in warnings[0]
    # Cut in the same place: mirror images of each other.
    gap = np.abs(chips.chips[0, :, ::-1].astype(int) - chips.chips[1])
    assert chips.chips[0].std() > 30 and np.median(gap) < 25
