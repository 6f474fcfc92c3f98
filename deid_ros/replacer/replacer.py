"""The fifth stage: every face of a frame is covered, by a surrogate where possible."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from deid_ros import geometry
from deid_ros.errors import FrameError, ReplacerError
from deid_ros.faces import boxes_of
from deid_ros.replacer.compose import BLENDS, compose
from deid_ros.replacer.obfuscate import OBFUSCATIONS, cover_region, fill_polygon, obfuscate

__all__ = ["REPLACEMENTS", "Replaced", "Replacer", "cover_solid"]

_log = logging.getLogger(__name__)

#: What can cover a face.
REPLACEMENTS = ("surrogate", *OBFUSCATIONS)

# A hull smaller than this part of its box, or with its middle outside of the box,
# belongs to something else.
_LEAST_HULL = 0.12
# Faces nearer to each other than this part of a face's size share surroundings.
_NEAR = 0.3


@dataclass(frozen=True, slots=True)
class Replaced:
    """A frame with its faces covered.

    ``frame`` BGR uint8 (H, W, 3); ``covered_by`` one of ``REPLACEMENTS`` for each of
    the N faces; ``mask`` uint8 (H, W), 255 where ``frame`` may differ from the
    input: everywhere else they are the same bit for bit.
    """

    frame: np.ndarray
    covered_by: list[str]
    mask: np.ndarray


class Replacer:
    """Puts surrogates in the place of faces, and obfuscates what has none.

    Args:
        replace: what covers a face, one of ``REPLACEMENTS``.
        blend: how a surrogate is blended in, one of ``BLENDS``: ``gaussian`` and
            ``inplace`` are the first and the second version of Meden et al., "Face
            deidentification with generative deep neural networks", 2017.
        obfuscation: what covers a face that is to have a surrogate and cannot.

    Raises:
        ReplacerError: an option that is unknown.
    """

    def __init__(self, *, replace: str = "surrogate", blend: str = "inplace",
                 obfuscation: str = "solid") -> None:
        for name, value, allowed in (("replace", replace, REPLACEMENTS),
                                     ("blend", blend, BLENDS),
                                     ("obfuscation", obfuscation, OBFUSCATIONS)):
            if value not in allowed:
                raise ReplacerError(f"The option {name} is '{value}'; it must be one of "
                                    f"{', '.join(allowed)}.")
        self.replace, self.blend, self.obfuscation = replace, blend, obfuscation

    def apply(self, frame: np.ndarray, faces: np.ndarray,
              surrogates: np.ndarray | None = None) -> Replaced:
        """Cover every face of a frame.

        Args:
            frame: BGR uint8 (H, W, 3); not modified.
            faces: N rows of ``FACE``.
            surrogates: RGBA uint8 (N, S, S, 4) from the generator; patch i fills
                the top left ``patch_sizes`` pixels of its slot. Without it, and
                wherever anything is wrong with it, faces are obfuscated.

        Raises:
            FrameError: ``frame`` is no BGR uint8 image.
        """
        _check(frame)
        output = frame.copy()
        mask = np.zeros(frame.shape[:2], np.uint8)
        covered_by = [""] * len(faces)
        if not len(faces):
            return Replaced(output, covered_by, mask)
        surrogates = self._usable(surrogates, len(faces))
        boxes = boxes_of(faces)
        shield = np.zeros(frame.shape[:2], np.uint8)
        # Far faces first, so that a near one lies on top of a far one.
        area = np.maximum(boxes[:, 2], 0).astype(np.int64) * np.maximum(boxes[:, 3], 0)
        order = np.argsort(area, kind="stable")
        for i in order:
            patch = None if surrogates is None else surrogates[i]
            if self._drawn(output, mask, shield, faces[i], boxes[i], patch,
                           bend=_room(boxes, i)):
                covered_by[i] = "surrogate"
        for i in order:
            if not covered_by[i]:
                covered_by[i] = self._flat(output, mask, shield, faces[i], boxes[i])
        return Replaced(output, covered_by, mask)

    def _usable(self, surrogates: np.ndarray | None, count: int) -> np.ndarray | None:
        if self.replace != "surrogate" or surrogates is None:
            return None
        shape, dtype = np.shape(surrogates), getattr(surrogates, "dtype", None)
        if dtype == np.uint8 and len(shape) == 4 and shape[0] == count and shape[3] == 4:
            return surrogates
        _log.warning("surrogates of shape %s and type %s are not usable for %d faces, which "
                     "are covered with '%s'", shape, dtype, count, self.obfuscation)
        return None

    def _drawn(self, output: np.ndarray, mask: np.ndarray, shield: np.ndarray,
               face: np.ndarray, box: np.ndarray, patch: np.ndarray | None, *,
               bend: float) -> bool:
        """Whether the face got its surrogate; what that hides is marked in ``shield``."""
        try:
            hull = _trusted_hull(face, box)
            if patch is None or hull is None or not patch[..., 3].any():
                return False
            self._compose(output, mask, face, hull, patch, bend)
        except Exception as error:
            _log.warning("face %d is covered flat: %s", face["track_id"], error)
            return False
        fill_polygon(shield, hull, 255, line=1)
        return True

    def _flat(self, output: np.ndarray, mask: np.ndarray, shield: np.ndarray,
              face: np.ndarray, box: np.ndarray) -> str:
        """Obfuscate a face, but where a surrogate hides what is there: it is in order."""
        how = self.obfuscation if self.replace == "surrogate" else self.replace
        try:
            _obfuscate(output, mask, shield, box, _trusted_hull(face, box), how)
            return how
        except Exception as error:
            _log.warning("face %d is covered with a grey box: %s", face["track_id"], error)
            _grey(output, mask, box)
            return "solid"

    def _compose(self, output: np.ndarray, mask: np.ndarray, face: np.ndarray,
                 hull: np.ndarray, patch: np.ndarray, bend: float) -> None:
        square = geometry.patch_squares(face[None])
        size = int(geometry.patch_sizes(square)[0])
        if size > patch.shape[0]:
            raise ReplacerError(f"its surrogate is {patch.shape[0]} px, expected {size} px")
        compose(output, patch[:size, :size], square[0], hull,
                face["landmarks"].reshape(68, 2), blend=self.blend, written=mask,
                bend=bend)


def cover_solid(frame: np.ndarray, faces: np.ndarray) -> Replaced:
    """Cover every face with a flat colour: what is left to do when a stage failed.

    Args:
        frame: BGR uint8 (H, W, 3); not modified.
        faces: N rows of ``FACE``.
    """
    return Replacer(replace="solid").apply(frame, faces)


def _room(boxes: np.ndarray, i: int) -> float:
    """How free the surroundings of face ``i`` are of other faces, 0..1.

    Where another face is near, nothing may be moved: it could be that face's skin,
    out of the place where it will be covered.
    """
    boxes = np.asarray(boxes, np.float64)
    others = np.delete(boxes, i, axis=0)
    if not len(others):
        return 1.0
    x, y, w, h = boxes[i]
    across = np.maximum(others[:, 0] - (x + w), x - (others[:, 0] + others[:, 2]))
    down = np.maximum(others[:, 1] - (y + h), y - (others[:, 1] + others[:, 3]))
    gap = np.maximum(across, down).min() / max(w, h, 1.0)
    return float(np.clip((gap - _NEAR) / _NEAR, 0.0, 1.0))


def _check(frame: np.ndarray) -> None:
    if (not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3
            or frame.shape[2] != 3 or 0 in frame.shape):
        raise FrameError(f"A frame of shape {np.shape(frame)} and type "
                         f"{getattr(frame, 'dtype', type(frame).__name__)} cannot be processed; "
                         "it must be BGR, uint8 (H, W, 3).")


def _trusted_hull(face: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """The face's outline (n, 2) in px, or None where it is not to be relied on."""
    if not face["trusted"]:
        return None
    numbers = (face["landmarks"], face["center"], face["scale"], face["yaw"], face["pitch"],
               face["roll"])
    if not all(np.isfinite(value).all() for value in numbers):
        return None
    hull = geometry.face_hull(face)
    low, high = hull.min(0), hull.max(0)
    width, height = np.maximum(box[2:].astype(np.float64), 1.0)
    middle = (low + high) / 2 - box[:2]
    size = high - low
    if not (0 <= middle[0] <= width and 0 <= middle[1] <= height):
        return None
    if not (_LEAST_HULL * width * height <= size[0] * size[1] <= 9 * width * height):
        return None
    return hull


def _obfuscate(output: np.ndarray, mask: np.ndarray, shield: np.ndarray, box: np.ndarray,
               hull: np.ndarray | None, how: str) -> None:
    x, y, region = cover_region(box, hull, output.shape[:2])
    if not region.size:
        return
    height, width = region.shape
    part = output[y:y + height, x:x + width]
    covered = obfuscate(part, how, region)
    chosen = (region > 0) & (shield[y:y + height, x:x + width] == 0)
    part[chosen] = covered[chosen]
    mask[y:y + height, x:x + width][chosen] = 255


def _grey(output: np.ndarray, mask: np.ndarray, box: np.ndarray) -> None:
    """The last resort: the whole box, grown by an eighth, with nothing that can fail."""
    x, y, w, h = (int(v) for v in box)
    grow = max(w, h, 8) // 8
    rows = slice(max(y - grow, 0), max(y + h + grow, 0))
    columns = slice(max(x - grow, 0), max(x + w + grow, 0))
    output[rows, columns] = 128
    mask[rows, columns] = 255
