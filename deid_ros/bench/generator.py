"""``deid bench generator``: a new texture from the network, and rendering a face."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from deid_ros.bench.machine import Usage, machine_line, rss_mb
from deid_ros.config import Config, file_of
from deid_ros.errors import ConfigError

__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "PARAMETERS", "SIZES", "YAWS", "add_options",
           "measure", "text"]

HELP = "a new texture from the network, and rendering a face"

DESCRIPTION = """\
Time the generator alone: the network, which runs when a track gets its identity or
its mouth moves, and the rendering, which runs for every face and frame; both on
one thread and on two. The last column compares rendering with the least that any
renderer does: sampling its pixels from the texture once."""

EXAMPLES = """\
examples:
  deid bench generator               the installed generator
  deid bench generator --generator run/generator.onnx --json result.json
                                     another one, the numbers as JSON too
"""

PARAMETERS = (("generator", "generator"),)

SIZES = (64, 128, 256)     # width of the frontal face, px
YAWS = (0, 25, 45)         # degrees
_THREADS = (1, 2)
_LEAST = 5                 # repetitions


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is measured."""
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S",
                        help="for everything together, about [10]")


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Run the bench.

    Returns:
        ``texture`` and ``render``: lists of ``threads``, ``wall_ms`` (median),
        ``cpu_ms`` (mean), ``runs``, and for ``render`` also ``size`` (px), ``yaw``
        (degrees) and ``times_remap``; ``machine``; ``rss_mb``.

    Raises:
        DeidError: the generator cannot be loaded.
    """
    if not 0.1 <= args.seconds <= 3600:
        raise ConfigError(f"--seconds is {args.seconds} but must be from 0.1 to 3600.")
    from deid_ros.generator import SurrogateGenerator, TextureNetwork

    path = file_of(config["generator"]["generator"])
    # A third for the network, two for the rendering; the map counts a little.
    each = args.seconds / 3 / len(_THREADS)
    share = args.seconds * 2 / 3 / (len(_THREADS) * len(SIZES) * len(YAWS) + 3)
    usage = Usage()
    textures, renders = [], []
    remap = {size: _remap(size, share) for size in SIZES}
    for threads in _THREADS:
        network = TextureNetwork(path, num_threads=threads)
        textures.append({"threads": threads,
                         **_timed(partial(_texture, network, _codes(network.space)), each)})
        generator = SurrogateGenerator(network)
        with _opencv_threads(threads):
            for size in SIZES:
                for yaw in YAWS:
                    face = _face(size, yaw, network.space.expression_mean)
                    numbers = _timed(partial(generator.generate, face), share)
                    renders.append({
                        "threads": threads, "size": size, "yaw": yaw, **numbers,
                        "times_remap": round(numbers["cpu_ms"] / remap[size], 1)})
    return {"bench": "generator", "generator": str(config["generator"]["generator"]),
            "texture": textures, "render": renders,
            "remap_cpu_ms": {str(size): round(ms, 3) for size, ms in remap.items()},
            "rss_mb": round(rss_mb(), 1), "machine": usage.spent().machine()}


def _texture(network: Any, codes: Iterator[tuple[Any, Any]]) -> None:
    network.texture(*next(codes))


def _timed(work: Callable[[], Any], seconds: float) -> dict[str, float]:
    """Median wall and mean CPU milliseconds of ``work``, done again and again."""
    work(), work()
    walls: list[float] = []
    cpu, end = time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < end or len(walls) < _LEAST:
        start = time.perf_counter()
        work()
        walls.append(time.perf_counter() - start)
    cpu = time.process_time() - cpu
    return {"wall_ms": round(1e3 * sorted(walls)[len(walls) // 2], 3),
            "cpu_ms": round(1e3 * cpu / len(walls), 3), "runs": len(walls)}


@contextlib.contextmanager
def _opencv_threads(number: int) -> Iterator[None]:
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(number)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _remap(size: int, seconds: float) -> float:
    """CPU milliseconds for sampling size x 1.3 size pixels from a texture, one thread."""
    import cv2
    import numpy as np

    from deid_ros.generator.atlas import TEXTURE_SIDE

    texture = np.zeros((TEXTURE_SIDE, TEXTURE_SIDE, 4), np.uint8)
    ys, xs = np.mgrid[0:round(1.3 * size), 0:size].astype(np.float32)
    where = np.dstack([xs, ys]) * np.float32(TEXTURE_SIDE / (1.3 * size))
    with _opencv_threads(1):
        numbers = _timed(lambda: cv2.remap(texture, where, None, cv2.INTER_CUBIC), seconds)
    return max(numbers["cpu_ms"], 1e-3)


def _codes(space: Any) -> Iterator[tuple[Any, Any]]:
    """Identity codes and expressions of people who do not exist, without end."""
    import numpy as np

    rng = np.random.default_rng(0)
    while True:
        yield (rng.normal(0, 0.3, space.code_size).astype(np.float32),
               space.expression_mean + space.expression_std * rng.normal(0, 1, 7))


def _face(size: int, yaw: float, expression: Any) -> Any:
    """One trusted row of ``FACE``: ``size`` px wide when frontal, turned by ``yaw``."""
    import numpy as np

    from deid_ros.faces import empty_faces
    from deid_ros.geometry import reference_mesh

    face = empty_faces(1)
    face["track_id"], face["trusted"], face["yaw"] = 1, 1, yaw
    face["scale"] = size / np.ptp(reference_mesh()[:, 0])
    face["center"] = 2 * size
    face["expression"] = expression
    return face


def text(result: dict[str, Any]) -> str:
    """The numbers for people."""
    lines = [f"generator {result['generator']}", f"machine   {machine_line(result['machine'])}",
             "", "                     threads   wall ms    CPU ms   CPU / bare remap"]
    for row in result["texture"]:
        lines.append(f"new texture          {row['threads']:7d} {row['wall_ms']:9.2f} "
                     f"{row['cpu_ms']:9.2f}")
    for row in result["render"]:
        lines.append(f"face {row['size']:3d} px, yaw {row['yaw']:2d}°  {row['threads']:7d} "
                     f"{row['wall_ms']:9.2f} {row['cpu_ms']:9.2f} {row['times_remap']:9.1f}")
    return "\n".join(lines)
