"""Rosbags in and out: rosbag2 (SQLite, MCAP, split, packed) and ROS 1, without ROS."""

from deid_ros.media.bags.bag import Bag
from deid_ros.media.bags.medium import BagMedium

__all__ = ["Bag", "BagMedium"]
