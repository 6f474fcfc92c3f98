"""The last look at a frame before it leaves: is every face really covered?

Independent of how the faces were covered, so that a fault in the replacer (or in
anything it calls) withholds a frame instead of showing a face.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from deid_ros.errors import FrameError, ReplacerError
from deid_ros.faces import boxes_of
from deid_ros.replacer import Replaced, cover_solid

__all__ = ["check_covered", "covered_for_sure"]

#: Of the pixels said to be covered in a face's box, at least this part must have
#: changed. Blur and blending leave flat skin as it is here and there.
_LEAST_CHANGED = 0.2
#: Or nothing is to be seen there: all of them within so many levels of each other.
_FLAT = 2


def check_covered(before: np.ndarray, after: np.ndarray, mask: np.ndarray,
                  faces: np.ndarray) -> None:
    """Refuse a frame in which a face of the table is not covered.

    Args:
        before, after: uint8 (H, W, 3), the camera's frame and the one to publish.
        mask: uint8 (H, W), 255 where ``after`` may differ.
        faces: N rows of ``FACE``.

    Raises:
        ReplacerError: names the track that is not covered, or the shapes that do
            not fit.
    """
    if after.shape != before.shape or mask.shape != before.shape[:2] or mask.dtype != np.uint8:
        raise ReplacerError(f"The covered frame is {after.shape} with a {mask.dtype} mask of "
                            f"{mask.shape}, but the frame is {before.shape}; it is withheld.")
    height, width = mask.shape
    for face, (x, y, w, h) in zip(faces, boxes_of(faces), strict=True):
        part = np.s_[max(y, 0):min(max(y + h, 0), height), max(x, 0):min(max(x + w, 0), width)]
        covered = mask[part]
        if not covered.size:
            continue  # outside of the frame
        number = cv2.countNonZero(covered)
        changed = np.zeros_like(covered)
        blue, green, red = cv2.split(cv2.absdiff(before[part], after[part]))
        cv2.copyTo(cv2.max(cv2.max(blue, green), red), covered, changed)
        if number and (cv2.countNonZero(changed) >= _LEAST_CHANGED * number
                       or int(np.ptp(after[part][covered > 0], axis=0).max()) <= _FLAT):
            continue
        raise ReplacerError(f"The face of track {face['track_id']} at {x}, {y} ({w}x{h} px) "
                            "is not covered; the frame is withheld.")


def covered_for_sure(frame: np.ndarray, faces: np.ndarray, cover: Callable[[], Replaced],
                     failed: Callable[[Exception], None]) -> Replaced:
    """A frame in which every face is covered, flat where it cannot be had otherwise.

    Args:
        frame: BGR uint8 (H, W, 3); not modified.
        faces: N rows of ``FACE``.
        cover: covers them.
        failed: told why what ``cover`` gave must not leave.

    Raises:
        FrameError: ``frame`` is no such array.
        ReplacerError: the flat cover fails as well; the frame is to be withheld.
    """
    try:
        done = cover()
        check_covered(frame, done.frame, done.mask, faces)
        return done
    except FrameError:
        raise
    except Exception as error:
        failed(error)
    done = cover_solid(frame, faces)
    check_covered(frame, done.frame, done.mask, faces)
    return done
