"""``deid doctor``: what this machine has, whether it fits together, and what to type if not."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deid_ros.cli.options import add_config, add_parameter, config_of
from deid_ros.config import Config, defaults
from deid_ros.errors import DeidError

__all__ = ["Finding", "register", "run"]

DESCRIPTION = """\
Look at this installation: which Python and libraries are in use and whether they
fit each other, whether the model files are whole, whether the gallery fits the
generator, whether the camera's topic is seen. For each fault it says what to type.
The exit status is 1 when there is a fault."""

EPILOG = """\
examples:
  deid doctor                          everything
  deid doctor --config robot.yaml      with the settings of a robot
  deid doctor --image-topic /front/image_raw --seconds 5
  deid doctor --json                   the same for programs
"""

_OK, _NOTE, _FAULT = "ok", "note", "FAULT"
_OLDEST, _NEWEST = (3, 10), (3, 13)
_SHARED_MEMORY = 128 << 20      # bytes; one process takes a segment of 64 MiB


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``state`` is ok, note or FAULT; ``remedy`` what to type."""

    subject: str
    state: str
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Module:
    """A Python module: what is imported, and the command that brings it.

    ``needed``: its absence is a fault. ``probe``: an expression that must hold.
    """

    name: str
    imports: str
    remedy: str
    needed: bool = True
    probe: str = "True"


MODULES = (
    Module("numpy", "numpy", "pip install 'numpy<2'"),
    Module("OpenCV", "cv2", "pip install 'opencv-python-headless<5'",
           probe="hasattr(cv2, 'CascadeClassifier')"),
    Module("SciPy", "scipy.ndimage", "pip install scipy"),
    Module("dlib", "dlib", "pip install dlib-bin",
           probe="hasattr(dlib, 'face_recognition_model_v1')"),
    Module("onnxruntime", "onnxruntime", "pip install 'onnxruntime<2'",
           probe="'CPUExecutionProvider' in onnxruntime.get_available_providers()"),
    Module("LiteRT", "ai_edge_litert.interpreter", "pip install ai-edge-litert"),
    Module("PyAV", "av", "pip install av"),
    Module("rosbags", "rosbags.highlevel", "pip install 'rosbags>=0.11,<0.12'"),
    Module("Pillow", "PIL.Image", "pip install Pillow"),
    Module("PyYAML", "yaml", "pip install PyYAML"),
    Module("rclpy", "rclpy.node", "source the ROS installation, or: pip install 'deid_ros[ros]'",
           needed=False),
    Module("cv_bridge", "cv_bridge.boost.cv_bridge_boost", "sudo apt install --reinstall "
           "ros-$ROS_DISTRO-cv-bridge", needed=False),
)

#: Run in a process of its own: a module that was built for another numpy may crash.
_PROBE = """
import importlib, importlib.metadata, importlib.util, json, sys
for name, imports, probe in json.loads(sys.argv[1]):
    root = imports.split(".")[0]
    print(json.dumps([name, "begun"]), flush=True)
    try:
        there = importlib.util.find_spec(root) is not None
        if there:
            importlib.import_module(imports)
        top = sys.modules.get(root)
        version = getattr(top, "__version__", "")
        if there and not version:
            names = importlib.metadata.packages_distributions().get(root, [])
            version = importlib.metadata.version(names[0]) if names else ""
        said = [name, "ok" if there else "missing", str(version),
                str(getattr(top, "__file__", "") or "")]
        if there and not eval(probe, {root: top}):
            said[1:3] = ["unfit", f"{said[2]} lacks what is needed ({probe})"]
    except BaseException as error:
        said = [name, "broken", f"{type(error).__name__}: {error}", ""]
    print(json.dumps(said), flush=True)
"""


def register(subparsers: argparse._SubParsersAction) -> None:
    """Add ``deid doctor`` to the command line."""
    parser = subparsers.add_parser(
        "doctor", help="what this machine has, whether it fits, and what to type if not",
        description=DESCRIPTION, epilog=EPILOG)
    add_config(parser)
    add_parameter(parser, "detector", "image_topic")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S",
                        help="how long to look for topics; 0: not at all [2]")
    parser.add_argument("--network", choices=("host", "lan"), default=None,
                        help="where to look for topics, as for deid pipeline")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print what was found; 1 when there is a fault."""
    found: list[Finding] = []
    for finding in _findings(args):
        found.append(finding)
        if not args.json:
            _print(finding)
    faults = sum(finding.state == _FAULT for finding in found)
    if args.json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        print(f"{faults} fault{'s' * (faults != 1)}" if faults else "no fault")
    return 1 if faults else 0


def _print(finding: Finding) -> None:
    mark = "" if finding.state == _OK else f"{finding.state}: "
    print(f"{finding.subject:<13} {mark}{finding.text}")
    if finding.remedy:
        print(f"{'':<13} type: {finding.remedy}")


def _findings(args: argparse.Namespace) -> Iterator[Finding]:
    yield _python()
    states = _imported()
    yield from _modules(states)
    yield from _models()
    config = defaults()
    try:
        config = config_of(args)
        yield Finding("settings", _OK, args.config or "the defaults")
    except DeidError as error:
        yield Finding("settings", _FAULT, str(error), "correct the file, or leave --config out")
    yield _gallery(config)
    yield _shared_memory()
    if args.seconds > 0 and states["rclpy"][0] == "ok":
        yield from _guarded("topics", lambda: _topics(
            config["detector"]["image_topic"], args.seconds, args.network))


def _python() -> Finding:
    version = sys.version_info[:2]
    text = f"{sys.version.split()[0]} ({sys.executable})"
    if _OLDEST <= version <= _NEWEST:
        return Finding("Python", _OK, text)
    return Finding("Python", _FAULT, f"{text} is not one of 3.10 to 3.13",
                   "scripts/install_robot.sh, with PYTHON=/path/to/python3.12 before it")


# -- modules -------------------------------------------------------------------


def _imported() -> dict[str, tuple[str, str, str]]:
    """Module -> ok, missing, broken or unfit; version or error; its file."""
    left = [(module.name, module.imports, module.probe) for module in MODULES]
    found: dict[str, tuple[str, str, str]] = {}
    while left:
        done = subprocess.run([sys.executable, "-c", _PROBE, json.dumps(left)], text=True,
                              capture_output=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
        begun = ""
        for line in done.stdout.splitlines():
            try:
                name, state, *rest = json.loads(line)
            except ValueError:
                continue    # what a module prints of its own accord
            begun = name
            if state != "begun":
                found[name] = (state, *rest)
        if begun not in found:
            found[begun or left[0][0]] = (
                "broken", f"importing it ends Python with status {done.returncode}", "")
        left = [entry for entry in left if entry[0] not in found]
    return found


def _modules(states: dict[str, tuple[str, str, str]]) -> Iterator[Finding]:
    numpy_state, numpy_version, _ = states["numpy"]
    newer = numpy_state == "ok" and not numpy_version.startswith(("0.", "1."))
    for module in MODULES:
        state, text, file = states[module.name]
        if state == "ok":
            yield Finding(module.name, _OK, " ".join([text, f"({file})" if file else ""]).strip())
        elif state == "missing":
            yield Finding(module.name, _FAULT if module.needed else _NOTE, "is not installed",
                          module.remedy if module.needed or module.name == "rclpy" else "")
        else:
            # Built for numpy 1 and loaded under numpy 2, or the other way round.
            strange = "numpy" in text.lower() or "_ARRAY_API" in text or "status -" in text
            remedy = module.remedy
            if strange and module.name != "numpy":
                if newer:
                    text += f"; it does not fit numpy {numpy_version}"
                    remedy = "pip install 'numpy<2'"
                else:
                    remedy = f"{module.remedy} 'numpy<2'" if module.needed else module.remedy
            yield Finding(module.name, _FAULT, text, remedy)


# -- files ---------------------------------------------------------------------


def _guarded(subject: str, look: Callable[[], Any]) -> Iterator[Finding]:
    """What a look finds; a fault where it cannot even be made."""
    try:
        yield from look()
    except DeidError as error:
        yield Finding(subject, _FAULT, str(error))
    except Exception as error:
        yield Finding(subject, _FAULT, f"cannot be looked at ({type(error).__name__}: {error})",
                      "mend the faults above first")


def _models() -> Iterator[Finding]:
    def look() -> Iterator[Finding]:
        from deid_ros.cli.models import states

        entries = states()
        for entry in entries:
            if entry.state != "ok":
                text, _, remedy = entry.note.rpartition("; bring ")
                yield Finding(f"model {entry.name}", _FAULT, text or entry.note,
                              remedy.partition(": ")[2] or "reinstall deid_ros")
        if all(entry.state == "ok" for entry in entries):
            yield Finding("models", _OK, f"{len(entries)} files are whole (SHA-256)")
    return _guarded("models", look)


def _gallery(config: Config) -> Finding:
    settings = config["matcher"]

    def look() -> Iterator[Finding]:
        from deid_ros.config import file_of
        from deid_ros.matcher import Gallery
        from deid_ros.resources import face_space_of, sha256_of

        path = file_of(settings["gallery"])
        gallery = Gallery.load(path)
        gallery.require_extractor(settings["extractor"])
        space = face_space_of(file_of(settings["generator"]))
        gallery.require_space(sha256_of(space), path=path, space=space)
        yield Finding("gallery", _OK, f"{path}, {len(gallery)} people; it fits the generator")
    finding = next(_guarded("gallery", look))
    if finding.state == _FAULT and not finding.remedy:
        return Finding(finding.subject, finding.state, finding.text,
                       "deid pipeline --gallery DB/gallery.npz, or: deid db build FOLDER -o FILE")
    return finding


# -- the host and ROS ------------------------------------------------------------


def _shared_memory() -> Finding:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Finding("shared memory", _NOTE, "there is no /dev/shm; images take the slow way")
    about = os.statvfs(folder)
    free = about.f_bavail * about.f_frsize
    if free >= _SHARED_MEMORY:
        return Finding("shared memory", _OK, f"{free >> 20} MiB free")
    return Finding("shared memory", _FAULT, f"{free >> 20} MiB free in /dev/shm, "
                   f"{_SHARED_MEMORY >> 20} are needed",
                   "docker run --shm-size=1g, or: sudo mount -o remount,size=1g /dev/shm")


def _topics(image_topic: str, seconds: float, network: str | None) -> Iterator[Finding]:
    from deid_ros.ros.lookout import look

    seen = look(image_topic, seconds=seconds, network=network)
    yield Finding("ROS", _OK, f"{seen.middleware}, domain {seen.domain}; {seen.network}")
    if seen.publishers:
        yield Finding("camera", _OK, f"{seen.publishers} publish {seen.topic}")
    else:
        yield Finding("camera", _NOTE, f"nobody publishes {seen.topic}; {seen.similar}",
                      "ros2 topic list -t, then image_topic:=NAME")
