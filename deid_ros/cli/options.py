"""Command-line options made from the table of parameters.

An option's help, type and choices come from ``parameters.py``, its default from
``config/pipeline.yaml``: ``None`` in the parsed arguments means 'not given'.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from deid_ros.config import Config, defaults, file_of, load, typed
from deid_ros.parameters import PARAMETERS, help_of

__all__ = ["add_config", "add_parameter", "config_of", "overrides_of", "policies"]

#: Parameters that name files.
_FILES = ("gallery", "generator", "extractor_weights", "enrolled")
#: Parameters that all nodes which have them must agree on.
_SHARED = ("extractor", "generator", "image_topic")


def add_config(parser: argparse.ArgumentParser) -> None:
    """``--config FILE``: a ROS parameter file laid over the defaults."""
    parser.add_argument("--config", metavar="FILE",
                        help="ROS parameter file (as config/pipeline.yaml) laid over the "
                             "defaults; options of this command go before it")


def add_parameter(parser: argparse.ArgumentParser, node: str, name: str,
                  flag: str | None = None) -> None:
    """``--name VALUE`` for the parameter ``name`` of ``node``.

    The values are checked by ``config_of``, with every other setting.
    """
    entry = PARAMETERS[node][name]
    default = defaults()[node][name]
    shown = ",".join(default) if isinstance(default, list) else default
    text = help_of(node, name)
    if entry.kind is list:
        text += ", with commas between"
    if shown != "" and entry.kind is not bool:
        text += f" [{shown}]"
    options: dict[str, Any] = {"dest": f"{node}.{name}", "default": None, "help": text}
    if entry.kind is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        metavar = "LIST" if entry.kind is list else name.rsplit("_", 1)[-1].upper()
        options |= {"type": str, "metavar": metavar}
    parser.add_argument(flag or "--" + name.replace("_", "-"), **options)


def _file(value: str) -> str:
    """A file named on the command line: below the working folder, as a shell user means it.

    Only what lies not there but in the share folder is meant to be there.
    """
    path = Path(value).expanduser()
    if not value or (not path.exists() and file_of(path).exists()):
        return value
    return str(path.absolute())


def policies() -> str:
    """What every policy does and is worth, for the end of a help."""
    import textwrap

    from deid_ros.matcher import POLICIES
    return "\npolicies:\n" + "".join(
        textwrap.fill(f"{name}: {policy.description}", 88, initial_indent="  ",
                      subsequent_indent="    ") + "\n" for name, policy in POLICIES.items())


def overrides_of(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """node -> parameter -> value of the options that were given.

    A parameter that two nodes must share (``extractor``, ``generator``,
    ``image_topic``) is set for every node that has it.
    """
    overrides: dict[str, dict[str, Any]] = {}
    for key, value in vars(args).items():
        node, dot, name = key.partition(".")
        if not dot or value is None:
            continue
        if name in _FILES:
            value = _file(value)
        elif isinstance(value, str):
            value = typed(PARAMETERS[node][name], value)
        for other in ([n for n in PARAMETERS if name in PARAMETERS[n]] if name in _SHARED
                      else [node]):
            overrides.setdefault(other, {})[name] = value
    return overrides


def config_of(args: argparse.Namespace) -> Config:
    """The configuration that ``--config`` and the given options ask for."""
    return load(getattr(args, "config", None), overrides_of(args))
