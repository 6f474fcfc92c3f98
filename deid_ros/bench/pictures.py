"""Pictures to judge with the eye: originals above, what leaves the pipeline below."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deid_ros.config import Config
from deid_ros.errors import DeidError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "PARAMETERS", "add_options", "measure", "text"]

HELP = "before and after, as pictures to look at"
DESCRIPTION = """\
Draw sheets at full size, originals above and outputs below: of a video frames spread
evenly over it, or where the head is turned differently with --poses; of pictures a
column each."""
EXAMPLES = """\
examples:
  deid bench pictures clip.mp4 -o strip.png
  deid bench pictures clip.mp4 --poses -o poses.png
  deid bench pictures anna.jpg ben.jpg carla.jpg --side 256 -o sheet.png
"""
PARAMETERS = (("matcher", "key"), ("matcher", "policy"), ("matcher", "mix"),
              ("replacer", "replace"), ("replacer", "blend"))

_VIDEOS = {".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v"}
_AROUND = 1.5          # side of a crop in face sizes
_YAWS = (-35.0, -12.0, 12.0, 35.0)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this bench."""
    parser.add_argument("inputs", metavar="INPUT", nargs="+", type=Path,
                        help="pictures, or videos")
    parser.add_argument("-o", "--output", metavar="PNG", type=Path, required=True,
                        help="the sheet to write")
    parser.add_argument("--count", metavar="N", type=int, default=6,
                        help="frames of each video [6]")
    parser.add_argument("--poses", action="store_true",
                        help="of videos: the frames with the head turned left to right")
    parser.add_argument("--side", metavar="PX", type=int, default=0,
                        help="crop the largest face to squares of this size; 0: whole frames")


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Draw the sheet; how many faces and frames are on it.

    Raises:
        DeidError: an input that cannot be read, or nothing to show.
    """
    import numpy as np

    from deid_ros.bench.contact_sheet import write_picture
    from deid_ros.pipeline import Pipeline

    pipeline = Pipeline(config)
    pipeline.prepare()
    columns: list[np.ndarray] = []
    faces = 0
    for path in args.inputs:
        for before, after, rows in _chosen(pipeline, path, args):
            faces += len(rows)
            columns.append(_column(before, after, rows, args.side))
    if not columns:
        raise DeidError(f"There is nothing to show of {', '.join(map(str, args.inputs))}.")
    height = min(len(column) for column in columns)
    sheet = np.hstack([_scaled(column, height) for column in columns])
    write_picture(args.output, sheet)
    return {"output": str(args.output), "columns": len(columns), "faces": faces}


def text(result: dict[str, Any]) -> str:
    """One line for people."""
    return f"{result['output']}: {result['columns']} frames, {result['faces']} faces"


def _chosen(pipeline: Any, path: Path, args: argparse.Namespace
            ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    import cv2

    pipeline.reset(stream=path.name)
    if path.suffix.lower() not in _VIDEOS:
        frame = cv2.imread(str(path))
        if frame is None:
            raise DeidError(f"{path} cannot be read as a picture or a video.")
        done = pipeline.process(frame)
        if len(done.faces):
            yield frame, done.frame, done.faces
        return
    everything = []
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
    while True:
        good, frame = capture.read()
        if not good:
            break
        done = pipeline.process(frame, stamp_ns=1 + round(len(everything) / fps * 1e9))
        everything.append((frame, done.frame, done.faces))
    capture.release()
    shown = [entry for entry in everything if len(entry[2])] or everything
    yield from _turned(shown) if args.poses else _spread(shown, args.count)


def _spread(frames: Sequence[Any], count: int) -> list[Any]:
    import numpy as np

    places = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    return [frames[i] for i in places]


def _turned(frames: Sequence[Any]) -> list[Any]:
    """The frames whose largest face comes nearest to each of ``_YAWS``."""
    frames = [entry for entry in frames if len(entry[2])]
    import numpy as np

    yaws = np.array([_largest(rows)["yaw"] if _largest(rows)["trusted"] else np.inf
                     for _, _, rows in frames])
    return [frames[int(np.abs(yaws - yaw).argmin())] for yaw in _YAWS] if len(frames) else []


def _largest(rows: np.ndarray) -> np.void:
    return rows[int(rows["height"].argmax())]


def _column(before: np.ndarray, after: np.ndarray, rows: np.ndarray, side: int) -> np.ndarray:
    import cv2
    import numpy as np

    if not side or not len(rows):
        return np.vstack([before, after])
    face = _largest(rows)
    half = _AROUND * float(face["height"]) / 2
    middle = (float(face["x_offset"] + face["width"] / 2),
              float(face["y_offset"] + face["height"] / 2))
    scale = side / (2 * half)
    matrix = np.array([[scale, 0, (half - middle[0]) * scale],
                       [0, scale, (half - middle[1]) * scale]])
    return np.vstack([cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_CUBIC,
                                     borderMode=cv2.BORDER_REPLICATE)
                      for image in (before, after)])


def _scaled(column: np.ndarray, height: int) -> np.ndarray:
    import cv2

    width = round(column.shape[1] * height / len(column))
    return cv2.resize(column, (width, height), interpolation=cv2.INTER_AREA)
