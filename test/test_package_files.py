"""package.xml, setup.py, launch file, scripts and make targets agree."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import deid_ros
from deid_ros.parameters import PARAMETERS

ROOT = Path(__file__).resolve().parents[1]
LAUNCH = sorted((ROOT / "launch").glob("*.launch.py"))

#: Keys that `rosdep resolve` knows, looked up in rosdep's own lists.
ROSDEP = {
    "python3-numpy", "python3-opencv", "python3-pil", "python3-scipy", "python3-tqdm",
    "python3-yaml", "python3-onnxruntime-pip", "python3-dlib-pip", "python3-rosbags-pip",
    "python3-pytest", "python3-hypothesis", "python3-skimage",
}
#: Packages of the ROS distributions themselves.
ROS_PACKAGES = {
    "rclpy", "rcl_interfaces", "builtin_interfaces", "diagnostic_msgs", "geometry_msgs",
    "sensor_msgs", "std_msgs", "std_srvs", "visualization_msgs", "launch", "launch_ros",
}


@pytest.fixture(scope="module")
def package():
    return ET.parse(ROOT / "package.xml").getroot()


def test_package_xml_is_of_format_3_and_complete(package):
    assert package.tag == "package" and package.get("format") == "3"
    for tag in ("name", "version", "description", "maintainer", "license"):
        assert (package.findtext(tag) or "").strip(), tag
    assert package.findtext("name") == "deid_ros"
    assert package.findtext("version") == deid_ros.__version__
    assert package.findtext("license") == "Apache-2.0"
    assert (ROOT / package.find("license").get("file")).is_file()
    assert package.findtext("export/build_type") == "ament_python"


def test_package_xml_passes_the_tool_that_reads_it():
    catkin_pkg = pytest.importorskip("catkin_pkg.package")
    warnings = []
    found = catkin_pkg.parse_package(str(ROOT / "package.xml"), warnings=warnings)
    assert found.get_build_type() == "ament_python" and warnings == []


def test_every_dependency_is_a_key_that_rosdep_knows(package):
    names = [entry.text for entry in package if entry.tag.endswith("depend")]
    assert set(names) <= ROSDEP | ROS_PACKAGES
    assert len(names) == len(set(names))


def test_every_ros_package_that_is_imported_is_declared(package):
    declared = {entry.text for entry in package if entry.tag.endswith("depend")}
    declared |= {"rclpy", "rosidl_runtime_py"} & declared
    for path in [*(ROOT / "deid_ros" / "ros").rglob("*.py"), *LAUNCH]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = ([alias.name for alias in node.names] if isinstance(node, ast.Import) else
                     [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
            for name in (name.split(".")[0] for name in names):
                if re.fullmatch(r"rclpy|\w+_msgs|\w+_interfaces|std_srvs|launch|launch_ros", name):
                    assert name in declared, f"{path.name} imports {name}"


def test_changelog_has_an_entry():
    text = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    assert f"Forthcoming\n{'-' * 11}\n* " in text or f"\n{deid_ros.__version__} (" in text


def test_licence_is_the_whole_text():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text and len(text) > 11000


@pytest.mark.parametrize("node", PARAMETERS)
def test_every_node_has_an_executable(node):
    script = ROOT / "scripts" / node
    assert script.is_file() and os.access(script, os.X_OK)
    assert script.read_text() == (ROOT / "scripts" / "detector").read_text()


def test_no_executable_without_node():
    assert {path.name for path in (ROOT / "scripts").iterdir()
            if path.suffix != ".sh"} == set(PARAMETERS)


def test_executable_runs_the_node_it_is_named_after(tmp_path):
    bin_, lib = tmp_path / "bin", tmp_path / "lib" / "deid_ros"
    bin_.mkdir()
    lib.mkdir(parents=True)
    for folder in (bin_, tmp_path / "other"):
        folder.mkdir(exist_ok=True)
        (folder / "python3").write_text(f'#!/bin/sh\necho {folder.name} "$@"\n')
        (folder / "python3").chmod(0o755)
    script = lib / "matcher"
    script.write_text((ROOT / "scripts" / "matcher").read_text())
    script.chmod(0o755)
    env = {"PATH": f"{tmp_path / 'other'}:/usr/bin:/bin"}

    def output():
        return subprocess.run([str(script), "--ros-args", "-r", "a:=b c"], env=env, text=True,
                              capture_output=True, check=True).stdout
    words = "-m deid_ros.ros.start matcher --ros-args -r a:=b c\n"
    assert output() == "bin " + words
    (bin_ / "python3").unlink()
    assert output() == "other " + words


@pytest.mark.parametrize("path", LAUNCH, ids=lambda path: path.name)
def test_every_launch_argument_is_described(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(node, ast.Call) and "DeclareLaunchArgument" in (
                 getattr(node.func, "id", ""), getattr(node.func, "attr", ""))]
    assert calls
    for call in calls:
        words = {keyword.arg: keyword.value for keyword in call.keywords}
        assert "description" in words, f"{path.name}:{call.lineno} has no description"
        value = words["description"]
        if isinstance(value, ast.Constant):
            assert len(value.value) > 10, f"{path.name}:{call.lineno}"


def test_launch_does_not_hide_its_arguments():
    for path in LAUNCH:
        assert "OpaqueFunction" not in path.read_text(encoding="utf-8")


def test_tensorflow_stays_out_of_what_the_live_path_installs():
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    base = text[text.index("install_requires"):text.index("extras_require")]
    assert not re.search(r"tensorflow|keras|torch|\bjax", base)


def test_extras_are_those_the_documents_name():
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    extras = set(re.findall(r'"(\w+)":', text[text.index("extras_require"):].splitlines()[0]))
    assert extras == {"ros", "train", "demo", "report", "dev"}
    from deid_ros.cli import EXTRAS
    assert set(EXTRAS.values()) <= extras


def test_make_help_names_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
    output = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, text=True,
                            capture_output=True, check=True).stdout
    for target in set(targets) - {"help"}:
        assert f"make {target}" in output


def test_make_does_not_pass_a_sourced_ros_on():
    leak = {"PYTHONPATH": "/leak", "AMENT_PREFIX_PATH": "/leak", "COLCON_PREFIX_PATH": "/leak",
            "LD_LIBRARY_PATH": "/leak", "VIRTUAL_ENV": "/leak", "RMW_IMPLEMENTATION": "leak",
            "ROS_DISTRO": "leak", "PIP_USER": "leak", "COLCON_HOME": "/leak"}
    probe = "include Makefile\nprobe:\n\t@env\n"
    output = subprocess.run(["make", "-f", "-", "probe"], input=probe, cwd=ROOT, text=True,
                            env={"PATH": os.environ["PATH"], **leak}, capture_output=True,
                            check=True).stdout
    assert "leak" not in output
    domain = int(re.search(r"^ROS_DOMAIN_ID=(\d+)$", output, re.M)[1])
    assert 1 <= domain <= 100


@pytest.mark.parametrize("script", [".ci/run", ".ci/venv", "scripts/install_robot.sh",
                                    *(f"scripts/{n}" for n in PARAMETERS)])
def test_shell_scripts_parse(script):
    first = (ROOT / script).read_text(encoding="utf-8").splitlines()[0]
    shell = "bash" if "bash" in first else "sh"
    subprocess.run([shell, "-n", script], cwd=ROOT, check=True)
    assert os.access(ROOT / script, os.X_OK)


def test_venv_script_explains_an_unsupported_python(tmp_path):
    """A copy, so that no .venv of this checkout is touched."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "venv").write_text((ROOT / ".ci" / "venv").read_text())
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\necho 3.8\n")
    no_venv = tmp_path / "python-bare"
    no_venv.write_text('#!/bin/sh\ncase "$2" in *version_info*) echo 3.12;; *) exit 1;; esac\n')
    for python, words in [(old, "3.8"), (no_venv, "apt install python3.12-venv")]:
        python.chmod(0o755)
        result = subprocess.run(["bash", ".ci/venv", "ros"], cwd=tmp_path, text=True,
                                env={**os.environ, "PYTHON": str(python)}, capture_output=True)
        assert result.returncode == 1 and words in result.stderr
        assert not (tmp_path / ".venv").exists()


def test_python_of_the_tests_is_supported():
    assert (3, 10) <= sys.version_info[:2] <= (3, 13)
