"""Common messages with long arrays that are harmless, and what proves it of their values.

Each entry names the fields that need no further look; every other field gets one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from deid_ros.media.bags.signs import magic

__all__ = ["PLAIN"]

_BEAMS = 8192
_JOINTS = 256


def _scan(value: Any) -> tuple[str, ...]:
    """One row of distances, as many as the angles say."""
    count = len(value.ranges)
    span, step = value.angle_max - value.angle_min, value.angle_increment
    if not count or count > _BEAMS or not step or not np.isfinite([span, step]).all():
        return ()
    # A whole turn reaches once round, whatever rounding makes of it.
    fits = abs(abs(span / step) + 1 - count) <= 2 and abs(span) < 6.4
    if not fits or len(value.intensities) not in (0, count) or _whole(value.ranges):
        return ()
    if count and len(value.intensities) and _holds_file(value.intensities):
        return ()
    return "ranges", "intensities"


def _whole(values: Any) -> bool:
    """Whether many different whole numbers stand where measurements should: packed bytes."""
    found = np.asarray(values, float)
    found = found[np.isfinite(found)]
    return len(np.unique(found)) > 32 and bool((found == np.rint(found)).all())


def _holds_file(values: Any) -> bool:
    """Whether numbers are the bytes of a picture or sound."""
    found = np.nan_to_num(np.asarray(values, float), posinf=0, neginf=0)
    return bool(magic(np.clip(found, 0, 255).astype(np.uint8).tobytes()))


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
    count = len(value.name)
    fits = 0 < count <= _JOINTS and len(set(value.name)) == count and all(
        len(getattr(value, name)) in (0, count) for name in ("position", "velocity", "effort"))
    return ("position", "velocity", "effort") if fits else ()


def _trajectory(value: Any) -> tuple[str, ...]:
    names = value.joint_names
    fits = 0 < len(names) <= 64 and len(set(names)) == len(names) and all(
        len(getattr(point, name)) in (0, len(names)) for point in value.points
        for name in ("positions", "velocities", "accelerations", "effort"))
    fits = fits and len(value.points) * len(names) <= 2 * _BEAMS
    return ("points",) if fits and not _whole(
        [number for point in value.points for number in point.positions]) else ()


def _echoes(value: Any) -> tuple[str, ...]:
    count = len(value.ranges)
    span, step = value.angle_max - value.angle_min, value.angle_increment
    few = all(len(echo.echoes) <= 5 for echo in [*value.ranges, *value.intensities])
    fits = bool(step) and count <= _BEAMS and abs(abs(span / step) + 1 - count) <= 2
    return ("ranges", "intensities") if fits and few else ()


def _particles(value: Any) -> tuple[str, ...]:
    """Poses on a floor."""
    heights = {item.pose.position.z for item in value.particles}
    return ("particles",) if len(heights) <= 1 and len(value.particles) <= _BEAMS else ()


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
