"""Wrong arguments of the launch file: each is refused, with the remedy, before a node starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deid_ros.errors import ConfigError
from deid_ros.parameters import COMMON, LAUNCH, PARAMETERS
from deid_ros.ros.arguments import ARGUMENTS, check_names, check_values, nodes_of

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "launch" / "pipeline.launch.py"

#: What is typed -> words of the answer.
WRONG = {
    "mix:=abc": "mix:=abc|whole number from 1 to 1000",
    "mix:=0": "mix:=0|from 1 to 1000",
    "mix:=2.5": "mix:=2.5|whole number",
    "preset:=fst": "preset:=fst|did you mean 'fast'",
    "presett:=fast": "'presett'|did you mean preset:=",
    "detectr:=foo": "'detectr'|did you mean detector:=",
    "detector:=centreface": "centreface|did you mean 'centerface'",
    "detector:=none": "detector:=none|viola_jones",
    "threshold:=1.5": "threshold:=1.5|0.0 to 1.0",
    "threshold:=nan": "threshold:=nan|0.0 to 1.0",
    "threshold:=high": "threshold:=high|a number from",
    "margin:=-1": "margin:=-1|0.0 to 2.0",
    "cover:=hair": "cover:=hair|one of face, head",
    "deadline_ms:=0": "deadline_ms:=0|from 1.0 to 60000.0 ms",
    "deadline_ms:=soon": "deadline_ms:=soon|a number",
    "policy:=nearst": "policy:=nearst|did you mean 'nearest'",
    "preserve:=hair": "preserve:=hair|a list from sex, age",
    "preserve:=none,sex": "preserve:=none,sex|stands alone",
    "min_distance:=3": "min_distance:=3|0.0 to 2.0",
    "k:=1": "k:=1|from 2 to 1000 people",
    "memory_seconds:=-5": "memory_seconds:=-5|0.0 to 86400.0 s",
    "replace:=glue": "replace:=glue|one of surrogate, blur",
    "blend:=glue": "blend:=glue|one of gaussian, inplace",
    "image_topic:=/camera//raw": "image_topic:=/camera//raw|a topic such as",
    "namespace:=front-camera": "namespace:=front-camera|a namespace such as",
    "network:=wan": "network:=wan|one of host, lan",
    "use_sim_time:=yes": "use_sim_time:=yes|true or false",
    "log_level:=loud": "log_level:=loud|one of debug, info",
    "config:=nowhere.yaml": "nowhere.yaml|check the path",
    "record:=/tmp": "record:=/tmp|exists already",
    "jpeg_quality:=80": "replacer.jpeg_quality|config:=FILE",
    "frobnicate:=1": "'frobnicate'|there are config, namespace",
}


def refusal(typed: str) -> str:
    name, _, value = typed.partition(":=")
    with pytest.raises(ConfigError) as caught:
        check_names([name])
        check_values({name: value})
    return str(caught.value)


def test_there_are_enough_of_them():
    assert len(WRONG) >= 25


@pytest.mark.parametrize("typed", WRONG)
def test_a_wrong_argument_is_named_with_the_remedy(typed):
    said = refusal(typed)
    for word in WRONG[typed].split("|"):
        assert word in said
    assert "\n" not in said


def test_every_argument_may_be_given_as_it_is_by_default():
    from deid_ros.config import defaults
    given = {name: ",".join(value) if isinstance(value, list) else str(value)
             for name in ARGUMENTS if name not in LAUNCH
             for value in [defaults()[nodes_of(name)[0]][name]]}
    check_names(given)
    assert check_values(given) == defaults()


def test_every_argument_is_a_parameter_or_described():
    assert set(ARGUMENTS) == {name for _, name in COMMON} | set(LAUNCH)
    for name in set(ARGUMENTS) - set(LAUNCH):
        assert all(name in PARAMETERS[node] for node in nodes_of(name))


def test_an_argument_is_laid_over_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("/**/replacer:\n  ros__parameters: {deadline_ms: 500}\n")
    config = check_values({"config": str(file), "preset": "fast", "key": "123", "mix": "3"})
    assert config["replacer"]["deadline_ms"] == 500.0 and config["detector"]["preset"] == "fast"
    assert config["matcher"]["key"] == "123" and config["matcher"]["mix"] == 3


_RUN = """
import json, sys
import launch.logging
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch_ros.actions import Node

def execute(self, context):
    raise RuntimeError("a node was started")
Node.execute = execute

found = {}
for words in json.loads(sys.argv[2]):
    said = []
    logger = launch.logging.get_logger("launch")
    logger.error = said.append
    service = LaunchService(argv=words, noninteractive=True)
    service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
        PythonLaunchDescriptionSource(sys.argv[1]),
        launch_arguments=[word.split(":=", 1) for word in words])]))
    found[" ".join(words)] = service.run(), " ".join(map(str, said))
print("FOUND" + json.dumps(found))
"""


@pytest.mark.ros
def test_launch_itself_refuses_each_of_them_with_a_status(tmp_path):
    """By the launch service that ``ros2 launch`` uses; a node that starts says so."""
    pytest.importorskip("launch_ros", reason="launch_ros is not installed")
    prefix = tmp_path
    (prefix / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (prefix / "share/ament_index/resource_index/packages/deid_ros").touch()
    (prefix / "lib/deid_ros").mkdir(parents=True)
    for script in (ROOT / "scripts").iterdir():
        copy = prefix / "lib/deid_ros" / script.name
        copy.write_bytes(script.read_bytes())
        copy.chmod(0o755)
    right = ["preset:=fast", "mix:=3"]
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(FILE), json.dumps([*([typed] for typed in WRONG), right])],
        env={**os.environ, "AMENT_PREFIX_PATH": str(prefix),
             "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        text=True, capture_output=True, timeout=60)
    line = next((line for line in done.stdout.splitlines() if line.startswith("FOUND")), None)
    assert line, done.stdout + done.stderr
    found = json.loads(line.removeprefix("FOUND"))
    for typed, words in WRONG.items():
        status, said = found[typed]
        assert status == 1 and "was started" not in said, (typed, status, said)
        for word in words.split("|"):
            assert word in said, (typed, said)
    assert "was started" in found[" ".join(right)][1]
