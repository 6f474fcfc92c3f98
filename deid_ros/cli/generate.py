"""``deid generate``: faces of nobody, by recipe, at random, and on the way between."""

from __future__ import annotations

import argparse
import csv
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deid_ros.cli.looks import Stage, real, whole_number
from deid_ros.cli.options import add_config, add_parameter
from deid_ros.errors import GeneratorError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DEFAULTS", "register", "run"]

#: What a setting is when neither a flag nor the file gives it.
DEFAULTS: dict[str, Any] = {
    "size": 512, "background": "#808080", "fps": 25.0, "seconds": 4.0, "count": 8, "mix": 3,
    "sex": None, "seed": 0, "images": None, "id": None, "expression": None, "orientation": None,
    "keyframes": None}

#: Where the output goes without -o.
OUTPUTS = {"single": "out/single.png", "random": "out/random", "interpolate": "out/interpolate.mp4",
           "walk": "out/walk.mp4"}

MODES = {
    "single": "one picture of one identity",
    "random": "pictures of random blends, each somebody else",
    "interpolate": "from keyframe to keyframe: identity, expression and orientation",
    "walk": "a smooth way past random identities and back, expressions and turns on the way"}

#: Settings of each mode beyond those that all have.
_SETTINGS = {"single": ("id", "expression", "orientation"),
             "random": ("count", "mix", "sex", "seed", "expression", "orientation"),
             "interpolate": ("keyframes", "fps", "seconds", "images"),
             "walk": ("count", "mix", "sex", "seed", "expression", "orientation", "fps",
                      "seconds", "images")}
_COMMON = ("size", "background")
_SAY_S = 5.0    # between two lines of progress where there is no terminal

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_VIDEOS = (".mp4", ".mkv", ".webm")

DESCRIPTION = """\
Make pictures of blended gallery identities. An identity is written as ids with +
between, weights behind *: A000369+B001135*2. Its deviation from the mean face is
stretched as much as blending shrank it; a single id is that person's own face, as
far as the network knows it."""

EPILOG = """\
examples:
  deid generate single --id A000369+B001135 --expression smile --yaw 20 -o face.png
  deid generate random --count 8 --sex F -o faces/
  deid generate interpolate --key "A000369+B001135 yaw=-40" --key "B000575 smile yaw=40"
  deid generate interpolate script.yaml -o clip.mp4
  deid generate walk --count 6 --seconds 12 -o walk.mp4

A file holds the same settings by name, flags win over it:
  size: 384                      # px
  background: '#203040'
  seconds: 6                     # or images: 150
  fps: 25
  keyframes:
    - id: A000369+B001135
      orientation: {yaw: -40, pitch: 5}
    - id: B000575
      expression: {base: smile, mouth_open: 0.2}
      at: 4                      # seconds; without it evenly spaced

Expressions: neutral, smile, open, closed_eyes, raised_brows, mean, or numbers in eye
distances: mouth_open, mouth_width, smile, eye_left, eye_right, brow_left, brow_right.
An output that ends in .mp4, .mkv or .webm becomes a video, .png or .jpg one picture,
anything else a folder of pictures.
"""


def register(subparsers: argparse._SubParsersAction) -> None:
    """Add ``deid generate`` to the command line."""
    parser = subparsers.add_parser("generate", help="make faces of blended identities",
                                   description=DESCRIPTION, epilog=EPILOG)
    modes = parser.add_subparsers(dest="mode", metavar="KIND", required=True)
    for mode, text in MODES.items():
        below = modes.add_parser(mode, help=text, description=text[0].upper() + text[1:] + ".",
                                 epilog=EPILOG)
        below.add_argument("script", metavar="FILE", nargs="?", type=Path,
                           help="YAML file with settings by name")
        below.add_argument("-o", "--output", metavar="OUT", type=Path, default=OUTPUTS[mode],
                           help=f"picture, video or folder to write [{OUTPUTS[mode]}]")
        for name in (*_SETTINGS[mode], *_COMMON):
            _add(below, name)
        below.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
        add_parameter(below, "matcher", "gallery")
        add_parameter(below, "generator", "generator")
        add_config(below)


def _add(parser: argparse.ArgumentParser, name: str) -> None:
    default = DEFAULTS[name]
    known = f" [{default}]" if default is not None else ""
    plain: dict[str, tuple[type, str, str]] = {
        "size": (int, "PX", "side of the pictures"),
        "background": (str, "COLOUR", "#rrggbb or red,green,blue"),
        "fps": (float, "HZ", "pictures a second"),
        "seconds": (float, "S", "length"),
        "images": (int, "N", "how many pictures, in place of --seconds"),
        "count": (int, "N", "how many identities"),
        "mix": (int, "N", "gallery identities blended in each"),
        "seed": (int, "N", "the same seed, the same pictures"),
        "id": (str, "ID+ID", "identities to blend"),
        "expression": (str, "NAME", "name of an expression, or numbers: mouth_open=0.2,smile=0.05")}
    if name == "sex":
        parser.add_argument("--sex", choices=("M", "F"), help="blend people of this sex only")
    elif name == "orientation":
        for angle in ("yaw", "pitch", "roll"):
            parser.add_argument(f"--{angle}", metavar="DEGREES", type=float,
                                help=f"{angle} of the head")
    elif name == "keyframes":
        parser.add_argument("--key", dest="keyframes", action="append", metavar="WORDS",
                            help="a keyframe: identity, expression and name=number, with spaces "
                                 "between; give two or more")
    else:
        kind, metavar, text = plain[name]
        parser.add_argument(f"--{name}", type=kind, metavar=metavar, help=text + known)


def run(args: argparse.Namespace) -> int:
    """Draw what is asked for."""
    from deid_ros.generator.play import Studio

    settings = _settings(args)
    size = whole_number(settings, "size")
    stage = Stage(args, settings)
    studio = Studio(stage.network, size=size, background=_colour(settings["background"]))
    looks, recipes = stage.looks(args.mode)
    pictures = (studio.draw(look) for look in _shown(looks, args.mode))
    count = _write(args.output, pictures, len(looks), overwrite=args.overwrite,
                   fps=float(settings["fps"]))
    if recipes and not args.output.suffix:
        with open(args.output / "identities.csv", "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("picture", "id"), *(
                (_name(i), recipe) for i, recipe in enumerate(recipes))])
    print(f"{args.output}: {count} picture{'s' * (count != 1)} of {size} px")
    return 0


def _shown(looks: Sequence[Any], mode: str) -> Iterator[Any]:
    """The looks, with a bar on a terminal and else with a line every few seconds."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(looks, unit="picture", desc=mode, file=sys.stderr)
        return
    said = time.monotonic()
    for done, look in enumerate(looks):
        if time.monotonic() - said >= _SAY_S:
            said = time.monotonic()
            print(f"deid generate: {done} of {len(looks)} pictures", file=sys.stderr, flush=True)
        yield look


# -- settings ------------------------------------------------------------------


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """Flags over the file over the defaults."""
    allowed = (*_SETTINGS[args.mode], *_COMMON)
    settings = dict(DEFAULTS)
    if args.script:
        given = _read(args.script)
        for name in given:
            if name not in allowed:
                raise GeneratorError(f"{args.script} has the setting '{name}', which 'deid "
                                     f"generate {args.mode}' does not know; it knows "
                                     f"{', '.join(allowed)}.")
        settings.update(given)
    for name in allowed:
        value = getattr(args, name, None)
        if value is not None:
            settings[name] = value
            if name == "seconds":
                settings["images"] = None
    turned = {angle: getattr(args, angle) for angle in ("yaw", "pitch", "roll")
              if getattr(args, angle, None) is not None}
    if turned:
        settings["orientation"] = {**(settings["orientation"] or {}), **turned}
    if not 0 < real(settings, "fps") <= 240:
        raise GeneratorError(f"fps is {settings['fps']}; choose more than 0, at most 240.")
    return settings


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GeneratorError(f"{path} cannot be read ({error.strerror}); check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GeneratorError(f"{path} is not valid YAML ({error}); correct it.") from None
    if not isinstance(content, dict):
        raise GeneratorError(f"{path} must hold settings, 'name: value' on each line.")
    return content


def _colour(value: Any) -> tuple[int, int, int]:
    """BGR of '#rrggbb', 'r,g,b' or [r, g, b]."""
    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    if re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
        rgb = [int(text[-6:][k:k + 2], 16) for k in (0, 2, 4)]
    else:
        parts = [part.strip() for part in text.split(",")]
        rgb = [int(part) for part in parts if part.isdecimal()]
        if len(rgb) != 3 or len(parts) != 3 or max(rgb) > 255:
            raise GeneratorError(f"The background '{text}' is no colour; write #rrggbb or "
                                 "red,green,blue, each 0 to 255.")
    return rgb[2], rgb[1], rgb[0]


# -- output --------------------------------------------------------------------


def _name(number: int) -> str:
    return f"{number:04d}.png"


def _write(output: Path, pictures: Iterable[np.ndarray], count: int, *, fps: float,
           overwrite: bool) -> int:
    kind = output.suffix.lower()
    if kind in _VIDEOS and not output.is_dir():
        from deid_ros.media.clips import write_clip

        return write_clip(output, pictures, fps=fps, overwrite=overwrite)
    if kind in _PICTURES and not output.is_dir():
        if count != 1:
            raise GeneratorError(f"{output} is one picture, but there are {count}; name a folder "
                                 f"or a video ({', '.join(_VIDEOS)}).")
        targets: Iterator[Path] = iter([output])
    elif kind and not output.is_dir():
        raise GeneratorError(f"Outputs that end in '{output.suffix}' are not written; name a "
                             f"folder, {', '.join(_PICTURES + _VIDEOS)}.")
    else:
        targets = (output / _name(i) for i in range(count))
    for target, picture in zip(targets, pictures):
        _save(target, picture, overwrite=overwrite)
    return count


def _save(target: Path, picture: np.ndarray, *, overwrite: bool) -> None:
    import cv2

    from deid_ros.media import whole

    _, data = cv2.imencode(target.suffix, picture)
    with whole(target, overwrite=overwrite) as part:
        part.write_bytes(data.tobytes())
