"""Videos written frame by frame: codec family, times and colours of the input."""

from __future__ import annotations

import contextlib
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from deid_ros.errors import MediaError
from deid_ros.media.medium import Writing
from deid_ros.media.videos import FULL, SCALING, SWS_MATRIX, VideoReader, reason_of

__all__ = ["VideoWriter"]

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
# Visually close to the input at a bearable size, and quick. Without x264's 'mbtree', which
# gives the same frames other bits now and then: a run that was cut off and resumed must
# come to the same end.
_QUALITY = {"libx264": {"crf": "20", "preset": "superfast", "x264-params": "mbtree=0"},
            "libx265": {"crf": "20", "preset": "veryfast",
                        "x265-params": "log-level=error:pools=none:frame-threads=1"},
            "libvpx-vp9": {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6"},
            "libvpx": {"crf": "10", "b": "4M", "deadline": "realtime", "cpu-used": "6"},
            "libsvtav1": {"crf": "26", "preset": "10"}}
_BY_QUANTISER = ("mpeg4", "mjpeg", "mpeg2video", "mpeg1video")

# What says where a video was made; what is long can be a picture.
_PLACE = re.compile("location|gps|geo|xyz|latitude|longitude", re.IGNORECASE)
_LONGEST = 256


class VideoWriter:
    """A video with one picture stream and, where asked for, the input's sound.

    Args:
        path: file to write, whatever its name ends with.
        suffix: what a video of this kind ends with ('.mp4').
        reader: the input, whose codec, rate and colours are kept.
        size: width and height of the frames (px).
        first: the input's first frame.
        writing: encoder, quality, sound and metadata.

    Raises:
        MediaError: there is no encoder for it.
    """

    def __init__(self, path: Path, *, suffix: str, reader: VideoReader,
                 size: tuple[int, int], first: av.VideoFrame, writing: Writing) -> None:
        container = _CONTAINERS.get(suffix.lower())
        if container is None:
            raise MediaError(f"Videos that end in '{suffix}' are not written; name the output "
                             "file .mp4 with -o.")
        codec = _encoder(reader.codec, container, writing.codec)
        try:
            self._container = av.open(str(path), "w", format=container)
            options = dict(_QUALITY.get(codec, {}))
            if writing.crf is not None and codec not in _BY_QUANTISER:
                options["crf"] = f"{writing.crf:g}"
            if container == "avi":
                options["bf"] = "0"  # it cannot say in which order frames are shown
            self._stream = self._container.add_stream(codec, rate=reader.rate, options=options)
            self._sound = {stream.index: _like(self._container, stream) for stream in reader.sound}
        except (OSError, ValueError) as error:
            raise MediaError(f"No video can be written with {codec} in {container} "
                             f"({reason_of(error)}); name the output file .mp4 or .mkv with -o"
                             + (", or leave the sound." if reader.sound else ".")) from None
        if writing.keep_metadata:
            self._container.metadata.update(
                {key: value for key, value in reader.metadata.items()
                 if not _PLACE.search(key) and len(value) <= _LONGEST})
        self.codec = codec
        context = self._stream.codec_context
        self._stream.width, self._stream.height = size
        # Half the colours need whole pairs of pixels.
        even = size[0] % 2 == 0 and size[1] % 2 == 0
        self._format = _pixel_format(codec, even)
        self._stream.pix_fmt = self._format
        if codec in _BY_QUANTISER:
            # Nearly without loss; these have no other measure of quality.
            context.qmin, context.qmax = 2, 4
            if writing.crf is not None:
                context.qmin = context.qmax = min(max(round(writing.crf), 1), 31)
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
            format=self._format, src_color_range=FULL, interpolation=SCALING,
            dst_colorspace=SWS_MATRIX[self._colours.matrix],
            dst_color_range=self._colours.range)
        pts = round(pts * time_base / self._time_base)
        frame.pts, frame.time_base = max(pts, self._last + 1), self._time_base
        self._last = frame.pts
        self._container.mux(self._stream.encode(frame))

    def copy(self, packet: Any) -> None:
        """Append a packet of the input's sound as it is."""
        packet.stream = self._sound[packet.stream.index]
        self._container.mux(packet)

    def close(self) -> None:
        """Write what the encoder still holds, and the index."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Close without caring what becomes of the file."""
        with contextlib.suppress(Exception):
            self._container.close()


def _like(container: Any, stream: Any) -> Any:
    """A stream for packets of ``stream``, without its language, titles and the rest."""
    if hasattr(container, "add_stream_from_template"):
        made = container.add_stream_from_template(stream)
    else:
        made = container.add_stream(template=stream)
    made.metadata.clear()
    return made


def _encoder(codec: str, container: str, asked: str) -> str:
    if asked:
        for name in (asked, *_ENCODERS.get(asked, ())):
            if _can_encode(name):
                return name
        raise MediaError(f"This PyAV has no encoder '{asked}'; choose another --codec, as h264, "
                         "hevc, vp9, av1 or mjpeg.")
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
