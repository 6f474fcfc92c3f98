"""The names of the topics between the nodes: relative, so that a namespace moves all."""

from __future__ import annotations

__all__ = ["CAMERA_INFO", "CHIPS", "FACES", "IMAGE", "IMAGE_COMPRESSED", "MATCHES", "PUBLIC",
           "REGIONS", "SURROGATES"]

# Hidden (a name that begins with an underscore): raw faces and biometric vectors.
FACES = "deid/_faces"
CHIPS = "deid/_chips"
MATCHES = "deid/_matches"
SURROGATES = "deid/_surrogates"

# Public.
IMAGE = "deidentified/image"
IMAGE_COMPRESSED = "deidentified/image/compressed"
CAMERA_INFO = "deidentified/camera_info"
REGIONS = "deidentified/regions"

#: Topic -> type of everything public, so that a recorder need not wait for it.
PUBLIC = {
    IMAGE: "sensor_msgs/msg/Image",
    IMAGE_COMPRESSED: "sensor_msgs/msg/CompressedImage",
    CAMERA_INFO: "sensor_msgs/msg/CameraInfo",
    REGIONS: "visualization_msgs/msg/ImageMarker",
}
