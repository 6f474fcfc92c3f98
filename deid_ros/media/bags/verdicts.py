"""What becomes of every message of a bag, and what is to be said of every topic."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from deid_ros.errors import FrameError
from deid_ros.media.bags.contents import type_of
from deid_ros.media.bags.definitions import definition_sign
from deid_ros.media.bags.fields import COMPRESSED, RAW, BagImage, image_in
from deid_ros.media.bags.modalities import (
    GEOMETRY,
    PICTURE,
    PLAIN_DATA,
    UNKNOWN,
    VIDEO,
    judge,
)
from deid_ros.media.bags.packets import VIDEOS, VideoMessage, is_known, video_in
from deid_ros.media.bags.signs import name_sign, quoted
from deid_ros.media.topics import COPY, DROP, PROCESS, TopicPlan, TopicWishes
from deid_ros.messages import size_of
from deid_ros.messages.raw import checked

__all__ = ["Decision", "Verdicts", "shows_pictures"]

# Encodings of distances (REP 118), and grey ones, which only a topic's name calls so.
_DISTANCES = ("16UC1", "16SC1", "32FC1", "32SC1", "64FC1")
_GREY = ("mono8", "mono16", "8UC1")
_DEPTH = frozenset(("depth", "disparity", "tof"))


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one message: ``action``, the image or the packet of a video where it is
    one, the reason."""

    action: str
    image: BagImage | None = None
    reason: str = ""
    video: VideoMessage | None = None


def shows_pictures(connection: Any) -> bool:
    """Whether a topic has pictures to be covered, by its type."""
    return type_of(connection) in (RAW, COMPRESSED, *VIDEOS)


@dataclass(slots=True)
class _Topic:
    """What was seen of a topic of one type."""

    connection: Any
    seen: int = 0
    dropped: int = 0
    barred: bool = False                # what defines it does not leave
    kept: int = 0                       # unprocessed, as asked
    processed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    modalities: Counter[str] = field(default_factory=Counter)


class Verdicts:
    """Decides message by message, and keeps the account of every topic.

    Args:
        wishes: what the user asked for.
        ros1: whether the messages come from a ROS 1 bag.
    """

    def __init__(self, wishes: TopicWishes, *, ros1: bool) -> None:
        self._wishes, self._ros1 = wishes, ros1
        self._topics: dict[tuple[str, str], _Topic] = {}
        self._definitions: dict[int, tuple[Any, str]] = {}

    def meet(self, connection: Any) -> None:
        """A topic is there, whether or not it has messages."""
        self._topics.setdefault((connection.topic, connection.msgtype), _Topic(connection))

    def wanted(self, connection: Any) -> bool:
        """Whether the user wants the topic in the output."""
        if connection.topic in self._wishes.drop:
            return False
        chosen = self._wishes.image_topics
        return not (shows_pictures(connection) and chosen
                    and connection.topic not in {*chosen, *self._wishes.keep_unprocessed})

    def decide(self, connection: Any, data: bytes) -> Decision:
        """What becomes of a message, as it was published."""
        self.meet(connection)
        topic = self._topics[connection.topic, connection.msgtype]
        topic.seen += 1
        if not self.wanted(connection):
            return Decision(DROP)
        sign = self._definition(connection)
        if sign:
            topic.barred = True
            return self._no(topic, UNKNOWN, sign)
        if type_of(connection) in (RAW, COMPRESSED):
            return self._image(topic, connection, data)
        if type_of(connection) in VIDEOS:
            return self._video(topic, connection, data)
        verdict = judge(data, connection, ros1=self._ros1)
        if verdict.plain:
            topic.modalities[PLAIN_DATA] += 1
            return Decision(COPY)
        return self._no(topic, verdict.modality, verdict.reason)

    def may_declare(self, connection: Any) -> bool:
        """Whether a topic stands in the output though no message of it was met."""
        self.meet(connection)
        if not self.wanted(connection):
            return False
        sign = self._definition(connection)
        if sign and connection.topic not in self._wishes.keep_unprocessed:
            topic = self._topics[connection.topic, connection.msgtype]
            topic.barred = True
            topic.reasons[sign] += 1
            return False
        return True

    def _image(self, topic: _Topic, connection: Any, data: bytes) -> Decision:
        try:
            image = image_in(data, type_of(connection), ros1=self.is_ros1(connection))
            sign = next(filter(None, map(name_sign, (
                image.frame_id, image.format or "", image.encoding))), "")
            if sign:
                return self._no(topic, PICTURE, f"its frame, format or encoding is {sign}")
            if _is_depth(connection.topic, image):
                return self._no(topic, GEOMETRY, f"{image.encoding} is depth or disparity, which "
                                                 "shows faces in space")
            if image.format is None:
                checked(image)
            else:
                size_of(image)
        except FrameError as error:
            return self._no(topic, PICTURE, str(error))
        topic.modalities[PICTURE] += 1
        topic.processed += 1
        return Decision(PROCESS, image)

    def _video(self, topic: _Topic, connection: Any, data: bytes) -> Decision:
        ros1 = self.is_ros1(connection)
        if not is_known(connection, ros1=ros1):
            return self._no(topic, VIDEO, f"it is not defined as {type_of(connection)} is known")
        try:
            video = video_in(data, type_of(connection), ros1=ros1)
        except FrameError as error:
            return self._no(topic, VIDEO, str(error))
        topic.modalities[VIDEO] += 1
        topic.processed += 1
        return Decision(PROCESS, video=video)

    def withhold(self, connection: Any, reason: str) -> None:
        """A packet of a video that was accepted gives no picture to be covered.

        It is never copied, also where the topic is to be kept: nobody could read it behind
        packets that were encoded anew.
        """
        topic = self._topics[connection.topic, connection.msgtype]
        topic.processed -= 1
        topic.dropped += 1
        topic.reasons[quoted(reason)] += 1

    def refuse(self, connection: Any, reason: str) -> Decision:
        """A picture that was accepted cannot be decoded after all."""
        topic = self._topics[connection.topic, connection.msgtype]
        topic.processed -= 1
        return self._no(topic, PICTURE, reason)

    def damaged(self, connection: Any, reason: str) -> None:
        """A message that could not even be unpacked."""
        self.meet(connection)
        topic = self._topics[connection.topic, connection.msgtype]
        topic.seen += 1
        topic.dropped += 1
        topic.reasons[quoted(reason)] += 1

    def is_ros1(self, connection: Any) -> bool:
        """Whether its messages are serialised as ROS 1 does."""
        return self._ros1 or getattr(connection.ext, "serialization_format", "") == "ros1"

    def _no(self, topic: _Topic, modality: str, reason: str) -> Decision:
        reason = quoted(reason)
        topic.modalities[modality] += 1
        if len(topic.reasons) < 64 or reason in topic.reasons:
            topic.reasons[reason] += 1
        if topic.connection.topic in self._wishes.keep_unprocessed:
            topic.kept += 1
            return Decision(COPY, None, reason)
        topic.dropped += 1
        return Decision(DROP, None, reason)

    def _definition(self, connection: Any) -> str:
        """Why a topic does not leave, whatever its messages are; '' where it may."""
        known = self._definitions.get(id(connection))
        if known is None:
            sign = definition_sign(connection)
            said = f"what defines it does not leave: {sign}" if sign else (
                "" if connection.msgtype else
                "its channel has no schema, so nobody can look into it")
            # Kept with the connection, so that no other one gets its number.
            known = self._definitions[id(connection)] = connection, said
        return known[1]

    @property
    def unasked(self) -> list[str]:
        """The topics of which something is left out that nobody asked to leave out."""
        return sorted({key[0] for key, topic in self._topics.items()
                       if topic.dropped or topic.barred and not topic.kept})

    def plans(self) -> list[TopicPlan]:
        """What became of every topic that was met."""
        return [self._plan(topic) for topic in self._topics.values()]

    def _plan(self, topic: _Topic) -> TopicPlan:
        about = topic.connection
        images = shows_pictures(about)
        modality = ", ".join(name for name, _ in topic.modalities.most_common())
        action = PROCESS if images else COPY
        dropped, reason = topic.dropped, ""
        most = topic.reasons.most_common(1)[0][0] if topic.reasons else ""
        if not self.wanted(about):
            action, dropped = DROP, topic.seen
            reason = ("asked for" if about.topic in self._wishes.drop
                      else "an image topic that was not chosen")
        elif topic.dropped or topic.barred and not topic.kept:
            if topic.dropped == topic.seen:
                action, reason = DROP, most
            else:
                reason = f"{topic.dropped} of {topic.seen} messages are left out: {most}"
        elif topic.kept:
            if not topic.processed:
                action = COPY
            reason = f"UNPROCESSED, as asked: {most}"
        name = self._wishes.names.get(about.topic, about.topic)
        return TopicPlan(about.topic, about.msgtype, topic.seen, action, name,
                         reason, dropped, modality)


def _is_depth(topic: str, image: BagImage) -> bool:
    """Whether values are distances: their encoding says so, or, of grey ones, the topic."""
    words = re.split("[/_]", "/".join(topic.lower().split("/")[-2:]))
    return image.encoding in _DISTANCES or (
        image.encoding in _GREY and not _DEPTH.isdisjoint(words))
