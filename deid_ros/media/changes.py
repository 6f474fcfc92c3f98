"""What of a video is left behind or becomes another, in words."""

from __future__ import annotations

from typing import Any

import av

__all__ = ["changes", "lost_tracks", "streams_of"]

_CURVES = {16: "PQ", 18: "HLG"}     # of ITU-T H.273


def streams_of(reader: Any) -> list[dict[str, Any]]:
    """Every stream of an open ``VideoReader``, and what becomes of it."""
    kept = [reader.stream, *reader.sound]
    return [{"index": stream.index, "kind": _kind(stream), "codec": _codec(stream),
             "action": "made anonymous" if stream.index in reader.tracks
             else "encoded again" if stream in kept else "left behind"}
            for stream in sorted([reader.stream, *reader.others], key=lambda s: s.index)]


def lost_tracks(streams: list[dict[str, Any]]) -> list[str]:
    """A sentence for each track of pictures or texts that people watch and that is lost."""
    return [_left_behind(stream) for stream in streams
            if stream["action"] == "left behind" and stream["kind"] in ("video", "subtitle")]


def _left_behind(stream: dict[str, Any]) -> str:
    return (f"stream {stream['index']} ({stream['kind']}, {stream['codec']}) is left behind, it "
            "was not made anonymous.")


def changes(reader: Any, streams: list[dict[str, Any]], first: av.VideoFrame, written: str, *,
            interlaced: bool = False) -> list[str]:
    """A sentence for each property of the input that the output has not.

    Sound that nobody asked for is none of them: it is always left behind. Nor are the
    tracks of ``lost_tracks``.

    Args:
        reader: the open ``VideoReader``.
        streams: its ``streams_of``.
        first: the first frame as it was decoded.
        written: pixel format of the output.
        interlaced: whether the output says that it is.
    """
    found = [_left_behind(stream) for stream in streams
             if stream["action"] == "left behind"
             and stream["kind"] not in ("audio", "video", "subtitle")]
    if reader.chapters:
        found.append(f"{reader.chapters} chapters are left behind.")
    before, after = first.format, av.VideoFormat(written)
    bits = max(part.bits for part in before.components)
    kept = max(part.bits for part in after.components)
    if bits > max(kept, 8):
        curve = _CURVES.get(int(first.color_trc or 0), "")
        also = f", with the {curve} curve still named" if curve else ""
        found.append(f"its {bits} bits a colour become {kept} bits{also}; steps may show in even "
                     "areas.")
    if any(part.is_alpha for part in before.components) or reader.has_alpha:
        found.append("its transparency (alpha) is not kept; what was transparent shows.")
    if first.interlaced_frame and not interlaced:
        found.append("it is interlaced; the output keeps both fields of a picture but calls "
                     "itself progressive. Deinterlace it before, if that matters.")
    if _fineness(before) > _fineness(after) and not before.is_rgb:
        found.append(f"its colours ({before.name}) become coarser ({written}).")
    return found


def _fineness(form: av.VideoFormat) -> int:
    return form.chroma_width(64) * form.chroma_height(64)


def _kind(stream: Any) -> str:
    if stream.disposition & av.stream.Disposition.attached_pic:
        return "cover picture"
    return str(stream.type)


def _codec(stream: Any) -> str:
    return stream.codec_context.name if stream.codec_context else "of no known codec"
