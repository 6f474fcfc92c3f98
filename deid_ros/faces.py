"""The vocabulary: record types shared by every stage.

All of them are numpy structured arrays with one row per face, so that N = 0,
N = 1 and N = 100 are the same code, and so that the ROS messages are the same
bytes as the arrays in memory.

Conventions, everywhere in this package: images are ``uint8`` arrays of shape
(H, W, 3) in BGR order unless a name says otherwise; pixel coordinates have x to
the right and y down with the centre of the first pixel at (0, 0); boxes are
x, y, width, height in pixels and may reach beyond the frame; angles are degrees.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "CHIP_NONE",
    "DETECTION",
    "EXPRESSION",
    "FACE",
    "MATCH_BASE",
    "empty_faces",
    "boxes_of",
    "match_dtype",
]

#: What a detector answers: one row per face found in one frame.
#: ``box`` x, y, width, height (px); ``score`` in 0..1; ``angle`` the in-plane
#: rotation of the face in degrees where the detector knows it (clockwise in the
#: image, 0 = upright), else 0; ``yaw`` roughly how far it is turned, as ``FACE['yaw']``,
#: where the detector knows it, else 0; ``turned`` quarter turns of the frame when it was seen.
DETECTION = np.dtype([("box", "<f4", 4), ("score", "<f4"), ("angle", "<f4"), ("yaw", "<f4"),
                      ("turned", "u1")])

#: The expression as a few numbers that carry no identity, in this order.
#: Each is a length divided by the distance between the outer eye corners,
#: measured on the frontalised mesh (see ``geometry.measure_expression``).
EXPRESSION = (
    "mouth_open",    # gap between the inner lips
    "mouth_width",   # distance between the mouth corners
    "smile",         # height of the mouth corners above the middle of the lips
    "eye_left",      # opening of the eye on the left of the image
    "eye_right",     # opening of the eye on the right of the image
    "brow_left",     # height of the brow above the eye, left of the image
    "brow_right",    # height of the brow above the eye, right of the image
)

#: One face of one frame, as it goes from the detector to every later stage.
#:
#: ``track_id``   the same person through time, from 1 up; never reused in a run.
#: ``x_offset, y_offset, width, height``  the box to be covered, whole pixels.
#: ``carried``    1: the detector missed it here, it is covered where predicted.
#: ``trusted``    1: landmarks and pose are good enough to carry a surrogate;
#:                0: cover with an obfuscation.
#: ``chip``       row number in the frame's stack of chips, or ``CHIP_NONE``.
#: ``yaw, pitch, roll``  head pose in degrees (see ``geometry.rotation``).
#: ``scale``      pixels per model unit (the unit: outer eye corners' distance).
#: ``center``     pixel position of the model's origin.
#: ``expression`` the numbers of ``EXPRESSION``.
#: ``landmarks``  68 points in the iBUG order, x0, y0, x1, y1, ... (px).
FACE = np.dtype([
    ("track_id", "<i4"),
    ("score", "<f4"),
    ("x_offset", "<i4"),
    ("y_offset", "<i4"),
    ("width", "<i4"),
    ("height", "<i4"),
    ("carried", "u1"),
    ("trusted", "u1"),
    ("chip", "<i2"),
    ("yaw", "<f4"),
    ("pitch", "<f4"),
    ("roll", "<f4"),
    ("scale", "<f4"),
    ("center", "<f4", 2),
    ("expression", "<f4", len(EXPRESSION)),
    ("landmarks", "<f4", 136),
])

#: ``FACE['chip']`` of a face without a chip in this frame.
CHIP_NONE = -1

#: What the matcher answers per track, without the identity code.
#: ``policy`` is the index of the policy in ``matcher.POLICIES``; ``mix`` the
#: number of gallery identities blended; ``distance`` the cosine distance of the
#: nearest gallery identity.
MATCH_BASE = [("track_id", "<i4"), ("policy", "u1"), ("mix", "<u2"),
              ("distance", "<f4")]


def match_dtype(code_size: int) -> np.dtype:
    """The record of one match with an identity code of ``code_size`` float32."""
    return np.dtype([*MATCH_BASE, ("code", "<f4", code_size)])


def empty_faces(n: int = 0) -> np.ndarray:
    """``n`` blank rows of ``FACE``: no chip, not carried, not trusted."""
    faces = np.zeros(n, FACE)
    faces["chip"] = CHIP_NONE
    return faces


def boxes_of(faces: np.ndarray) -> np.ndarray:
    """The boxes of N faces as an int32 array (N, 4): x, y, width, height (px)."""
    return np.stack([faces[name] for name in
                     ("x_offset", "y_offset", "width", "height")],
                    axis=-1).astype(np.int32).reshape(-1, 4)
