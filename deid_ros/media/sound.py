"""The sound of a video, decoded and encoded again, so that nothing but sound comes along.

Tracks of sound can carry pictures and texts in their headers and between their packets.
"""

from __future__ import annotations

from typing import Any

import av

__all__ = ["SoundTrack"]

# Encoders by the input's codec; numbers without packing (pcm_...) keep theirs.
_ENCODERS = {"aac": "aac", "mp3": "libmp3lame", "opus": "libopus", "vorbis": "libvorbis",
             "flac": "flac", "alac": "alac", "ac3": "ac3", "mp2": "mp2"}
# What stands in, the wanted one first.
_ELSE = ("aac", "libopus", "libmp3lame", "mp2")
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
        codec = _encoder(container, stream.codec_context.name)
        rate = _OPUS_RATE if codec == "libopus" else stream.rate
        self._output = container.add_stream(codec, rate=rate)
        self._output.codec_context.layout = stream.layout
        if not codec.startswith(("pcm", "flac", "alac")):
            # Twice packed sound is to sound as if it had been packed once.
            self._output.codec_context.bit_rate = max(stream.bit_rate or 0, _BIT_RATE)

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
            self._container.mux(self._output.encode(frame))

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
