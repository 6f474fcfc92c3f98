"""What the nodes have in common: parameters, diagnostics, and staying alive.

A node of this package never dies of a message: every callback is guarded, what
it raises is counted by cause, logged, and the frame it belonged to does not
leave.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header

from deid_ros.config import check, defaults
from deid_ros.errors import ConfigError, DeidError
from deid_ros.parameters import PARAMETERS
from deid_ros.parameters import Parameter as Entry
from deid_ros.ros.health import Health
from deid_ros.ros.remembered import Remembered
from deid_ros.ros.searcher import session_of
from deid_ros.ros.tables import searcher_of

__all__ = ["StageNode"]

_COMPLAIN_S = 5.0   # between two log lines of the same cause
_REPORT_S = 10.0    # between two log lines of what was withheld


def descriptor_of(entry: Entry) -> ParameterDescriptor:
    """The ROS descriptor of a parameter in the table."""
    words = entry.description + (f" [{entry.unit}]" if entry.unit else "")
    descriptor = ParameterDescriptor(description=words, read_only=not entry.live,
                                     additional_constraints=entry.allowed)
    if entry.minimum is not None and entry.maximum is not None:
        if entry.kind is float:
            descriptor.floating_point_range = [FloatingPointRange(
                from_value=float(entry.minimum), to_value=float(entry.maximum), step=0.0)]
        elif entry.kind is int:
            descriptor.integer_range = [IntegerRange(
                from_value=int(entry.minimum), to_value=int(entry.maximum), step=1)]
    return descriptor


class StageNode(Node):
    """Base of every node.

    Args:
        name: node name; by default ``NODE``, which is also its name in the
            configuration.
        namespace: as for ``rclpy.node.Node``.
        context: as for ``rclpy.node.Node``.
        overrides: parameter -> value, before those of a parameter file.
        session: token of the pipeline that the node belongs to; None: that of the
            environment.

    ``options`` holds the checked parameters, ``health`` the counters.

    Raises:
        ConfigError: a parameter of the wrong type or out of range.
    """

    #: The node's name in ``config/pipeline.yaml`` and ``parameters.py``.
    NODE: ClassVar[str]
    #: How far its thread stands back where there are not enough cores; 0: not at all.
    NICENESS: ClassVar[int] = 0

    def __init__(self, *, name: str | None = None, namespace: str | None = None,
                 context: Context | None = None,
                 overrides: Mapping[str, Any] | None = None,
                 session: str | None = None) -> None:
        super().__init__(
            name or self.NODE, namespace=namespace, context=context,
            parameter_overrides=[Parameter(key, value=value)
                                 for key, value in (overrides or {}).items()])
        self.steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.health = Health()
        self.session = session_of(self.get_namespace(), session)
        self.options = self._declare()
        self._remembered = Remembered(self.get_fully_qualified_name())
        self._recall()
        self._complained: dict[str, float] = {}
        self._warned: set[str] = set()
        self._reported = time.monotonic()
        self._withheld: dict[str, int] = {}
        self.add_on_set_parameters_callback(self._on_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.every(1.0, self._diagnose)

    def _declare(self) -> dict[str, Any]:
        options = {}
        for key, value in defaults()[self.NODE].items():
            entry = PARAMETERS[self.NODE][key]
            if entry.secret:
                # Declared empty: what a parameter holds, everybody in the domain may read.
                given = self._parameter_overrides.pop(key, None)
                options[key] = check(self.NODE, key, value if given is None else given.value)
                self.declare_parameter(key, "", descriptor_of(entry), ignore_override=True)
                continue
            given = self._parameter_overrides.get(key)
            if entry.kind is float and given is not None and type(given.value) is int:
                # As the command line takes it: deadline_ms: 500 in a file is a number too.
                self._parameter_overrides[key] = Parameter(key, value=float(given.value))
            try:
                came = self.declare_parameter(key, value, descriptor_of(entry)).value
            except ParameterException as error:
                raise ConfigError(f"{self.NODE}.{key}: {error}; it must be {entry.allowed}."
                                  ) from None
            options[key] = check(self.NODE, key, came)
        return options

    def _recall(self) -> None:
        """Take up what was set in this run while an earlier process of the node ran."""
        kept = self._remembered.values()
        if not kept:
            return
        try:
            new = {name: check(self.NODE, name, value) for name, value in kept.items()}
            self.fits({**self.options, **new})
            for result in self.set_parameters([Parameter(n, value=v) for n, v in new.items()]):
                if not result.successful:
                    raise ConfigError(result.reason)
        except DeidError as error:
            self.get_logger().warning("what was set while it ran is not taken up again, its "
                                      f"settings are those of the start: {error}")
            return
        self.options.update(new)
        self.get_logger().info("started again; as it was set before, " + ", ".join(
            f"{name} is {value}" for name, value in sorted(new.items())))

    def fits(self, options: Mapping[str, Any]) -> None:
        """See that parameters that are remembered may be taken up again.

        Raises:
            DeidError: they may not.
        """

    def _on_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        """New values while the node runs: all of them hold, or none and a reason."""
        known = PARAMETERS[self.NODE]
        try:
            new = {p.name: check(self.NODE, p.name, list(p.value) if known[p.name].kind is list
                                 else p.value) for p in parameters if p.name in known}
            changed = {name for name, value in new.items() if value != self.options[name]}
            if changed:
                options = {**self.options, **new}
                self.adopt(options, changed)
                self.options = options
                self._keep({name: new[name] for name in changed})
        except DeidError as error:
            return SetParametersResult(successful=False, reason=str(error))
        except Exception as error:
            self.failed("parameters", error)
            return SetParametersResult(successful=False, reason=f"{type(error).__name__}: {error}")
        if changed:
            self.get_logger().info("now " + ", ".join(f"{name} is {new[name]}"
                                                      for name in sorted(changed)))
        return SetParametersResult(successful=True)

    def _keep(self, values: Mapping[str, Any]) -> None:
        try:
            self._remembered.add(values)
        except OSError as error:
            self.get_logger().warning(f"{error}; what was set now is forgotten when this node is "
                                      "started again")

    def is_ours(self, msg: Any) -> bool:
        """Whether a table or a stack is of the pipeline that this node belongs to.

        A node that was started by hand, without a token, works for every pipeline that it
        hears; the replacer alone decides which table a frame leaves with.
        """
        ours = not any(self.session) or searcher_of(msg).session == self.session
        if not ours:
            self.health.count("ignored.foreign")
        return ours

    def adopt(self, options: Mapping[str, Any], changed: set[str]) -> None:
        """Work with other parameters from now on; called with values that are in range.

        Args:
            options: every parameter, as it is to be.
            changed: the names of those that are not what they were.

        Raises:
            DeidError: they cannot work together; the node goes on as it was.
        """

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """A callback that cannot end the node."""
        @functools.wraps(callback)
        def call(*args: Any) -> None:
            try:
                callback(*args)
            except Exception as error:
                self.failed(callback.__name__.strip("_"), error)
        return call

    def every(self, seconds: float, callback: Callable[[], None]) -> Any:
        """A guarded timer on the steady clock: runs under ``use_sim_time`` too."""
        return self.create_timer(seconds, self.guarded(callback), clock=self.steady)

    def output(self, kind: type, topic: str, qos: QoSProfile) -> Publisher:
        """A publisher whose QoS the user may override."""
        return self.create_publisher(
            kind, topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies())

    def input(self, kind: type, topic: str, callback: Callable[[Any], None],
              qos: QoSProfile, *, raw: bool = False) -> Any:
        """A guarded subscription."""
        return self.create_subscription(kind, topic, self.guarded(callback), qos, raw=raw)

    def failed(self, what: str, error: Exception) -> None:
        """Count and log what went wrong in ``what``."""
        self.health.count(f"failed.{what}")
        kind = "" if isinstance(error, DeidError) else f"{type(error).__name__}: "
        self.complain(f"{what}.{type(error).__name__}", f"{what}: {kind}{error}")

    def complain(self, cause: str, message: str) -> None:
        """Log an error, at most every few seconds for the same cause."""
        now = time.monotonic()
        if now - self._complained.get(cause, -_COMPLAIN_S) >= _COMPLAIN_S:
            self._complained[cause] = now
            self.get_logger().error(message)

    def warn_once(self, sentence: str) -> None:
        """Log a warning, once for the life of the node."""
        if sentence not in self._warned:
            self._warned.add(sentence)
            self.get_logger().warning(sentence)

    def _diagnose(self) -> None:
        new = self.health.news()
        lost = {name: number for name, number in new.items()
                if name.startswith(("withheld.", "failed."))}
        status = DiagnosticStatus(name=self.get_fully_qualified_name(), hardware_id="deid_ros")
        status.level, status.message = self.judged(new, lost)
        status.values = [KeyValue(key=name, value=f"{value:g}")
                         for name, value in self.health.values().items()]
        self._diagnostics.publish(DiagnosticArray(
            header=Header(stamp=self.get_clock().now().to_msg()), status=[status]))
        self._report(lost)

    def judged(self, new: Mapping[str, int], lost: Mapping[str, int]) -> tuple[bytes, str]:
        """Level and words of a second: OK; WARN where something was lost; ERROR where all was.

        Args:
            new: what was counted in it.
            lost: of that, what was withheld or failed.
        """
        if not lost:
            return DiagnosticStatus.OK, "OK"
        words = ", ".join(f"{name}: {number}" for name, number in lost.items())
        if not new.get("out"):
            return DiagnosticStatus.ERROR, f"nothing leaves; {words}"
        return DiagnosticStatus.WARN, words

    def _report(self, lost: Mapping[str, int]) -> None:
        for name, number in lost.items():
            self._withheld[name] = self._withheld.get(name, 0) + number
        now = time.monotonic()
        if self._withheld and now - self._reported >= _REPORT_S:
            words = ", ".join(f"{name}: {number}" for name, number in self._withheld.items())
            self.get_logger().warning(f"in the last {now - self._reported:.0f} s {words}")
            self._withheld.clear()
            self._reported = now

    def close(self) -> None:
        """Finish: say the last numbers. Called once, before ``destroy_node``."""
        self._diagnose()
        if self._diagnostics.get_subscription_count():
            self._diagnostics.wait_for_all_acked(Duration(seconds=1))
