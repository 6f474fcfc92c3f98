"""Common messages with long arrays that are harmless, and what proves it of their values.

Each entry names the fields that need no further look; every other field gets one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from deid_ros.media.bags.contents import layout
from deid_ros.media.bags.numbers import NUMBERS, strange_in, whole
from deid_ros.media.bags.signs import magic

__all__ = ["PLAIN"]

_BEAMS = 8192
_JOINTS = 256
_ECHOES = 5         # of one beam


def _scan(value: Any) -> tuple[str, ...]:
    """One row of distances, as many as the angles say."""
    fits = _is_row(value) and len(value.intensities) in (0, len(value.ranges))
    return ("ranges", "intensities") if fits and _is_measured(value.ranges) and not _holds_file(
        value.intensities) else ()


def _echoes(value: Any) -> tuple[str, ...]:
    """The same with up to five echoes a beam."""
    fits = _is_row(value) and len(value.intensities) in (0, len(value.ranges)) and all(
        len(beam.echoes) <= _ECHOES for beam in [*value.ranges, *value.intensities])
    return ("ranges", "intensities") if fits and _is_measured(
        _joined(beam.echoes for beam in value.ranges)) and not _holds_file(
        _joined(beam.echoes for beam in value.intensities)) else ()


def _is_row(value: Any) -> bool:
    count = len(value.ranges)
    span, step = value.angle_max - value.angle_min, value.angle_increment
    if not 0 < count <= _BEAMS or not step or not np.isfinite([span, step]).all():
        return False
    # A whole turn reaches once round, whatever rounding makes of it.
    return abs(abs(span / step) + 1 - count) <= 2 and abs(span) < 6.4


def _is_measured(values: Any) -> bool:
    """Whether numbers can be measurements: no packed bytes, no file."""
    return not whole(values) and not _holds_file(values)


def _holds_file(values: Any) -> bool:
    """Whether numbers are the bytes of a picture or sound, or of anything."""
    if strange_in(np.asarray(values)) > NUMBERS.strange:
        return True
    found = np.nan_to_num(np.asarray(values, float), posinf=0, neginf=0)
    return bool(magic(np.clip(found, 0, 255).astype(np.uint8).tobytes()))


def _joined(arrays: Iterable[Any]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *arrays])


def _grid(free: int, values: Any, width: int, height: int, steps: tuple[int, ...]) -> bool:
    """Whether cells are mostly free, occupied or unknown, as no shaded picture is."""
    cells = np.asarray(values)
    if cells.size != width * height or (cells.dtype == np.int8 and (
            (cells < free) | (cells > 100)).any()):
        return False
    return bool(np.isin(cells, steps).mean() >= 0.5) if cells.size else True


def _occupancy(value: Any) -> tuple[str, ...]:
    return ("data",) if _grid(-1, value.data, value.info.width, value.info.height,
                              (-1, 0, 100)) else ()


def _update(value: Any) -> tuple[str, ...]:
    return ("data",) if _grid(-1, value.data, value.width, value.height, (-1, 0, 100)) else ()


def _costmap(value: Any) -> tuple[str, ...]:
    return ("data",) if _grid(0, value.data, value.metadata.size_x, value.metadata.size_y,
                              (0, 253, 254, 255)) else ()


def _joints(value: Any) -> tuple[str, ...]:
    """Numbers for joints that have names, each its own."""
    names = ("position", "velocity", "effort")
    fits = _are_for(value.name, _JOINTS, [getattr(value, name) for name in names])
    return names if fits else ()


def _trajectory(value: Any) -> tuple[str, ...]:
    rows = {name: [getattr(point, name) for point in value.points]
            for name in ("positions", "velocities", "accelerations", "effort")}
    fits = len(value.points) * len(value.joint_names) <= 2 * _BEAMS and all(
        _are_for(value.joint_names, 64, arrays) for arrays in rows.values())
    return ("points",) if fits and all(
        _is_measured(_joined(arrays)) for arrays in rows.values()) else ()


def _are_for(names: Any, most: int, arrays: list[Any]) -> bool:
    """Whether arrays hold a measurement for each of so many different names."""
    return 0 < len(names) <= most and len(set(names)) == len(names) and all(
        len(array) in (0, len(names)) and not whole(array) for array in arrays)


def _particles(value: Any) -> tuple[str, ...]:
    """Poses on a floor, each with its weight and nothing else."""
    if not value.particles:
        return ()
    shape = layout(type(value.particles[0]))
    bare = shape is not None and not shape.look and shape.leaves == 8
    heights = {item.pose.position.z for item in value.particles}
    fits = bare and len(heights) == 1 and len(value.particles) <= _BEAMS
    return ("particles",) if fits and not any(
        whole([getter(item) for item in value.particles]) for getter in (
            lambda item: item.pose.position.x, lambda item: item.pose.position.y,
            lambda item: item.weight)) else ()


#: Type -> the fields that its values prove to be harmless.
PLAIN: dict[str, Callable[[Any], tuple[str, ...]]] = {
    "sensor_msgs/msg/LaserScan": _scan,
    "sensor_msgs/msg/MultiEchoLaserScan": _echoes,
    "nav_msgs/msg/OccupancyGrid": _occupancy,
    "map_msgs/msg/OccupancyGridUpdate": _update,
    "nav2_msgs/msg/Costmap": _costmap,
    "nav2_msgs/msg/ParticleCloud": _particles,
    "sensor_msgs/msg/JointState": _joints,
    "trajectory_msgs/msg/JointTrajectory": _trajectory,
}
