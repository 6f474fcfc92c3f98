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
from deid_ros.media.bags.fields import BagImage
from deid_ros.media.bags.scan import Scan, zstd
from deid_ros.media.bags.signs import shown
from deid_ros.media.bags.verdicts import Decision, Verdicts, shows_pictures
from deid_ros.media.bags.video import Decoded, VideoPicture
from deid_ros.media.bags.video_topics import VideoOutput, VideoTopics
from deid_ros.media.bags.writer import BagWriter
from deid_ros.media.files import Job
from deid_ros.media.medium import Frame, Writing
from deid_ros.media.topics import DROP, TopicPlan
from deid_ros.pipeline import Processed

__all__ = ["BagMedium"]

# Bytes of messages and frames that wait, at most, for faces found later.
_MEMORY = 300e6
_SENTENCES = 3      # about messages of one topic; the rest is counted
_DECODED = 1.5      # of its pixels: the numbers that a picture of a video was decoded to
# Who has what a message waits for.
_DECODER, _STAGES, _ENCODER = "decoder", "stages", "encoder"


@dataclass(slots=True)
class _Entry:
    """A message in the queue; ``data`` None: its frame is on its way, ``waits`` where."""

    number: int                       # of the file
    connection: int
    stamp: int
    size: int
    data: bytes | None
    topic: str
    msgtype: str
    name: str                         # the topic in the output
    image: BagImage | None = None
    video: Decoded | None = None
    waits: str = ""

    @property
    def settled(self) -> bool:
        """Whether it can leave, or is left out."""
        return not self.waits

    def settle(self, data: bytes | None) -> None:
        """Its new bytes are there; None: it is left out."""
        self.data, self.image, self.video, self.waits = data, None, None, ""


class BagMedium:
    """A rosbag: every image topic is a stream of frames of its own.

    Messages leave in the order in which they came: those behind an image that waits
    for what later frames show wait with it, in bounded memory.
    """

    steady = True

    def __init__(self, job: Job, part: Path, writing: Writing) -> None:
        self._job, self._wishes, self._scratch = job, writing.topics, job.target.parent
        self._bag = Bag(job.source)
        self._writer = BagWriter(self._bag, part, job.target, marking=writing.marking)
        self._queue: deque[_Entry] = deque()
        self._bytes = 0
        self._indices: Counter[str] = Counter()
        self._verdicts = Verdicts(self._wishes, ros1=self._bag.kind == "ros1")
        self._written: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._declared: set[int] = set()
        self._extras: list[tuple[str, str]] = []
        self.withheld, self.lost = 0, self._bag.lost
        self.notes: list[str] = [f"{job.source}: {note}." for note in self._bag.notes]
        self.warnings: list[str] = []
        self._videos, self._crf = VideoTopics(gaps=self._bag.gaps), writing.crf
        self._outputs: dict[tuple[str, str], VideoOutput] = {}      # by name and type
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
        topics = {about.topic for about in self._first.connections
                  if self._verdicts.wanted(about) and shows_pictures(about)}
        return sum(self._bag.count(topic, self._first) for topic in topics)

    @property
    def facts(self) -> dict[str, Any]:
        """What became of each topic, and of what lies beside the topics."""
        return {"topics": [
            {"topic": shown(plan.topic), "type": shown(plan.msgtype), "modality": plan.modality,
             "action": plan.action, "output": None if plan.action == DROP else shown(plan.name),
             "messages": self._written[plan.topic], "left_out": plan.dropped,
             **({"reason": plan.reason} if plan.reason else {}),
             **self._codecs(plan)}
            for plan in self._verdicts.plans()],
            "beside_topics": [f"{kind} '{shown(name)}' is dropped" for kind, name in self._extras]}

    def _codecs(self, plan: TopicPlan) -> dict[str, Any]:
        output = self._outputs.get((plan.name, plan.msgtype))
        return {"codecs": dict(output.codecs)} if output else {}

    def frames(self) -> Iterator[Frame]:
        """The images of all topics that are to be made anonymous."""
        try:
            for number, path in enumerate(self._bag.files):
                try:
                    scan = self._first or self._bag.open(number, scratch=self._scratch)
                except MediaError as error:
                    self._lose(f"{error}", self._bag.expected(path.name))
                    self._writer.begin(path.name, "")
                    yield from self._decoded(self._videos.gap())
                    continue
                self._first = None
                try:
                    yield from self._file(number, path.name, scan)
                finally:
                    scan.close()
            yield from self._decoded(self._videos.flush())
        finally:
            self._tell()

    def _file(self, number: int, name: str, scan: Scan) -> Iterator[Frame]:
        self._writer.begin(name, scan.packing, scan.profile)
        self._declared.clear()
        read, met = 0, set()
        for connection, stamp, data in scan.messages():
            read += 1
            about = scan.by_id.get(connection)
            if about is None:
                self._lose(f"a message of no topic at {stamp} ns is left out.", 1)
                continue
            met.add(connection)
            yield from self._decoded(self._videos.watch(scan, stamp))
            try:
                data = self._bag.unpacked(data)
            except zstd.ZstdError as error:
                yield from self._decoded(self._videos.missed(about))
                self._verdicts.damaged(about, str(error))
                self._refuse(about, stamp, str(error))
                continue
            decision = self._verdicts.decide(about, data)
            if decision.video is not None:
                name = self._declare(number, about)
                entry = _Entry(number, about.id, stamp, len(data), None, about.topic,
                               about.msgtype, name, waits=_DECODER)
                self._add(entry)
                yield from self._decoded(self._videos.push(about, stamp, decision.video, entry))
                yield from self._hurry()
                continue
            yield from self._decoded(self._videos.missed(about))
            pixels = None
            if decision.image is not None:
                try:
                    pixels = decision.image.frame()
                except FrameError as error:
                    decision = self._verdicts.refuse(about, str(error))
            if decision.action == DROP:
                if decision.reason:
                    self._refuse(about, stamp, decision.reason)
                continue
            yield from self._hand_on(number, about, stamp, data, decision, pixels)
            yield from self._hurry()
        for about in scan.connections:
            # A topic without messages is a topic too.
            if about.id not in met and about.msgtype and self._verdicts.may_declare(about):
                self._declare(number, about)
        self._extras += [extra for extra in scan.extras if extra not in self._extras]
        self._account(name, scan, read)

    def _hand_on(self, number: int, about: Any, stamp: int, data: bytes, decision: Decision,
                 pixels: Any) -> Iterator[Frame]:
        """Queue a message; an image is yielded to be covered."""
        name = self._declare(number, about)
        if pixels is None or decision.image is None:
            self._add(_Entry(number, about.id, stamp, len(data), data, about.topic,
                             about.msgtype, name))
            return
        entry = _Entry(number, about.id, stamp, len(data) + pixels.nbytes, None, about.topic,
                       about.msgtype, name, decision.image, waits=_STAGES)
        self._add(entry)
        index = self._indices[name]
        self._indices[name] += 1
        yield Frame(pixels, decision.image.stamp_ns or stamp, index, name, entry)

    def _decoded(self, results: Iterator[tuple[Any, Decoded]]) -> Iterator[Frame]:
        """Pictures of videos are yielded to be covered; packets without one are left out."""
        for about, decoded in results:
            entry: _Entry = decoded.place
            if not isinstance(decoded.found, VideoPicture):
                entry.settle(None)
                self._verdicts.withhold(about, decoded.found)
                self._refuse(about, entry.stamp, decoded.found)
                self._drain()
                continue
            entry.video, entry.waits = decoded, _STAGES
            pixels = decoded.found.pixels
            more = int(pixels.nbytes * (1 + _DECODED))
            entry.size += more
            self._bytes += more
            index = self._indices[entry.name]
            self._indices[entry.name] += 1
            yield Frame(pixels, decoded.message.stamp_ns or entry.stamp, index, entry.name, entry)

    def _declare(self, number: int, about: Any) -> str:
        """The topic's name in the output, which is made known to the writer once a file."""
        name = self._wishes.names.get(about.topic, about.topic)
        if about.id not in self._declared:
            self._declared.add(about.id)
            self._writer.declare(number, about, name)
        return name

    def _refuse(self, about: Any, stamp: int, reason: str) -> None:
        """A message is left out; of images it is a frame that is withheld."""
        picture = shows_pictures(about)
        self.withheld += picture
        if picture and self._refused[about.topic] < _SENTENCES:
            self._lose(f"a message of {shown(about.topic)} at {stamp} ns is left out: {reason}", 1,
                       False)
        self._refused[about.topic] += 1

    def _tell(self) -> None:
        """Say of every topic what is left out, or kept unprocessed."""
        for plan in self._verdicts.plans():
            if plan.reason and plan.topic not in self._wishes.drop:
                word = f"is {plan.action}" if not plan.dropped or plan.action == DROP else (
                    f"is {plan.action} in part")
                self.warnings.append(f"{self._job.source}: {shown(plan.topic)} {word}: "
                                     f"{plan.reason}")
        if self._bag.info.get("custom_data"):
            self._extras.append(("custom_data", "metadata.yaml"))
        extras = [extra for extra in self._extras if extra[0] not in self._wishes.drop]
        if extras:
            names = ", ".join(f"{kind} '{shown(name)}'" for kind, name in extras[:_SENTENCES])
            self.notes.append(f"{self._job.source}: what lies beside the topics is dropped, it may "
                              f"show or name people: {names}; say --drop {extras[0][0]} where "
                              "that is as you want it.")
        unasked = self._verdicts.unasked
        if unasked:
            names = ", ".join(map(shown, unasked))[:200]
            self.notes.append(f"{self._job.source}: messages of {names} are left out; say --drop "
                              "TOPIC or --keep-unprocessed TOPIC where that is as you want it.")

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
        if entry.video is not None:
            self._encode(entry, entry.video, processed)
        elif processed is not None and entry.image is not None:
            entry.settle(entry.image.covered(processed.frame, processed.mask))
        else:
            entry.settle(None)
        self._drain()

    def _encode(self, entry: _Entry, decoded: Decoded, processed: Processed | None) -> None:
        output = self._outputs.setdefault((entry.name, entry.msgtype), VideoOutput(
            shown(entry.topic), crf=self._crf))
        if processed is None:
            output.skip(decoded)
            entry.settle(None)
            return
        entry.waits = _ENCODER
        known = len(output.codecs)
        for ready, data in output.cover(decoded, processed):
            ready.settle(data)
        if len(output.codecs) > known:
            before, after = list(output.codecs.items())[-1]
            if before != after:
                self.warnings.append(f"{self._job.source}: {shown(entry.topic)} was {before} and "
                                     f"becomes {after}, since there is no encoder for it.")

    def urgent(self) -> tuple[str] | None:
        """The topic whose frame all others wait for, when they are too many."""
        while self._bytes > _MEMORY and self._queue and not self._queue[0].settled:
            head = self._queue[0]
            if head.waits != _ENCODER:
                return (head.name,) if head.waits == _STAGES else None
            for ready, data in self._outputs[head.name, head.msgtype].finish():
                ready.settle(data)
            self._drain()
        return None

    def _hurry(self) -> Iterator[Frame]:
        """Have what a decoder holds back, when too much waits for it."""
        if self._bytes > _MEMORY and self._queue and self._queue[0].waits == _DECODER:
            yield from self._decoded(self._videos.drain(self._queue[0]))

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
        for output in self._outputs.values():
            for ready, data in output.finish():
                ready.settle(data)
        for entry in self._queue:
            if entry.waits:     # of a packet that gave no picture up to where reading ended
                entry.settle(None)
        self._drain()
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


