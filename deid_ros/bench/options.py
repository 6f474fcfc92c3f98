"""What the options of several benches have in common."""

from __future__ import annotations

import argparse

from deid_ros.errors import ConfigError

__all__ = ["in_range", "size_of"]


def size_of(word: str) -> tuple[int, int]:
    """Width and height of ``640x480``; for ``argparse``."""
    width, mark, height = word.lower().partition("x")
    if not mark or not width.isdecimal() or not height.isdecimal():
        raise argparse.ArgumentTypeError(f"{word!r} is not of the form WIDTHxHEIGHT, as 640x480")
    size = int(width), int(height)
    if not (min(size) >= 32 and max(size) <= 8192):
        raise argparse.ArgumentTypeError(f"{word!r} is out of range; sides must be from 32 to "
                                         "8192 px")
    return size


def in_range(args: argparse.Namespace, **ranges: tuple[float, float]) -> None:
    """Refuse options that are not within their bounds.

    Raises:
        ConfigError: names the option, its value and the bounds.
    """
    for name, (least, most) in ranges.items():
        value = getattr(args, name)
        if not least <= value <= most:
            raise ConfigError(f"--{name.replace('_', '-')} is {value} but must be from {least:g} "
                              f"to {most:g}.")
