"""The layouts for RViz and Foxglove show what the nodes publish, and nothing raw."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from deid_ros.parameters import PARAMETERS
from deid_ros.ros import topics

CONFIG = Path(__file__).resolve().parents[1] / "config"
PUBLIC = {"/" + name: kind for name, kind in topics.PUBLIC.items()} | {
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray"}

#: RViz display -> what it draws.
DISPLAYS = {"rviz_default_plugins/Image": "sensor_msgs/msg/Image"}
#: Foxglove panels.
PANELS = {"Image", "DiagnosticSummary", "DiagnosticStatusPanel", "Plot"}
PATH = re.compile(r'(/[\w/]+)\.status\[:\]\{name=="/(\w+)"\}\.values\[:\]\{key=="([\w.]+)"\}\.value'
                  r"(\.@derivative)?")


def rviz() -> dict:
    return yaml.safe_load((CONFIG / "deid.rviz").read_text(encoding="utf-8"))


def foxglove() -> dict:
    return json.loads((CONFIG / "foxglove.json").read_text(encoding="utf-8"))


def leaves(tree, key=""):
    """(key, value) of everything in a document that is neither list nor table; keys too."""
    if isinstance(tree, dict):
        for name, below in tree.items():
            yield "key", name
            yield from leaves(below, name)
    elif isinstance(tree, list):
        for below in tree:
            yield from leaves(below, key)
    else:
        yield key, tree


def displays() -> list[dict]:
    return rviz()["Visualization Manager"]["Displays"]


def test_rviz_draws_the_output():
    shown = {display["Topic"]["Value"]: display for display in displays()}
    assert "/deidentified/image" in shown
    for topic, display in shown.items():
        assert display["Enabled"] and PUBLIC[topic] == DISPLAYS[display["Class"]]
        # What the replacer offers: best effort would lose large images.
        assert display["Topic"]["Reliability Policy"] == "Reliable"
        assert display["Topic"]["Durability Policy"] == "Volatile"


def test_foxglove_shows_output_diagnostics_rate_and_latency():
    layout = foxglove()
    panels = layout["configById"]
    placed = [value for key, value in leaves(layout["layout"]) if key in ("first", "second")]
    assert sorted(placed) == sorted(panels)
    assert {name.split("!")[0] for name in panels} == PANELS
    # Without a calibration topic: not every camera has one, and the panel would wait for it.
    assert panels["Image!deid"]["imageMode"] == {
        "imageTopic": "/deidentified/image",
        "annotations": {"/deidentified/regions": {"visible": True}}}
    for name in ("DiagnosticSummary!deid", "DiagnosticStatusPanel!deid"):
        assert panels[name]["topicToRender"] == "/diagnostics"
    assert panels["DiagnosticStatusPanel!deid"]["selectedName"].strip("/") in PARAMETERS


def plotted() -> list[tuple[str, str, str, str]]:
    found = [PATH.fullmatch(line["value"]) for panel in foxglove()["configById"].values()
             for line in panel.get("paths", [])]
    assert found and all(found)
    return [match.groups() for match in found]


def test_foxglove_plots_numbers_that_a_node_publishes():
    from deid_ros.ros.health import Health
    health = Health()
    for name in ("in", "out", "withheld.deadline"):
        health.count(name)
    health.time("age", 0.05)
    for topic, node, key, derivative in plotted():
        assert topic == "/diagnostics" and node == "replacer"
        assert key in health.values()
        # Counters are shown as a rate, durations as they are.
        assert bool(derivative) == ("_ms" not in key)


@pytest.mark.parametrize("document", [rviz, foxglove])
def test_every_topic_is_public(document):
    names = {re.split(r"[.\[]", str(value))[0] for key, value in leaves(document())
             if str(value).startswith("/") and key not in ("Expanded", "selectedName")}
    assert names and names <= set(PUBLIC)
    text = json.dumps(document())
    assert "/_" not in text and "image_raw" not in text and "/camera/" not in text


@pytest.mark.ros
def test_the_replacer_publishes_them():
    pytest.importorskip("rclpy")
    from ros_fakes import fake_cores
    from ros_support import DOMAIN

    from deid_ros.ros.replacer_node import ReplacerNode
    from deid_ros.ros.runtime import ros_context
    with ros_context(network="host", domain_id=DOMAIN) as context:
        node = ReplacerNode(context=context, **fake_cores()["replacer"])
        offered = {publisher.topic_name for publisher in node.publishers}
        node.destroy_node()
    assert set(PUBLIC) <= offered


def test_both_are_installed():
    setup = (CONFIG.parent / "setup.py").read_text(encoding="utf-8")
    line = next(line for line in setup.splitlines() if 'files("config", ' in line)
    for path in CONFIG.iterdir():
        if path.is_file():
            assert f'"{path.suffix}"' in line, path.name
