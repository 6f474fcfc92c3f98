"""From the settings of ``deid generate`` to looks: who, with which face, turned how."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deid_ros.cli.options import config_of
from deid_ros.errors import GeneratorError

if TYPE_CHECKING:
    import numpy as np

    from deid_ros.generator.play import Look

__all__ = ["Stage", "real", "whole_number"]

# How far the head of a walk turns, in degrees either way.
_SWAY = (28.0, 8.0, 6.0)
_WALK_EXPRESSIONS = ("neutral", "smile", "open", "raised_brows")


def whole_number(settings: Mapping[str, Any], name: str, least: int = 1) -> int:
    """The setting ``name`` as a whole number from ``least``; ``GeneratorError`` else."""
    value = settings[name]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 100_000:
        raise GeneratorError(f"{name} is {value!r}; give a whole number from {least} to 100000.")
    return value


def real(settings: Mapping[str, Any], name: str) -> float:
    """The setting ``name`` as a number; ``GeneratorError`` where it is none."""
    value = settings[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise GeneratorError(f"{name} is {value!r}; give a number.")
    return float(value)


class Stage:
    """Gallery and generator, and the looks that settings mean with them.

    Raises:
        GalleryError, ModelError: one of them cannot be read.
    """

    def __init__(self, args: argparse.Namespace, settings: dict[str, Any]) -> None:
        from deid_ros.config import defaults, file_of
        from deid_ros.generator import TextureNetwork
        from deid_ros.matcher import Gallery

        config = config_of(args)
        chosen = config["generator"]["generator"]
        # The installed one is verified; another is the user's own.
        own = chosen != defaults()["generator"]["generator"]
        self.network = TextureNetwork(file_of(chosen) if own else None)
        self.gallery = Gallery.load(file_of(config["matcher"]["gallery"]))
        self.settings = settings

    def looks(self, mode: str) -> tuple[list[Look], list[str]]:
        """The looks of a mode, and the recipes of random identities."""
        import numpy as np

        from deid_ros.generator.play import at_times, stroll

        settings = self.settings
        if mode == "single":
            if not settings["id"]:
                raise GeneratorError("No identity is given; name one with --id A+B.")
            return [self._look(settings)], []
        if mode == "interpolate":
            looks, times = self._keyframes()
            return at_times(looks, times, np.linspace(0, times[-1], self._pictures())), []
        rng = np.random.default_rng(whole_number(settings, "seed", 0))
        count = whole_number(settings, "count")
        drawn = [self._random(rng, free=mode == "walk") for _ in range(count)]
        looks = [look for look, _ in drawn]
        if mode == "walk":
            return stroll(looks, self._pictures()), []
        return looks, [recipe for _, recipe in drawn]

    def _pictures(self) -> int:
        settings = self.settings
        if settings["images"] is not None:
            return whole_number(settings, "images")
        count = round(real(settings, "seconds") * real(settings, "fps"))
        if not 1 <= count <= 100_000:
            raise GeneratorError(f"{settings['seconds']} seconds at {settings['fps']} pictures a "
                                 f"second are {count} pictures; ask for 1 to 100000.")
        return count

    def _look(self, entry: Mapping[str, Any], code: np.ndarray | None = None) -> Look:
        from deid_ros.generator.play import Look, expression_of, orientation_of
        from deid_ros.matcher.recipes import mix_by_id

        if code is None:
            code = mix_by_id(self.gallery, entry["id"])
        turn = entry.get("orientation") or {}
        if not isinstance(turn, Mapping):
            raise GeneratorError(f"The orientation is {turn!r}; write it as {{yaw: 20, pitch: 0}}.")
        wanted = entry.get("expression")
        return Look(code, expression_of(self.network.space, _expression(wanted)),
                    orientation_of(turn))

    def _random(self, rng: np.random.Generator, *, free: bool) -> tuple[Look, str]:
        """A random identity; ``free``: what is not set of its look is random too."""
        from deid_ros.matcher.recipes import random_mix

        settings = dict(self.settings)
        sex = settings["sex"]
        if sex not in (None, "M", "F"):
            raise GeneratorError(f"sex is {sex!r}; choose M or F.")
        code, recipe = random_mix(self.gallery, rng, mix=whole_number(settings, "mix"), sex=sex)
        turn = rng.uniform(-1, 1, 3) * _SWAY
        mood = _WALK_EXPRESSIONS[int(rng.integers(len(_WALK_EXPRESSIONS)))]
        if free and settings["orientation"] is None:
            settings["orientation"] = dict(zip(("yaw", "pitch", "roll"), turn))
        if free and settings["expression"] is None:
            settings["expression"] = mood
        return self._look(settings, code), recipe

    def _keyframes(self) -> tuple[list[Look], list[float]]:
        entries = self.settings["keyframes"] or []
        if not isinstance(entries, list) or len(entries) < 2:
            raise GeneratorError("Interpolating needs two keyframes at least; give --key twice or "
                                 "a file with keyframes.")
        entries = [_parse_key(e) if isinstance(e, str) else e for e in entries]
        for number, entry in enumerate(entries, start=1):
            if not isinstance(entry, Mapping) or not entry.get("id"):
                raise GeneratorError(f"Keyframe {number} has no id; write id: A+B.")
            unknown = set(entry) - {"id", "expression", "orientation", "at"}
            if unknown:
                raise GeneratorError(f"Keyframe {number} says '{sorted(unknown)[0]}'; it may have "
                                     "id, expression, orientation and at.")
        looks = [self._look(entry) for entry in entries]
        given = [entry.get("at") is not None for entry in entries]
        if not any(given):
            last = self._pictures() / real(self.settings, "fps")
            return looks, [last * i / (len(looks) - 1) for i in range(len(looks))]
        if not all(given):
            # The first may go without saying.
            if given[0] or not all(given[1:]):
                raise GeneratorError("Some keyframes say at what time they are and some do not; "
                                     "give 'at' to all.")
            entries[0] = {**entries[0], "at": 0}
        times = [real(entry, "at") for entry in entries]
        if times[0] < 0 or any(b <= a for a, b in zip(times, times[1:])):
            raise GeneratorError(f"The keyframes are at {times}; their times must rise from 0.")
        if self.settings["images"] is None:
            self.settings["seconds"] = times[-1]
        return looks, times


def _expression(wanted: Any) -> str | dict[str, Any]:
    """A name, numbers by name, or 'smile,mouth_open=0.2'."""
    if wanted is None:
        return "neutral"
    if isinstance(wanted, Mapping):
        return dict(wanted)
    out: dict[str, Any] = {}
    for word in str(wanted).replace(",", " ").split():
        name, equals, value = word.partition("=")
        out.update({name: value} if equals else {"base": name})
    return out


def _parse_key(words: str) -> dict[str, Any]:
    """``--key 'A+B smile yaw=20 at=1.5'``."""
    entry: dict[str, Any] = {"orientation": {}, "expression": {}}
    for place, word in enumerate(words.split()):
        name, equals, value = word.partition("=")
        if not place:
            entry["id"] = word
        elif not equals:
            entry["expression"]["base"] = word
        elif name in ("yaw", "pitch", "roll"):
            entry["orientation"][name] = value
        elif name == "at":
            try:
                entry["at"] = float(value)
            except ValueError:
                raise GeneratorError(f"The keyframe '{words}' is at '{value}'; give "
                                     "seconds.") from None
        else:
            entry["expression"][name] = value
    return entry
