"""The sound of a video, decoded and encoded again, so that nothing but sound comes along.

Tracks of sound can carry pictures and texts in their headers and between their packets.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av

__all__ = ["SoundTrack"]

# Encoders by the input's codec; numbers without packing (pcm_...) keep theirs.
_ENCODERS = {"aac": "aac", "mp3": "libmp3lame", "opus": "libopus", "vorbis": "libvorbis",
             "flac": "flac", "alac": "alac", "ac3": "ac3", "mp2": "mp2"}
# What stands in, the wanted one first.
_ELSE = ("aac", "libopus", "libmp3lame", "mp2")
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_ANY_LAYOUT = ("aac", "ac3", "flac")
_STEREO = ("mp2", "libmp3lame")     # no more than two channels,
_MOST_STEREO = 320_000              # bits a second
_ANEW = Fraction(1, 5)  # s by which time goes backwards where recordings were joined
_OPUS_RATE = 48000      # Hz
_BIT_RATE = 192_000     # where the input does not say it


class SoundTrack:
    """One track of the output.

    Args:
        container: the output, open for writing.
        stream: the input's track.

    Raises:
        ValueError: no encoder for the container.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self._container, self._input, self.lost = container, stream, 0
        self._end: Fraction | None = None       # s, of what came so far
        self._offset = Fraction(0)              # s, where recordings were joined
        codec = _encoder(container, stream.codec_context.name)
        rate = _OPUS_RATE if codec == "libopus" else stream.rate
        self._output = container.add_stream(codec, rate=rate)
        context = self._output.codec_context
        count = stream.layout.nb_channels
        if codec in _STEREO:
            count = min(count, 2)
        # Layouts that have no name, or another than encoders know, by their count.
        named = stream.layout.name in ("mono", "stereo") or codec in _ANY_LAYOUT
        context.layout = stream.layout if named and count == stream.layout.nb_channels \
            else _LAYOUTS.get(count, stream.layout)
        if stream.format.name in {form.name for form in context.codec.audio_formats or ()}:
            context.format = stream.format.name
        if not codec.startswith(("pcm", "flac", "alac")):
            # Twice packed sound is to sound as if it had been packed once.
            most = _MOST_STEREO if codec in _STEREO else 1 << 30
            context.bit_rate = min(max(stream.bit_rate or 0, _BIT_RATE), most)

    def add(self, packet: Any) -> None:
        """Append a packet of the input; None at the end."""
        try:
            frames = self._input.decode(packet)
        except EOFError:
            return
        except (av.FFmpegError, ValueError):
            self.lost += 1
            return
        for frame in frames:
            self._time(frame)
            self._container.mux(self._output.encode(frame))

    def _time(self, frame: av.AudioFrame) -> None:
        """Go on from the last frame where time begins anew, as it does for the pictures."""
        if frame.pts is None or not frame.time_base:
            return
        at = frame.pts * frame.time_base + self._offset
        if self._end is not None and at < self._end - _ANEW:
            self._offset += self._end - at
            at = self._end
        frame.pts = round(at / frame.time_base)
        self._end = at + Fraction(frame.samples, frame.sample_rate)

    def finish(self) -> None:
        """Write what decoder and encoder still hold."""
        self.add(None)
        self._container.mux(self._output.encode(None))


def _encoder(container: Any, codec: str) -> str:
    codec = av.codec.Codec(codec, "r").canonical_name
    same = codec if codec.startswith("pcm") else _ENCODERS.get(codec, "")
    supported = container.supported_codecs
    for name in (same, *_ELSE):
        if name in av.codecs_available:
            found = av.codec.Codec(name, "w")
            if found.canonical_name in supported or name in supported:
                return name
    raise ValueError(f"no encoder for the sound {codec}")
