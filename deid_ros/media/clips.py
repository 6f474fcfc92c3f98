"""Videos made of pictures that were never filmed."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from deid_ros.errors import MediaError
from deid_ros.media.files import VIDEO_SUFFIXES
from deid_ros.media.videos import SCALING
from deid_ros.media.whole import whole

__all__ = ["write_clip"]

# Container and encoders by the end of the name, the wanted encoder first.
_KINDS = {".mp4": ("mp4", ("libx264", "libopenh264", "mpeg4")),
          ".mkv": ("matroska", ("libx264", "libopenh264", "mpeg4")),
          ".webm": ("webm", ("libvpx-vp9", "libvpx"))}


def write_clip(path: Path, pictures: Iterable[np.ndarray], *, fps: float,
               overwrite: bool = False) -> int:
    """Write a video and return how many pictures it has.

    Args:
        path: ends in .mp4, .mkv or .webm.
        pictures: BGR uint8 (H, W, 3), all of one size; at least one.
        fps: pictures a second.

    Raises:
        MediaError: another kind of video, no encoder, no picture, or ``path`` cannot
            be written.
    """
    if path.suffix.lower() not in _KINDS:
        what = "video" if path.suffix.lower() in VIDEO_SUFFIXES else "file"
        raise MediaError(f"A {what} that ends in '{path.suffix}' is not written; name it "
                         f"{', '.join(_KINDS)}.")
    container, codecs = _KINDS[path.suffix.lower()]
    codec = next((name for name in codecs if name in av.codecs_available), None)
    if codec is None:
        raise MediaError(f"This PyAV has no encoder for {container} ({', '.join(codecs)}); write "
                         "pictures into a folder instead.")
    rate = Fraction(fps).limit_denominator(1001)
    count = 0
    with whole(path, overwrite=overwrite) as part:
        try:
            with av.open(str(part), "w", format=container) as file:
                stream = file.add_stream(codec, rate=rate, options=(
                    {"crf": "18", "preset": "veryfast"} if codec == "libx264" else {}))
                for picture in pictures:
                    if not count:
                        stream.height, stream.width = picture.shape[:2]
                        even = not (stream.height % 2 or stream.width % 2)
                        stream.pix_fmt = "yuv420p" if even or codec == "mpeg4" else "yuv444p"
                        # What players assume of small and of large videos.
                        space = 1 if stream.height >= 720 else 6
                        context = stream.codec_context
                        context.colorspace, context.color_range = space, 1
                    frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(
                        format=stream.pix_fmt, dst_colorspace=space, dst_color_range=1,
                        interpolation=SCALING)
                    frame.pts, frame.time_base = count, 1 / rate
                    file.mux(stream.encode(frame))
                    count += 1
                if not count:
                    raise MediaError(f"There is no picture for {path}; ask for at least one.")
                file.mux(stream.encode(None))
        except (av.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MediaError(f"{path} could not be written ({reason}); check the space "
                             "left.") from None
    return count
