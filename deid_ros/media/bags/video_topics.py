"""The video topics of a bag: a decoder for each, and an encoder for what leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av

from deid_ros.errors import MediaError
from deid_ros.media.bags.packets import VideoMessage
from deid_ros.media.bags.scan import Scan
from deid_ros.media.bags.video import Decoded, VideoDecoder, VideoEncoder, VideoPicture
from deid_ros.media.videos import reason_of
from deid_ros.pipeline import Processed

__all__ = ["VideoOutput", "VideoTopics"]

#: A topic's connection, and what became of one of its packets.
_Result = tuple[Any, Decoded]

# ns without a packet, after which what a decoder holds back is asked for: everything
# behind it in the bag waits for it.
_PAUSE = 2_000_000_000


class VideoTopics:
    """The decoders of a bag. What is read with them depends on the bag alone.

    Args:
        gaps: whether files of the bag are missing, nobody knows how many between two others.
    """

    def __init__(self, *, gaps: bool) -> None:
        self._gaps = gaps
        self._decoders: dict[tuple[str, str], tuple[Any, VideoDecoder]] = {}
        self._heard: dict[tuple[str, str], int] = {}        # ns
        self._scan: Scan | None = None
        self._damage = 0

    def push(self, about: Any, stamp: int, message: VideoMessage,
             place: Any = None) -> Iterator[_Result]:
        """Decode the next packet of a connection, with its time in the bag (ns)."""
        key = about.topic, about.msgtype
        self._heard[key] = stamp
        if key not in self._decoders:
            self._decoders[key] = about, VideoDecoder()
        for result in self._decoders[key][1].push(message, place):
            yield about, result

    def missed(self, about: Any) -> Iterator[_Result]:
        """A packet of a connection cannot be read: those that follow it show too little."""
        known = self._decoders.get((about.topic, about.msgtype))
        if known is not None:
            for result in known[1].broken():
                yield about, result

    def watch(self, scan: Scan, stamp: int) -> Iterator[_Result]:
        """To be called before every message, with its time in the bag (ns).

        Where the file is damaged, packets are missing; where none comes, none is waited for.
        """
        for key, (about, decoder) in self._decoders.items():
            if decoder.waits and stamp > self._heard[key] + _PAUSE:
                yield from self.drain(about)
        if scan is not self._scan:
            self._scan, self._damage = scan, 0
            if self._gaps:
                yield from self.gap()
        if scan.damage.pieces > self._damage:
            self._damage = scan.damage.pieces
            yield from self.gap()

    def drain(self, about: Any) -> Iterator[_Result]:
        """What became of the packets of a connection that wait; a key frame must come next."""
        for result in self._decoders[about.topic, about.msgtype][1].drain():
            yield about, result

    def gap(self) -> Iterator[_Result]:
        """Packets of any topic may be missing here."""
        for about, decoder in self._decoders.values():
            for result in decoder.broken():
                yield about, result

    def flush(self) -> Iterator[_Result]:
        """What became of the packets that still wait, when there are no more."""
        for about, decoder in self._decoders.values():
            for result in decoder.flush():
                yield about, result


class VideoOutput:
    """Writes the covered pictures of one topic into its messages.

    Args:
        topic: for errors.
        crf: quality, None for a good one.
    """

    def __init__(self, topic: str, *, crf: float | None = None) -> None:
        self._topic, self._crf = topic, crf
        self._encoder: VideoEncoder | None = None
        self._owed = False      # a key frame, since the last one was withheld
        #: Codec of the input -> codec of the output.
        self.codecs: dict[str, str] = {}

    def cover(self, decoded: Decoded, processed: Processed) -> Iterator[tuple[Any, bytes]]:
        """Encode a covered picture; give what is ready: its place and its message.

        Raises:
            MediaError: it cannot be encoded.
        """
        picture = decoded.found
        assert isinstance(picture, VideoPicture)
        codec = decoded.message.codec
        try:
            if self._encoder is None or not self._encoder.takes(codec, picture):
                yield from self.finish()
                self._encoder = VideoEncoder(codec, picture, crf=self._crf)
                self.codecs[codec] = self._encoder.codec
            key, self._owed = picture.key or self._owed, False
            yield from self._packed(self._encoder.encode(processed, picture, key=key,
                                                         token=decoded))
        except (OSError, ValueError, av.FFmpegError) as error:
            raise self._unwritable(error) from None

    def skip(self, decoded: Decoded) -> None:
        """A picture is withheld; where it was a key frame, the next becomes one."""
        self._owed |= isinstance(decoded.found, VideoPicture) and decoded.found.key

    def finish(self) -> Iterator[tuple[Any, bytes]]:
        """What the encoder still holds; the next picture is a key frame.

        Raises:
            MediaError: it cannot be encoded.
        """
        if self._encoder is None:
            return
        try:
            yield from self._packed(self._encoder.finish())
        except (OSError, ValueError, av.FFmpegError) as error:
            raise self._unwritable(error) from None
        self._encoder = None

    def _packed(self, packets: Iterator[tuple[Any, bytes, bool]]) -> Iterator[tuple[Any, bytes]]:
        assert self._encoder is not None
        for decoded, packet, key in packets:
            yield decoded.place, decoded.message.with_packet(
                packet, codec=self._encoder.codec, size=self._encoder.size, key=key)

    def _unwritable(self, error: Exception) -> MediaError:
        return MediaError(f"The video of {self._topic} cannot be encoded ({reason_of(error)}); "
                          "--drop the topic.")
