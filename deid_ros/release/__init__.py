"""The promise: what is checked of every frame before it leaves. Pure, without ROS."""

from deid_ros.release.last_look import check_covered, covered_for_sure

__all__ = ["check_covered", "covered_for_sure"]
