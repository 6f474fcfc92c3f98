"""A bag as a medium: its images leave covered, everything else as it came, in order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
from rosbags.rosbag1 import WriterError as WriterError1
from rosbags.rosbag2 import WriterError as WriterError2

from deid_ros.errors import FrameError, MediaError
from deid_ros.media.bags.bag import Bag
from deid_ros.media.bags.fields import BagImage, image_in
from deid_ros.media.bags.scan import Scan, zstd
from deid_ros.media.bags.writer import BagWriter
from deid_ros.media.files import Job
from deid_ros.media.medium import Frame, Writing
from deid_ros.media.topics import DROP, PROCESS, TopicPlan
from deid_ros.pipeline import Processed

__all__ = ["BagMedium"]

# Bytes of messages and frames that wait, at most, for faces found later.
_MEMORY = 300e6


@dataclass(slots=True)
class _Entry:
    """A message in the queue; ``data`` None: its frame is on its way."""

    number: int                       # of the file
    connection: int
    stamp: int
    size: int
    data: bytes | None
    topic: str
    name: str                         # the topic in the output
    image: BagImage | None = None
    settled: bool = True


class BagMedium:
    """A rosbag: every image topic is a stream of frames of its own.

    Messages leave in the order in which they came: those behind an image that waits
    for what later frames show wait with it, in bounded memory.
    """

    steady = True

    def __init__(self, job: Job, part: Path, writing: Writing) -> None:
        self._job, self._wishes, self._scratch = job, writing.topics, job.target.parent
        self._bag = Bag(job.source)
        self._writer = BagWriter(self._bag, part, job.target)
        self._queue: deque[_Entry] = deque()
        self._bytes = 0
        self._indices: Counter[str] = Counter()
        self._plans: dict[tuple[str, str], TopicPlan] = {}
        self._written: Counter[str] = Counter()
        self.withheld, self.lost = 0, self._bag.lost
        self.notes: list[str] = [f"{job.source}: {note}." for note in self._bag.notes]
        self.warnings: list[str] = []
        self._first: Scan | None = None
        self.total = self._expect()

    def _expect(self) -> int:
        """Frames of the topics to be made anonymous; files that cannot be opened wait."""
        try:
            self._first = self._bag.open(0, scratch=self._scratch)
        except MediaError:
            if len(self._bag.files) == 1:
                raise
            return 0
        plans = self._bag.plan(self._first, self._wishes)
        return sum(plan.count for plan in plans.values() if plan.action == PROCESS)

    @property
    def facts(self) -> dict[str, Any]:
        """What became of each topic."""
        return {"topics": [
            {"topic": plan.topic, "type": plan.msgtype, "action": plan.action,
             "output": None if plan.action == DROP else plan.name,
             "messages": self._written[plan.topic],
             **({"reason": plan.reason} if plan.reason else {})}
            for plan in self._plans.values()]}

    def frames(self) -> Iterator[Frame]:
        """The images of all topics that are to be made anonymous."""
        for number, path in enumerate(self._bag.files):
            try:
                scan = self._first or self._bag.open(number, scratch=self._scratch)
            except MediaError as error:
                self._lose(f"{error}", self._bag.expected(path.name))
                self._writer.begin(path.name, "")
                continue
            self._first = None
            try:
                yield from self._file(number, path.name, scan)
            finally:
                scan.close()

    def _file(self, number: int, name: str, scan: Scan) -> Iterator[Frame]:
        self._writer.begin(name, scan.packing)
        plans: dict[int, TopicPlan] = {}
        read = 0
        for connection, stamp, data in scan.messages():
            read += 1
            if connection not in plans:
                self._learn(number, scan, plans)
            plan = plans.get(connection)
            if plan is None:
                self._lose(f"a message of no topic at {stamp} ns is left out.", 1)
            if plan is None or plan.action == DROP:
                continue
            try:
                data = self._bag.unpacked(data)
                image = None
                if plan.action == PROCESS:
                    image = image_in(data, plan.msgtype, ros1=self._bag.kind == "ros1")
                    pixels = image.frame()
            except (FrameError, zstd.ZstdError) as error:
                self.withheld += plan.action == PROCESS
                self._lose(f"a message of {plan.topic} at {stamp} ns is left out: {error}", 1,
                           plan.action != PROCESS)
                continue
            if image is None:
                self._add(_Entry(number, connection, stamp, len(data), data, plan.topic,
                                 plan.name))
                continue
            entry = _Entry(number, connection, stamp, len(data) + pixels.nbytes, None, plan.topic,
                           plan.name, image, settled=False)
            self._add(entry)
            index = self._indices[plan.name]
            self._indices[plan.name] += 1
            yield Frame(pixels, image.stamp_ns or stamp, index, plan.name, entry)
        self._learn(number, scan, plans)
        self._account(name, scan, read)

    def _learn(self, number: int, scan: Scan, plans: dict[int, TopicPlan]) -> None:
        """Take in the topics known by now; files that were cut off tell them as they go."""
        for key, plan in self._bag.plan(scan, self._wishes).items():
            if key in plans:
                continue
            plans[key] = plan
            known = self._plans.get((plan.topic, plan.msgtype))
            if known is None or known != plan:
                self._plans[plan.topic, plan.msgtype] = plan
                if plan.reason and plan.topic not in self._wishes.drop:
                    self.warnings.append(f"{self._job.source}: {plan.topic} is {plan.action}: "
                                         f"{plan.reason}")
            if plan.action != DROP:
                connection = next(c for c in scan.connections if c.id == key)
                self._writer.declare(number, connection, plan.name)

    def _account(self, name: str, scan: Scan, read: int) -> None:
        expected = self._bag.expected(name) or sum(scan.counts.values())
        for sentence in scan.damage.words:
            self.notes.append(f"{self._job.source}: {sentence}.")
        self.lost += scan.damage.pieces
        if expected > read:
            self.lost += expected - read
            self.notes.append(f"{self._job.source}: {expected - read} of {expected} messages of "
                              f"{name} could not be read.")
        elif scan.damage.pieces:
            self.notes.append(f"{self._job.source}: {read} messages of {name} were read.")

    def _lose(self, sentence: str, count: int, lost: bool = True) -> None:
        self.lost += max(count, 1) if lost else 0
        if len(self.notes) < 40:
            self.notes.append(f"{self._job.source}: {sentence}")

    def _add(self, entry: _Entry) -> None:
        self._queue.append(entry)
        self._bytes += entry.size
        self._drain()

    def take(self, frame: Frame, processed: Processed | None) -> None:
        """Put the covered pixels into the message; without them it is left out."""
        entry: _Entry = frame.token
        entry.settled = True
        if processed is not None and entry.image is not None:
            entry.data = entry.image.covered(processed.frame, processed.mask)
        entry.image = None
        self._drain()

    def urgent(self) -> tuple[str] | None:
        """The topic whose frame all others wait for, when they are too many."""
        if self._bytes > _MEMORY and self._queue and not self._queue[0].settled:
            head = self._queue[0]
            return (head.name,)
        return None

    def _drain(self) -> None:
        try:
            while self._queue and self._queue[0].settled:
                entry = self._queue.popleft()
                self._bytes -= entry.size
                if entry.data is not None:
                    self._writer.write(entry.number, entry.connection, entry.stamp, entry.data)
                    self._written[entry.topic] += 1
        except (OSError, WriterError1, WriterError2, apsw.Error) as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: Exception) -> MediaError:
        return MediaError(f"{self._job.target} could not be written "
                          f"({getattr(error, 'strerror', None) or error}); check the space left.")

    def finish(self) -> None:
        """Write what is left, indices and metadata.

        Raises:
            MediaError: nothing could be read at all.
        """
        if not self._written and self.lost:
            raise MediaError(f"{self._job.source} gave no message that could be written; check "
                             "it.")
        try:
            self._writer.finish()
        except (OSError, WriterError1, WriterError2, apsw.Error) as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        """Close everything."""
        if self._first is not None:
            self._first.close()
            self._first = None
        self._writer.abandon()


