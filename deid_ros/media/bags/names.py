"""Which topics of a bag show people, by their types; and what becomes of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from deid_ros.errors import FrameError
from deid_ros.media.bags.fields import COMPRESSED, RAW, image_in, point_fields
from deid_ros.media.topics import COPY, DROP, PROCESS, TopicPlan, TopicWishes

__all__ = ["plan_topics"]

# Types that carry pictures in a way that is not undone here.
_PICTURES = re.compile(
    r"image|video|jpe?g|h26[45]|hevc|theora|ffmpeg|picture|photo|rgbd|disparity|texture"
    r"|compressedpointcloud|draco", re.IGNORECASE)
_NO_PICTURES = ("visualization_msgs/msg/ImageMarker",)
_CLOUD = "sensor_msgs/msg/PointCloud2"
_COLOURS = re.compile(r"rgb|bgr|colou?r|^[rgb]$|red|green|blue|argb", re.IGNORECASE)
# A type whose definition takes in that of a picture.
_HOLDS = re.compile(r"(?:MSG|IDL): (?:sensor_msgs|foxglove_msgs)/(?:msg/)?"
                    r"(?:Compressed)?(?:Image|Video)\s*$", re.MULTILINE)
# What can be no picture even if nobody knows what it is.
_SMALL = 4096

#: Gives the first message of a topic, or None.
First = Callable[[], bytes | None]


def plan_topics(connections: Iterable[tuple[Any, int, First]], wishes: TopicWishes, *,
                ros1: bool) -> dict[int, TopicPlan]:
    """What becomes of every connection of a bag.

    Args:
        connections: a rosbags ``Connection``, its messages (0: unknown), its first message.
        wishes: what the user asked for.

    Returns:
        The number of the connection -> its plan.
    """
    plans = {}
    for connection, count, first in connections:
        topic, msgtype = connection.topic, connection.msgtype
        action, reason = _action(connection, first, wishes, ros1)
        if topic in wishes.drop:
            action, reason = DROP, "asked for"
        elif topic in wishes.keep_unprocessed and action == DROP:
            action, reason = COPY, f"UNPROCESSED, as asked: {reason}"
        plans[connection.id] = TopicPlan(topic, msgtype, count, action,
                                         wishes.names.get(topic, topic), reason)
    return plans


def _action(connection: Any, first: First, wishes: TopicWishes, ros1: bool) -> tuple[str, str]:
    msgtype = connection.msgtype
    if msgtype in (RAW, COMPRESSED):
        if wishes.image_topics and connection.topic not in wishes.image_topics:
            return DROP, "an image topic that was not chosen"
        raw = first()
        if raw is None:
            return PROCESS, ""
        try:
            image_in(raw, msgtype, ros1=ros1).frame()
        except FrameError as error:
            return DROP, str(error)
        return PROCESS, ""
    if msgtype == _CLOUD:
        return _cloud(first(), ros1)
    if msgtype not in _NO_PICTURES and _PICTURES.search(msgtype):
        return DROP, f"{msgtype} carries pictures in a form that cannot be made anonymous"
    definition = connection.msgdef.data
    if _HOLDS.search(definition):
        return DROP, f"{msgtype} holds an image among its fields"
    if not definition and not _is_known(msgtype, ros1):
        raw = first()
        if raw is not None and len(raw) > _SMALL:
            return DROP, (f"{msgtype} is a type that nobody defines, with messages as large as "
                          "pictures")
    return COPY, ""


def _cloud(raw: bytes | None, ros1: bool) -> tuple[str, str]:
    try:
        names = [] if raw is None else point_fields(raw, ros1=ros1)
    except FrameError as error:
        return DROP, str(error)
    colours = [name for name in names if _COLOURS.search(name)]
    if colours:
        return DROP, f"points with colour ({', '.join(colours)}) show faces"
    return COPY, ""


def _is_known(msgtype: str, ros1: bool) -> bool:
    from rosbags.typesys import Stores, get_typestore
    return msgtype in get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.LATEST).fielddefs
