"""A bag as it lies on the disk: its files, its metadata, what becomes of its topics."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from deid_ros.errors import FrameError, MediaError
from deid_ros.media.bag_folder import read_bag_folder
from deid_ros.media.bags.contents import type_of
from deid_ros.media.bags.fields import BagImage, image_in
from deid_ros.media.bags.packets import VIDEOS, VideoMessage, is_known, video_in
from deid_ros.media.bags.scan import ZSTD_MAGIC, Scan, open_scan, zstd
from deid_ros.media.bags.verdicts import Verdicts, shows_pictures
from deid_ros.media.files import kind_of
from deid_ros.media.topics import TopicPlan, TopicWishes

__all__ = ["Bag"]

_KINDS = {".mcap": "mcap", ".db3": "sqlite3", ".bag": "ros1"}


class Bag:
    """A bag to be read: a folder with ``metadata.yaml``, or one file.

    Attributes:
        kind: 'mcap', 'sqlite3' or 'ros1'.
        files: its files in order; those that are missing are left out.
        info: ``rosbag2_bagfile_information`` of the metadata, {} where there is none.
        mode: how rosbag2 packed it: '', 'file' or 'message'.
        notes: what is wrong with it already; ``lost`` how much of it.
        gaps: whether files of it are missing.

    Raises:
        MediaError: it is no bag, or one of a kind that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.info, self.mode = path, {}, ""
        self.notes: list[str] = []
        self.lost, self.gaps = 0, False
        if path.is_dir():
            self._read_folder()
        else:
            self.files = [path]
            self.mode = "file" if path.suffix.lower() == ".zstd" else ""
        kinds = {_KINDS.get(kind_of(file)) for file in self.files}
        if len(kinds) != 1 or None in kinds:
            raise MediaError(f"{path} holds no files of a bag that can be read; known are .mcap, "
                             ".db3 and .bag.")
        self.kind = str(kinds.pop())

    def _read_folder(self) -> None:
        found = read_bag_folder(self.path)
        self.info, self.files = found.info, found.files
        if found.info:
            self.mode = str(found.info.get("compression_mode") or "").lower().replace("none", "")
            packed = found.info.get("compression_format") or ""
            if self.mode and packed != "zstd":
                raise MediaError(f"{self.path} is packed with '{packed}', which cannot be read; "
                                 "only zstd can.")
        else:
            self._miss(f"{self.path.name}/metadata.yaml cannot be read; its files are taken in the "
                       "order of their names")
            if self.files and all(file.suffix.lower() == ".zstd" for file in self.files):
                self.mode = "file"
        self.gaps = bool(found.missing)
        for name in found.missing:
            count = self.expected(name)
            self._miss(f"the file {name} is missing" + (f" with {count} messages" if count else ""))
        for other in found.others:
            self._miss(f"{other.relative_to(self.path)} lies in the folder of the bag and is no "
                       "file of it; it is left out")
        if not self.files:
            raise MediaError(f"{self.path} has a metadata.yaml, but none of its files; check the "
                             "folder.")

    def _miss(self, sentence: str) -> None:
        self.notes.append(sentence)
        self.lost += 1

    def expected(self, name: str) -> int:
        """Messages in one of the files, as the metadata says; 0: unknown."""
        for entry in self.info.get("files") or []:
            if PurePath(str(entry.get("path"))).name.removesuffix(".zstd") == (
                    name.removesuffix(".zstd")):
                return int(entry.get("message_count") or 0)
        files = self.info.get("relative_file_paths") or []
        return int(self.info.get("message_count") or 0) if len(files) == 1 else 0

    def topics(self) -> dict[str, str]:
        """Topic -> type, as far as the metadata or the first file tells."""
        listed = self.info.get("topics_with_message_count") or []
        if listed:
            return {entry["topic_metadata"]["name"]: entry["topic_metadata"]["type"]
                    for entry in listed}
        scan = self.open(0, scratch=self.path.parent)
        try:
            return {connection.topic: connection.msgtype for connection in scan.connections}
        finally:
            scan.close()

    def open(self, number: int, *, scratch: Path) -> Scan:
        """One of its files.

        Raises:
            MediaError: nothing of it can be read.
        """
        return open_scan(self.files[number], scratch=scratch)

    def unpacked(self, data: bytes) -> bytes:
        """A message as it was published.

        Raises:
            zstd.ZstdError: it is packed and damaged.
        """
        # Plain CDR cannot begin like this; a file without its metadata does not say.
        if self.kind != "ros1" and data[:4] == ZSTD_MAGIC:
            self.mode = self.mode or "message"
            return zstd.decompress(data)
        return data

    def image(self, connection: Any, data: bytes) -> BagImage:
        """The image in a message of one of its files.

        Raises:
            FrameError: there is none.
            zstd.ZstdError: it is packed and damaged.
        """
        ros1 = self.kind == "ros1" or connection.ext.serialization_format == "ros1"
        return image_in(self.unpacked(data), connection.msgtype, ros1=ros1)

    def video(self, connection: Any, data: bytes) -> VideoMessage:
        """The packet of a video in a message of one of its files.

        Raises:
            FrameError: there is none.
            zstd.ZstdError: it is packed and damaged.
        """
        ros1 = self.kind == "ros1" or connection.ext.serialization_format == "ros1"
        if not is_known(connection, ros1=ros1):
            raise FrameError(f"It is not defined as {type_of(connection)} is known.")
        return video_in(self.unpacked(data), type_of(connection), ros1=ros1)

    def pictures(self, topics: Collection[str], *, scratch: Path
                 ) -> Iterator[tuple[str, np.ndarray | FrameError]]:
        """(topic, BGR uint8 (H, W, 3)) of every message of topics, or why there is none.

        The pictures of videos are those, and in the order, that ``deid run`` covers.
        """
        from deid_ros.media.bags.video_topics import VideoTopics

        videos, places = VideoTopics(gaps=self.gaps), deque[_Place]()
        for number in range(len(self.files)):
            scan = self.open(number, scratch=scratch)
            try:
                for connection, stamp, data in scan.messages():
                    _fill(videos.watch(scan, stamp))
                    about = scan.by_id.get(connection)
                    if about is None or about.topic not in topics:
                        continue
                    place = _Place(about.topic)
                    places.append(place)
                    try:
                        if type_of(about) in VIDEOS:
                            _fill(videos.push(about, stamp, self.video(about, data), place))
                        else:
                            place.found = self.image(about, data)
                    except FrameError as error:
                        place.found = error
                    except zstd.ZstdError as error:
                        place.found = FrameError(f"It cannot be unpacked ({error}).")
                    if isinstance(place.found, FrameError):
                        _fill(videos.missed(about))
                    yield from _known(places)
            finally:
                scan.close()
        _fill(videos.flush())
        yield from _known(places)

    def count(self, topic: str, scan: Scan) -> int:
        """Messages of a topic, as the metadata or the file says; 0: unknown."""
        for entry in self.info.get("topics_with_message_count") or []:
            if entry["topic_metadata"]["name"] == topic:
                return int(entry.get("message_count") or 0)
        return sum(scan.counts.get(connection.id, 0) for connection in scan.connections
                   if connection.topic == topic)

    def survey(self, wishes: TopicWishes, *, scratch: Path) -> Iterator[TopicPlan]:
        """What would become of its topics; every message is looked at."""
        from deid_ros.media.bags.video_topics import VideoTopics

        verdicts = Verdicts(wishes, ros1=self.kind == "ros1")
        videos = VideoTopics(gaps=self.gaps)

        def withhold(results: Iterator[tuple[Any, Any]]) -> None:
            for about, decoded in results:
                if isinstance(decoded.found, str):
                    verdicts.withhold(about, decoded.found)

        for number in range(len(self.files)):
            scan, met = self.open(number, scratch=scratch), set()
            try:
                for connection, stamp, data in scan.messages():
                    about = scan.by_id.get(connection)
                    if about is None:
                        continue
                    met.add(about.id)
                    withhold(videos.watch(scan, stamp))
                    video = None
                    try:
                        video = verdicts.decide(about, self.unpacked(data)).video
                    except zstd.ZstdError as error:
                        verdicts.damaged(about, str(error))
                    withhold(videos.push(about, stamp, video) if video else videos.missed(about))
                for about in scan.connections:
                    if about.id not in met and about.msgtype:
                        verdicts.may_declare(about)
            finally:
                scan.close()
        withhold(videos.flush())
        yield from verdicts.plans()

    def samples(self, count: int, wishes: TopicWishes, *,
                scratch: Path) -> Iterator[np.ndarray]:
        """Frames BGR uint8 (H, W, 3) of its image topics in turn, from all over it."""
        share = max(count // len(self.files), 1)
        for number in range(0, len(self.files), max(len(self.files) // count, 1)):
            scan = self.open(number, scratch=scratch)
            try:
                yield from islice(self._images(scan, wishes, share), min(share, count))
            finally:
                scan.close()

    def _images(self, scan: Scan, wishes: TopicWishes, count: int) -> Iterator[np.ndarray]:
        from deid_ros.media.bags.video_topics import VideoTopics

        verdicts = Verdicts(wishes, ros1=self.kind == "ros1")
        # A picture of a video needs those before it, in the same file.
        videos = VideoTopics(gaps=False)
        total = sum(scan.counts.get(about.id, 0) for about in scan.connections
                    if verdicts.wanted(about) and shows_pictures(about))
        step, seen = max(total // count, 1), 0
        for connection, stamp, data in scan.messages():
            about = scan.by_id.get(connection)
            if about is None or not shows_pictures(about) or not verdicts.wanted(about):
                continue
            chosen, seen = seen % step == 0, seen + 1
            if not chosen and type_of(about) not in VIDEOS:
                continue
            with suppress(FrameError, zstd.ZstdError):
                decision = verdicts.decide(about, self.unpacked(data))
                if decision.image is not None:
                    yield decision.image.frame()
                if decision.video is not None:
                    for _, decoded in videos.push(about, stamp, decision.video):
                        if chosen and not isinstance(decoded.found, str):
                            yield decoded.found.pixels


@dataclass(slots=True)
class _Place:
    """Where a picture comes in its bag; ``found`` None: it waits in a decoder."""

    topic: str
    found: BagImage | np.ndarray | FrameError | None = None


def _fill(results: Iterator[tuple[Any, Any]]) -> None:
    for _, decoded in results:
        decoded.place.found = (FrameError(decoded.found) if isinstance(decoded.found, str)
                               else decoded.found.pixels)


def _known(places: deque[_Place]) -> Iterator[tuple[str, np.ndarray | FrameError]]:
    """The pictures up to the first one that waits."""
    while places and places[0].found is not None:
        place = places.popleft()
        found = place.found
        if isinstance(found, BagImage):
            try:
                found = found.frame()
            except FrameError as error:
                found = error
        assert found is not None
        yield place.topic, found
