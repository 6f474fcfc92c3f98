"""The rules of the house, read off the source: who imports whom, and how long."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "deid_ros"
FILES = sorted(PACKAGE.rglob("*.py"))
NODES = sorted((PACKAGE / "ros").glob("*_node.py"))

#: Import names of ROS: its client library and every package of messages.
ROS = re.compile(r"rcl\w*|rmw\w*|rosidl\w*|ament_\w+|launch|launch_\w+|cv_bridge|\w+_msgs"
                 r"|\w+_interfaces|std_srvs|message_filters|tf2_\w+")

#: What takes long to import; allowed inside functions, and of modules that are
#: themselves imported only by functions.
HEAVY = ("tensorflow", "keras", "torch", "jax", "onnx", "tf2onnx", "onnxruntime", "ai_edge_litert",
         "dlib", "cv2", "scipy", "skimage", "matplotlib", "av", "rclpy", "rosbags", "numpy",
         "tkinter")

#: What everybody may import.
BASE = {"errors", "faces", "resources", "parameters", "config", "tables"}
STAGES = {"detector", "extractor", "matcher", "generator", "replacer"}
#: room -> the rooms it may import beyond itself and BASE.
ROOMS = {
    "errors": set(), "faces": set(), "parameters": set(), "resources": set(), "config": set(),
    "tables": set(),
    "geometry": set(), "messages": set(), "inference": set(),
    "detector": {"geometry", "inference"},
    "extractor": {"geometry"},
    "matcher": set(),
    "generator": {"geometry"},
    "replacer": {"geometry"},
    "release": {"replacer"},
    "pipeline": STAGES | {"geometry", "release"},
    "media": {"geometry", "pipeline", "messages"},
    "training": STAGES | {"geometry", "media"},
    "evaluation": STAGES | {"geometry", "pipeline", "media"},
    "viewer": set(),
    "ros": STAGES | {"geometry", "messages", "pipeline", "media", "release"},
    "bench": STAGES | {"geometry", "pipeline", "media", "ros"},
    "cli": STAGES | {"geometry", "inference", "pipeline", "media", "training", "evaluation",
                     "ros", "bench", "viewer"},
    "__main__": {"cli"},
    "__init__": set(),
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), name_of(path))


def imports(path: Path) -> list[tuple[str, int]]:
    """(absolute module name, line) of every import of a file, nested ones too."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found += [(f"{module}.{alias.name}" if module == "deid_ros" else module, node.lineno)
                      for alias in node.names]
        elif (isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module"
              and node.args and isinstance(node.args[0], ast.Constant)):
            found.append((str(node.args[0].value), node.lineno))
    return found


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) != "ros"], ids=name_of)
def test_no_ros_outside_its_room(path):
    for module, line in imports(path):
        assert not ROS.fullmatch(module.split(".")[0]), f"{name_of(path)}:{line} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_rooms_import_only_what_they_may(path):
    room = room_of(path)
    assert room in ROOMS, f"{name_of(path)} is in a room that the design does not know"
    for module, line in imports(path):
        parts = module.split(".")
        if parts[0] != "deid_ros" or len(parts) == 1 or parts[1].startswith("__"):
            continue
        assert parts[1] in ROOMS[room] | BASE | {room}, (
            f"{name_of(path)}:{line}: {room} must not import {module}")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_are_short_and_explained(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    limit = 200 if path in NODES else 400
    assert len(lines) < limit, f"{name_of(path)} has {len(lines)} lines, allowed are {limit - 1}"
    assert ast.get_docstring(tree_of(path)), f"{name_of(path)} does not say what it holds"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_functions_and_classes_are_explained(path):
    for node in tree_of(path).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{name_of(path)}:{node.lineno} {node.name}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_a_module_offers_exists(path):
    tree = tree_of(path)
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            offered = ast.literal_eval(node.value)
            defined = set()
            for other in ast.walk(tree):
                if isinstance(other, (ast.FunctionDef, ast.ClassDef)):
                    defined.add(other.name)
                elif isinstance(other, (ast.Import, ast.ImportFrom)):
                    defined |= {alias.asname or alias.name for alias in other.names}
                elif isinstance(other, ast.Assign):
                    defined |= {n.id for target in other.targets for n in ast.walk(target)
                                if isinstance(n, ast.Name)}
                elif isinstance(other, ast.AnnAssign) and isinstance(other.target, ast.Name):
                    defined.add(other.target.id)
            lazy = "__getattr__" in defined
            assert lazy or set(offered) <= defined, set(offered) - defined
            assert len(offered) == len(set(offered))


@pytest.mark.parametrize("code", [
    "import deid_ros",
    "import deid_ros.config, deid_ros.errors, deid_ros.resources; deid_ros.config.defaults()",
    "import deid_ros.cli\ntry: deid_ros.cli.main(['--help'])\nexcept SystemExit: pass",
])
def test_heavy_modules_wait_until_they_are_needed(code):
    code += f"\nimport sys; print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True,
                            capture_output=True, timeout=60, check=True)
    assert result.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_model_is_fetched_from_a_network(path):
    for module, line in imports(path):
        assert module.split(".")[0] not in ("requests", "httpx", "aiohttp", "ftplib"), line
        assert not module.startswith(("urllib.request", "http.client")), f"{name_of(path)}:{line}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_pickles(path):
    text = path.read_text(encoding="utf-8")
    assert "allow_pickle=True" not in text
    assert not [line for module, line in imports(path) if module in ("pickle", "dill", "joblib")]


def test_nodes_exist_for_every_node_of_the_configuration():
    from deid_ros.parameters import PARAMETERS

    if not NODES:
        pytest.skip("no nodes yet")
    assert {path.stem.removesuffix("_node") for path in NODES} == set(PARAMETERS)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_one_place_imports_onnx_runtime(path):
    """The one that switches its telemetry off."""
    found = [module for module, _ in imports(path) if module == "onnxruntime"]
    if name_of(path) == "deid_ros/training/eight_bits.py":
        found = found[1:]   # its quantisation, after the other
    assert not found or name_of(path) == "deid_ros/resources.py"
