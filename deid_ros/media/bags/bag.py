"""A bag as it lies on the disk: its files, its metadata, what becomes of its topics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from deid_ros.errors import FrameError, MediaError
from deid_ros.media.bag_folder import read_bag_folder
from deid_ros.media.bags.contents import type_of
from deid_ros.media.bags.fields import COMPRESSED, RAW, BagImage, image_in
from deid_ros.media.bags.scan import ZSTD_MAGIC, Scan, open_scan, zstd
from deid_ros.media.bags.verdicts import Verdicts
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

    Raises:
        MediaError: it is no bag, or one of a kind that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.info, self.mode = path, {}, ""
        self.notes: list[str] = []
        self.lost = 0
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

    def count(self, topic: str, scan: Scan) -> int:
        """Messages of a topic, as the metadata or the file says; 0: unknown."""
        for entry in self.info.get("topics_with_message_count") or []:
            if entry["topic_metadata"]["name"] == topic:
                return int(entry.get("message_count") or 0)
        return sum(scan.counts.get(connection.id, 0) for connection in scan.connections
                   if connection.topic == topic)

    def survey(self, wishes: TopicWishes, *, scratch: Path) -> Iterator[TopicPlan]:
        """What would become of its topics; every message is looked at."""
        verdicts = Verdicts(wishes, ros1=self.kind == "ros1")
        for number in range(len(self.files)):
            scan, met = self.open(number, scratch=scratch), set()
            try:
                for connection, _, data in scan.messages():
                    about = scan.by_id.get(connection)
                    if about is None:
                        continue
                    met.add(about.id)
                    try:
                        verdicts.decide(about, self.unpacked(data))
                    except zstd.ZstdError as error:
                        verdicts.damaged(about, str(error))
                for about in scan.connections:
                    if about.id not in met and about.msgtype:
                        verdicts.may_declare(about)
            finally:
                scan.close()
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
        verdicts = Verdicts(wishes, ros1=self.kind == "ros1")
        total = sum(scan.counts.get(about.id, 0) for about in scan.connections
                    if verdicts.wanted(about) and type_of(about) in (RAW, COMPRESSED))
        step, seen = max(total // count, 1), 0
        for connection, _, data in scan.messages():
            about = scan.by_id.get(connection)
            if about is None or type_of(about) not in (RAW, COMPRESSED):
                continue
            if verdicts.wanted(about):
                if seen % step == 0:
                    with suppress(FrameError, zstd.ZstdError):
                        image = verdicts.decide(about, self.unpacked(data)).image
                        if image is not None:
                            yield image.frame()
                seen += 1

