"""Looking at a live stream: the newest picture of a topic, a window, a page on this host."""

from deid_ros.viewer.page import Page
from deid_ros.viewer.stream import Stream, Style
from deid_ros.viewer.window import Window, no_window_because

__all__ = ["Page", "Stream", "Style", "Window", "no_window_because"]
