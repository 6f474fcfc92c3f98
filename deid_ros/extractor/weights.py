"""Weights files read by layer name, whatever Keras version wrote them.

Three layouts hold a layer's name: HDF5 files of Keras 1 and 2 (``layer_names``
at the root, or below ``model_weights`` for a whole model), ``.weights.h5`` of
Keras 3 (each ``vars`` group has the attribute ``name``) and ``.keras`` (a zip
archive with such a file). Keras itself reads only the first by name.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import ExtractorError

__all__ = ["load_by_name"]


def load_by_name(model: Any, path: str | Path) -> None:
    """Fill every layer of a ``keras.Model`` that has weights from ``path``.

    Layers in the file that the model lacks (a classification head) are left out.
    One layer at a time is in memory.

    Raises:
        ExtractorError: an unreadable file, a layer that the file lacks, a shape
            that does not fit; the message names file and layer.
    """
    path = Path(path)
    try:
        import h5py
    except ImportError as error:
        raise ExtractorError(f"Reading {path} needs the Python module 'h5py' ({error}); bring "
                             "it with: pip install 'deid_ros[train]'") from None
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, \
                    archive.open("model.weights.h5") as member, h5py.File(member) as file:
                _fill(model, file, path)
        else:
            with h5py.File(path) as file:
                _fill(model, file, path)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        problem = " ".join(str(error).split())
        raise ExtractorError(f"{path} cannot be read as a Keras weights file ({problem}); give a "
                             ".h5, .weights.h5 or .keras file.") from None


def _fill(model: Any, file: Any, path: Path) -> None:
    stored = dict(_groups(file))
    for layer in model.layers:
        if not layer.weights:
            continue
        if layer.name not in stored:
            raise ExtractorError(
                f"The weights file {path} has no layer '{layer.name}' (it has "
                f"{', '.join(sorted(stored)) or 'none'}); give the file of this network.")
        expected = [tuple(weight.shape) for weight in layer.weights]
        found = [tuple(data.shape) for data in stored[layer.name]]
        if expected != found:
            raise ExtractorError(
                f"Layer '{layer.name}' in {path} has weights of shape {found}, expected "
                f"{expected}; give the file of this network.")
        layer.set_weights([np.asarray(data) for data in stored[layer.name]])


def _text(name: str | bytes) -> str:
    return name.decode("utf-8") if isinstance(name, bytes) else str(name)


def _groups(file: Any) -> Iterator[tuple[str, list[Any]]]:
    """(layer name, its data sets in order) of every layer that has weights."""
    root = file.get("model_weights", file)
    if "layer_names" in root.attrs:
        for name in map(_text, root.attrs["layer_names"]):
            data = [root[name][_text(weight)] for weight in root[name].attrs["weight_names"]]
            if data:
                yield name, data
        return
    found: list[tuple[str, list[Any]]] = []

    def visit(path: str, item: Any) -> None:
        if path.rsplit("/", 1)[-1] == "vars" and "name" in item.attrs and len(item):
            found.append((_text(item.attrs["name"]),
                          [item[key] for key in sorted(item, key=int)]))

    file.visititems(visit)
    yield from found
