"""Configuration: defaults, a user's file, single overrides, in this order.

The defaults stand in ``config/pipeline.yaml`` and nowhere else; what is allowed
stands in ``parameters.py``. The files are ROS parameter files, so that the same
file serves ``deid run``, ``deid pipeline``, the launch file and ``ros2 run``.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from deid_ros.errors import ConfigError
from deid_ros.parameters import BUILTIN, PARAMETERS, RENAMED, Parameter
from deid_ros.resources import share_path

__all__ = ["Config", "NOTHING", "as_list", "check", "checked", "defaults", "file_of",
           "from_text", "load", "typed"]

#: node -> parameter -> value
Config = dict[str, dict[str, Any]]

#: ROS has no empty list that keeps its type: this is how 'nothing' is written.
NOTHING = ["none"]

_KEY = "ros__parameters"


def as_list(value: str | Iterable[str]) -> list[str]:
    """The items of a list parameter; ``['none']``, ``''`` and ``[]`` are no items.

    A text is split at commas, so that ``--detector centerface,ssd`` works.
    """
    items = value.split(",") if isinstance(value, str) else list(value)
    items = [item.strip() for item in items]
    return [item for item in items if item and item != "none"]


def file_of(value: str | Path) -> Path:
    """The path a file parameter means: absolute, or below the share folder."""
    path = Path(value).expanduser()
    return path if path.is_absolute() else share_path(*path.parts)


def check(node: str, name: str, value: Any, *, where: str = "") -> Any:
    """The value in its proper type, if the parameter exists and allows it.

    Raises:
        ConfigError: names the value, what is allowed and the remedy.
    """
    suffix = f" (in {where})" if where else ""
    if node not in PARAMETERS:
        raise ConfigError(f"There is no node '{node}'{suffix}; "
                          f"{_known(node, PARAMETERS, 'nodes')}.")
    if name.split(".")[0] in BUILTIN:
        return value
    if (node, name) in RENAMED:
        raise ConfigError(f"The parameter '{name}' of the node '{node}'{suffix} is called "
                          f"'{RENAMED[node, name]}' now; write {RENAMED[node, name]}: {value!r}.")
    if name not in PARAMETERS[node]:
        raise ConfigError(f"The node '{node}' has no parameter '{name}'{suffix}; "
                          f"{_known(name, PARAMETERS[node], 'parameters')}.")
    return checked(f"{node}.{name}", PARAMETERS[node][name], value, suffix)


def from_text(node: str, name: str, text: str) -> Any:
    """A value written on a command line, in its proper type, if the parameter allows it.

    A list is written with commas, ``centerface,ssd``, or as in YAML, ``[centerface, ssd]``.

    Raises:
        ConfigError: as ``check``.
    """
    entry = PARAMETERS.get(node, {}).get(name)
    return check(node, name, yaml.safe_load(text) if entry is None else typed(entry, text))


def typed(entry: Parameter, text: str) -> Any:
    """A text in the type of a parameter; the text itself where it cannot be."""
    value: Any = text
    if entry.kind is list:
        items = [item.strip("'\" ") for item in text.strip().strip("[]").split(",")]
        value = [item for item in items if item] or list(NOTHING)
    elif entry.kind is bool:
        value = {"true": True, "false": False}.get(text.lower(), text)
    elif entry.kind in (int, float):
        with contextlib.suppress(ValueError):
            value = entry.kind(text)
    return value


def _known(word: str, names: Iterable[str], what: str) -> str:
    close = difflib.get_close_matches(word, list(names), n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known {what} are {', '.join(names)}"


def checked(name: str, entry: Parameter, value: Any, suffix: str = "") -> Any:
    """The value in the type of a table's entry, if that allows it.

    Raises:
        ConfigError: names ``name``, the value, what is allowed and the remedy.
    """
    def refuse(remedy: str = "") -> ConfigError:
        sentence = f"{name} is {value!r}{suffix} but must be {entry.allowed}"
        sentence += f"; {remedy}" if remedy else ""
        return ConfigError(sentence if sentence.endswith("?") else sentence + ".")

    if entry.kind is float and type(value) is int:
        value = float(value)
    if entry.kind is list and isinstance(value, str):
        raise refuse(f"write it as a list: [{value}]")
    if entry.kind is str and type(value) in (int, float, bool):
        raise refuse(f"write it in quotes: '{value}'")
    if entry.kind is list and isinstance(value, tuple):
        value = list(value)
    # bool is a subclass of int: True must not pass for the number 1.
    if type(value) is not entry.kind:
        raise refuse()
    if entry.kind is list:
        if not value:
            raise refuse("write ['none'] for nothing" if "none" in entry.choices
                         else "name at least one")
        if not all(isinstance(item, str) for item in value):
            raise refuse("write every item as a text in quotes")
        if len(value) > 1 and "none" in value:
            raise refuse("'none' stands alone")
    for item in value if entry.kind is list else [value]:
        if entry.choices and item not in entry.choices:
            close = difflib.get_close_matches(item, entry.choices, n=1)
            raise refuse(f"did you mean '{close[0]}'?" if close else "")
    if entry.pattern and not re.fullmatch(entry.pattern, value):
        raise refuse()
    if entry.kind in (int, float):
        low, high = entry.minimum, entry.maximum
        if (not math.isfinite(value) or (low is not None and value < low)
                or (high is not None and value > high)):
            raise refuse()
    return value


def _read(path: Path) -> Any:
    try:
        with open(path, encoding="utf-8") as stream:
            return yaml.safe_load(stream)
    except OSError as error:
        raise ConfigError(f"The configuration file {path} cannot be read "
                          f"({error.strerror or error}); check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"The configuration file {path} is not valid YAML ({problem}); "
                          "correct it.") from None


def _sections(tree: Any, path: Path, prefix: str = "") -> Iterator[tuple[str, Mapping]]:
    """(node pattern, parameters) of a ROS parameter file, in the order of the file."""
    if tree is None:
        return
    if not isinstance(tree, Mapping):
        raise ConfigError(f"The configuration file {path} has a {type(tree).__name__} at "
                          f"'{prefix or 'its top'}' where node names are expected; write "
                          f"'/**/detector:' and below it '{_KEY}:'.")
    for key, below in tree.items():
        if key == _KEY:
            if not prefix or not isinstance(below, (Mapping, type(None))):
                raise ConfigError(f"'{_KEY}' in {path} must stand below a node name and hold "
                                  "'name: value' lines.")
            yield prefix, below or {}
        else:
            yield from _sections(below, path, f"{prefix}/{str(key).strip('/')}")


def _flat(values: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _holds_for(pattern: str, node: str, namespace: str | None) -> bool:
    """Whether a key of a parameter file means this node.

    ``**`` stands for any namespaces, ``*`` for one name, as in ROS. A bare node
    name and, without a namespace to compare, any namespace are accepted too.
    """
    parts = pattern.strip("/").split("/")
    if parts[-1] not in (node, "*", "**"):
        return False
    if namespace is None or len(parts) == 1:
        return True
    # Each part takes its own slash along, so that ** can also mean nothing.
    words = {"*": r"/[^/]+", "**": r"(?:/[^/]+)*"}
    regex = "".join(words.get(part, "/" + re.escape(part)) for part in parts)
    return re.fullmatch(regex, "/".join(["", *namespace.strip("/").split("/"), node])
                        .replace("//", "/")) is not None


def _merge(config: Config, path: Path, namespace: str | None) -> None:
    for pattern, values in _sections(_read(path), path):
        name = pattern.rsplit("/", 1)[-1]
        wild = name in ("*", "**")
        if not wild and name not in PARAMETERS:
            check(name, "", None, where=str(path))
        for parameter, value in _flat(values):
            # A wildcard speaks to every node that knows the parameter.
            nodes = [node for node in PARAMETERS if not wild or parameter in PARAMETERS[node]
                     or parameter.split(".")[0] in BUILTIN] if wild else [name]
            if not nodes:
                known = dict.fromkeys(p for entries in PARAMETERS.values() for p in entries)
                raise ConfigError(f"No node has a parameter '{parameter}' (in {path}); "
                                  f"{_known(parameter, known, 'parameters')}.")
            for node in nodes:
                checked = check(node, parameter, value, where=str(path))
                if _holds_for(pattern, node, namespace):
                    config[node][parameter] = checked


@functools.cache
def _defaults() -> Config:
    config: Config = {node: {} for node in PARAMETERS}
    _merge(config, share_path("config", "pipeline.yaml"), None)
    missing = [f"{node}.{name}" for node, entries in PARAMETERS.items()
               for name in entries if name not in config[node]]
    if missing:
        raise ConfigError(f"{share_path('config', 'pipeline.yaml')} lacks "
                          f"{', '.join(missing)}; reinstall deid_ros.")
    return config


def defaults() -> Config:
    """node -> parameter -> default, from the installed ``config/pipeline.yaml``.

    A fresh copy each time.
    """
    return {node: {name: list(value) if isinstance(value, list) else value
                   for name, value in values.items()}
            for node, values in _defaults().items()}


def load(path: str | Path | None = None,
         overrides: Mapping[str, Mapping[str, Any]] | None = None, *,
         namespace: str | None = None) -> Config:
    """The defaults, overlaid with a user's file, overlaid with single values.

    Args:
        path: a ROS parameter file; keys like ``/**/detector``, ``/**``,
            ``detector`` and ``/ns/detector``; later entries win over earlier.
        overrides: node -> parameter -> value; ``None`` leaves what is there, a
            list may be given as a text with commas (``'centerface,ssd'``).
        namespace: leave out the file's entries for other namespaces; by default
            the namespaces in the file are not looked at.

    Raises:
        ConfigError: an unknown node or parameter, a wrong type, a value out of
            range, settings of two nodes that cannot work together.
    """
    config = defaults()
    if path is not None:
        _merge(config, Path(path).expanduser(), namespace)
    for node, values in (overrides or {}).items():
        for name, value in values.items():
            if value is None:
                continue
            entry = PARAMETERS.get(node, {}).get(name)
            if entry is not None and entry.kind is list and isinstance(value, str):
                value = typed(entry, value)
            config.setdefault(node, {})[name] = check(node, name, value)
    for first, second, name in (("detector", "matcher", "extractor"),
                                ("matcher", "generator", "generator"),
                                ("detector", "replacer", "image_topic")):
        if config[first][name] != config[second][name]:
            raise ConfigError(
                f"{first}.{name} is {config[first][name]!r} but {second}.{name} is "
                f"{config[second][name]!r}; set both to the same value.")
    return config
