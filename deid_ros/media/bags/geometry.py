"""Whether points show a surface: clouds with colour, organised or dense ones.

A plain scan has one row; points in a plane are no face.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["cloud_sign", "points_sign"]

_CLOUD, _OLD = "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/PointCloud"
_PLAIN_FIELDS = frozenset(("x", "y", "z", "ring", "time", "t", "timestamp", "layer", "line", "tag",
                           "range", "doppler", "velocity", "vx", "vy", "vz"))
_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 8: 8}
_MANY = 1024        # points of a cloud that may show a face
_POINTS = 512       # the same among the fields of a message
_POSES = 2048
_COLOURS = 64
_PACKED = re.compile(r"point_?(step|stride)", re.IGNORECASE)


def cloud_sign(value: Any) -> str | None:
    """Why a cloud is dropped; '' for a plain one, None for what is no cloud.

    Args:
        value: an object of rosbags.
    """
    kind = value.__msgtype__
    if kind == _CLOUD:
        return _cloud2(value)
    if kind == _OLD:
        if len(value.points) and value.channels and any(len(c.values) for c in value.channels):
            names = ", ".join(c.name for c in value.channels)[:60]
            return f"points with the channels {names} show a surface"
        sign, _ = points_sign(value.points)
        return sign or ""
    if hasattr(value, "data") and any(map(_PACKED.fullmatch, value.__dataclass_fields__)) and len(
            value.data):
        return f"{kind} holds packed points"
    return None


def _cloud2(value: Any) -> str:
    size = len(value.data)
    if not size:
        return ""
    names = [field.name for field in value.fields]
    others = [name for name in names if name not in _PLAIN_FIELDS]
    if others or not names:
        return (f"points with {', '.join(others)[:60] or 'no fields'} show a surface; only "
                "coordinates, rings and times are known to be harmless")
    count = size // max(value.point_step, 1)
    if value.height > 1:
        return f"an organised cloud of {value.width}x{value.height} points is a depth image"
    if count > _MANY:
        return f"a cloud of {count} points can show a face; {_MANY} are the most that are copied"
    if size != count * value.point_step or value.row_step not in (0, size):
        return "a cloud with bytes that belong to no point"
    rows = np.frombuffer(value.data, np.uint8).reshape(count, value.point_step)
    free = np.ones(value.point_step, bool)
    for item in value.fields:
        free[item.offset:item.offset + _SIZES.get(item.datatype, 0) * max(item.count, 1)] = False
        if item.count > 1:
            return f"points with {item.count} values in '{item.name}'"
    if free.any() and np.ptp(rows[:, free].astype(int), axis=0).any():
        return "a cloud with bytes between its fields that change from point to point"
    return ""


def _identity(item: Any) -> Any:
    return item


_WAYS: tuple[Callable[[Any], Any], ...] = (
    _identity, lambda item: item.position, lambda item: item.pose.position,
    lambda item: item.translation, lambda item: item.transform.translation,
    lambda item: item.pose.pose.position)
#: Types of nothing but a few numbers: need no further look.
_BARE = frozenset((
    "geometry_msgs/msg/Point", "geometry_msgs/msg/Point32", "geometry_msgs/msg/Vector3",
    "geometry_msgs/msg/Pose", "geometry_msgs/msg/Transform", "geometry_msgs/msg/Pose2D",
    "geometry_msgs/msg/Quaternion", "std_msgs/msg/ColorRGBA", "geometry_msgs/msg/Twist",
    "geometry_msgs/msg/Accel", "geometry_msgs/msg/Wrench", "builtin_interfaces/msg/Time"))


def points_sign(items: Sequence[Any]) -> tuple[str | None, bool]:
    """Why a list of messages is a surface, and whether it needs no further look.

    Args:
        items: entries of one list, not empty or empty.

    Returns:
        A reason, '' for points that show none, None for what are no points.
    """
    if not len(items):
        return "", True
    first = items[0]
    kind = getattr(first, "__msgtype__", "")
    if kind.endswith("/ColorRGBA"):
        if len(items) > _COLOURS:
            return f"a list of {len(items)} colours is a picture", True
        return "", True
    bare = kind in _BARE
    if len(items) <= _POINTS:
        return None, bare
    for index, way in enumerate(_WAYS):
        try:
            places = [way(item) for item in items]
            found = np.array([(p.x, p.y, getattr(p, "z", 0.0)) for p in places], float)
        except (AttributeError, TypeError, ValueError):
            continue
        found = found[np.isfinite(found).all(axis=1)]
        most = _POSES if index else _POINTS
        if len(found) > most and (np.ptp(found, axis=0) > 1e-3).all():
            return (f"a list of {len(items)} points in space can show a face; {most} are the most "
                    "that are copied"), bare
        return ("" if kind.startswith("geometry_msgs/") else None), bare
    return None, bare
