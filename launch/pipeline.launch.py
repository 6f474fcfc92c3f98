"""The live pipeline: a process for each stage, started again when it dies.

    ros2 launch deid_ros pipeline.launch.py image_topic:=/camera/color/image_raw

An argument that is not given has the value that the parameter file ``config``
gives it; its defaults stand nowhere else.
"""


import os
import secrets

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from deid_ros.config import as_list, load
from deid_ros.parameters import PARAMETERS
from deid_ros.resources import share_path
from deid_ros.ros.searcher import SEARCH_VARIABLE, SESSION_VARIABLE, words_of
from launch import LaunchContext, LaunchDescription, Substitution

STAGES = ("detector", "matcher", "generator", "replacer")

#: Seconds before a process that died is started again.
RESPAWN_DELAY = 0.2
#: Exit status of a node that refuses its parameters: it would refuse them again.
REFUSED = 2

#: Launch argument -> the nodes that have a parameter of this name.
STAGE_ARGUMENTS = {
    "image_topic": ("detector", "replacer"),
    "detector": ("detector",),
    "policy": ("matcher",),
    "mix": ("matcher",),
    "preserve": ("matcher",),
    "margin": ("matcher",),
    "k": ("matcher",),
    "enrolled": ("matcher",),
    "memory_seconds": ("matcher",),
    "replace": ("replacer",),
    "blend": ("replacer",),
}


class FromConfig(Substitution):
    """The value of a parameter in the file that the argument ``config`` names."""

    def __init__(self, node: str, name: str) -> None:
        super().__init__()
        self._node, self._name = node, name

    def describe(self) -> str:
        """The installed default, for --show-args."""
        return f"'{self._text(None, None)}', or what config says"

    def perform(self, context: LaunchContext) -> str:
        """The value as text; lists with commas."""
        return self._text(LaunchConfiguration("config").perform(context),
                          LaunchConfiguration("namespace").perform(context))

    def _text(self, path, namespace) -> str:
        value = load(path, namespace=namespace)[self._node][self._name]
        return ",".join(value) if isinstance(value, list) else str(value)


def items_of(argument: str, context: LaunchContext) -> list[str]:
    """A list given with commas, or in YAML already."""
    text = LaunchConfiguration(argument).perform(context).strip().strip("[]")
    return [item.strip("'\" ") for item in as_list(text)]


class YamlList(Substitution):
    """A list given with commas, or in YAML already, as a YAML list."""

    def __init__(self, argument: str) -> None:
        super().__init__()
        self._argument = argument

    def describe(self) -> str:
        """For the introspection of launch files."""
        return f"YamlList({self._argument})"

    def perform(self, context: LaunchContext) -> str:
        """``centerface,ssd`` -> ``['centerface', 'ssd']``."""
        return str(items_of(self._argument, context) or ["none"])


class SearchTold(Substitution):
    """The detector's settings, which the replacer must see at least in every table."""

    def describe(self) -> str:
        """For the introspection of launch files."""
        return "SearchTold()"

    def perform(self, context: LaunchContext) -> str:
        """As the nodes read it from the environment."""
        config = load(LaunchConfiguration("config").perform(context),
                      namespace=LaunchConfiguration("namespace").perform(context))
        return words_of({**config["detector"], "detector": items_of("detector", context)})


def value_of(name: str) -> ParameterValue:
    """A launch argument as a parameter of the type that the table says."""
    entry = PARAMETERS[STAGE_ARGUMENTS[name][0]][name]
    if entry.kind is list:
        return ParameterValue(YamlList(name), value_type=list[str])
    return ParameterValue(LaunchConfiguration(name), value_type=entry.kind)


def described(name: str) -> DeclareLaunchArgument:
    """The declaration of an argument that is a parameter."""
    node = STAGE_ARGUMENTS[name][0]
    entry = PARAMETERS[node][name]
    words = entry.description + (f" [{entry.unit}]" if entry.unit else "")
    if entry.kind is list:
        words += "; several with commas"
    if entry.choices or entry.minimum is not None:
        words += f". Allowed: {entry.allowed}"
    return DeclareLaunchArgument(name, default_value=FromConfig(node, name), description=words)


def on_exit(event, context):
    """End everything where a node refused to start; a node that died is respawned."""
    if event.returncode == REFUSED:
        words = f"{event.process_name} refused to start; its reason is above"
        return [LogInfo(msg=words), EmitEvent(event=Shutdown(reason=words))]
    return None


def generate_launch_description() -> LaunchDescription:
    """The four stages, and a recorder where a bag is asked for."""
    arguments = [
        DeclareLaunchArgument(
            "config", default_value=str(share_path("config", "pipeline.yaml")),
            description="ROS parameter file for all nodes; what it leaves out keeps its default"),
        DeclareLaunchArgument(
            "namespace", default_value="",
            description="Namespace of all nodes and of their relative topics; one for each camera"),
        *(described(name) for name in STAGE_ARGUMENTS),
        DeclareLaunchArgument(
            "record", default_value="",
            description="Folder of a rosbag2 to write the output to; it must not exist yet. "
                        "Empty: no recording"),
        DeclareLaunchArgument(
            "network", default_value="host", choices=["host", "lan"],
            description="host: shared memory and loopback, nothing leaves this host; lan: every "
                        "network card, large-data transports. A Fast DDS profile or discovery "
                        "range set in the environment goes before it"),
        DeclareLaunchArgument(
            "use_sim_time", default_value="false", choices=["true", "false"],
            description="Stamp diagnostics with /clock; deadlines always use the steady clock"),
        DeclareLaunchArgument(
            "log_level", default_value="info",
            choices=["debug", "info", "warn", "error", "fatal"],
            description="Least severity of log messages that are shown"),
    ]
    common = {
        "package": "deid_ros",
        "namespace": LaunchConfiguration("namespace"),
        "output": "screen",
    }

    def ros_arguments(node):
        # The enclave of config/sros2/policy.xml; without ROS 2 security it means nothing.
        return ["--log-level", LaunchConfiguration("log_level"), "--enclave", f"/deid_ros/{node}"]
    use_sim_time = {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"),
                                                   value_type=bool)}
    stages = [
        Node(executable=stage, name=stage, respawn=True, respawn_delay=RESPAWN_DELAY,
             ros_arguments=ros_arguments(stage),
             parameters=[LaunchConfiguration("config"), use_sim_time,
                         {name: value_of(name) for name, nodes in STAGE_ARGUMENTS.items()
                          if stage in nodes}],
             **common)
        for stage in STAGES
    ]
    # Not respawned: its folder would exist already.
    recorder = Node(
        executable="recorder", name="recorder", ros_arguments=ros_arguments("recorder"),
        condition=IfCondition(PythonExpression(["'", LaunchConfiguration("record"), "' != ''"])),
        parameters=[LaunchConfiguration("config"), use_sim_time,
                    {"output": ParameterValue(LaunchConfiguration("record"), value_type=str)}],
        **common)
    return LaunchDescription([
        *arguments,
        # By which a replacer that was paused knows, respawned, that it is the same run.
        SetEnvironmentVariable("DEID_RUN", str(os.getpid())),
        # By which the nodes of this launch know each other from those of another one.
        SetEnvironmentVariable(SESSION_VARIABLE, secrets.token_hex(16)),
        SetEnvironmentVariable(SEARCH_VARIABLE, SearchTold()),
        RegisterEventHandler(OnProcessExit(on_exit=on_exit)),
        SetEnvironmentVariable("DEID_NETWORK", LaunchConfiguration("network")),
        *stages,
        recorder,
    ])
