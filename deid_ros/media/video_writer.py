"""Videos written frame by frame: codec family, times and colours of the input."""

from __future__ import annotations

import contextlib
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from deid_ros.errors import MediaError
from deid_ros.media.marking import mark_texts
from deid_ros.media.medium import Writing
from deid_ros.media.orientation import DisplayTurn
from deid_ros.media.sound import SoundTrack
from deid_ros.media.videos import (
    FULL,
    SCALING,
    SWS_MATRIX,
    Colours,
    Shown,
    VideoReader,
    reason_of,
)

__all__ = ["ENCODERS", "QUALITY", "VideoWriter", "can_encode", "converted", "encoder_for",
           "pixel_format", "restored"]

# Container by the end of the name, where FFmpeg's own guess needs a name.
_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm",
               ".avi": "avi", ".mpg": "mpeg", ".mpeg": "mpeg", ".ts": "mpegts", ".mts": "mpegts",
               ".m2ts": "mpegts", ".ogv": "ogg", ".3gp": "3gp", ".flv": "flv"}
# Encoders by the input's codec, the wanted one first. H.264 stands in for the rest.
ENCODERS = {"h264": ("libx264",), "hevc": ("libx265",), "vp8": ("libvpx",),
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
QUALITY = {"libx264": {"crf": "20", "preset": "superfast", "x264-params": "mbtree=0"},
            "libx265": {"crf": "20", "preset": "veryfast",
                        "x265-params": "log-level=error:pools=none:frame-threads=1"},
            "libvpx-vp9": {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6"},
            "libvpx": {"crf": "10", "b": "4M", "deadline": "realtime", "cpu-used": "6"},
            "libsvtav1": {"crf": "26", "preset": "10"}}
_FINE = ("libx264", "libx265", "libvpx-vp9", "mjpeg")     # more than half the colours
_FIELDS = {2: "tff", 4: "tff", 3: "bff", 5: "bff"}  # FFmpeg's orders, for x264
_DEEP = ("p10le", "p12le")
_MOST_TICKS, _TICKS = 1 << 16, 45000    # of a second, which MPEG-4 counts in 16 bits
_UNORDERED = 2          # so few frames need no order of their own
_BY_QUANTISER = ("mpeg4", "mjpeg", "mpeg2video", "mpeg1video")

# The only words about a video that are kept; what is long can be a picture.
_KEPT = re.compile(r"title|artist|author|album|genre|copyright|comment|description|date|"
                   r"creation_time|make|model|encoder|software|"
                   r"com\.apple\.quicktime\.(make|model|software|creationdate)", re.IGNORECASE)
_LONGEST = 256
# px: blocks of colours, and what the scaler sees beyond the mask.
_GRID, _EDGE = 16, 32


class VideoWriter:
    """A video with a picture stream and, where asked for, the input's sound.

    Args:
        path: file to write, whatever its name ends with.
        suffix: what a video of this kind ends with ('.mp4').
        reader: the input, whose codec, rate and colours are kept.
        size: width and height of the frames (px).
        first: the input's first frame.
        writing: encoder, quality, sound and metadata.
        beside: one that has begun the same file, as another of its streams; that one is
            closed last.

    Raises:
        MediaError: there is no encoder for it.
    """

    def __init__(self, path: Path, *, suffix: str, reader: VideoReader,
                 size: tuple[int, int], first: av.VideoFrame, writing: Writing,
                 beside: VideoWriter | None = None) -> None:
        container, codec = encoder_for(suffix, reader.codec, writing.codec)
        try:
            self._owns = beside is None
            self._container: Any = (av.open(str(path), "w", format=container) if beside is None
                                    else beside._container)
            options = dict(QUALITY.get(codec, {}))
            if writing.crf is not None and codec not in _BY_QUANTISER:
                options["crf"] = f"{writing.crf:g}"
            if container == "avi":
                options["bf"] = "0"  # it cannot say in which order frames are shown
            self._stream = self._container.add_stream(codec, rate=reader.rate, options=options)
            self._sound = {stream.index: SoundTrack(self._container, stream)
                           for stream in reader.sound}
        except (OSError, ValueError) as error:
            raise MediaError(f"No video can be written with {codec} in {container} "
                             f"({reason_of(error)}); name the output file .mp4 or .mkv with -o"
                             + (", or leave the sound." if reader.sound else ".")) from None
        if writing.keep_metadata and self._owns:
            self._container.metadata.update(
                {key: value for key, value in reader.metadata.items()
                 if _KEPT.fullmatch(key) and len(value) <= _LONGEST and value.isprintable()})
        if writing.marking:
            mark_texts(self._container.metadata, container)
        self.codec = codec
        context = self._stream.codec_context
        self._stream.width, self._stream.height = size
        # Half the colours need whole pairs of pixels.
        even = size[0] % 2 == 0 and size[1] % 2 == 0
        swapped = DisplayTurn(first).swapped
        self._format = self.pixel_format = pixel_format(codec, even, first.format, swapped)
        deep = self._format.endswith(_DEEP)
        # Turned fields are no fields.
        self.interlaced = (first.interlaced_frame and codec == "libx264" and not swapped
                           and reader.stream.codec_context.field_order in _FIELDS)
        #: Whether numbers of decoded frames are to stay: more than 8 bits would be lost,
        #: colours of the two fields would be mixed, and where nothing else changes it is
        #: quicker than to convert them twice.
        self.restores = deep or self.interlaced or (even and first.format.name == self._format)
        if self.interlaced:
            order = _FIELDS[reader.stream.codec_context.field_order]
            context.options = {**options,
                               "x264-params": f"{options['x264-params']}:{order}=1"}
        if deep and codec == "libvpx-vp9":
            context.options = {**options, "profile": "2" if "420" in self._format else "3"}
        self._stream.pix_fmt = self._format
        if codec in _BY_QUANTISER:
            # Nearly without loss; these have no other measure of quality.
            context.qmin, context.qmax = 2, 4
            if writing.crf is not None:
                context.qmin = context.qmax = min(max(round(writing.crf), 1), 31)
            context.bit_rate = 8 * size[0] * size[1] * 3
        self._time_base = reader.time_base
        if codec in ("mpeg2video", "mpeg1video") or container == "avi":
            self._time_base = 1 / reader.rate  # they count time in frames
        elif codec == "mpeg4" and self._time_base.denominator >= _MOST_TICKS:
            self._time_base = Fraction(1, _TICKS)
        context.time_base = self._time_base
        self._stream.time_base = self._time_base
        self._colours = reader.colours(first)
        context.colorspace, context.color_range = self._colours.matrix, self._colours.range
        context.color_primaries = reader.stream.codec_context.color_primaries
        context.color_trc = reader.stream.codec_context.color_trc
        context.sample_aspect_ratio = reader.aspect(first)
        if codec == "libx265" and container in ("mp4", "mov"):
            context.codec_tag = _tag_of(reader)
        self._last, self._count, self._durations = -1, 0, dict[int, int]()

    @property
    def lost(self) -> int:
        """Packets of sound that could not be decoded."""
        return sum(track.lost for track in self._sound.values())

    def write(self, pixels: np.ndarray, shown: Shown, time_base: Fraction,
              mask: np.ndarray | None = None) -> None:
        """Append BGR uint8 (H, W, 3) at a time of ``shown.pts * time_base`` seconds.

        Outside of ``mask``, uint8 (H, W), the numbers of ``shown.decoded`` stay, if given.
        """
        if shown.decoded is not None and mask is not None:
            frame = self._restored(pixels, shown.decoded, mask)
        else:
            frame = self._converted(pixels)
        pts = round(shown.pts * time_base / self._time_base)
        frame.pts, frame.time_base = max(pts, self._last + 1), self._time_base
        self._last = frame.pts
        self._count += 1
        self._durations[frame.pts] = round(shown.duration * time_base / self._time_base)
        self._mux(self._stream.encode(frame))

    def _converted(self, pixels: np.ndarray) -> av.VideoFrame:
        return converted(pixels, self._format, self._colours)

    def _restored(self, pixels: np.ndarray, decoded: av.VideoFrame,
                  mask: np.ndarray) -> av.VideoFrame:
        return restored(pixels, decoded, mask, self._format, self._colours)

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            # Of one or two frames libx265 gives a time of decoding that was never set; they
            # are decoded in the order in which they are shown.
            if self.codec == "libx265" and self._count <= _UNORDERED:
                packet.dts = packet.pts
            # Encoders take the average; of the last frame nothing else would tell.
            if packet.time_base == self._time_base:
                packet.duration = self._durations.pop(packet.pts, 0) or packet.duration
            self._container.mux(packet)

    def copy(self, packet: Any) -> None:
        """Append a packet of the input's sound, encoded again."""
        self._sound[packet.stream.index].add(packet)

    def close(self) -> None:
        """Write what the encoder still holds, and, where this one began the file, the index."""
        self._mux(self._stream.encode(None))
        for track in self._sound.values():
            track.finish()
        if self._owns:
            self._container.close()

    def abandon(self) -> None:
        """Close without caring what becomes of the file."""
        if self._owns:
            with contextlib.suppress(Exception):
                self._container.close()


def converted(pixels: np.ndarray, form: str, colours: Colours) -> av.VideoFrame:
    """BGR uint8 (H, W, 3) in the numbers of a pixel format."""
    return av.VideoFrame.from_ndarray(pixels, format="bgr24").reformat(
        format=form, src_color_range=FULL, interpolation=SCALING,
        dst_colorspace=SWS_MATRIX[colours.matrix], dst_color_range=colours.range)


def restored(pixels: np.ndarray, decoded: av.VideoFrame, mask: np.ndarray, form: str,
             colours: Colours) -> av.VideoFrame:
    """The decoded numbers, upright, with the pixels of the mask put into them.

    Args:
        pixels: BGR uint8 (H, W, 3), upright.
        mask: uint8 (H, W), 0 where numbers stay.
        form: pixel format of the result.
    """
    height, width = mask.shape
    # A frame of its own: a decoded one has kinds of pictures and texts with it.
    made = av.VideoFrame(width, height, form)
    made.color_range, made.colorspace = colours.range, colours.matrix
    turn, planes = DisplayTurn(decoded), _planes(made)
    for plane, old in zip(planes, _planes(decoded.reformat(format=form)), strict=True):
        plane[:] = turn.upright(old)
    x, y, across, down = cv2.boundingRect(mask)
    if not across:
        return made
    # Only the surroundings of what is covered are converted.
    left, top = (max(at - _EDGE, 0) // _GRID * _GRID for at in (x, y))
    right = min(-(-(x + across + _EDGE) // _GRID) * _GRID, width)
    bottom = min(-(-(y + down + _EDGE) // _GRID) * _GRID, height)
    box = np.s_[top:bottom, left:right]
    covers = _planes(converted(np.ascontiguousarray(pixels[box]), form, colours))
    # A colour of several pixels is covered if one of them is.
    wide = cv2.dilate(mask[box], np.ones((3, 3), np.uint8))
    for plane, new in zip(planes, covers, strict=True):
        rows, columns = round(height / plane.shape[0]), round(width / plane.shape[1])
        where = mask[box] if rows == columns == 1 else cv2.resize(
            wide, new.shape[::-1], interpolation=cv2.INTER_NEAREST)
        cv2.copyTo(new, where, plane[top // rows:top // rows + new.shape[0],
                                     left // columns:left // columns + new.shape[1]])
    return made


def encoder_for(suffix: str, codec: str, asked: str = "") -> tuple[str, str]:
    """Container and encoder of an output.

    Args:
        suffix: what the output ends with ('.mp4').
        codec: the input's codec ('h264').
        asked: the encoder or codec family that is wished for, '' for the input's.

    Raises:
        MediaError: videos of this name are not written, or there is no encoder.
    """
    container = _CONTAINERS.get(suffix.lower())
    if container is None:
        raise MediaError(f"Videos that end in '{suffix}' are not written; name the output "
                         "file .mp4 with -o.")
    return container, _encoder(codec, container, asked)


def _tag_of(reader: VideoReader) -> str:
    """The kind of HEVC that the input's container names; Apple's players take only hvc1."""
    tag = reader.stream.codec_context.codec_tag
    return tag if tag in ("hvc1", "hev1") else "hvc1"


def _encoder(codec: str, container: str, asked: str) -> str:
    if asked:
        for name in (asked, *ENCODERS.get(asked, ())):
            if can_encode(name):
                return name
        raise MediaError(f"This PyAV has no encoder '{asked}'; choose another --codec, as h264, "
                         "hevc, vp9, av1 or mjpeg.")
    wanted = (*ENCODERS.get(codec, ()), *_ELSE)
    if container in _ONLY:
        only = _ONLY[container]
        wanted = (*(name for name in wanted if name in only), *only)
    for name in wanted:
        if name in av.codecs_available and can_encode(name):
            return name
    raise MediaError(f"This PyAV has no encoder for {codec} in {container}; name the output file "
                     ".mp4 with -o.")


def can_encode(name: str) -> bool:
    """Whether this PyAV has an encoder."""
    try:
        av.codec.Codec(name, "w")
        return True
    except (ValueError, OSError):
        return False


def pixel_format(codec: str, even: bool, before: av.VideoFormat, swapped: bool) -> str:
    """As fine in its colours, and as deep, as the input where the encoder can do that."""
    if codec == "mpeg4":
        return "yuv420p"
    halved = before.chroma_width(64) < 64, before.chroma_height(64) < 64
    # Colours halved across would be halved down when width and height change places.
    whole = not even or halved == (False, False) or (swapped and halved[0] != halved[1])
    name = "444p" if whole else "422p" if halved == (True, False) else "420p"
    known = {form.name for form in av.codec.Codec(codec, "w").video_formats or ()}
    bits = max(part.bits for part in before.components)
    if 8 < bits <= 12 and not before.is_rgb:
        deep = f"yuv{name}{10 if bits <= 10 else 12}le"
        if deep in known:
            return deep
    if codec == "ffv1":
        return "bgr0"
    kind = "yuvj" if codec == "mjpeg" else "yuv"
    if not even or (codec in _FINE and kind + name in known):
        return kind + name
    return f"{kind}420p"


def _planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Views (H, W) of the planes of a frame, uint16 where it has more than 8 bits."""
    kind = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    return [np.frombuffer(plane, kind).reshape(plane.height, -1)[:, :plane.width]
            for plane in frame.planes]
