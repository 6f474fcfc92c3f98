"""The fourth node, and the only one that lets frames out."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import cv2
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from visualization_msgs.msg import ImageMarker

from deid_ros.release import covered_for_sure
from deid_ros.ros import topics
from deid_ros.ros.base import StageNode
from deid_ros.ros.camera import CameraFrame, CameraInfos, check_outputs, info_topic
from deid_ros.ros.codec import stamp_ns
from deid_ros.ros.lookout import voice_of
from deid_ros.ros.markers import outlines
from deid_ros.ros.pause import Pause
from deid_ros.ros.qos import OUTPUT, CameraSubscription, keep_last
from deid_ros.ros.release import Decision, ReleaseQueue
from deid_ros.ros.runtime import run_node
from deid_ros.ros.searcher import Searcher, Trust
from deid_ros.ros.tables import from_faces, from_stack, searcher_of

__all__ = ["ReplacerNode", "main"]

#: Deadlines are looked at so long (s) after they have passed, at most.
_TICK_S = 0.005


class ReplacerNode(StageNode):
    """Camera image, face table and surrogates in; the covered image out.

    A frame leaves only with the table of exactly that frame (stamp, size, CRC-32) of its
    own detector, every row covered; see ``ros.searcher``, ``ros.release``, ``last_look``.

    Args:
        replacer: anything with ``apply`` of ``replacer.Replacer``; by default as
            the parameters say.
        told: see ``searcher.Trust``.
        options: as for ``StageNode``.
    """

    NODE = "replacer"

    def __init__(self, *, replacer: Any = None, told: Searcher | None = None,
                 **options: Any) -> None:
        super().__init__(**options)
        check_outputs(self, self.options["image_topic"])
        self._trust = Trust(self.session, told, self.get_logger().warning)
        settings = self.options
        self._replacer = replacer or self._create(settings)
        self._queue = ReleaseQueue(capacity=settings["queue"],
                                   deadline=settings["deadline_ms"] / 1e3,
                                   surrogates=settings["replace"] == "surrogate")
        self._infos = CameraInfos()
        self._paused = Pause(self, self._queue.clear)
        self._image = self.output(Image, topics.IMAGE, OUTPUT)
        self._compressed = self.output(CompressedImage, topics.IMAGE_COMPRESSED, OUTPUT)
        self._info = self.output(CameraInfo, topics.CAMERA_INFO, OUTPUT)
        self._regions = self.output(ImageMarker, topics.REGIONS, OUTPUT)
        self.input(PointCloud2, topics.FACES, self._on_faces, keep_last(8))
        self.input(Image, topics.SURROGATES, self._on_surrogates, keep_last(4))
        self._camera = CameraSubscription(self, settings["image_topic"], self._on_image,
                                          depth=settings["queue"])
        self.input(CameraInfo, info_topic(settings["image_topic"]), self._on_info,
                   keep_last(8, reliable=False))
        self._tick = self.every(_TICK_S, self._pump)
        self._voice = voice_of(self, self._camera.topic, lambda: bool(self._paused))

    def _create(self, options: Mapping[str, Any]) -> Any:
        from deid_ros.replacer import Replacer
        return Replacer(replace=options["replace"], blend=options["blend"])

    def adopt(self, options: Mapping[str, Any], changed: set[str]) -> None:
        """What waits is covered by the new rules."""
        if changed & {"replace", "blend"}:
            self._replacer = self._create(options)
        self._queue.adjust(deadline=options["deadline_ms"] / 1e3,
                           surrogates=options["replace"] == "surrogate")

    def judged(self, new: Mapping[str, int], lost: Mapping[str, int]) -> tuple[bytes, str]:
        """Also: WARN while paused or without a camera, ERROR while frames come and none leaves."""
        if self._paused:
            return DiagnosticStatus.WARN, "paused: nothing leaves"
        if not new.get("in") and not lost:
            return DiagnosticStatus.WARN, f"no images on {self._camera.topic}"
        if new.get("in", 0) > 1 and not new.get("out") and not lost:
            return DiagnosticStatus.ERROR, "nothing leaves"
        return super().judged(new, lost)

    def close(self) -> None:
        """An end that was asked for ends the pause too."""
        self._paused.mark.forget()
        super().close()

    def _on_image(self, msg: Any) -> None:
        self.health.count("in")
        if self._paused:
            self.health.count("withheld.paused")
            return
        try:
            frame = CameraFrame(msg)
        except Exception:
            self.health.count("withheld.bad_frame")
            raise
        self._voice.came(frame.key, now := time.monotonic())
        self._queue.put_frame(frame.key, frame, now)
        self._pump()

    def _on_faces(self, msg: PointCloud2) -> None:
        searcher, now = searcher_of(msg), time.monotonic()
        if cause := self._trust.refusal(searcher, now):
            self.health.count(f"ignored.{cause}")
            return
        faces, tag = from_faces(msg)
        self._voice.searched(key := (stamp_ns(msg.header), tag), now, fast=not searcher.preset)
        self._queue.put_table(key, faces, now)
        self._pump()

    def _on_surrogates(self, msg: Image) -> None:
        if not self.is_ours(msg):
            return
        pictures, tag = from_stack(msg, 4)
        self._queue.put_surrogates((stamp_ns(msg.header), tag), pictures, time.monotonic())
        self._pump()

    def _on_info(self, msg: CameraInfo) -> None:
        if not self._paused and self._infos.came(msg):
            self._info.publish(msg)

    def _pump(self) -> None:
        for decision in self._queue.due(time.monotonic()):
            try:
                self._release(decision)
            except Exception as error:
                self.health.count("withheld.failed")
                self.failed("replace", error)
        # Only while frames wait, and when the first of them would be late: a timer that
        # always runs costs a fifteenth of a core.
        if (left := self._queue.left(time.monotonic())) is None:
            self._tick.cancel()
        else:
            self._tick.timer_period_ns = round(1e9 * (left + _TICK_S))
            self._tick.reset()

    def _release(self, decision: Decision) -> None:
        if decision.faces is None:
            self.health.count(f"withheld.{decision.cause}")
            return
        began = time.monotonic()
        camera, faces = decision.frame, decision.faces
        if decision.cause:
            self.health.count(f"flat.{decision.cause}")
        frame, mask, covered_by = self._cover(camera, decision) if len(faces) else (None, None, ())
        output = camera.output(frame, mask, quality=self.options["jpeg_quality"],
                               with_compressed=self._compressed.get_subscription_count() > 0)
        self._publish(output, faces)
        self._voice.left(now := time.monotonic())
        self.health.count("out")
        for how, number in Counter(covered_by).items():
            self.health.count(f"faces.{how}", number)
        self.health.time("work", now - began)
        self.health.time("latency", decision.waited + now - began)
        age = (self.get_clock().now().nanoseconds - stamp_ns(output.image.header)) / 1e9
        if 0 <= age < 4:  # stamps of this clock, not those of a bag
            self.health.time("age", age)

    def _cover(self, camera: CameraFrame, decision: Decision) -> Any:
        before, faces = camera.bgr(), decision.faces
        done = covered_for_sure(
            before, faces, lambda: self._replacer.apply(before, faces, decision.surrogates),
            lambda error: self.failed("cover", error))
        self.health.count("px.covered", cv2.countNonZero(done.mask))
        self.health.count("px.boxes", int(faces["width"].astype(int) @ faces["height"].astype(int)))
        return done.frame, done.mask, done.covered_by

    def _publish(self, output: Any, faces: Any) -> None:
        self._image.publish(output.image)
        if output.compressed is not None:
            self._compressed.publish(output.compressed)
        if (info := self._infos.left(stamp_ns(output.image.header))) is not None:
            self._info.publish(info)
        if self._regions.get_subscription_count():
            self._regions.publish(outlines(faces, output.image.header))


def main(argv: list[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run_node(ReplacerNode, argv)


if __name__ == "__main__":
    sys.exit(main())
