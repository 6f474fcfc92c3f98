"""Nothing is printed that is not ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
    said = printed("import os\nfrom deid_ros.inference import _without_info\n"
                   "with _without_info():\n"
                   "    os.write(2, b'INFO: Created a delegate\\nERROR: it broke\\n')\n"
                   "    os.write(2, b'[replacer]: paused')\n")
    assert said == "ERROR: it broke\n[replacer]: paused"
