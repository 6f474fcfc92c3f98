"""The whole pipeline in one process: the same node classes, in threads of their own.

Generator and replacer share one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rclpy.context import Context

from deid_ros.config import Config
from deid_ros.ros.detector_node import DetectorNode
from deid_ros.ros.generator_node import GeneratorNode
from deid_ros.ros.matcher_node import MatcherNode
from deid_ros.ros.recorder_node import RecorderNode
from deid_ros.ros.replacer_node import ReplacerNode
from deid_ros.ros.runtime import Runner
from deid_ros.ros.searcher import Searcher
from deid_ros.ros.video_source_node import VideoSourceNode

__all__ = ["NODES", "STAGES", "Graph", "listeners", "stages_of"]

#: The four stages, in the order of the data.
STAGES = ("detector", "matcher", "generator", "replacer")

#: Name in the configuration -> class.
NODES: dict[str, type] = {
    "detector": DetectorNode,
    "matcher": MatcherNode,
    "generator": GeneratorNode,
    "replacer": ReplacerNode,
    "video_source": VideoSourceNode,
    "recorder": RecorderNode,
}


def stages_of(config: Config) -> tuple[str, ...]:
    """The stages that are needed: an obfuscation needs no surrogates."""
    surrogates = config["replacer"]["replace"] == "surrogate"
    return STAGES if surrogates else ("detector", "replacer")


def listeners(config: Config, *, record: bool) -> list[str]:
    """The nodes that a source waits for: the stages, and a recorder if it records the camera."""
    recorded = record and config["video_source"]["image_topic"] in config["recorder"]["topics"]
    return [*stages_of(config), *(["recorder"] if recorded else [])]


def drained(replacer: Mapping[str, float], sent: float) -> bool:
    """Whether so many frames have come to the replacer, and have left or been withheld.

    Args:
        replacer: its numbers.
    """
    withheld = sum(number for name, number in replacer.items() if name.startswith("withheld."))
    return sent <= replacer.get("in", 0) <= replacer.get("out", 0) + withheld


class Graph:
    """Nodes of one configuration, composed.

    All nodes are made, with their models loaded, before the first one runs; the
    source runs last.

    Args:
        config: as from ``config.load``.
        context: an initialised context.
        namespace: of all nodes.
        source, record: whether there is a ``video_source``, a ``recorder``.
        frames: the source's frames, instead of those the configuration names.
        cores: node -> keyword arguments of its class, for instance
            ``{'detector': {'finder': finder}}``.

    Raises:
        DeidError: a parameter, model or gallery that is not right.
    """

    def __init__(self, config: Config, *, context: Context, namespace: str = "",
                 source: bool = False, record: bool = False,
                 frames: Iterator[np.ndarray] | None = None,
                 cores: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.runners: dict[str, Runner] = {}
        session = secrets.token_hex(16)
        names = [*(["recorder"] if record else []), *reversed(stages_of(config)),
                 *(["video_source"] if source or frames is not None else [])]
        for name in names:
            more = dict((cores or {}).get(name, {}))
            settings = config[name]
            if name == "video_source":
                settings = {**settings, "wait_for": listeners(config, record=record)}
                more.setdefault("source", frames)
            if name in ("detector", "replacer"):
                more.setdefault("told", Searcher.of(config["detector"]))
            try:
                node = NODES[name](context=context, namespace=namespace or None,
                                   overrides=settings, session=session, **more)
            except BaseException:
                self.stop()
                raise
            # One waits for the other anyway; beside the detector's, one thread is enough for
            # a second core, and two would take it, and Python, from each other.
            host = self.runners["replacer"] if name == "generator" else None
            self.runners[name] = Runner(node, host=host)

    def __enter__(self) -> Graph:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def node(self, name: str) -> Any:
        """One of the nodes."""
        return self.runners[name].node

    def start(self) -> Graph:
        """Begin, the source last."""
        for runner in self.runners.values():
            runner.start()
        return self

    @property
    def finished(self) -> bool:
        """Whether the source has ended."""
        source = self.runners.get("video_source")
        return source is not None and source.node.finished.is_set()

    def drain(self, timeout: float = 3.0) -> None:
        """Wait until every frame that came has left or been withheld.

        Of a source that has ended, every frame must have come.
        """
        end = time.monotonic() + timeout
        sent = self.node("video_source").health.total("out") if self.finished else 0
        while time.monotonic() < end:
            if drained(self.node("replacer").health.values(), sent):
                break
            time.sleep(0.02)

    def values(self) -> dict[str, dict[str, float]]:
        """Node -> its numbers."""
        return {name: runner.node.health.values() for name, runner in self.runners.items()}

    def stop(self) -> None:
        """End all nodes, the source first and the recorder last."""
        for name in reversed(list(self.runners)):
            self.runners[name].stop()
