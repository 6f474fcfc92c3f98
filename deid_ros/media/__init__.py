"""Images, videos and rosbags in and out."""

from deid_ros.media.batch import Batch, process
from deid_ros.media.files import (
    BAG_SUFFIXES,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Job,
    Plan,
    beside,
    plan,
)
from deid_ros.media.medium import Frame, Medium, Writing
from deid_ros.media.outcome import Outcome
from deid_ros.media.topics import TopicWishes
from deid_ros.media.whole import whole

__all__ = ["BAG_SUFFIXES", "IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "Batch", "Frame", "Job", "Medium",
           "Outcome", "Plan", "TopicWishes", "Writing", "beside", "plan", "process", "whole"]
