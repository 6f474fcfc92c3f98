"""The second node: which surrogate identity a face gets."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from deid_ros.errors import ConfigError, FrameError
from deid_ros.faces import CHIP_NONE, match_dtype
from deid_ros.parameters import POLICIES_IN_A_LINE
from deid_ros.ros import topics
from deid_ros.ros.base import StageNode
from deid_ros.ros.codec import FrameTag, stamp_ns
from deid_ros.ros.joiner import Joiner
from deid_ros.ros.qos import keep_last, latched
from deid_ros.ros.runtime import run_node
from deid_ros.ros.searcher import Searcher
from deid_ros.ros.tables import from_faces, from_stack, searcher_of, to_table

__all__ = ["MatcherNode", "main"]


class MatcherNode(StageNode):
    """Face table and chips in; matches out, one row per chip.

    What is published stays for a generator that starts later or again.

    Args:
        extractor: anything with ``embed`` of ``extractor.Extractor``.
        matcher: anything with ``match`` of ``matcher.Matcher``; by default both
            as the parameters say.
        options: as for ``StageNode``.
    """

    NODE = "matcher"
    NICENESS = 10   # once for each face; until then it wears nobody's

    def __init__(self, *, extractor: Any = None, matcher: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self._extractor, self._matcher = extractor, matcher
        if extractor is None or matcher is None:
            self._create()
        self._stream = self.get_namespace()
        self._joiner = Joiner(("faces", "chips"), capacity=8, max_age=2.0)
        self._matches = self.output(PointCloud2, topics.MATCHES, latched(100))
        self.input(PointCloud2, topics.FACES, self._on_faces, keep_last(8))
        self.input(Image, topics.CHIPS, self._on_chips, keep_last(8))
        self.create_service(Trigger, "~/renew_surrogates", self._on_renew)

    def _create(self) -> None:
        from deid_ros.extractor import create_extractor
        from deid_ros.matcher import create_matcher
        options = self.options
        self._matcher = create_matcher(options, warn=self.warn_once)
        self._extractor = create_extractor(options["extractor"],
                                           weights=options["extractor_weights"] or None)
        side = self._extractor.chip_size
        self._extractor.embed(np.full((1, side, side, 3), 128, np.uint8))  # warm
        self._introduce(options["policy"])

    def _introduce(self, policy: str) -> None:
        self.get_logger().info(f"policy {policy} {POLICIES_IN_A_LINE[policy]}; more in: "
                               "deid pipeline --help")

    def adopt(self, options: Mapping[str, Any], changed: set[str]) -> None:
        """Other settings are another matcher: everybody gets another surrogate."""
        from deid_ros.matcher import create_matcher
        self._matcher = create_matcher(options, warn=self.warn_once)
        if "policy" in changed:
            self._introduce(options["policy"])
        self._announce()

    def _on_renew(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        """Everybody in view, and everybody remembered, gets another surrogate."""
        try:
            if self.options["key"]:
                raise ConfigError("The parameter 'key' is set, so that the surrogates would be the "
                                  "same again; start without it.")
            self.adopt(self.options, set())
            answer.success, answer.message = True, "every face gets another surrogate"
        except Exception as error:
            self.failed("renew", error)
            answer.success, answer.message = False, str(error)
        return answer

    def _announce(self) -> None:
        """A table without rows asks the detector for everybody's chip."""
        self.health.count("renewed")
        self._publish(np.zeros(0, match_dtype(1)),
                      Header(stamp=self.get_clock().now().to_msg()), self.session)

    def _publish(self, matches: np.ndarray, header: Header, session: bytes) -> None:
        """Matches are of tracks, not of a frame: their tag is empty."""
        self._matches.publish(to_table(matches, header, FrameTag(0, 0, 0),
                                       Searcher(session=session)))

    def _on_faces(self, msg: PointCloud2) -> None:
        if not self.is_ours(msg):
            return
        faces, tag = from_faces(msg)
        if (faces["chip"] != CHIP_NONE).any():
            self._join("faces", (stamp_ns(msg.header), tag), faces, msg)
        else:  # nothing to answer, but the matcher must know who is in view
            self._call(np.zeros(0, np.int32), np.zeros((0, 0), np.float32), faces)

    def _on_chips(self, msg: Image) -> None:
        if not self.is_ours(msg):
            return
        chips, tag = from_stack(msg, 3)
        self._join("chips", (stamp_ns(msg.header), tag), chips, msg)

    def _join(self, slot: str, key: Any, part: np.ndarray, msg: Any) -> None:
        parts = self._joiner.add(slot, key, part, time.monotonic())
        for cause, number in self._joiner.dropped.items():
            self.health.count(f"dropped.{cause}", number)
        self._joiner.dropped.clear()
        if parts:
            self._match(parts["faces"], parts["chips"], msg)

    def _match(self, faces: np.ndarray, chips: np.ndarray, msg: Any) -> None:
        began = time.monotonic()
        self.health.count("in")
        rows = faces[faces["chip"] != CHIP_NONE]
        rows = rows[np.argsort(rows["chip"])]
        if rows["chip"].tolist() != list(range(len(chips))):
            raise FrameError(f"A face table points to the chips {rows['chip'].tolist()}, but "
                             f"{len(chips)} came; all nodes must run the same version of deid_ros.")
        matches = self._call(rows["track_id"], self._extractor.embed(chips), faces)
        self._publish(matches, msg.header, searcher_of(msg).session)
        self.health.count("out")
        self.health.count("matches", len(matches))
        self.health.time("work", time.monotonic() - began)

    def _call(self, tracks: np.ndarray, embeddings: np.ndarray, faces: np.ndarray) -> np.ndarray:
        return self._matcher.match(tracks, embeddings, stream=self._stream,
                                   present=faces["track_id"])


def main(argv: list[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(MatcherNode, argv)


if __name__ == "__main__":
    sys.exit(main())
