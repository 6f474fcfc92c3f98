"""Where ROS traffic goes, decided before ``rclpy.init``.

Intermediate topics carry raw faces, so by default nothing leaves this host. What
the user has set in the environment wins, always.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from deid_ros.errors import ConfigError
from deid_ros.parameters import LAUNCH
from deid_ros.resources import share_path

__all__ = ["NETWORKS", "NETWORK_VARIABLE", "prepare", "users_choice"]

#: host: shared memory and loopback only. lan: every network card.
NETWORKS = LAUNCH["network"].choices

#: How the launch file and the supervisor tell their children which of the two.
NETWORK_VARIABLE = "DEID_NETWORK"

#: Set by us, for this process and its children, not by the user.
_OURS = "DEID_NETWORK_SET"

_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")

#: Distributions with Fast DDS 2, which reads the profile under the old name.
_FAST_DDS_2 = ("humble", "iron", "jazzy")

#: Any of these is a decision of the user's about transports or discovery.
_USER_VARIABLES = (
    *_PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS", "RMW_FASTRTPS_USE_QOS_FROM_XML",
    "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS", "ROS_LOCALHOST_ONLY",
    "ROS_DISCOVERY_SERVER", "CYCLONEDDS_URI", "ZENOH_SESSION_CONFIG_URI",
)


def users_choice(environment: MutableMapping[str, str] | None = None) -> list[str]:
    """The variables by which the user has decided about the network."""
    environment = os.environ if environment is None else environment
    if environment.get(_OURS):
        return []
    return [name for name in _USER_VARIABLES if environment.get(name)]


def prepare(network: str | None = None, *,
            environment: MutableMapping[str, str] | None = None) -> str:
    """Set up the environment of this process; the reason in one sentence.

    Args:
        network: one of ``NETWORKS``; None: what ``DEID_NETWORK`` says, else host.
        environment: changed in place; by default that of this process.

    Raises:
        ConfigError: a network nobody knows.
    """
    environment = os.environ if environment is None else environment
    network = network or environment.get(NETWORK_VARIABLE) or "host"
    if network not in NETWORKS:
        raise ConfigError(f"network is {network!r} but must be one of {', '.join(NETWORKS)}.")
    environment[NETWORK_VARIABLE] = network
    chosen = users_choice(environment)
    if chosen:
        return f"network as the environment says ({', '.join(chosen)})"
    for name in _USER_VARIABLES:
        environment.pop(name, None)  # set by a parent of ours, perhaps for another network
    environment[_OURS] = "1"
    if network == "lan":
        environment["FASTDDS_BUILTIN_TRANSPORTS"] = "LARGE_DATA"
        return "network lan: every network card, large-data transports"
    if environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps"):
        old = environment.get("ROS_DISTRO") in _FAST_DDS_2
        for name in _PROFILE_VARIABLES[:2 if old else 1]:
            environment[name] = str(share_path("config", "fastdds_host.xml"))
    else:
        environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        environment["ROS_LOCALHOST_ONLY"] = "1"
    return "network host: shared memory and loopback, nothing leaves this host"
