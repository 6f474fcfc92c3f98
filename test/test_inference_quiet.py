"""Nothing is printed that is not ours."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_litert_model_is_loaded_in_silence():
    said = printed("from deid_ros.inference import tflite_interpreter\n"
                   "for name in ('face_mesh', 'blazeface_full_range', 'face_landmarker'):\n"
                   "    tflite_interpreter(name).invoke()")
    assert said == ""


def test_what_others_write_meanwhile_is_kept():
    said = printed("import os\nfrom deid_ros.inference import without_lines\n"
                   "with without_lines(rb'INFO: '):\n"
                   "    os.write(2, b'INFO: Created a delegate\\nERROR: it broke\\n')\n"
                   "    os.write(2, b'[replacer]: paused')\n")
    assert said == "ERROR: it broke\n[replacer]: paused"


def test_tensorflow_is_woken_in_silence():
    """It calls it an error that a machine has no GPU."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("tensorflow is not installed")
    said = printed("from deid_ros.cli.train import wake_tensorflow\nwake_tensorflow()\n"
                   "import tensorflow as tf\nprint(int(tf.add(1, 1)))")
    assert said == "2\n"
