"""``sensor_msgs/CompressedImage`` of live topics: what leaves for what came."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage

from deid_ros.errors import FrameError
from deid_ros.messages import MAX_PIXELS, decode, encode_like, is_plain, kind_of, size_of
from deid_ros.ros.codec import bytes_array

__all__ = ["MAX_PIXELS", "compress", "covered_compressed", "decode", "is_plain",
           "size_of"]


def compress(frame: np.ndarray, header: Any, *, encoding: str, quality: int) -> CompressedImage:
    """A frame uint8 (H, W, 3), BGR, as a compressed image.

    Args:
        encoding: that of the uncompressed image, for ``format``.
        quality: of JPEG, 1 to 100.
    """
    done, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise FrameError(f"A frame of {frame.shape} cannot be encoded as JPEG.")
    return CompressedImage(header=header, format=f"{encoding}; jpeg compressed bgr8",
                           data=bytes_array(data))


def covered_compressed(msg: CompressedImage, frame: np.ndarray, *,
                       changed: bool) -> CompressedImage:
    """What leaves for a compressed camera image: header, channels and quality as they came.

    Args:
        frame: the covered frame, or the decoded one, uint8 (H, W, 3), BGR.
        changed: whether anything in it was covered; if not, a file that ``is_plain``
            leaves byte for byte as it came.
    """
    kind, data = kind_of(msg), bytes(msg.data)
    if changed or not is_plain(kind, data):
        data = encode_like(kind, data, frame)
    return CompressedImage(header=msg.header, format=msg.format,
                           data=bytes_array(np.frombuffer(data, np.uint8)))
