"""Where ROS traffic may go: nothing leaves the host unless the user says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from deid_ros.errors import ConfigError
from deid_ros.resources import share_path
from deid_ros.ros.environment import prepare, users_choice

ROOT = Path(__file__).resolve().parents[1]
PROFILE = str(share_path("config", "fastdds_host.xml"))


def test_host_is_the_default():
    environment: dict[str, str] = {}
    assert "host" in prepare(environment=environment)
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == PROFILE
    assert "FASTDDS_BUILTIN_TRANSPORTS" not in environment


@pytest.mark.parametrize("distribution", ["humble", "jazzy"])
def test_older_fast_dds_reads_the_old_name(distribution):
    environment = {"ROS_DISTRO": distribution}
    prepare(environment=environment)
    assert environment["FASTRTPS_DEFAULT_PROFILES_FILE"] == PROFILE


def test_lan_uses_large_data_and_no_profile():
    environment: dict[str, str] = {}
    prepare("lan", environment=environment)
    assert environment["FASTDDS_BUILTIN_TRANSPORTS"] == "LARGE_DATA"
    assert "FASTDDS_DEFAULT_PROFILES_FILE" not in environment


@pytest.mark.parametrize("name, value", [
    ("FASTDDS_DEFAULT_PROFILES_FILE", "/my/profile.xml"),
    ("FASTRTPS_DEFAULT_PROFILES_FILE", "/my/profile.xml"),
    ("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4"),
    ("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET"),
    ("ROS_LOCALHOST_ONLY", "1"),
])
@pytest.mark.parametrize("network", ["host", "lan"])
def test_what_the_user_has_set_wins(name, value, network):
    environment = {name: value}
    assert name in prepare(network, environment=environment)
    assert environment == {name: value, "DEID_NETWORK": network}
    assert users_choice(environment) == [name]


def test_children_inherit_and_may_choose_again():
    environment: dict[str, str] = {}
    prepare("host", environment=environment)
    child = dict(environment)
    assert users_choice(child) == []
    prepare(None, environment=child)
    assert child == environment
    prepare("lan", environment=child)
    assert "FASTDDS_DEFAULT_PROFILES_FILE" not in child


def test_another_middleware_stays_on_the_host_too():
    environment = {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}
    prepare(environment=environment)
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert environment["ROS_LOCALHOST_ONLY"] == "1"


def test_an_unknown_network_is_refused():
    with pytest.raises(ConfigError, match="'wan'.*host, lan"):
        prepare("wan", environment={})


def test_the_profile_whitelists_the_loopback_address_only():
    space = {"d": "http://www.eprosima.com"}
    tree = ET.parse(PROFILE)
    assert [a.text for a in tree.iterfind(".//d:interfaceWhiteList/d:address", space)] == [
        "127.0.0.1"]
    assert tree.find(".//d:useBuiltinTransports", space).text == "false"


_TALK = """
import sys, time
sys.path.insert(0, {root!r})
import numpy as np
import rclpy
from sensor_msgs.msg import Image
from deid_ros.ros.codec import image_of
from deid_ros.ros.qos import keep_last
from std_msgs.msg import Header
role, network = sys.argv[1:]
if network != "none":
    from deid_ros.ros.environment import prepare
    prepare(network)
rclpy.init()
node = rclpy.create_node(role)
came = []
end = time.monotonic() + 15
if role == "listener":
    node.create_subscription(Image, "image", came.append, keep_last(5))
    while len(came) < 10 and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)
    print(len(came))
else:
    publisher = node.create_publisher(Image, "image", keep_last(5))
    msg = image_of(np.zeros((480, 640, 3), np.uint8), Header())
    while publisher.get_subscription_count() == 0 and time.monotonic() < end:
        time.sleep(0.02)
    for _ in range(40):
        publisher.publish(msg)
        time.sleep(0.03)
"""



_CARD = """
import fcntl, os, select, struct, subprocess, sys, threading, time
# A network card of this network namespace only: what is sent on it is read here.
card = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(card, 0x400454CA, struct.pack("16sH22x", b"card", 0x0002 | 0x1000))  # TAP, no header
for command in ("link set lo up", "addr add 10.9.8.7/24 dev card",
                "link set card multicast on up", "route add default dev card"):
    subprocess.run(["ip", *command.split()], check=True)
sent = 0
over = threading.Event()

def count():
    global sent
    while not over.is_set():
        if select.select([card], [], [], 0.1)[0]:
            kind = os.read(card, 65536)[12:14]
            sent += kind in (bytes([8, 0]), bytes([8, 6]))  # IPv4, ARP; not the kernel's IPv6

counter = threading.Thread(target=count)
counter.start()
talk, talker, listener = sys.argv[1:]
hears = subprocess.Popen([sys.executable, "-c", talk, "listener", listener],
                         stdout=subprocess.PIPE, text=True)
subprocess.run([sys.executable, "-c", talk, "talker", talker], check=True)
came = hears.communicate()[0].split()[-1]
time.sleep(0.3)
over.set()
counter.join()
print("RESULT", came, sent)
"""


def _isolated(talk: str, *, talker: str, listener: str) -> tuple[int, int]:
    """(messages that arrived, packets sent on the card) of two processes."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("FASTDDS", "FASTRTPS", "DEID_", "ROS_"))}
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", _CARD, talk, talker, listener], text=True,
        capture_output=True, timeout=60, env={**environment, "ROS_DOMAIN_ID": "103"})
    assert done.returncode == 0, done.stderr
    came, packets = done.stdout.split("RESULT")[-1].split()
    return int(came), int(packets)


@pytest.fixture(scope="module")
def talk() -> str:
    """The two processes' program, where a network can be made for them."""
    pytest.importorskip("rclpy")
    if not (shutil.which("unshare") and shutil.which("ip") and os.access("/dev/net/tun", os.W_OK)
            and not subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode):
        pytest.skip("a network namespace with a card of its own cannot be made here")
    return _TALK.format(root=str(ROOT))


@pytest.mark.ros
def test_not_one_packet_leaves_this_host(talk):
    came, packets = _isolated(talk, talker="host", listener="host")
    assert came >= 10 and packets == 0


@pytest.mark.ros
def test_a_camera_with_default_settings_on_this_host_connects(talk):
    came, packets = _isolated(talk, talker="none", listener="host")
    assert came >= 10
    # Its own discovery does go out: the count counts.
    assert packets > 0
