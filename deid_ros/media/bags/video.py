"""Streams of video packets: decoded as they come, and encoded so that each is whole at once.

What is decoded is matched to its packet by number, whatever a decoder holds back. What is
encoded has no B-frames, so that the packets of a topic are in the order of their pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.codec.context import Flags
from av.video.frame import PictureType

from deid_ros.errors import MediaError
from deid_ros.media.bags.packets import VideoMessage
from deid_ros.media.orientation import DisplayTurn
from deid_ros.media.video_writer import (
    ENCODERS,
    QUALITY,
    can_encode,
    converted,
    pixel_format,
    restored,
)
from deid_ros.media.videos import Colours, colours_of, reason_of, to_bgr
from deid_ros.messages import MAX_PIXELS
from deid_ros.pipeline import Processed

__all__ = ["Decoded", "VideoDecoder", "VideoEncoder", "VideoPicture"]

_LATE = 32          # packets that a picture can come after its own; standards allow 16
_RATE = 30          # pictures a second, which encoders want to be told
_ELSE = ("libx264", "libopenh264")
_DECODERS = {"av1": ("libdav1d", "libaom-av1", "av1")}
# One packet for each picture, at once; key frames only where they are asked for.
_AT_ONCE = {
    "libx264": {"tune": "zerolatency", "forced-idr": "1",
                "x264-params": "mbtree=0:bframes=0:keyint=infinite:scenecut=0:sliced-threads=0"},
    "libx265": {"tune": "zerolatency", "forced-idr": "1",
                "x265-params": "log-level=error:pools=none:frame-threads=1:bframes=0:keyint=-1"
                               ":scenecut=0:repeat-headers=1"},
    "libvpx-vp9": {"lag-in-frames": "0", "auto-alt-ref": "0"},
    "libsvtav1": {"preset": "9",
                  "svtav1-params": "pred-struct=1:lookahead=0:keyint=-1:scd=0:lp=1"},
    "libaom-av1": {"usage": "realtime", "cpu-used": "8", "lag-in-frames": "0", "crf": "26"}}

_NO_BEGIN = "it comes before the first key frame, from which alone a video can be read"
_DAMAGED = "it is damaged, or holds no picture"
_AFTER = "it follows something damaged or missing, before the next key frame"
_NOTHING = "it gives no picture"
_PAUSED = "it follows a pause of a video with B-frames, before the next key frame"


class VideoPicture:
    """One picture of a stream.

    Attributes:
        key: whether it was a key frame.
        pixels: BGR uint8 (H, W, 3), upright.
    """

    __slots__ = ("colours", "decoded", "key", "pixels")

    def __init__(self, decoded: av.VideoFrame) -> None:
        self.decoded, self.key = decoded, bool(decoded.key_frame)
        self.colours: Colours = colours_of(decoded, decoded.height)
        self.pixels: np.ndarray = DisplayTurn(decoded).upright(to_bgr(decoded, self.colours))


class Decoded(NamedTuple):
    """What became of a packet: its picture, or why there is none.

    ``place`` where what comes of it is to stand.
    """

    place: Any
    message: VideoMessage
    found: VideoPicture | str


class VideoDecoder:
    """The pictures of the packets of one topic.

    A packet that is damaged or missing costs those up to the next key frame: they would show
    what nobody sent. Where a stream has B-frames its pictures come in the order in which they
    are shown, and take the places of the packets in that order.
    """

    def __init__(self) -> None:
        self._context: Any = None
        self._codec, self._count = "", 0
        self._messages: dict[int, VideoMessage] = {}    # by number, of those that wait
        self._places: dict[int, Any] = {}
        self._wait = _NO_BEGIN      # for a key frame, and why; '' when there was one

    def push(self, message: VideoMessage, place: Any = None) -> Iterator[Decoded]:
        """Take the next packet; give what became of it, and of earlier ones."""
        if message.codec != self._codec:
            yield from self.flush()
            self._context, self._codec = _decoder(message.codec), message.codec
        number, self._count = self._count, self._count + 1
        self._messages[number], self._places[number] = message, place
        try:
            # To give none means the end.
            if not message.packet:
                raise ValueError
            packet = av.Packet(message.packet)
            packet.pts = packet.dts = number
            frames = self._context.decode(packet)
        except (OSError, ValueError, EOFError, av.FFmpegError):
            yield from self.broken(_DAMAGED)
            return
        yield from self._matched(frames)
        yield from self._lost(_NOTHING, self._count - _LATE)

    def _matched(self, frames: list[av.VideoFrame]) -> Iterator[Decoded]:
        for frame in frames:
            number = frame.pts
            if number not in self._messages:
                continue        # a second picture of one packet
            if not self._context.has_b_frames:
                yield from self._lost(self._wait or _NOTHING, number)
            if frame.is_corrupt:
                self._wait = self._wait or _AFTER
            elif frame.key_frame:
                self._wait = ""
            found: VideoPicture | str = self._wait
            if not found:
                try:
                    found = VideoPicture(frame)
                except (OSError, ValueError, av.FFmpegError) as error:
                    found = f"its picture cannot be read ({reason_of(error)})"
            place = self._places.pop(next(iter(self._places)))
            yield Decoded(place, self._messages.pop(number), found)

    def _lost(self, reason: str, before: int) -> Iterator[Decoded]:
        """Give up what waits and has a number below ``before``."""
        for number in [number for number in self._messages if number < before]:
            # Where pictures changed places, another one is as good.
            at = number if number in self._places else next(iter(self._places))
            yield Decoded(self._places.pop(at), self._messages.pop(number), reason)

    def broken(self, reason: str = _AFTER) -> Iterator[Decoded]:
        """Something is damaged or missing here: give up what waits, up to a key frame."""
        if self._context is not None:
            self._context.flush_buffers()
        yield from self._lost(self._wait or reason, self._count)
        self._wait = self._wait or _AFTER

    @property
    def waits(self) -> bool:
        """Whether packets wait for their pictures."""
        return bool(self._messages)

    def drain(self) -> Iterator[Decoded]:
        """What became of the packets that still wait; the next one must be a key frame."""
        if self._context is None:
            return
        try:
            frames = self._context.decode(None)
        except (OSError, ValueError, EOFError, av.FFmpegError):
            frames = []
        yield from self._matched(frames)
        yield from self._lost(self._wait or _NOTHING, self._count)
        self._context.flush_buffers()
        self._wait = self._wait or _PAUSED

    def flush(self) -> Iterator[Decoded]:
        """What became of the packets that still wait, when there are no more."""
        yield from self.drain()
        self._context, self._codec, self._wait = None, "", _NO_BEGIN


def _decoder(codec: str) -> Any:
    for name in _DECODERS.get(codec, (codec,)):
        try:
            context = av.CodecContext.create(name, "r")
        except (ValueError, OSError, av.FFmpegError):
            continue
        context.flags |= Flags.low_delay
        # Decoders that work on several frames at a time give them late.
        context.thread_type, context.thread_count = "SLICE", 1
        context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
        return context
    raise MediaError(f"This PyAV has no decoder for {codec}; install another one, or --drop the "
                     "topic.")


class VideoEncoder:
    """Encodes the covered pictures of one topic, in the codec in which they came.

    Args:
        codec: as FFmpeg calls it; H.264 stands in where there is no encoder for it.
        first: the first picture.
        crf: quality, None for a good one.

    Raises:
        MediaError: no encoder takes such pictures.

    Attributes:
        codec: in which it encodes.
    """

    def __init__(self, codec: str, first: VideoPicture, *, crf: float | None = None) -> None:
        self.asked, self._first, self._crf = codec, first, crf
        self.size = first.pixels.shape[1], first.pixels.shape[0]
        self._count, self._sent = 0, dict[int, Any]()
        self._context: Any = None
        for name in (*ENCODERS.get(codec, ()), *_ELSE):
            if not can_encode(name):
                continue
            try:
                self._context = self._open(name)
            except (ValueError, OSError, av.FFmpegError):
                continue
            self.codec = codec if name in ENCODERS.get(codec, ()) else "h264"
            break
        if self._context is None:
            raise MediaError(f"No video in {codec} of {self.size[0]}x{self.size[1]} pixels can be "
                             "written; --drop its topic.")

    def _open(self, name: str) -> Any:
        width, height = self.size
        even = width % 2 == 0 and height % 2 == 0
        decoded = self._first.decoded
        self._form = pixel_format(name, even, decoded.format, DisplayTurn(decoded).swapped)
        # Numbers stay outside of the covers where none is lost by it.
        self._restores = self._form.endswith(("p10le", "p12le")) or (
            even and decoded.format.name == self._form)
        context = av.CodecContext.create(name, "w")
        context.width, context.height, context.pix_fmt = width, height, self._form
        context.time_base, context.framerate = Fraction(1, _RATE), Fraction(_RATE)
        context.thread_count, context.max_b_frames, context.gop_size = 1, 0, 1 << 20
        context.colorspace, context.color_range = self._first.colours
        context.color_primaries, context.color_trc = decoded.color_primaries, decoded.color_trc
        options = {**QUALITY.get(name, {}), **_AT_ONCE.get(name, {})}
        if self._crf is not None:
            options["crf"] = f"{self._crf:g}"
        if name == "libvpx-vp9" and self._form.endswith(("p10le", "p12le")):
            options["profile"] = "2" if "420" in self._form else "3"
        if name == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")    # errors alone
        context.options = options
        context.open()
        return context

    def takes(self, codec: str, picture: VideoPicture) -> bool:
        """Whether a picture can follow the last one in the same stream."""
        return (self.asked == codec and self.size == picture.pixels.shape[1::-1]
                and self._first.colours == picture.colours
                and self._first.decoded.format.name == picture.decoded.format.name)

    def encode(self, processed: Processed, picture: VideoPicture, *, key: bool,
               token: Any) -> Iterator[tuple[Any, bytes, bool]]:
        """Encode a covered picture; give what is ready: its token, packet, whether it is a key
        frame."""
        if self._restores:
            frame = restored(processed.frame, picture.decoded, processed.mask, self._form,
                             picture.colours)
        else:
            frame = converted(processed.frame, self._form, picture.colours)
        frame.pts, frame.time_base = self._count, Fraction(1, _RATE)
        frame.pict_type = PictureType.I if key else PictureType.NONE
        self._sent[self._count] = token
        self._count += 1
        yield from self._packets(frame)

    def finish(self) -> Iterator[tuple[Any, bytes, bool]]:
        """What the encoder still holds; nothing can be encoded afterwards."""
        yield from self._packets(None)

    def _packets(self, frame: av.VideoFrame | None) -> Iterator[tuple[Any, bytes, bool]]:
        for packet in self._context.encode(frame):
            yield self._sent.pop(packet.pts), bytes(packet), bool(packet.is_keyframe)
