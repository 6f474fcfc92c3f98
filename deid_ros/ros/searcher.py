"""Who searched a frame, and how: what a table says of its detector.

Pure Python without ROS. Two pipelines in one ROS domain hear each other's topics; a
frame must leave with the table of the detector it was started with, made under settings
that are not weaker than it was told. This names the searcher; it does not prove who it
is, which is the work of ROS 2 security.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deid_ros.errors import ConfigError
from deid_ros.parameters import PARAMETERS

__all__ = ["SEARCH_VARIABLE", "SESSION_VARIABLE", "Searcher", "Trust", "session_of",
           "told_by_environment", "words_of"]

#: The token of a session; whoever starts a pipeline hands it to its nodes.
SESSION_VARIABLE = "DEID_SESSION"
#: The detector's settings, as JSON, that the replacer must see at least.
SEARCH_VARIABLE = "DEID_SEARCH"

_RECORD = struct.Struct("<8s8sBBBxffI")
_NOBODY = bytes(8)
_SILENT_S = 2.0         # after which a detector without a session counts as gone
_SLACK = 1e-4           # of numbers that have been float32

_DETECTORS = PARAMETERS["detector"]["detector"].choices
_PRESETS = PARAMETERS["detector"]["preset"].choices     # the weakest first
_COVERS = PARAMETERS["detector"]["cover"].choices       # the weakest first
_SETTINGS = ("detector", "preset", "cover", "threshold", "margin", "carry_frames")


def session_of(namespace: str, token: str | None = None) -> bytes:
    """What the nodes of one pipeline have in common, 8 bytes; zeros without a token.

    Args:
        namespace: of the node.
        token: None: that of the environment.
    """
    token = os.environ.get(SESSION_VARIABLE, "") if token is None else token
    if not token:
        return _NOBODY
    return hashlib.sha256(f"{token}\0{namespace}".encode()).digest()[:8]


@dataclass(frozen=True, slots=True)
class Searcher:
    """A detector's process and settings, or with ``session`` alone another node's.

    ``detectors``: bits in the order of the parameter's choices; ``preset`` and ``cover``:
    the higher, the more is searched and covered.
    """

    session: bytes = _NOBODY
    process: bytes = _NOBODY
    detectors: int = 0
    preset: int = 0
    cover: int = 0
    threshold: float = 1.0
    margin: float = 0.0
    carry_frames: int = 0

    SIZE = _RECORD.size

    @classmethod
    def of(cls, options: Mapping[str, Any], *, session: bytes = _NOBODY,
           process: bytes = _NOBODY) -> Searcher:
        """Of the parameters of the detector node."""
        bits = sum(1 << _DETECTORS.index(name) for name in set(options["detector"]))
        return cls(session, process, bits, _PRESETS.index(options["preset"]),
                   _COVERS.index(options["cover"]), float(options["threshold"]),
                   float(options["margin"]), int(options["carry_frames"]))

    def pack(self) -> bytes:
        """As ``SIZE`` bytes."""
        return _RECORD.pack(self.session, self.process, self.detectors, self.preset, self.cover,
                            self.threshold, self.margin, self.carry_frames)

    @classmethod
    def unpack(cls, data: Any) -> Searcher:
        """From ``SIZE`` bytes."""
        return cls(*_RECORD.unpack(bytes(data)))

    def weaker(self, told: Searcher) -> str:
        """In what it searches or covers less than ``told``; '' if in nothing."""
        missing = [name for bit, name in enumerate(_DETECTORS)
                   if told.detectors & ~self.detectors & 1 << bit]
        faults = [f"it lacks the detectors {', '.join(missing)}"] if missing else []
        if self.preset < told.preset:
            faults.append(f"its preset is {_name(_PRESETS, self.preset)} instead of "
                          f"{_name(_PRESETS, told.preset)}")
        if self.cover < told.cover:
            faults.append("it covers the face only instead of the head")
        # Written so that a number that is none fails too.
        if not self.threshold <= told.threshold + _SLACK:
            faults.append(f"its threshold is {self.threshold:g} instead of {told.threshold:g}")
        if not self.margin >= told.margin - _SLACK:
            faults.append(f"its margin is {self.margin:g} instead of {told.margin:g}")
        if self.carry_frames < told.carry_frames:
            faults.append(f"it carries faces for {self.carry_frames} frames instead of "
                          f"{told.carry_frames}")
        return "; ".join(faults)


def _name(names: tuple[str, ...], rank: int) -> str:
    return names[rank] if rank < len(names) else str(rank)


def words_of(options: Mapping[str, Any]) -> str:
    """What ``SEARCH_VARIABLE`` holds for these parameters of the detector node."""
    return json.dumps({name: options[name] for name in _SETTINGS})


def told_by_environment() -> Searcher | None:
    """The settings that nodes were told by who started them; None: they were told none.

    Raises:
        ConfigError: they are none.
    """
    text = os.environ.get(SEARCH_VARIABLE, "")
    try:
        return Searcher.of(json.loads(text)) if text else None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{SEARCH_VARIABLE} holds no settings of a detector ({error}); unset it, "
                          "or start the nodes with the launch file.") from None


class Trust:
    """Whose tables a replacer takes.

    With a session, those of every detector of that session. Without one, those of the
    first detector without a session that it hears, until that one has been silent for a
    while: of two, only one is taken.

    Args:
        session: of the replacer.
        told: the least that the detector must do; None: what the environment says.
        warn: is told in a sentence, once for each, whose tables are not taken.
    """

    def __init__(self, session: bytes, told: Searcher | None,
                 warn: Callable[[str], object]) -> None:
        self._session, self._told, self._warn = (
            session, told or told_by_environment(), warn)
        self._said: set[str] = set()
        self._chosen: bytes | None = None
        self._heard = 0.0

    def refusal(self, searcher: Searcher, now: float) -> str:
        """Why a table is not taken, in a word; '' if it is.

        Args:
            now: seconds of the steady clock.
        """
        cause, sentence = self._judge(searcher, now)
        if sentence and sentence not in self._said:
            self._said.add(sentence)
            self._warn(sentence)
        return cause

    def _judge(self, searcher: Searcher, now: float) -> tuple[str, str]:
        if searcher.session != self._session:
            return "foreign", ("another pipeline's detector is heard here, its tables are not "
                               "used; give every pipeline a namespace of its own")
        if self._session == _NOBODY:
            if self._chosen is None or now - self._heard > _SILENT_S:
                self._chosen = searcher.process
            if searcher.process != self._chosen:
                return "foreign", ("a second detector is heard here, its tables are not used; end "
                                   "one of them, or give every pipeline a namespace of its own")
            self._heard = now
        if self._told is not None and (why := searcher.weaker(self._told)):
            return "weaker", (f"the detector searches less than this replacer was told, its "
                              f"frames are withheld ({why}); start both with the same settings")
        return "", ""
