"""``deid train`` from the command line: real runs of a few steps."""

from __future__ import annotations

import csv
import os
import signal

import cv2
import numpy as np
import pytest

from deid_ros.cli import main

pytest.importorskip("tensorflow")
pytest.importorskip("onnx")

SMALL = ["--batch", "4", "--precision", "float32", "--warm-up", "1", "--steps", "3"]


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    """Six pictures of one face: mirrored, stretched, in other colours."""
    data = pytest.importorskip("skimage.data")
    face = data.astronaut()[10:260, 90:340, ::-1]
    folder = tmp_path_factory.mktemp("portraits")
    rng = np.random.default_rng(0)
    for i in range(6):
        height = int(250 * (1 + 0.05 * (i % 3 - 1)))
        image = cv2.resize(face[:, ::-1] if i % 2 else face, (250, height))
        image = np.clip(image * rng.uniform(0.85, 1.1, 3), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"p{i}.png"), image)
    (folder / "people.csv").write_text("id,sex,split\n" + "".join(
        f"p{i},{'MF'[i % 2]},{'gallery' if i < 5 else 'probe'}\n" for i in range(6)))
    return folder


def losses(folder) -> list[list[float]]:
    with open(folder / "losses.csv", newline="") as stream:
        return [[float(row[0]), *map(float, row[2:])] for row in list(csv.reader(stream))[1:]]


def train(*args: object) -> int:
    return main(["train", *map(str, args)])


@pytest.fixture(scope="module")
def trained(portraits, tmp_path_factory):
    """A run that was interrupted in its second step and resumed."""
    from deid_ros.training.generator import GeneratorTraining

    folder = tmp_path_factory.mktemp("trained")
    told: list[str] = []
    command = ["generator", portraits, "-o", folder / "m" / "generator.keras", "--work",
               folder / "work"]
    table = ["--csv", portraits / "people.csv", "--split", "gallery"]
    update = GeneratorTraining._update_average

    def press_ctrl_c(training: GeneratorTraining) -> None:
        update(training)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GeneratorTraining, "_update_average", press_ctrl_c)
        patch.setattr("builtins.print", lambda *words, **_: told.append(" ".join(map(str, words))))
        status = train(*command, *table, *SMALL)
    assert status == 130 and not (folder / "m" / "generator.keras").exists()
    first = losses(folder / "work")
    status = train(*command, *table, "--resume")
    return folder, status, told, first


def test_interrupted_it_keeps_its_state_and_says_how_to_go_on(trained):
    folder, _, told, first = trained
    assert [row[0] for row in first] == [1.0]
    assert any("interrupted at step 1 of 3" in line and "--resume" in line for line in told)
    # As it was; ignored where these tests run in the background.
    assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN)


def test_resumed_it_goes_on_to_the_end(trained):
    folder, status, told, first = trained
    table = losses(folder / "work")
    assert status == 0 and told
    assert [row[0] for row in table] == [1, 2, 3] and table[0] == first[0]
    assert np.isfinite(table).all()
    # After the warm-up there is somebody to fool.
    assert table[0][3:] == [0, 0, 0, 0] and table[2][5] > 0


def test_everything_is_written(trained):
    folder, *_ = trained
    assert {p.name for p in (folder / "m").iterdir()} == {
        "generator.keras", "generator.onnx", "face_space.npz"}
    work = {p.name for p in (folder / "work").iterdir()}
    assert {"losses.csv", "losses.png", "sheet.png", "options.json", "state.npz"} <= work
    sheet = cv2.imread(str(folder / "work" / "sheet.png"))
    assert sheet.shape[0] > 2000 and sheet.std() > 30


def test_what_is_written_makes_the_faces(trained):
    from deid_ros.generator import TextureNetwork, skin

    keras = pytest.importorskip("keras")
    folder, *_ = trained
    network = TextureNetwork(folder / "m" / "generator.onnx", num_threads=1)
    code = np.zeros(network.space.code_size, np.float32)
    expression = network.space.expression_mean
    texture = network.texture(code, expression)
    model = keras.models.load_model(folder / "m" / "generator.keras")
    kept = np.asarray(model([code[None], expression[None]]))[0]
    # The live path smooths the rim, and skin above the ears that hair may shade.
    middle, below = slice(135, 255), slice(234, 285)
    plain = np.clip((kept + 1) * 127.5, 0, 255).round().astype(np.uint8)
    gap = np.abs(plain.astype(int) - texture)
    # Open mouths are drawn with short teeth.
    mouth = cv2.dilate(skin.regions()["mouth"].astype(np.uint8), np.ones((9, 9))) > 0
    assert gap[below, middle][~mouth[below, middle]].max() <= 4
    # So early it is still the linear texture of the mean: a face, not noise.
    mean = cv2.resize(texture, (128, 128), interpolation=cv2.INTER_AREA)[44:84, 44:84]
    assert np.abs(mean - network.space.texture_mean[44:84, 44:84]).mean() < 12


def test_the_same_seed_gives_the_same_losses(trained, tmp_path):
    from deid_ros.training.generator import GeneratorTraining, TrainingOptions
    from deid_ros.training.options import load_options
    from deid_ros.training.textures import TrainingSet

    folder, *_ = trained
    people = TrainingSet.load(next((folder / "work").glob("data-*.npz")))
    assert people.ids.tolist() == ["p0", "p1", "p2", "p3", "p4"]
    options = TrainingOptions(**load_options("generator", {
        "batch": 4, "precision": "float32", "warm_up": 1, "steps": 3}))
    again = GeneratorTraining(people, tmp_path / "again", options)
    again.run(stop=lambda: again.step == 1)
    assert losses(tmp_path / "again")[0] == pytest.approx(losses(folder / "work")[0], rel=1e-3)


@pytest.mark.parametrize(("change", "message"), [
    (["-o", "a.h5"], "The output is a.h5; give a name that ends in .keras"),
    (["--steps", "0"], "generator.steps is 0 but must be a whole number from 1"),
    (["--batch", "3"], "generator.batch is 3"),
    (["--precision", "float8"], "generator.precision is 'float8'"),
    (["--seconds", "-1"], "--seconds is -1"),
    (["--csv", "none.csv"], "none.csv cannot be read"),
    (["--resume"], "There is no training to resume in w"),
    (["--config", "none.yaml"], "none.yaml cannot be read")])
def test_refusals(portraits, tmp_path, monkeypatch, capsys, change, message):
    monkeypatch.chdir(tmp_path)
    assert train("generator", portraits, "-o", "g.keras", "--work", "w", *change) == 2
    assert message in capsys.readouterr().err


def test_folders_without_portraits(tmp_path, capsys):
    command = "generator", tmp_path, "-o", tmp_path / "g.keras", "--work", tmp_path / "w"
    assert train(*command) == 2
    assert "There are no images in" in capsys.readouterr().err
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((90, 90, 3), 128, np.uint8))
    assert train(*command) == 2
    assert "0 usable portraits are too few" in capsys.readouterr().err


def test_other_runs_and_other_images_are_kept_apart(trained, portraits, tmp_path, capsys):
    folder, *_ = trained
    command = "generator", portraits, "-o", tmp_path / "g.keras", "--work", folder / "work"
    assert train(*command) == 2
    assert "holds a training already" in capsys.readouterr().err
    assert train(*command, "--resume") == 2
    assert "begun with other images" in capsys.readouterr().err
    assert train(*command, "--resume", "--seed", "9", "--csv", portraits / "people.csv",
                 "--split", "gallery") == 2
    assert "other options" in capsys.readouterr().err


def test_an_extractor_is_trained_and_used(tmp_path, capsys):
    from deid_ros.extractor import create_extractor

    rng = np.random.default_rng(0)
    for name in "abc":
        (tmp_path / "people" / name).mkdir(parents=True)
        one = cv2.resize(rng.uniform(40, 215, (5, 5, 3)).astype(np.float32), (112, 112))
        for i in range(5):
            image = np.clip(one + rng.normal(0, 12, one.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "people" / name / f"{i}.png"), image)
    output = tmp_path / "extractor.keras"
    assert train("extractor", tmp_path / "people", "--chips", "-o", output, "--work",
                 tmp_path / "w", "--steps", "12", "--batch", "6", "--width", "4", "--dimensions",
                 "8", "--held-out", "0.2", "--learning-rate", "0.01", "--average", "0.5") == 0
    out = capsys.readouterr().out
    assert "3 identities, 15 chips of 15 images" in out and "extractor.onnx" in out
    extractor = create_extractor("trained", weights=output.with_suffix(".onnx"))
    assert (extractor.chip_size, extractor.dimensions) == (112, 8)
    chips = np.stack([cv2.imread(str(tmp_path / "people" / name / f"{i}.png"))
                      for name in "abc" for i in range(5)])
    rows = extractor.embed(chips)
    assert rows.shape == (15, 8) and extractor.embed(chips[:0]).shape == (0, 8)
    likeness = rows @ rows.T - 2 * np.eye(15)
    assert (likeness.argmax(1) // 5 == np.arange(15) // 5).mean() > 0.8
    table = losses(tmp_path / "w")
    assert np.mean([row[1] for row in table[-3:]]) < np.mean([row[1] for row in table[:3]])


def test_the_extractor_trained_wants_its_file(tmp_path):
    from deid_ros.errors import ExtractorError
    from deid_ros.extractor import create_extractor

    with pytest.raises(ExtractorError, match="needs the .onnx file"):
        create_extractor("trained")
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(ExtractorError, match="x.onnx cannot be loaded"):
        create_extractor("trained", weights=tmp_path / "x.onnx")


def test_the_detector_is_quantised(portraits, tmp_path, capsys):
    target = tmp_path / "made" / "quick.onnx"
    assert train("detector", portraits, "-o", target) == 0
    assert str(target) in capsys.readouterr().out
    assert 1e6 < target.stat().st_size < 3e6 and list(target.parent.iterdir()) == [target]
    assert train("detector", portraits, "-o", tmp_path / "quick.keras") == 2
    assert "a name that ends in .onnx" in capsys.readouterr().err
