"""Videos: streamed frame by frame, timestamps kept, sound and metadata left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import Interpolation

from deid_ros.errors import MediaError
from deid_ros.media.behind import Behind
from deid_ros.media.changes import changes, lost_tracks, streams_of
from deid_ros.media.files import Job
from deid_ros.media.medium import Frame, Writing
from deid_ros.media.orientation import DisplayTurn
from deid_ros.media.tracks import Times, Tracks, track_name
from deid_ros.pipeline import Processed

__all__ = ["FULL", "SCALING", "SWS_MATRIX", "Colours", "VideoMedium", "VideoReader", "colours_of",
           "reason_of", "to_bgr"]

# Numbers of the specification (ITU-T H.273) and of FFmpeg's scaler for the matrices.
_BT709, _BT601, _LIMITED, FULL = 1, 6, 1, 2
SWS_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
# Without exact rounding every conversion makes a video a little darker.
# And without whole colours across (FULL_CHR_H_INT) FFmpeg's quick way takes a level more.
SCALING = (int(Interpolation.BILINEAR) | int(getattr(Interpolation, "ACCURATE_RND", 0x40000))
           | int(getattr(Interpolation, "FULL_CHR_H_INT", 0x2000)))


class Colours(NamedTuple):
    """Matrix and range of a video's colours, in the numbers of ITU-T H.273."""

    matrix: int
    range: int


class Shown(NamedTuple):
    """When a frame is shown, and for how long, in units of the input; ``decoded`` as it
    came, where its numbers are to stay."""

    pts: int
    duration: int
    decoded: av.VideoFrame | None


class VideoReader:
    """The frames of one of a video's picture streams, upright, one after another.

    Attributes:
        tracks: the indices of all its picture streams, in their order.
        size: width and height (px) of the upright frames.
        rate: average frames a second, for an encoder's book-keeping.
        time_base: seconds per unit of a frame's ``pts``.
        codec: the codec's name ('h264').
        count: frames expected, 0 where unknown.
        lost: packets that could not be decoded, so far.
        metadata: what the file says of itself.
        chapters: how many it has.
        has_alpha: whether there is transparency beside the pictures, which no decoder
            here reads.
        sound: the streams whose packets ``on_sound`` is called with, as they come.

    Args:
        track: index of the stream to read, by default the main one.
        on_sound: is given the packets of the sound; without, they are left alone.

    Raises:
        MediaError: there is no video in the file.
    """

    def __init__(self, path: Path, *, track: int | None = None,
                 on_sound: Callable[[Any], None] | None = None) -> None:
        self.path, self.lost, self._on_sound = path, 0, on_sound
        try:
            self._container = av.open(str(path))
        except (av.FFmpegError, OSError, ValueError, EOFError) as error:
            raise MediaError(f"{path} is no video that can be read ({reason_of(error)}); check the "
                             "file.") from None
        pictures = [s for s in self._container.streams.video if not _attached(s)]
        if not pictures:
            self._container.close()
            raise MediaError(f"{path} holds no video; check the file.")
        self.stream = self._container.streams.best("video")
        if self.stream not in pictures:
            self.stream = pictures[0]
        self.tracks = [stream.index for stream in pictures
                       if stream is self.stream or stream.codec_context is not None]
        if track is not None:
            self.stream = self._container.streams[track]
        self.stream.thread_type = "AUTO"
        self.sound = list(self._container.streams.audio) if on_sound else []
        self.metadata = dict(self._container.metadata)
        self.others = [s for s in self._container.streams if s is not self.stream]
        self.chapters = len(_chapters(self._container))
        self.has_alpha = self.stream.metadata.get("alpha_mode") == "1"
        codec = self.stream.codec_context.codec
        # The decoder may have a name of its own: libdav1d for av1.
        self.codec = getattr(codec, "canonical_name", codec.name)
        rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
        self.rate = Fraction(rate).limit_denominator(60000) if 1 <= rate <= 1000 else Fraction(25)
        self.time_base = self.stream.time_base or 1 / self.rate
        self.count = self.stream.frames
        if not self.count and self._container.duration:
            self.count = int(self._container.duration / av.time_base * self.rate)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __iter__(self) -> Iterator[tuple[np.ndarray, int, av.VideoFrame]]:
        """(BGR uint8 (H, W, 3) upright, pts in ``time_base``, the frame) by rising pts."""
        step = max(1, round(1 / (self.rate * self.time_base)))
        times = Times(step)
        for frame in self._decoded():
            pts = times.next(frame)
            pixels = to_bgr(frame, self.colours(frame))
            yield DisplayTurn(frame).upright(pixels), pts, frame

    def samples(self, count: int) -> Iterator[np.ndarray]:
        """Frames BGR uint8 (H, W, 3) from all over the video, at most ``count``."""
        length = self._container.duration or 0
        for number in range(count):
            if length and number:
                self._container.seek(int(length * number / count))
            for frame in self._decoded():
                pixels = to_bgr(frame, self.colours(frame))
                yield DisplayTurn(frame).upright(pixels)
                break

    def aspect(self, frame: av.VideoFrame) -> Fraction:
        """Width of an upright pixel by its height."""
        ratio = self.stream.sample_aspect_ratio or self.stream.codec_context.sample_aspect_ratio
        if not ratio or ratio <= 0:
            return Fraction(1)
        return 1 / Fraction(ratio) if DisplayTurn(frame).swapped else Fraction(ratio)

    def colours(self, frame: av.VideoFrame) -> Colours:
        """How a frame's numbers mean colours; what is not said is as players assume."""
        return colours_of(frame, self.stream.height)

    def _decoded(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self.stream, *self.sound)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (OSError, ValueError, EOFError):
                self.lost += 1  # the file ends in the middle of something
                packet = None
            if packet is not None and packet.stream is not self.stream:
                if packet.dts is not None:
                    self._on_sound(packet)
                continue
            if packet is not None and packet.is_corrupt:
                self.lost += 1
            try:
                yield from self.stream.decode(packet)
            except EOFError:
                return
            except (OSError, ValueError):
                self.lost += 1
            if packet is None:
                return


def colours_of(frame: av.VideoFrame, height: int) -> Colours:
    """How the numbers of a frame of a stream of this height (px) mean colours."""
    matrix = int(frame.colorspace)
    if matrix not in SWS_MATRIX:
        matrix = _BT709 if height >= 720 else _BT601
    full = int(frame.color_range) == FULL or frame.format.name.startswith("yuvj")
    return Colours(matrix, FULL if full else _LIMITED)


def to_bgr(frame: av.VideoFrame, colours: Colours) -> np.ndarray:
    """BGR uint8 (H, W, 3) of a decoded frame, as it came."""
    return frame.reformat(
        format="bgr24", src_colorspace=SWS_MATRIX[colours.matrix], src_color_range=colours.range,
        dst_color_range=FULL, interpolation=SCALING).to_ndarray()


def _chapters(container: Any) -> list[Any]:
    return container.chapters() if hasattr(container, "chapters") else []


def _attached(stream: Any) -> bool:
    """Whether a stream is a cover picture, which would show the old face."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def reason_of(error: Exception) -> str:
    """What FFmpeg or the system says is wrong."""
    return getattr(error, "strerror", None) or str(error)


class VideoMedium:
    """A video: its frames keep their times, its sound stays behind unless asked for.

    Each track of pictures is a stream of frames of its own.
    """

    steady, withheld = True, 0

    def __init__(self, job: Job, part: Path, writing: Writing) -> None:
        self._job, self._part, self._writing = job, part, writing
        self._waiting: list[Any] = []       # sound that came before the first picture
        self._writers: list[Any] = []       # one for each track, None where it has no picture
        self._behind = Behind("writer")
        self._written = self._lost_after = 0
        self._reader = VideoReader(job.source,
                                   on_sound=self._hear if writing.keep_audio else None)
        self._readers = [self._reader]
        main = self._reader.stream.index
        try:
            self._readers = [self._reader if index == main else VideoReader(
                job.source, track=index) for index in self._reader.tracks]
        except MediaError:
            self._reader.close()
            raise
        self._main = self._readers.index(self._reader)
        self._empty = 0
        self._streams = streams_of(self._reader)
        self.total = sum(reader.count for reader in self._readers)
        self.warnings: list[str] = []
        self.facts: dict[str, Any] = {
            "sound": "encoded again" if self._reader.sound else "none left"}

    @property
    def lost(self) -> int:
        """Packets that could not be decoded, and tracks without any picture."""
        return self._empty + sum(reader.lost for reader in self._readers) + self._lost_sound

    @property
    def _lost_sound(self) -> int:
        writer = self._writers[self._main] if self._writers else None
        return writer.lost if writer is not None else self._lost_after

    @property
    def notes(self) -> list[str]:
        """What was lost, in words."""
        damaged = self.lost - self._empty
        lost = [f"{damaged} damaged packets of {self._job.source} could not be read; "
                f"{self._written} frames were written."] if damaged else []
        if self._empty:
            lost.append(f"{self._empty} tracks of {self._job.source} gave no picture, nothing of "
                        "them was written.")
        return lost + [f"{self._job.source}: {sentence}" for sentence in lost_tracks(self._streams)]

    def frames(self) -> Iterator[Frame]:
        """The frames of all tracks, upright, by rising times."""
        tracks = Tracks(self._readers)
        self._open(tracks)
        sizes = [head and head[0].shape[1::-1] for head in tracks.heads]
        counts = [0] * len(self._readers)
        for number, (pixels, pts, frame) in tracks:
            index, counts[number] = counts[number], counts[number] + 1
            shape = pixels.shape[1::-1]
            if shape != sizes[number]:
                raise MediaError(f"{self._job.source} changes its size from {sizes[number]} to "
                                 f"{shape} at frame {index}; split it there first.")
            # Time begins with the video, whatever its first stamp; 0 means unknown.
            stamp = max(1, round(pts * self._readers[number].time_base * 1_000_000_000))
            yield Frame(pixels, stamp, index, track_name(number, len(self._readers)), (
                number, Shown(pts, frame.duration or 0,
                              frame if self._writers[number].restores else None)))

    def _open(self, tracks: Tracks) -> None:
        from deid_ros.media.video_writer import VideoWriter

        if not any(tracks.heads):
            return
        first = None
        for reader, head in zip(self._readers, tracks.heads, strict=True):
            writer = None
            if head is None:
                self._empty += 1
            else:
                pixels, _, frame = head
                writer = VideoWriter(self._part, suffix=self._job.target.suffix, reader=reader,
                                     size=pixels.shape[1::-1], first=frame,
                                     writing=self._writing, beside=first)
                first = first or writer
                self.warnings += [f"{self._job.source}: {sentence}" for sentence in changes(
                    reader, self._streams if reader is self._reader else [], frame,
                    writer.pixel_format, interlaced=writer.interlaced)]
            self._writers.append(writer)
        main = self._writers[self._main] or first
        self.facts["codec"] = main.codec
        self.facts["streams"] = self._streams
        for packet in self._waiting:
            self._hear(packet)
        self._waiting.clear()

    def _hear(self, packet: Any) -> None:
        if not self._writers:
            self._waiting.append(packet)
            return
        writer = self._writers[self._main]
        if writer is None:
            return      # without its pictures
        with self._explained():
            self._behind.do(writer.copy, packet)

    def take(self, frame: Frame, processed: Processed | None) -> None:
        """Write a frame at its time, or leave it out.

        Frames are encoded while the next are covered; what goes wrong is told with one of
        these, or at the end.
        """
        if processed is not None:
            number, shown = frame.token
            with self._explained():
                self._behind.do(self._writers[number].write, processed.frame, shown,
                                self._readers[number].time_base, processed.mask)
            self._written += 1

    def urgent(self) -> None:
        """The queue of ``LookBack`` is bound enough."""

    def finish(self) -> None:
        """Write what the encoder still holds, and the index.

        Raises:
            MediaError: no frame was written, or there is no space left.
        """
        if not self._written:
            raise MediaError(f"{self._job.source} gave no frame that could be written; check the "
                             "file.")
        with self._explained():
            self._behind.finish()
            # The first one closes the file.
            for writer in filter(None, reversed(self._writers)):
                writer.close()
        self._lost_after = self._lost_sound
        self._writers = []

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            raise MediaError(f"{self._job.target} could not be written ({reason_of(error)}); check "
                             "the space left, or name the output file .mp4 or .mkv with "
                             "-o.") from None

    def close(self) -> None:
        """Close both files."""
        self._behind.close()
        for writer in filter(None, reversed(self._writers)):
            writer.abandon()
        for reader in self._readers:
            reader.close()
