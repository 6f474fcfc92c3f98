"""What every input is: something that yields frames and takes them back covered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from deid_ros.media.topics import TopicWishes
from deid_ros.pipeline import Processed

__all__ = ["Frame", "Medium", "Writing"]


@dataclass(slots=True)
class Frame:
    """One image on its way through the pipeline.

    ``pixels`` BGR uint8 (H, W, 3); ``stamp_ns`` when it was taken (ns); ``index`` its
    number in its stream, from 0; ``topic`` the stream, None where there is only one;
    ``token`` what the medium needs to put it back.
    """

    pixels: np.ndarray
    stamp_ns: int
    index: int = 0
    topic: str | None = None
    token: Any = None


@dataclass(frozen=True, slots=True)
class Writing:
    """How outputs are written, where they need not be as their inputs.

    ``codec`` FFmpeg's name of an encoder or a codec family, '' for the input's;
    ``crf`` its quality, None for a good one; ``keep_audio`` keep sound; ``keep_metadata``
    copy what describes a picture or video, but never a place or another picture;
    ``topics`` what is wished of the topics of bags; ``marking`` say in outputs that they
    were altered (``marking``).
    """

    codec: str = ""
    crf: float | None = None
    keep_audio: bool = False
    keep_metadata: bool = False
    topics: TopicWishes = field(default_factory=TopicWishes)
    marking: bool = True


class Medium(Protocol):
    """One input being made into one output; also a context manager that closes it.

    Attributes:
        total: frames expected, 0 where unknown.
        steady: whether the frames of a stream follow each other in time, so that a
            face can be covered in the frames before the one in which it is found.
        withheld: frames that were there and could not be read as images.
        lost: pieces of the input that could not be read.
        notes: sentences about what was lost.
        warnings: sentences about what was left out, or kept, on purpose.
        facts: what else the manifest says of it.
    """

    total: int
    steady: bool
    withheld: int
    lost: int
    notes: list[str]
    warnings: list[str]
    facts: dict[str, Any]

    def frames(self) -> Iterator[Frame]:
        """The frames in the order of the input."""
        ...

    def take(self, frame: Frame, processed: Processed | None) -> None:
        """Take a frame back, covered; None: it must not be used.

        The frames of one stream come back in the order in which they were given.
        """
        ...

    def urgent(self) -> tuple[str | None] | None:
        """``(topic,)`` of a frame for which too much waits, or None."""
        ...

    def finish(self) -> None:
        """Make the output whole.

        Raises:
            MediaError: there is nothing that could be written.
        """
        ...

    def close(self) -> None:
        """Close the input, and an output that was not finished."""
        ...
