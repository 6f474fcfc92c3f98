"""Whether points show a surface: clouds with colour, organised or dense ones.

A plain scan has one row; points in a plane are no face.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deid_ros.media.bags.contents import Layout, layout
from deid_ros.media.bags.numbers import NUMBERS, measured, strange_in, whole

__all__ = ["POINTS", "PointRule", "Spots", "cloud_sign", "is_packed_cloud", "spots_of"]

_CLOUD, _OLD = "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/PointCloud"
_PLAIN_FIELDS = frozenset(("x", "y", "z", "ring", "time", "t", "timestamp", "layer", "line", "tag",
                           "range", "doppler", "velocity", "vx", "vy", "vz"))
_KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_PLACES = ("x", "y", "z")
_PACKED = frozenset(("pointstep", "point_step", "pointstride", "point_stride"))


@dataclass(frozen=True, slots=True)
class PointRule:
    """How many points show no face."""

    in_cloud: int = 1024    # of a plain cloud
    in_list: int = 512      # in space, among the fields of a message
    in_lists: int = 1024    # in all lists of a message
    poses: int = 2048       # in space, in one list and in all
    flat: float = 1e-3      # m: what is thinner along an axis is a plane
    few: int = 8            # fewer are no surface; they are counted value by value


POINTS = PointRule()


def is_packed_cloud(value: Any) -> bool:
    """Whether a message is a ``PointCloud2``, whose ``data`` only ``cloud_sign`` reads."""
    return value.__msgtype__ == _CLOUD


def cloud_sign(value: Any) -> str:
    """Why a cloud is dropped; '' for a plain one, and for what is no cloud.

    Args:
        value: an object of rosbags.
    """
    kind = value.__msgtype__
    if kind == _CLOUD:
        return _cloud2(value)
    if kind == _OLD and len(value.points) and any(len(c.values) for c in value.channels):
        names = ", ".join(c.name for c in value.channels)[:60]
        return f"points with the channels {names} show a surface"
    if hasattr(value, "data") and any(
            name.lower() in _PACKED for name in value.__dataclass_fields__) and len(value.data):
        return f"{kind} holds packed points"
    return ""


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
    if count > POINTS.in_cloud:
        return (f"a cloud of {count} points can show a face; {POINTS.in_cloud} are the most that "
                "are copied")
    if size != count * value.point_step or value.row_step not in (0, size):
        return "a cloud with bytes that belong to no point"
    rows = np.frombuffer(value.data, np.uint8).reshape(count, value.point_step)
    free, strange = np.ones(value.point_step, bool), 0
    for item in value.fields:
        if item.count > 1 or item.datatype not in _KINDS:
            return f"points with {item.count} values in '{item.name}'"
        kind = np.dtype((">" if value.is_bigendian else "<") + _KINDS[item.datatype])
        part = slice(item.offset, item.offset + kind.itemsize)
        free[part] = False
        column = np.ascontiguousarray(rows[:, part]).view(kind)[:, 0]
        strange += strange_in(column)
        if strange > NUMBERS.strange or (item.name in _PLACES and whole(column)):
            return f"points whose '{item.name}' are bytes and no measurements"
    if free.any() and np.ptp(rows[:, free].astype(int), axis=0).any():
        return "a cloud with bytes between its fields that change from point to point"
    return ""


@dataclass(frozen=True, slots=True)
class Spots:
    """Points among the fields of a message.

    ``places`` float64 (N, 3); ``deep`` how many of them lie in space, not in a plane; ``most``
    how many may do so in all lists; ``sign`` why they are dropped, else ''; ``harmless``
    whether their number does not matter: entries that ROS defines, with coordinates and turns
    that were measured.
    """

    places: np.ndarray
    deep: int
    most: int
    sign: str
    harmless: bool


def _self(item: Any) -> Any:
    return item


#: Where an entry has its place, and its turn.
_WAYS: tuple[tuple[Callable[[Any], Any], Callable[[Any], Any] | None], ...] = (
    (_self, None),
    (lambda item: item.position, lambda item: item.orientation),
    (lambda item: item.pose.position, lambda item: item.pose.orientation),
    (lambda item: item.translation, lambda item: item.rotation),
    (lambda item: item.transform.translation, lambda item: item.transform.rotation),
    (lambda item: item.pose.pose.position, lambda item: item.pose.pose.orientation),
    (lambda item: item.point, None))


def spots_of(items: Sequence[Any]) -> Spots | None:
    """Points in a list of messages; None for a few, and for what are none."""
    shape = layout(type(items[0]))
    bare = shape is not None and not shape.look
    if len(items) < (2 if bare else POINTS.few):
        return None
    for place, turn in _WAYS:
        try:
            found = [place(item) for item in items]
            places = np.array([(p.x, p.y, getattr(p, "z", 0.0)) for p in found], float)
        except (AttributeError, TypeError, ValueError):
            continue
        return _spots(items, places, turn, shape)
    return None


def _is_flat(axis: np.ndarray) -> bool:
    """Whether points lie in a plane: a few values, close to each other, say no more."""
    return not axis.size or bool(np.ptp(axis) <= POINTS.flat
                                 and len(np.unique(axis)) <= NUMBERS.levels)


def _spots(items: Sequence[Any], places: np.ndarray, turn: Any,
           shape: Layout | None) -> Spots:
    count = len(items)
    finite = places[np.isfinite(places).all(axis=1)]
    deep = 0 if any(map(_is_flat, finite.T)) else len(finite)
    most, in_all = (POINTS.poses, POINTS.poses) if turn else (POINTS.in_list, POINTS.in_lists)
    if deep > most:
        return Spots(places, deep, in_all, f"a list of {count} points in space can show a face; "
                                           f"{most} are the most that are copied", False)
    harmless = (shape is not None and shape.common and measured(places)
                and items[0].__msgtype__.startswith("geometry_msgs/"))
    if harmless and turn:
        turns = np.array([(t.x, t.y, t.z, t.w) for t in map(turn, items)], float)
        length = np.linalg.norm(turns, axis=1)
        harmless = bool(((np.abs(length - 1) < 0.1) | (length == 0)).all())
    return Spots(places, deep, in_all, "", harmless)
