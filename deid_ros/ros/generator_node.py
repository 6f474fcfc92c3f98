"""The third node: a surrogate face for every face of a frame."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from sensor_msgs.msg import Image, PointCloud2

from deid_ros.ros import topics
from deid_ros.ros.base import StageNode
from deid_ros.ros.qos import keep_last, latched
from deid_ros.ros.runtime import run_node
from deid_ros.ros.tables import from_faces, from_matches, searcher_of, to_stack

__all__ = ["GeneratorNode", "main"]


class GeneratorNode(StageNode):
    """Matches and face tables in; a stack of surrogates out for each frame with faces.

    A face without a match, and every face when something fails, gets a
    transparent picture: the replacer covers it flat without waiting.

    Args:
        generator: anything with ``learn`` and ``generate`` of
            ``generator.SurrogateGenerator``; by default as the parameters say.
        options: as for ``StageNode``.
    """

    NODE = "generator"

    def __init__(self, *, generator: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self._generator = generator or self._create()
        self._surrogates = self.output(Image, topics.SURROGATES, keep_last(4))
        self.input(PointCloud2, topics.MATCHES, self._on_matches, latched(100))
        self.input(PointCloud2, topics.FACES, self._on_faces, keep_last(2))

    def _create(self) -> Any:
        from deid_ros.config import file_of
        from deid_ros.generator import SurrogateGenerator
        generator = SurrogateGenerator(file_of(self.options["generator"]))
        generator.warm_up()
        return generator

    def _on_matches(self, msg: PointCloud2) -> None:
        if not self.is_ours(msg):
            return
        matches = from_matches(msg)
        self._generator.learn(matches)
        self.health.count("matches", len(matches))

    def _on_faces(self, msg: PointCloud2) -> None:
        if not self.is_ours(msg):
            return
        began = time.monotonic()
        faces, tag = from_faces(msg)
        self.health.count("in")
        if not len(faces):
            return
        try:
            pictures = self._generator.generate(faces)
        except Exception as error:
            self.failed("generate", error)
            pictures = np.zeros((len(faces), 1, 1, 4), np.uint8)
        self._surrogates.publish(to_stack(pictures, msg.header, tag, searcher_of(msg)))
        self.health.count("out")
        self.health.time("work", time.monotonic() - began)


def main(argv: list[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(GeneratorNode, argv)


if __name__ == "__main__":
    sys.exit(main())
