"""Image messages as bytes, the same for live topics and for bags: no ROS, no message types."""

from deid_ros.messages.compressed import (
    MAX_PIXELS,
    decode,
    encode_like,
    is_plain,
    kind_of,
    size_of,
)
from deid_ros.messages.encodings import ENCODINGS, Encoding
from deid_ros.messages.raw import checked, covered_data, to_bgr

__all__ = ["ENCODINGS", "MAX_PIXELS", "Encoding", "checked", "covered_data", "decode",
           "encode_like", "is_plain", "kind_of", "size_of", "to_bgr"]
