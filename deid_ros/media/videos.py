"""Videos: streamed frame by frame, timestamps kept, sound and metadata left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import Interpolation

from deid_ros.errors import DeidError, MediaError
from deid_ros.media.files import Job, whole
from deid_ros.media.lookback import LookBack
from deid_ros.media.outcome import Outcome
from deid_ros.pipeline import Pipeline, Processed

__all__ = ["VideoReader", "VideoWriter", "process_video"]

# Container by the end of the name, where FFmpeg's own guess needs a name.
_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm",
               ".avi": "avi", ".mpg": "mpeg", ".mpeg": "mpeg", ".ts": "mpegts", ".mts": "mpegts",
               ".m2ts": "mpegts", ".ogv": "ogg", ".3gp": "3gp", ".flv": "flv"}
# Encoders by the input's codec, the wanted one first. H.264 stands in for the rest.
_ENCODERS = {"h264": ("libx264",), "hevc": ("libx265",), "vp8": ("libvpx",),
             "vp9": ("libvpx-vp9",), "av1": ("libsvtav1", "libaom-av1"), "mpeg4": ("mpeg4",),
             "mpeg2video": ("mpeg2video",), "mpeg1video": ("mpeg1video",), "mjpeg": ("mjpeg",),
             "ffv1": ("ffv1",)}
_ELSE = ("libx264", "libopenh264", "mpeg4")
# What containers insist on.
_ONLY = {"webm": ("libvpx-vp9", "libsvtav1", "libvpx"), "ogg": ("libtheora",),
         "mpeg": ("mpeg2video", "mpeg1video")}
# Visually close to the input at a bearable size, and quick.
_QUALITY = {"libx264": {"crf": "18", "preset": "veryfast"},
            "libx265": {"crf": "20", "preset": "veryfast", "x265-params": "log-level=error"},
            "libvpx-vp9": {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6"},
            "libvpx": {"crf": "10", "b": "4M", "deadline": "realtime", "cpu-used": "6"},
            "libsvtav1": {"crf": "26", "preset": "10"}}

# Numbers of the specification (ITU-T H.273) and of FFmpeg's scaler for the matrices.
_BT709, _BT601, _LIMITED, _FULL = 1, 6, 1, 2
_SWS_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
# Without exact rounding every conversion makes a video a little darker.
_SCALING = int(Interpolation.BILINEAR) | int(getattr(Interpolation, "ACCURATE_RND", 0x40000))


class Colours(NamedTuple):
    """Matrix and range of a video's colours, in the numbers of ITU-T H.273."""

    matrix: int
    range: int


class VideoReader:
    """The frames of a video's main picture stream, upright, one after another.

    Attributes:
        size: width and height (px) of the upright frames.
        rate: average frames a second, for an encoder's book-keeping.
        time_base: seconds per unit of a frame's ``pts``.
        codec: the codec's name ('h264').
        count: frames expected, 0 where unknown.
        lost: packets that could not be decoded, so far.

    Raises:
        MediaError: there is no video in the file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lost = path, 0
        try:
            self._container = av.open(str(path))
        except (OSError, ValueError) as error:
            raise MediaError(f"{path} is no video that can be read ({_reason(error)}); check the "
                             "file.") from None
        pictures = [s for s in self._container.streams.video if not _attached(s)]
        if not pictures:
            self._container.close()
            raise MediaError(f"{path} holds no video; check the file.")
        self.stream = self._container.streams.best("video")
        if self.stream not in pictures:
            self.stream = pictures[0]
        self.stream.thread_type = "AUTO"
        self.others = [s for s in self._container.streams if s is not self.stream]
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
        self._container.close()

    def __iter__(self) -> Iterator[tuple[np.ndarray, int, av.VideoFrame]]:
        """(BGR uint8 (H, W, 3) upright, pts in ``time_base``, the frame) by rising pts."""
        step = max(1, round(1 / (self.rate * self.time_base)))
        times = _Times(step)
        for frame in self._decoded():
            pts = times.next(frame)
            pixels = _to_bgr(frame, self.colours(frame))
            turns = round(frame.rotation / 90) % 4
            if turns:
                # FFmpeg's rotation is what turns the frame upright, anticlockwise.
                pixels = np.ascontiguousarray(np.rot90(pixels, turns))
            yield pixels, pts, frame

    def colours(self, frame: av.VideoFrame) -> Colours:
        """How a frame's numbers mean colours; what is not said is as players assume."""
        matrix = int(frame.colorspace)
        if matrix not in _SWS_MATRIX:
            matrix = _BT709 if self.stream.height >= 720 else _BT601
        full = int(frame.color_range) == _FULL or frame.format.name.startswith("yuvj")
        return Colours(matrix, _FULL if full else _LIMITED)

    def _decoded(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (OSError, ValueError):
                self.lost += 1  # the file ends in the middle of something
                packet = None
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


class _Times:
    """The time of each frame, where a container gives wrong ones or none.

    As FFmpeg's own best effort: of presentation and decoding stamps those that
    went backwards less often. AVI, for one, has no presentation stamps.
    """

    def __init__(self, step: int) -> None:
        self._step, self._last = step, None
        self._pts, self._dts, self._bad_pts, self._bad_dts = -(1 << 62), -(1 << 62), 0, 0

    def next(self, frame: av.VideoFrame) -> int:
        pts, dts = frame.pts, frame.dts
        if dts is not None:
            self._bad_dts += dts <= self._dts
            self._dts = dts
        if pts is not None:
            self._bad_pts += pts <= self._pts
            self._pts = pts
        chosen = pts if pts is not None and (dts is None or self._bad_pts <= self._bad_dts) else dts
        if self._last is not None:
            chosen = self._last + self._step if chosen is None else max(chosen, self._last + 1)
        self._last = chosen or 0
        return self._last


def _to_bgr(frame: av.VideoFrame, colours: Colours) -> np.ndarray:
    return frame.reformat(
        format="bgr24", src_colorspace=_SWS_MATRIX[colours.matrix], src_color_range=colours.range,
        dst_color_range=_FULL, interpolation=_SCALING).to_ndarray()


def _attached(stream: Any) -> bool:
    """Whether a stream is a cover picture, which would show the old face."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


class VideoWriter:
    """A video with one picture stream and nothing else.

    Args:
        path: file to write, whatever its name ends with.
        suffix: what a video of this kind ends with ('.mp4').
        reader: the input, whose codec, rate and colours are kept.
        size: width and height of the frames (px).
        first: the input's first frame.

    Raises:
        MediaError: there is no encoder for it.
    """

    def __init__(self, path: Path, *, suffix: str, reader: VideoReader,
                 size: tuple[int, int], first: av.VideoFrame) -> None:
        container = _CONTAINERS.get(suffix.lower())
        if container is None:
            raise MediaError(f"Videos that end in '{suffix}' are not written; name the output "
                             "file .mp4 with -o.")
        codec = _encoder(reader.codec, container)
        try:
            self._container = av.open(str(path), "w", format=container)
            options = dict(_QUALITY.get(codec, {}))
            if container == "avi":
                options["bf"] = "0"  # it cannot say in which order frames are shown
            self._stream = self._container.add_stream(codec, rate=reader.rate, options=options)
        except (OSError, ValueError) as error:
            raise MediaError(f"No video can be written with {codec} in {container} "
                             f"({_reason(error)}); name the output file .mp4 or .mkv with "
                             "-o.") from None
        context = self._stream.codec_context
        self._stream.width, self._stream.height = size
        # Half the colours need whole pairs of pixels.
        even = size[0] % 2 == 0 and size[1] % 2 == 0
        self._format = _pixel_format(codec, even)
        self._stream.pix_fmt = self._format
        if codec in ("mpeg4", "mjpeg", "mpeg2video", "mpeg1video"):
            # Nearly without loss; these have no other measure of quality.
            context.qmin, context.qmax = 2, 4
            context.bit_rate = 8 * size[0] * size[1] * 3
        self._time_base = reader.time_base
        if codec in ("mpeg4", "mpeg2video", "mpeg1video"):
            # They count time in frames, in 16 bits.
            self._time_base = 1 / reader.rate
        context.time_base = self._time_base
        self._stream.time_base = self._time_base
        self._colours = reader.colours(first)
        context.colorspace, context.color_range = self._colours.matrix, self._colours.range
        context.color_primaries = reader.stream.codec_context.color_primaries
        context.color_trc = reader.stream.codec_context.color_trc
        self._last = -1

    def write(self, pixels: np.ndarray, pts: int, time_base: Fraction) -> None:
        """Append BGR uint8 (H, W, 3) at a time of ``pts * time_base`` seconds."""
        frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
        frame = frame.reformat(
            format=self._format, src_color_range=_FULL, interpolation=_SCALING,
            dst_colorspace=_SWS_MATRIX[self._colours.matrix],
            dst_color_range=self._colours.range)
        pts = round(pts * time_base / self._time_base)
        frame.pts, frame.time_base = max(pts, self._last + 1), self._time_base
        self._last = frame.pts
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the encoder still holds, and the index."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Close without caring what becomes of the file."""
        with contextlib.suppress(Exception):
            self._container.close()


def _encoder(codec: str, container: str) -> str:
    wanted = (*_ENCODERS.get(codec, ()), *_ELSE)
    if container in _ONLY:
        only = _ONLY[container]
        wanted = (*(name for name in wanted if name in only), *only)
    for name in wanted:
        if name in av.codecs_available and _can_encode(name):
            return name
    raise MediaError(f"This PyAV has no encoder for {codec} in {container}; name the output file "
                     ".mp4 with -o.")


def _can_encode(name: str) -> bool:
    try:
        av.codec.Codec(name, "w")
        return True
    except (ValueError, OSError):
        return False


def _pixel_format(codec: str, even: bool) -> str:
    if codec == "mjpeg":
        return "yuvj420p" if even else "yuvj444p"
    if codec == "ffv1":
        return "bgr0"
    return "yuv420p" if even or codec == "mpeg4" else "yuv444p"


def process_video(job: Job, pipeline: Pipeline, *, overwrite: bool = False,
                  limit: int | None = None,
                  progress: Callable[[int, int], None] | None = None) -> Outcome:
    """Make one video anonymous.

    A face that appears is also covered in the ``carry_frames`` frames before.

    Args:
        limit: stop after so many frames.
        progress: called with frames done and frames expected (0: unknown).

    Raises:
        MediaError: nothing could be read or written; there is no output then.
    """
    outcome = Outcome()
    pipeline.reset(stream=job.name)
    ahead = LookBack(pipeline, frames=pipeline.config["detector"]["carry_frames"])
    with VideoReader(job.source) as reader, whole(job.target, overwrite=overwrite) as part:
        total = min(reader.count, limit) if limit and reader.count else (limit or reader.count)
        writer: VideoWriter | None = None
        size: tuple[int, int] | None = None
        try:
            for index, (pixels, pts, frame) in enumerate(reader):
                if limit is not None and index >= limit:
                    break
                shape = pixels.shape[1], pixels.shape[0]
                if writer is None:
                    size = shape
                    writer = VideoWriter(part, suffix=job.target.suffix, reader=reader, size=size,
                                         first=frame)
                if shape != size:
                    raise MediaError(f"{job.source} changes its size from {size} to {shape} at "
                                     f"frame {index}; split it there first.")
                # Time begins with the video, whatever its first stamp.
                _write(ahead.push(pixels, stamp_ns=_ns(pts, reader.time_base), token=pts),
                       writer, reader, outcome)
                if progress:
                    progress(index + 1, total)
            _write(ahead.flush(), writer, reader, outcome)
            outcome.lost = reader.lost
            if not outcome.frames:
                raise MediaError(f"{job.source} gave no frame that could be written; check the "
                                 "file." + "".join(f" {p}" for p in outcome.problems))
            writer.close()
            writer = None
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"{job.target} could not be written ({_reason(error)}); check the "
                             "space left, or name the output file .mp4 with -o.") from None
        finally:
            if writer is not None:
                writer.abandon()
    if outcome.lost:
        outcome.note(f"{outcome.lost} damaged packets of {job.source} could not be read; "
                     f"{outcome.frames} frames were written.")
    return outcome


def _write(leaving: Iterable[tuple[int, Processed | DeidError]], writer: VideoWriter | None,
           reader: VideoReader, outcome: Outcome) -> None:
    """Write the frames that leave with their pts; leave out those that must not."""
    for pts, processed in leaving:
        if isinstance(processed, DeidError):
            outcome.withheld += 1
            outcome.note(str(processed))
        elif writer is not None:
            writer.write(processed.frame, pts, reader.time_base)
            outcome.add(processed)


def _ns(pts: int, time_base: Fraction) -> int:
    return max(1, round(pts * time_base * 1_000_000_000))
