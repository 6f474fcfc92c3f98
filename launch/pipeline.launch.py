"""The live pipeline: a process for each stage, started again when it dies.

    ros2 launch deid_ros pipeline.launch.py image_topic:=/camera/color/image_raw

An argument that is not given has the value that the parameter file ``config``
gives it; its defaults stand nowhere else.
"""


import os
import secrets

from launch.actions import (
    DeclareLaunchArgument,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit, OnShutdown
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from deid_ros.config import from_text, load
from deid_ros.parameters import LAUNCH, PARAMETERS
from deid_ros.resources import share_path
from deid_ros.ros.arguments import ARGUMENTS, check_names, check_values, nodes_of
from deid_ros.ros.remembered import PARENT_VARIABLE, RUN_VARIABLE, forget, name_run
from deid_ros.ros.searcher import SEARCH_VARIABLE, SESSION_VARIABLE, words_of
from launch import Action, LaunchContext, LaunchDescription, Substitution

STAGES = ("detector", "matcher", "generator", "replacer")

#: Seconds before a process that died is started again.
RESPAWN_DELAY = 0.2
#: Exit status of a node that refuses its parameters: it would refuse them again.
REFUSED = 2

#: Defaults of the arguments that are no parameters.
DEFAULTS = {"config": str(share_path("config", "pipeline.yaml")), "namespace": "", "record": "",
            "network": "host", "use_sim_time": "false", "log_level": "info"}


class Checked(Action):
    """Ends the launch, before any node starts, where an argument is wrong or unknown.

    In another launch file that includes this one, that file's own arguments are here too;
    names are checked only where all that is here came from the command line.
    """

    def execute(self, context: LaunchContext) -> None:
        """Raise ``ConfigError``: launch says it, and ends with status 1."""
        given = context.launch_configurations
        typed = [word.partition(":=")[0] for word in context.argv]
        if set(given) <= set(typed):
            check_names(given)
        check_values(given)


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
        return str(from_text(nodes_of(self._argument)[0], self._argument,
                             LaunchConfiguration(self._argument).perform(context)))


class SearchTold(Substitution):
    """The detector's settings, which the replacer must see at least in every table."""

    def describe(self) -> str:
        """For the introspection of launch files."""
        return "SearchTold()"

    def perform(self, context: LaunchContext) -> str:
        """As the nodes read it from the environment."""
        return words_of(check_values(context.launch_configurations)["detector"])


def value_of(name: str) -> ParameterValue:
    """A launch argument as a parameter of the type that the table says."""
    entry = PARAMETERS[nodes_of(name)[0]][name]
    if entry.kind is list:
        return ParameterValue(YamlList(name), value_type=list[str])
    return ParameterValue(LaunchConfiguration(name), value_type=entry.kind)


def described(name: str) -> DeclareLaunchArgument:
    """The declaration of an argument."""
    own = name in LAUNCH
    node = "" if own else nodes_of(name)[0]
    entry = LAUNCH[name] if own else PARAMETERS[node][name]
    words = entry.description + (f" [{entry.unit}]" if entry.unit else "")
    if entry.kind is list:
        words += "; several with commas"
    if entry.choices or entry.minimum is not None or entry.kind is bool:
        words += f". Allowed: {entry.allowed}"
    return DeclareLaunchArgument(
        name, default_value=DEFAULTS[name] if own else FromConfig(node, name), description=words)


def on_exit(event, context):
    """End everything where a node refused to start; a node that died is respawned.

    Raised, because launch ends with a status other than 0 only then.
    """
    if event.returncode == REFUSED and not context.is_shutdown:
        raise RuntimeError(f"{event.process_name} refused to start; its reason is above")


def generate_launch_description() -> LaunchDescription:
    """The four stages, and a recorder where a bag is asked for."""
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
                         {name: value_of(name) for name in ARGUMENTS if stage in nodes_of(name)}],
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
    run = name_run()
    return LaunchDescription([
        Checked(),
        *map(described, ARGUMENTS),
        # By which a node that is started again knows that it is the same run.
        SetEnvironmentVariable(RUN_VARIABLE, run),
        # The nodes end when this process has gone, whatever it died of.
        SetEnvironmentVariable(PARENT_VARIABLE, str(os.getpid())),
        # By which the nodes of this launch know each other from those of another one.
        SetEnvironmentVariable(SESSION_VARIABLE, secrets.token_hex(16)),
        SetEnvironmentVariable(SEARCH_VARIABLE, SearchTold()),
        RegisterEventHandler(OnProcessExit(on_exit=on_exit)),
        RegisterEventHandler(OnShutdown(on_shutdown=lambda *_: forget(run))),
        SetEnvironmentVariable("DEID_NETWORK", LaunchConfiguration("network")),
        *stages,
        recorder,
    ])
