"""The options of every training: what they mean, what is allowed, what was asked for.

Their defaults stand in ``config/training.yaml`` and nowhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deid_ros.errors import TrainingError
from deid_ros.parameters import Parameter
from deid_ros.resources import share_path

__all__ = ["OPTIONS", "defaults", "load_options"]

_SHARED = {
    "steps": Parameter(int, "Batches to train with", minimum=1, maximum=10_000_000),
    "seed": Parameter(int, "The same seed and data give the same training",
                      minimum=0, maximum=2**31 - 1),
    "average": Parameter(float, "Decay of the moving average of the weights, which is kept",
                         minimum=0.0, maximum=0.99999),
    "precision": Parameter(str, "What the network computes in",
                           choices=("float32", "mixed_bfloat16", "mixed_float16")),
    "save_every": Parameter(int, "Steps between checkpoints", minimum=1, maximum=10_000_000),
}
_WEIGHT = {"minimum": 0.0, "maximum": 1000.0}

#: training -> option -> what it means.
OPTIONS: dict[str, dict[str, Parameter]] = {
    "generator": {
        **_SHARED,
        "batch": Parameter(int, "Textures a batch, an even number; half of them are blends",
                           minimum=2, maximum=1024),
        "learning_rate": Parameter(float, "Step size of both networks; falls to a tenth",
                                   minimum=1e-8, maximum=1.0),
        "warm_up": Parameter(int, "Steps of reconstruction alone", minimum=0,
                             maximum=10_000_000),
        "detail": Parameter(float, "Weight of the differences of neighbour texels", **_WEIGHT),
        "matching": Parameter(float, "Weight of feature matching", **_WEIGHT),
        "fooling": Parameter(float, "Weight of the adversarial loss", **_WEIGHT),
        "penalty": Parameter(float, "Weight of the gradient penalty R1", **_WEIGHT),
        "penalty_every": Parameter(int, "Steps between gradient penalties", minimum=1,
                                   maximum=10_000_000),
        "sheet_every": Parameter(int, "Steps between sample sheets", minimum=1,
                                 maximum=10_000_000),
    },
    "extractor": {
        **_SHARED,
        "batch": Parameter(int, "Chips a batch", minimum=2, maximum=4096),
        "head": Parameter(str, "What the classes are told apart by",
                          choices=("arcface", "softmax")),
        "dimensions": Parameter(int, "Numbers in an embedding", minimum=2, maximum=4096),
        "width": Parameter(int, "Channels of the first stage; the last has eight times as many",
                           minimum=4, maximum=256),
        "learning_rate": Parameter(float, "First step size; falls to nothing along half a cosine",
                                   minimum=1e-8, maximum=1.0),
        "margin": Parameter(float, "Angle that arcface keeps between identities",
                            unit="rad", minimum=0.0, maximum=1.0),
        "scale": Parameter(float, "Factor before the softmax of arcface", minimum=1.0,
                           maximum=256.0),
        "held_out": Parameter(float, "Part of the chips that is measured, never learned from",
                              minimum=0.0, maximum=0.9),
    },
}


def defaults(training: str) -> dict[str, Any]:
    """option -> default of a training, from the installed ``config/training.yaml``.

    Raises:
        TrainingError: the file lacks one or has one that nobody knows.
    """
    path = share_path("config", "training.yaml")
    values = _read(path).get(training) or {}
    missing = [name for name in OPTIONS[training] if name not in values]
    if missing:
        raise TrainingError(f"{path} lacks {training}.{missing[0]}; reinstall deid_ros.")
    return {name: check(training, name, value, str(path)) for name, value in values.items()}


def load_options(training: str, overrides: Mapping[str, Any] | None = None, *,
                 path: Path | None = None) -> dict[str, Any]:
    """The defaults, overlaid with a file of the same form, overlaid with single values.

    Args:
        overrides: option -> value; ``None`` leaves what is there.

    Raises:
        TrainingError: an unreadable file, an unknown option, a value that is not allowed.
    """
    values = defaults(training)
    if path is not None:
        given = _read(path)
        unknown = [name for name in given if name not in OPTIONS]
        if unknown:
            raise TrainingError(f"{path} has a section '{unknown[0]}'; known are "
                                f"{', '.join(OPTIONS)}.")
        values |= {name: check(training, name, value, str(path))
                   for name, value in (given.get(training) or {}).items()}
    for name, value in (overrides or {}).items():
        if value is not None:
            values[name] = check(training, name, value)
    if training == "generator" and values["batch"] % 2:
        raise TrainingError(f"generator.batch is {values['batch']}; half of a batch are blends, so "
                            "give an even number.")
    return values


def check(training: str, name: str, value: Any, where: str = "") -> Any:
    """The value in its proper type, if there is such an option and it allows it."""
    place = f" (in {where})" if where else ""
    entry = OPTIONS[training].get(name)
    if entry is None:
        close = difflib.get_close_matches(str(name), OPTIONS[training], n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise TrainingError(f"There is no option '{training}.{name}'{place}; {hint}known are "
                            f"{', '.join(OPTIONS[training])}.")
    if entry.kind is float and type(value) is int:
        value = float(value)
    fine = type(value) is entry.kind and (not entry.choices or value in entry.choices)
    if fine and entry.minimum is not None and entry.maximum is not None:
        fine = entry.minimum <= value <= entry.maximum
    if not fine:
        raise TrainingError(f"{training}.{name} is {value!r}{place} but must be {entry.allowed}.")
    return value


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise TrainingError(f"{path} cannot be read ({error.strerror}); check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not valid YAML ({' '.join(str(error).split())}); correct "
                            "it.") from None
    if not isinstance(content, dict) or not all(
            isinstance(value, (dict, type(None))) for value in content.values()):
        raise TrainingError(f"{path} must have 'generator:' or 'extractor:' and below it "
                            "'option: value' lines, as config/training.yaml has.")
    return content
