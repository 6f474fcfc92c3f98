"""The SROS 2 policy allows exactly what the nodes use, and nobody else the hidden topics."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
POLICY = ROOT / "config" / "sros2" / "policy.xml"


def full(name: str, node: str) -> str:
    """A name of the policy as ROS resolves it without a namespace."""
    if name.startswith("~/"):
        return f"/{node}/{name[2:]}"
    return name if name.startswith("/") else f"/{name}"


def allowed() -> dict[str, dict[str, set[str]]]:
    """node -> publish, subscribe, reply -> full names."""
    found = {}
    for enclave in ElementTree.parse(POLICY).getroot().iter("enclave"):
        profile = enclave.find("profiles/profile")
        node = profile.get("node")
        assert enclave.get("path") == f"/deid_ros/{node}"
        found[node] = {"publish": set(), "subscribe": set(), "reply": set()}
        for group in profile:
            for what in ("publish", "subscribe", "reply", "request"):
                if group.get(what):
                    assert group.get(what) == "ALLOW"
                    found[node][what] |= {full(entry.text, node) for entry in group}
    return found


def holders(what: str, topic: str) -> set[str]:
    return {node for node, rights in allowed().items() if topic in rights[what]}


def test_who_may_read_what():
    assert holders("subscribe", "/camera/image_raw") == {"detector", "replacer"}
    assert holders("subscribe", "/deid/_faces") == {"matcher", "generator", "replacer"}
    assert holders("subscribe", "/deid/_chips") == {"matcher"}
    assert holders("subscribe", "/deid/_matches") == {"detector", "generator"}
    assert holders("subscribe", "/deid/_surrogates") == {"replacer"}
    for node, rights in allowed().items():
        assert not {topic for topic in rights["subscribe"] if "*" in topic}
        if node != "replacer":
            assert not {topic for topic in rights["publish"] if topic.startswith("/deident")}


@pytest.mark.ros
def test_the_supervisor_gives_every_node_its_enclave():
    pytest.importorskip("rclpy")
    from deid_ros.ros.supervisor import children
    for child in children(Path("some.yaml"), list(allowed())):
        assert child.command[-2:] == ["--enclave", f"/deid_ros/{child.name}"]


@pytest.mark.ros
def test_the_policy_is_what_the_nodes_use(tmp_path):
    pytest.importorskip("rclpy")
    from ros_fakes import fake_cores
    from ros_support import DOMAIN

    from deid_ros.ros.graph import NODES
    from deid_ros.ros.runtime import ros_context
    policy = allowed()
    assert set(policy) == set(NODES)
    more = {"video_source": {"source": iter([])},
            "recorder": {"overrides": {"output": str(tmp_path / "bag")}}}
    with ros_context(network="host", domain_id=DOMAIN) as context:
        for name, kind in NODES.items():
            node = kind(context=context, **{**fake_cores(), **more}[name])
            used = {"publish": {p.topic_name for p in node.publishers},
                    "subscribe": {s.topic_name for s in node.subscriptions},
                    "reply": {full(s.srv_name, name) for s in node.services}}
            node.destroy_node()
            # Written by the client library itself, where the log is on.
            assert policy[name]["publish"] - used["publish"] <= {"/rosout"}
            # Older distributions lack one of the services of every node.
            assert policy[name]["reply"] - used["reply"] <= {f"/{name}/get_type_description"}
            for what, names in used.items():
                assert names <= policy[name][what], (name, what)
            assert used["subscribe"] == policy[name]["subscribe"], name
