"""What robots commonly send, with contents as they send it: not one message is lost."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bag_support import read_bag
from modalities_support import likely
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from test_media_bags import run

RNG = np.random.default_rng
STORES = {"mcap": Stores.LATEST, "sqlite3": Stores.ROS2_HUMBLE, "ros1": Stores.ROS1_NOETIC}
FRAMES = ("base_link", "odom", "map", "front_left_wheel_link", "imu_link", "lidar_top")
LINK = """  <link name="{0}_link">
    <inertial><origin xyz="1e-05 {1:.4f} 0.0" rpy="0 0 1.570796"/><mass value="{2:.3f}"/>
      <inertia ixx="0.0021" ixy="-1.2e-05" ixz="0" iyy="0.0021" iyz="0" izz="0.0036"/></inertial>
    <visual><geometry><mesh filename="package://ur5e_description/meshes/visual/{0}.dae"/></geometry>
      <material name="UrGrey"><color rgba="0.7 0.7 0.7 1.0"/></material></visual>
  </link>
"""


class Sender:
    """Messages of one store."""

    def __init__(self, store: Any, seed: int) -> None:
        self.store, self.rng = store, RNG(seed)

    def of(self, name: str, /, **fields: Any) -> Any:
        """A likely message with some fields set."""
        kind = name.replace("/", "/msg/")
        made = likely(kind, self.rng, self.store)
        for field, value in fields.items():
            assert hasattr(made, field), (name, field)
            setattr(made, field, value)
        if hasattr(made, "header") and "header" not in fields:
            made.header = self.header()
        return made

    def header(self, frame: str = "") -> Any:
        at = self.of("builtin_interfaces/Time")
        at.sec, at.nanosec = (1_760_000_000 + int(self.rng.integers(9999)),
                              int(self.rng.integers(10**9)))
        return self.of("std_msgs/Header", stamp=at,
                       frame_id=frame or str(self.rng.choice(FRAMES)))

    def point(self, high: float = 0.0, name: str = "geometry_msgs/Point") -> Any:
        x, y, z = (float(np.float32(v)) for v in self.rng.normal(0, 8, 3))
        return self.of(name, x=x, y=y, z=high * z)

    def pose(self, high: float = 0.0) -> Any:
        yaw = float(self.rng.uniform(-3, 3))
        turn = self.of("geometry_msgs/Quaternion", x=0.0, y=0.0, z=np.sin(yaw), w=np.cos(yaw))
        return self.of("geometry_msgs/Pose", position=self.point(high), orientation=turn)

    def covariance(self, size: int) -> np.ndarray:
        half = self.rng.normal(size=(size, size))
        return (half @ half.T).ravel()

    def odometry(self) -> Any:
        moving = self.of("geometry_msgs/Twist")
        return self.of("nav_msgs/Odometry", child_frame_id="base_link",
                       pose=self.of("geometry_msgs/PoseWithCovariance", pose=self.pose(),
                                    covariance=self.covariance(6)),
                       twist=self.of("geometry_msgs/TwistWithCovariance", twist=moving,
                                     covariance=np.diag(np.full(6, 0.1)).ravel()))

    def path(self, count: int, high: float = 0.0) -> Any:
        head = self.header("map")
        return self.of("nav_msgs/Path", header=head, poses=[
            self.of("geometry_msgs/PoseStamped", header=head, pose=self.pose(high))
            for _ in range(count)])

    def scan(self, beams: int, holes: float) -> Any:
        ranges = np.round(self.rng.uniform(0.1, 30, beams), 3).astype(np.float32)
        ranges[self.rng.random(beams) < holes] = np.inf
        return self.of("sensor_msgs/LaserScan", angle_min=-np.pi, angle_max=np.pi,
                       angle_increment=2 * np.pi / (beams - 1), range_max=30.0, ranges=ranges,
                       intensities=self.rng.integers(0, 3000, beams).astype(np.float32))

    def grid(self, width: int, height: int) -> Any:
        cells = self.rng.choice([-1, 0, 100, 34, 7], width * height, p=[.5, .3, .1, .05, .05])
        info = self.of("nav_msgs/MapMetaData", width=width, height=height, resolution=0.05)
        return self.of("nav_msgs/OccupancyGrid", info=info, data=cells.astype(np.int8))

    def joints(self, count: int) -> Any:
        return self.of("sensor_msgs/JointState", name=[f"arm_{i}_joint" for i in range(count)],
                       position=self.rng.normal(size=count), velocity=np.zeros(count),
                       effort=np.round(self.rng.normal(size=count), 1))

    def trajectory(self, points: int) -> Any:
        return self.of(
            "trajectory_msgs/JointTrajectory", joint_names=[f"joint_{i}" for i in range(7)],
            points=[self.of("trajectory_msgs/JointTrajectoryPoint", effort=np.zeros(0), **{
                name: self.rng.normal(size=7) for name in (
                    "positions", "velocities", "accelerations")}) for _ in range(points)])

    def transforms(self, count: int) -> Any:
        return self.of("tf2_msgs/TFMessage", transforms=[
            self.of("geometry_msgs/TransformStamped", header=self.header(),
                    child_frame_id=f"robot_{i}/link") for i in range(count)])

    def diagnostics(self, parts: int, values: int) -> Any:
        said = ("OK", "12.43 V", "35C", "true", "0x1F", "/dev/ttyUSB0", "connected to 10.0.0.7:502",
                "17.3", "A1-33b", "GMSL2 link up", "3h12m", "rev 2.1.0-rc3", "00:1B:44:11:3A:B7")
        return self.of("diagnostic_msgs/DiagnosticArray", status=[
            self.of("diagnostic_msgs/DiagnosticStatus", level=int(self.rng.integers(0, 3)),
                    name=f"drivers: motor {i}", message="Running at 3 of 4 kHz",
                    hardware_id=f"SN-{2211 + i}", values=[
                        self.of("diagnostic_msgs/KeyValue", key=f"Cell {k} temperature",
                                value=str(self.rng.choice(said))) for k in range(values)])
            for i in range(parts)])

    def marker(self, points: int, high: float = 0.0, colours: int = 0, text: str = "") -> Any:
        made = self.of("visualization_msgs/Marker", ns="planner/local_plan", text=text,
                       pose=self.pose(), points=[self.point(high) for _ in range(points)],
                       colors=[self.of("std_msgs/ColorRGBA", r=1.0, g=0.0, b=0.2, a=1.0)
                               for _ in range(colours)],
                       mesh_resource="package://robot/meshes/base.dae")
        for name in ("texture", "mesh_file"):
            if hasattr(made, name):
                getattr(made, name).data = np.zeros(0, np.uint8)
        return made

    def markers(self, count: int) -> Any:
        return self.of("visualization_msgs/MarkerArray", markers=[
            self.marker(int(self.rng.integers(0, 300)), 0.0) if i % 2 else self.marker(
                2, 1.0, 2, f"pedestrian {i}") for i in range(count)])

    def interactive(self) -> Any:
        return self.of("visualization_msgs/InteractiveMarker", description="move me", controls=[
            self.of("visualization_msgs/InteractiveMarkerControl", markers=[self.marker(4)])])

    def cloud(self, count: int) -> Any:
        fields = [self.of("sensor_msgs/PointField", name=name, offset=4 * i, datatype=7, count=1)
                  for i, name in enumerate(("x", "y", "z", "ring"))]
        data = self.rng.normal(size=(count, 4)).astype(np.float32)
        return self.of("sensor_msgs/PointCloud2", height=1, width=count, fields=fields,
                       point_step=16, row_step=16 * count, is_bigendian=False,
                       data=data.reshape(-1).view(np.uint8))

    def info(self) -> Any:
        made = self.of("sensor_msgs/CameraInfo", height=720, width=1280,
                       distortion_model="plumb_bob")
        for name, size in (("d", 5), ("k", 9), ("r", 9), ("p", 12)):
            setattr(made, name if hasattr(made, name) else name.upper(), self.rng.normal(size=size))
        return made

    def identifier(self) -> np.ndarray:
        return np.frombuffer(uuid.UUID(int=int(self.rng.integers(1 << 62)) << 60).bytes, np.uint8)

    def goals(self, count: int) -> Any:
        if "action_msgs/msg/GoalStatusArray" not in self.store.fielddefs:
            return self.of("actionlib_msgs/GoalStatusArray", status_list=[
                self.of("actionlib_msgs/GoalStatus", text="This goal has been accepted")] * count)
        return self.of("action_msgs/GoalStatusArray", status_list=[
            self.of("action_msgs/GoalStatus", goal_info=self.of(
                "action_msgs/GoalInfo", goal_id=self.of(
                    "unique_identifier_msgs/UUID", uuid=self.identifier()))) for _ in range(count)])

    def parameters(self, count: int) -> Any:
        return self.of("rcl_interfaces/ParameterEvent", node="/controller_server", new_parameters=[
            self.of("rcl_interfaces/Parameter", name=f"FollowPath.max_vel_{i}",
                    value=self.of("rcl_interfaces/ParameterValue", string_value="nav2_core::Goal",
                                  byte_array_value=np.zeros(0, np.uint8)))
            for i in range(count)])

    def text(self, text: str) -> Any:
        return self.of("std_msgs/String", data=text)

    def log(self) -> Any:
        line = ("[controller_server]: Passing new path to controller. Failed to make progress at "
                "(12.345, -3.210, 1.571); pointer 0x55d4f7c2a010, elapsed 1760000123.123456789 s\n")
        name = "rcl_interfaces/Log" if "rcl_interfaces/msg/Log" in self.store.fielddefs else (
            "rosgraph_msgs/Log")
        return self.of(name, msg=line * 20, file="/opt/ros/jazzy/src/nav2_controller/src/main.cpp")


def numbers(name: str, dtype: str, count: int) -> Callable[[Sender], Any]:
    """An array of measurements, as std_msgs has them."""
    def make(sender: Sender) -> Any:
        values = sender.rng.normal(0, 90, count)
        return sender.of(f"std_msgs/{name}MultiArray", data=values.astype(dtype),
                         layout=sender.of("std_msgs/MultiArrayLayout", data_offset=0))
    return make


#: What is sent beside likely messages of ``NAMES``: long, and with the values of robots.
LONG: dict[str, Callable[[Sender], Any]] = {
    "odometry": Sender.odometry, "path": lambda s: s.path(300), "long path": lambda s: s.path(3000),
    "path in space": lambda s: s.path(1500, 0.1), "scan": lambda s: s.scan(1440, 0.1),
    "empty scan": lambda s: s.scan(360, 1.0), "grid": lambda s: s.grid(200, 150),
    "joints": lambda s: s.joints(40), "trajectory": lambda s: s.trajectory(300),
    "transforms": lambda s: s.transforms(80), "diagnostics": lambda s: s.diagnostics(40, 12),
    "marker": lambda s: s.marker(400, 1.0), "line": lambda s: s.marker(6000),
    "markers": lambda s: s.markers(120), "interactive": Sender.interactive,
    "cloud": lambda s: s.cloud(700), "camera info": Sender.info, "goals": lambda s: s.goals(30),
    "log": Sender.log, "floats": numbers("Float32", "float32", 60),
    "doubles": numbers("Float64", "float64", 96), "ints": numbers("Int32", "int32", 60),
    "description": lambda s: s.text("<robot name='ur5e'>\n" + "".join(
        LINK.format(f"wrist_{i}", i / 7, i / 3) for i in range(150)) + "</robot>"),
    "state": lambda s: s.text('{"mode": "auto", "pose": [1.25, -3.5, 0.1], "tasks": ['
                              + ", ".join(f'{{"id": {i}, "name": "pick_{i}"}}' for i in range(90))
                              + "]}"),
    "poses": lambda s: s.of("geometry_msgs/PoseArray", poses=[s.pose() for _ in range(2000)]),
    "polygon": lambda s: s.of("geometry_msgs/PolygonStamped", polygon=s.of(
        "geometry_msgs/Polygon", points=[s.point(name="geometry_msgs/Point32")
                                         for _ in range(900)])),
    "battery": lambda s: s.of("sensor_msgs/BatteryState", cell_voltage=s.rng.uniform(
        3.2, 4.2, 96).astype(np.float32), serial_number="LG-INR21700-M50T-00912"),
    "imu": lambda s: s.of("sensor_msgs/Imu", orientation_covariance=s.covariance(3)),
    "fix": lambda s: s.of("sensor_msgs/NavSatFix", latitude=48.7761, longitude=9.1829,
                          position_covariance=s.covariance(3)),
    "joy": lambda s: s.of("sensor_msgs/Joy", axes=s.rng.uniform(-1, 1, 8).astype(np.float32),
                          buttons=s.rng.integers(0, 2, 14).astype(np.int32))}

#: Sent as ``likely`` fills them in.
NAMES = (
    *(f"std_msgs/{name}" for name in (
        "Bool", "Byte", "Char", "ColorRGBA", "Empty", "Float32", "Float64", "Header", "Int16",
        "Int32", "Int64", "Int8", "String", "UInt16", "UInt32", "UInt64", "UInt8")),
    *(f"geometry_msgs/{name}" for name in (
        "Accel", "AccelStamped", "Inertia", "Point", "PointStamped", "Polygon", "Pose", "PoseArray",
        "PoseStamped", "PoseWithCovarianceStamped", "Quaternion", "Transform", "TransformStamped",
        "Twist", "TwistStamped", "TwistWithCovarianceStamped", "Vector3Stamped", "Wrench",
        "WrenchStamped")),
    *(f"sensor_msgs/{name}" for name in (
        "BatteryState", "FluidPressure", "Illuminance", "JointState", "Joy", "JoyFeedbackArray",
        "MagneticField", "MultiDOFJointState", "NavSatFix", "Range", "RegionOfInterest",
        "RelativeHumidity", "Temperature", "TimeReference")),
    "nav_msgs/GridCells", "nav_msgs/MapMetaData", "rosgraph_msgs/Clock",
    "shape_msgs/SolidPrimitive", "shape_msgs/Plane",
    "trajectory_msgs/MultiDOFJointTrajectory", "visualization_msgs/MenuEntry",
    "diagnostic_msgs/DiagnosticStatus", "stereo_msgs/DisparityImage", "action_msgs/GoalInfo",
    "rcl_interfaces/ParameterEvent", "lifecycle_msgs/TransitionEvent",
    "statistics_msgs/MetricsMessage", "unique_identifier_msgs/UUID")


def sent(store: Any, seed: int) -> list[tuple[str, str, Any]]:
    """(topic, type, message) of all of them that a distribution has."""
    sender, found = Sender(store, seed), []
    for name in NAMES:
        kind = name.replace("/", "/msg/")
        if kind in store.fielddefs:
            message = likely(kind, sender.rng, store)
            if hasattr(message, "image"):
                message.image.data = np.zeros(0, np.uint8)
            found.append((f"/{name.lower()}", kind, message))
    for name, make in LONG.items():
        message = make(sender)
        found.append((f"/{name.replace(' ', '_')}", message.__msgtype__, message))
    if "rcl_interfaces/msg/Parameter" in store.fielddefs:
        found.append(("/parameters", "rcl_interfaces/msg/ParameterEvent", sender.parameters(80)))
    return found


@pytest.mark.parametrize("kind", STORES)
def test_not_one_common_message_is_lost(tmp_path, kind):
    store = get_typestore(STORES[kind])
    if "tf2_msgs/msg/TFMessage" not in store.fielddefs:
        store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms",
                                          "tf2_msgs/msg/TFMessage"))
    path = tmp_path / ("bag.bag" if kind == "ros1" else "bag")
    writer: Any = Writer1(path) if kind == "ros1" else Writer2(
        path, version=9, storage_plugin=StoragePlugin[kind.upper()])
    write = store.serialize_ros1 if kind == "ros1" else store.serialize_cdr
    made: dict[str, Any] = {}
    with writer:
        for seed in range(3):
            for topic, msgtype, message in sent(store, seed):
                if topic not in made:
                    made[topic] = writer.add_connection(topic, msgtype, typestore=store)
                writer.write(made[topic], 1 + len(made), bytes(write(message, msgtype)))
    assert len({connection.msgtype for connection in made.values()}) >= 60
    outcome, target = run(path, tmp_path)
    assert outcome.faultless, outcome.warnings
    assert read_bag(target)[0] == read_bag(path)[0]
