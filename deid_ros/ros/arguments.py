"""The arguments of the launch file, checked before any node starts.

Pure Python without ROS. What may be given stands in ``parameters.COMMON`` and
``parameters.LAUNCH``; the checks are those of ``config``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

from deid_ros.config import Config, checked, from_text, load, typed
from deid_ros.errors import ConfigError
from deid_ros.parameters import COMMON, LAUNCH, PARAMETERS

__all__ = ["ARGUMENTS", "check_names", "check_values", "nodes_of"]

#: Every argument, in the order of ``--show-args``.
ARGUMENTS = ("config", "namespace", *(name for _, name in COMMON),
             *(name for name in LAUNCH if name not in ("config", "namespace")))

#: What ``ros2 launch`` itself takes as arguments.
_OF_LAUNCH = ("launch-prefix", "launch-prefix-filter")
#: The stages that share a parameter of one name and one value.
_SHARED = {"image_topic": ("detector", "replacer")}


def nodes_of(argument: str) -> tuple[str, ...]:
    """The nodes that an argument is a parameter of; none for one of the launch file's own."""
    return _SHARED.get(argument, tuple(node for node, name in COMMON if name == argument))


def check_names(names: Iterable[str]) -> None:
    """Refuse arguments that are not there.

    Raises:
        ConfigError: names the first of them, and what was meant or where it belongs.
    """
    for name in names:
        if name in (*ARGUMENTS, *_OF_LAUNCH):
            continue
        close = difflib.get_close_matches(name, ARGUMENTS, n=1)
        nodes = [node for node, entries in PARAMETERS.items() if name in entries]
        if nodes:
            remedy = f"{nodes[0]}.{name} is set in a parameter file, given with config:=FILE"
        elif close:
            remedy = f"did you mean {close[0]}:=? --show-args lists all"
        else:
            remedy = f"there are {', '.join(ARGUMENTS)}"
        raise ConfigError(f"There is no launch argument '{name}'; {remedy}.")


def check_values(given: Mapping[str, str]) -> Config:
    """The configuration that these arguments make.

    Raises:
        ConfigError: names the argument, its value and what is allowed.
    """
    overrides: dict[str, dict[str, object]] = {}
    for name in ARGUMENTS:
        if name not in given:
            continue
        try:
            if name in LAUNCH:
                checked(name, LAUNCH[name], typed(LAUNCH[name], given[name]))
            for node in nodes_of(name):
                overrides.setdefault(node, {})[name] = from_text(node, name, given[name])
        except ConfigError as error:
            raise ConfigError(f"The launch argument {name}:={given[name]} is refused: {error}"
                              ) from None
    folder = given.get("record")
    if folder and Path(folder).expanduser().exists():
        raise ConfigError(f"The launch argument record:={folder} is refused: it exists already; "
                          "name a folder that does not.")
    return load(given.get("config") or None, overrides, namespace=given.get("namespace", ""))
