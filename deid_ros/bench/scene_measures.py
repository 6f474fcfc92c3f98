"""What an anonymised clip with labelled faces looks like: pure functions on boxes and pixels.

Labels of a clip: ``faces`` and ``ignore``, for each frame a list of boxes x, y, width, height
(px). A face is a visible one; an ignored region holds a head from behind, a printed face or
somebody half out of the picture, which may be covered or not. Covers are rows with ``box``
and ``covered_by``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

__all__ = ["Cover", "Tally", "belongs", "summarise", "tally_frame"]

#: A row of covers: ``box`` x, y, width, height (px), ``covered_by`` what covers it.
Cover = dict[str, Any]


@dataclass(slots=True)
class Tally:
    """Counts over the frames of a clip, or of all.

    ``faces`` labelled, ``hit`` of them covered; ``false`` covers of nothing; ``false_area``
    sum over frames of the part of the picture these cover; ``excess`` for each frame with
    faces the area covered for them over their labels' area; ``largest`` the same for each
    face of more than 24 px alone; ``seen`` faces with a cover of their own, ``surrogates``
    of them covered by surrogates only; ``flicker`` changes between the two; ``looks`` for
    each surrogate sharpness and contrast, output over original, and the distance of the mean
    colour (CIELAB).
    """

    frames: int = 0
    faces: int = 0
    hit: int = 0
    false: int = 0
    false_area: float = 0.0
    excess: list[float] = field(default_factory=list)
    largest: list[float] = field(default_factory=list)
    seen: int = 0
    surrogates: int = 0
    flicker: int = 0
    looks: list[tuple[float, float, float]] = field(default_factory=list)
    before: dict[int, bool] = field(default_factory=dict)   # label -> surrogate, a frame ago

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(*(getattr(self, name) + getattr(other, name) for name in (
            "frames", "faces", "hit", "false", "false_area", "excess", "largest", "seen",
            "surrogates", "flicker", "looks")))


_LARGE = 24       # px, see ``Tally.largest``
_OWN = 0.15       # IoU from which a cover is a label's, see ``belongs``


def _shared(a: Any, b: Any) -> float:
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0, across) * max(0, down)


def belongs(cover: Any, label: Any) -> bool:
    """Whether a cover's box (4,) is about a labelled box (4,).

    IoU over 0.15, or the cover's middle in the label grown by half and its area below nine
    times the label's.
    """
    shared, area, own = _shared(cover, label), cover[2] * cover[3], label[2] * label[3]
    if shared / max(area + own - shared, 1) > _OWN:
        return True
    near = all(abs(cover[i] + cover[i + 2] / 2 - label[i] - label[i + 2] / 2)
               <= 0.75 * label[i + 2] for i in (0, 1))
    return near and area < 9 * own


def tally_frame(tally: Tally, covers: list[Cover], faces: list[Any], ignore: list[Any],
                before: np.ndarray, after: np.ndarray) -> None:
    """Add a frame to a tally.

    Args:
        tally: changed.
        covers: what was covered in it.
        faces, ignore: its labels.
        before, after: BGR uint8 (H, W, 3), original and output.
    """
    shape = before.shape[:2]
    everything, owned, false = (np.zeros(shape, np.uint8) for _ in range(3))
    tally.frames += 1
    for cover in covers:
        box = cover["box"]
        _fill(everything, box)
        if any(belongs(box, face) for face in faces):
            _fill(owned, box)
        elif not any(belongs(box, other) or _shared(box, other) > 0.5 * box[2] * box[3]
                     for other in ignore):
            tally.false += 1
            _fill(false, box)
    tally.false_area += float(false.mean())
    for index, face in enumerate(faces):
        x, y, w, h = (int(v) for v in face)
        tally.faces += 1
        inner = everything[max(0, y + h // 10):y + h - h // 10, max(0, x + w // 10):x + w - w // 10]
        tally.hit += bool(inner.size) and bool(inner.mean() >= 0.9)
        mine = [cover for cover in covers if belongs(cover["box"], face)]
        if not mine:
            continue
        kinds = {cover.get("covered_by") for cover in mine}
        surrogate = kinds == {"surrogate"}
        tally.seen += 1
        tally.surrogates += surrogate
        tally.flicker += tally.before.get(index, surrogate) != surrogate
        tally.before[index] = surrogate
        if max(w, h) > _LARGE:
            alone = np.zeros(shape, np.uint8)
            for cover in mine:
                _fill(alone, cover["box"])
            tally.largest.append(float(alone.sum()) / (w * h))
        if "surrogate" in kinds and false[max(0, y):y + h, max(0, x):x + w].mean() < 0.02:
            look = _look(before, after, (x, y, w, h))
            if look is not None:
                tally.looks.append(look)
    area = sum(face[2] * face[3] for face in faces)
    if area:
        tally.excess.append(float(owned.sum()) / area)


def _fill(mask: np.ndarray, box: Any) -> None:
    x, y, w, h = (int(v) for v in box)
    cv2.rectangle(mask, (x, y), (x + w - 1, y + h - 1), 1, -1)


def _look(before: np.ndarray, after: np.ndarray, box: Any) -> tuple[float, float, float] | None:
    x, y, w, h = box
    part = np.s_[max(0, y + h // 6):y + h - h // 8, max(0, x + w // 6):x + w - w // 6]
    if before[part].size < 300:
        return None
    a, b = (cv2.cvtColor(image[part], cv2.COLOR_BGR2LAB).astype(float)
            for image in (before, after))
    sharp_a, sharp_b = (cv2.Laplacian(image[..., 0], cv2.CV_64F).var() for image in (a, b))
    chroma = b[..., 1:].mean((0, 1)) - a[..., 1:].mean((0, 1))
    return (sharp_b / (sharp_a + 1e-6), b[..., 0].std() / (a[..., 0].std() + 1e-6),
            float(np.hypot(*chroma)))


def summarise(tally: Tally) -> dict[str, Any]:
    """The measures of a tally; None where there is nothing to measure."""
    frames, looks = max(tally.frames, 1), np.array(tally.looks).reshape(-1, 3)

    def ratio(part: float, whole: float) -> float | None:
        return round(part / whole, 4) if whole else None

    def spread(values: np.ndarray) -> list[float] | None:
        return [round(float(np.percentile(values, p)), 3) for p in (10, 50, 90)] \
            if len(values) else None

    return {
        "frames": tally.frames, "faces": tally.faces, "recall": ratio(tally.hit, tally.faces),
        "false": ratio(tally.false, frames),
        "false_area_pct": ratio(100 * tally.false_area, frames),
        "excess": round(float(np.mean(tally.excess)), 3) if tally.excess else None,
        "largest": round(max(tally.largest), 3) if tally.largest else None,
        "surrogate": ratio(tally.surrogates, tally.seen),
        "flicker": ratio(100 * tally.flicker, frames),
        "sharp": spread(looks[:, 0]), "contrast": spread(looks[:, 1]),
        "chroma90": round(float(np.percentile(looks[:, 2], 90)), 3) if len(looks) else None}
