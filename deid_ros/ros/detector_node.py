"""The first node: finds the faces of every frame it is given."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from sensor_msgs.msg import Image, PointCloud2

from deid_ros.errors import ConfigError
from deid_ros.faces import CHIP_NONE
from deid_ros.ros import topics
from deid_ros.ros.base import StageNode
from deid_ros.ros.camera import CameraFrame
from deid_ros.ros.codec import stamp_ns
from deid_ros.ros.qos import CameraSubscription, keep_last, latched
from deid_ros.ros.runtime import run_node
from deid_ros.ros.searcher import Searcher, told_by_environment
from deid_ros.ros.tables import from_matches, to_stack, to_table

__all__ = ["DetectorNode", "main"]

#: A chip that is not answered within this time is cut again (s).
_ANSWER_S = 2.0
_ADJUSTABLE = {"detector", "preset", "threshold", "margin", "cover", "min_surrogate_px"}


class DetectorNode(StageNode):
    """Camera image in; face table (always) and chips (where wanted) out.

    No table is published for a frame that cannot be read or searched, and so the
    frame does not leave.

    Args:
        finder: anything with ``find``, ``reset`` and ``renew_chips`` of
            ``detector.FaceFinder``; by default one as the parameters say.
        told: the least that the replacer was told to see; None: what the environment says.
        options: as for ``StageNode``.
    """

    NODE = "detector"
    NICENESS = 5

    def __init__(self, *, finder: Any = None, told: Searcher | None = None,
                 **options: Any) -> None:
        self._told = told or told_by_environment()
        super().__init__(**options)
        # First of all: what the detector before this one has used up is known
        # when the models are loaded.
        self.input(PointCloud2, topics.MATCHES, self._on_matches, latched(100))
        self._finder = finder or self._create()
        self._faces = self.output(PointCloud2, topics.FACES, keep_last(8))
        self._chips = self.output(Image, topics.CHIPS, keep_last(8))
        self._process = os.urandom(8)
        self._unanswered: dict[int, float] = {}
        self._base = self._highest = 0
        self._matchers: set[tuple[int, ...]] = set()
        self.every(0.5, self._ask_again)
        self._camera = CameraSubscription(self, self.options["image_topic"], self._on_image,
                                          depth=self.options["queue"])

    def _create(self) -> Any:
        from deid_ros.detector import FaceFinder
        finder = FaceFinder(**{name: self.options[name] for name in (
            "detector", "preset", "threshold", "margin", "cover", "min_surrogate_px",
            "carry_frames", "extractor")})
        finder.find(np.zeros((480, 640, 3), np.uint8))  # the first run of a model takes longer
        finder.reset()
        return finder

    def adopt(self, options: Mapping[str, Any], changed: set[str]) -> None:
        """Tracks live on, so that faces stay covered while back ends are exchanged.

        Less than the replacer was told would end all output, and is refused.
        """
        why = self._told and Searcher.of(options).weaker(self._told)
        if why and not Searcher.of(self.options).weaker(self._told):
            raise ConfigError(f"The detector would search less than the replacer was told when "
                              f"both were started ({why}), and no frame would leave; start them "
                              "anew with these settings.")
        self._finder.adjust(**{name: options[name] for name in changed & _ADJUSTABLE})

    def fits(self, options: Mapping[str, Any]) -> None:
        """Not less than the replacer was told."""
        why = self._told and Searcher.of(options).weaker(self._told)
        if why:
            raise ConfigError(f"The detector would search less than the replacer was told ({why}).")

    def _on_image(self, msg: Any) -> None:
        began = time.monotonic()
        self.health.count("in")
        camera = CameraFrame(msg)
        found = self._finder.find(camera.bgr(), stamp_ns=stamp_ns(msg.header))
        faces = self._numbered(found.faces)
        searcher = Searcher.of(self.options, session=self.session, process=self._process)
        self._faces.publish(to_table(faces, msg.header, camera.tag, searcher))
        if len(found.chips):
            self._chips.publish(to_stack(found.chips, msg.header, camera.tag, searcher))
        self._remember(faces)
        self.health.count("out")
        self.health.count("faces", len(faces))
        self.health.time("work", time.monotonic() - began)

    def _numbered(self, faces: np.ndarray) -> np.ndarray:
        """The faces with track ids that no detector before this process has used."""
        faces = faces.copy()
        faces["track_id"] += self._base
        self._highest = max(self._highest, int(faces["track_id"].max(initial=0)))
        return faces

    def _remember(self, faces: np.ndarray) -> None:
        now = time.monotonic()
        here = {int(track) for track in faces["track_id"]}
        self._unanswered = {track: since for track, since in self._unanswered.items()
                            if track in here}
        for track in faces["track_id"][faces["chip"] != CHIP_NONE]:
            self._unanswered.setdefault(int(track), now)

    def _on_matches(self, msg: PointCloud2) -> None:
        if not self.is_ours(msg):
            return
        tracks = from_matches(msg)["track_id"]
        if not len(tracks):  # the matcher gives everybody another surrogate
            self._renew()
        for track in tracks:
            self._unanswered.pop(int(track), None)
        highest = int(tracks.max(initial=0))
        if highest > self._highest:
            # Of a detector that ran before. Its ids belong to other people, who
            # must not lend their surrogates to the faces found now.
            self._base = self._highest = highest
            self._renew()

    def _ask_again(self) -> None:
        """Cut chips anew where a matcher was away or is a new one, so that restarts heal."""
        now = time.monotonic()
        matchers = {tuple(p.endpoint_gid) for p in self.get_publishers_info_by_topic(
            self.resolve_topic_name(topics.MATCHES))}
        another = bool(self._matchers and matchers - self._matchers)
        self._matchers |= matchers
        if another or (self._matchers and any(
                now - since > _ANSWER_S for since in self._unanswered.values())):
            self._renew()

    def _renew(self) -> None:
        self._unanswered.clear()
        self._finder.renew_chips()
        self.health.count("chips_renewed")


def main(argv: list[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(DetectorNode, argv)


if __name__ == "__main__":
    sys.exit(main())
