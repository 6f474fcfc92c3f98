"""Images and videos in and out."""

from deid_ros.media.batch import process
from deid_ros.media.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Job, Plan, plan, whole
from deid_ros.media.images import process_image
from deid_ros.media.outcome import Outcome
from deid_ros.media.videos import process_video

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "Job", "Outcome", "Plan", "plan", "process",
           "process_image", "process_video", "whole"]
