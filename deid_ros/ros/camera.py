"""One camera message of either type, and the camera info that goes with it."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from deid_ros.errors import ConfigError
from deid_ros.ros import codec, compressed, topics
from deid_ros.ros.codec import FrameTag, stamp_ns

__all__ = ["CameraFrame", "CameraInfos", "Output", "check_outputs", "info_topic"]


@dataclass(frozen=True)
class Output:
    """What leaves for one frame; ``compressed`` only where it was asked for."""

    image: Image
    compressed: CompressedImage | None


class CameraFrame:
    """A camera message whose numbers have been checked.

    Attributes:
        msg: the message.
        tag: its size and checksum.
        key: (stamp in ns, tag): what the messages of this frame are joined by.

    Raises:
        FrameError: it cannot be read safely.
    """

    def __init__(self, msg: Image | CompressedImage) -> None:
        self.msg = msg
        if isinstance(msg, CompressedImage):
            height, width = compressed.size_of(msg)
            self.tag = FrameTag(height, width, zlib.crc32(msg.data))
        else:
            self.tag = codec.tag_of(msg)
        self.key = (stamp_ns(msg.header), self.tag)

    def bgr(self) -> np.ndarray:
        """The frame: uint8 (H, W, 3), BGR, not to be written to."""
        if isinstance(self.msg, CompressedImage):
            return compressed.decode(self.msg)
        return codec.to_bgr(self.msg)

    def output(self, frame: np.ndarray | None, mask: np.ndarray | None, *,
               with_compressed: bool, quality: int) -> Output:
        """What leaves: the camera's header and encoding, its bytes outside of the mask.

        Args:
            frame: the covered frame; None: there is no face in it.
            mask: uint8 (H, W), 0 where the camera's bytes stay.
            with_compressed: whether somebody listens to the compressed image.
            quality: of JPEG, 1 to 100, for images that came uncompressed.
        """
        if isinstance(self.msg, CompressedImage):
            changed = frame is not None
            shown = self.bgr() if frame is None else frame
            return Output(codec.image_of(shown, self.msg.header),
                          compressed.covered_compressed(self.msg, shown, changed=changed)
                          if with_compressed else None)
        image = codec.covered_image(self.msg, frame, mask)
        if not with_compressed:
            return Output(image, None)
        return Output(image, compressed.compress(
            codec.to_bgr(image), image.header, encoding=image.encoding, quality=quality))


def info_topic(image_topic: str) -> str:
    """The camera info beside an image topic: ``a/image_raw`` -> ``a/camera_info``."""
    topic = image_topic.removesuffix("/compressed")
    return topic[:topic.rfind("/") + 1] + "camera_info"


class CameraInfos:
    """Lets a camera info leave exactly when the frame of its stamp does.

    It may come before its frame, or after the frame has left; frames and infos
    are remembered by stamp, ``capacity`` of each.
    """

    def __init__(self, *, capacity: int = 64) -> None:
        self._capacity = capacity
        self._infos: OrderedDict[int, CameraInfo] = OrderedDict()
        self._left: OrderedDict[int, None] = OrderedDict()

    def came(self, info: CameraInfo) -> CameraInfo | None:
        """An info came; it if its frame has left already, to be published now."""
        stamp = stamp_ns(info.header)
        if stamp in self._left:
            del self._left[stamp]
            return info
        self._remember(self._infos, stamp, info)
        return None

    def left(self, stamp: int) -> CameraInfo | None:
        """A frame leaves; the info to publish with it, if it is here."""
        info = self._infos.pop(stamp, None)
        if info is None:
            self._remember(self._left, stamp, None)
        return info

    def _remember(self, store: OrderedDict[int, Any], stamp: int, value: Any) -> None:
        store[stamp] = value
        store.move_to_end(stamp)
        while len(store) > self._capacity:
            store.popitem(last=False)


def check_outputs(node: Any, image_topic: str) -> None:
    """See that nothing that leaves is put where the camera's images are.

    Raises:
        ConfigError: an output has been renamed to an input.
    """
    base = image_topic.removesuffix("/compressed")
    inputs = {node.resolve_topic_name(name)
              for name in (base, f"{base}/compressed", info_topic(image_topic))}
    for output in topics.PUBLIC:
        name = node.resolve_topic_name(output)
        if name in inputs:
            raise ConfigError(f"The output {output} would be published as {name}, which is the "
                              "camera's; raw and covered images would be mixed: rename it to "
                              "another topic.")
