"""Stage one, the Detector: faces, landmarks, chips and tracks of each frame."""

from deid_ros.detector.finder import FaceFinder, Found
from deid_ros.detector.interfaces import Detector
from deid_ros.detector.mesh import FaceMesh
from deid_ros.detector.presets import PRESETS
from deid_ros.detector.registry import DETECTORS, create_detector
from deid_ros.detector.searcher import Searcher

__all__ = ["DETECTORS", "PRESETS", "Detector", "FaceFinder", "FaceMesh", "Found", "Searcher",
           "create_detector"]
