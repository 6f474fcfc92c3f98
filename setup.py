"""Packaging for pip and for colcon (ament_python) alike."""

import os
import re
from glob import glob

from setuptools import find_packages, setup

NAME = "deid_ros"


def read(path):
    # realpath: `colcon build --symlink-install` runs a link to this file elsewhere.
    folder = os.path.dirname(os.path.realpath(__file__))
    with open(os.path.join(folder, path), encoding="utf-8") as stream:
        return stream.read()


def files(folder, *endings):
    """The files of a folder with these endings, in a fixed order."""
    return sorted(path for ending in endings for path in glob(f"{folder}/*{ending}")
                  if os.path.isfile(path))


ROS = [
    "ros-kilted-rclpy>=9.1,<10",
    "ros-kilted-rmw-fastrtps-cpp>=9.3,<10",
    "ros-kilted-sensor-msgs>=5.5,<6",
    "ros-kilted-visualization-msgs>=5.5,<6",
    "ros-kilted-diagnostic-msgs>=5.5,<6",
    "ros-kilted-std-srvs>=5.5,<6",
]
TRAIN = [
    "tensorflow>=2.16,<3",
    "keras>=3.3,<4",
    "onnx>=1.16,<2",
    "tf2onnx>=1.16,<2",
    "matplotlib>=3.8,<4",
]
# The demo's photograph of an astronaut comes with scikit-image.
DEMO = ["scikit-image>=0.22,<1"]
# Classical recognisers and the report that deid evaluate --report writes.
REPORT = [
    *DEMO,
    "scikit-learn>=1.3,<2",
    "matplotlib>=3.8,<4",
    "Jinja2>=3.1,<4",
]
DEV = [
    *REPORT,
    "pytest>=8,<10",
    "hypothesis>=6.80,<7",
    "ruff>=0.5",
    "catkin-pkg>=1.0,<2",
]

setup(
    name=NAME,
    version=re.search(r'^__version__ = "(.+?)"', read("deid_ros/__init__.py"), re.M).group(1),
    description="Face de-identification for robots: faces in camera streams become "
                "other people's, who do not exist",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="deid_ros maintainers",
    maintainer_email="maintainers@deid-ros.example.org",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=[NAME, NAME + ".*"]),
    package_data={NAME: ["py.typed"], NAME + ".evaluation": ["templates/*.j2"],
                  NAME + ".viewer": ["*.html"]},
    zip_safe=False,
    install_requires=[
        "numpy>=1.26,<3",
        # Headless: the other wheels need libGL, which a fresh machine lacks. Below
        # 5: later wheels drop the cascade classifier from the main package.
        "opencv-python-headless>=4.8,<5",
        "onnxruntime>=1.17,<2",
        "scipy>=1.11,<2",
        "ai-edge-litert>=1.2,<3",
        "dlib-bin>=19.24",
        # 0.11: its quality-of-service parser and SQLite by apsw, which bags are read with.
        "rosbags>=0.11,<0.12",
        # What rosbags reads its files with, and so is there with it; used directly too.
        "apsw>=3.40",
        "lz4>=4",
        "backports.zstd>=1; python_version < '3.14'",
        "av>=12",
        "Pillow>=9.4",
        "PyYAML>=5.4,<7",
        "tqdm>=4.60,<5",
    ],
    extras_require={"ros": ROS, "train": TRAIN, "demo": DEMO, "report": REPORT, "dev": DEV},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + NAME]),
        ("share/" + NAME, ["package.xml"]),
        ("share/" + NAME + "/launch", files("launch", ".launch.py")),
        ("share/" + NAME + "/config", files("config", ".yaml", ".xml", ".rviz", ".json")),
        ("share/" + NAME + "/config/sros2", files("config/sros2", ".xml")),
        ("share/" + NAME + "/models",
         files("models", ".onnx", ".keras", ".npz", ".yaml", ".txt", ".md")),
        ("share/" + NAME + "/DB", files("DB", ".npz", ".md")),
        # The node executables: pip makes no lib/<package>, where launch looks.
        ("lib/" + NAME, [path for path in files("scripts", "") if not path.endswith(".sh")]),
    ],
    entry_points={"console_scripts": ["deid = deid_ros.cli:main"]},
)
