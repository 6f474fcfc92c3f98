"""Outlines of covered faces for image viewers."""

from __future__ import annotations

from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import ImageMarker

from deid_ros.faces import boxes_of

__all__ = ["outlines"]


def outlines(faces: np.ndarray, header: Any) -> ImageMarker:
    """The boxes of N rows of ``FACE`` as one list of lines, in pixels of the image."""
    points = []
    for x, y, width, height in boxes_of(faces).tolist():
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        for a, b in zip(corners, corners[1:] + corners[:1]):
            points += [Point(x=float(a[0]), y=float(a[1])), Point(x=float(b[0]), y=float(b[1]))]
    return ImageMarker(header=header, ns="deid", id=0, type=ImageMarker.LINE_LIST,
                       action=ImageMarker.ADD, scale=2.0, points=points, filled=0,
                       lifetime=Duration(sec=1),
                       outline_color=ColorRGBA(r=0.1, g=0.8, b=0.3, a=1.0))
