"""What a message says is judged by its structure, and over the whole message."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest
from modalities_support import STORE, connection, files, likely, own, texts
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from deid_ros.errors import FrameError
from deid_ros.media.bags import modalities
from deid_ros.media.bags.contents import contents, read_json
from deid_ros.media.bags.modalities import GEOMETRY, LIMITS, PICTURE, UNKNOWN, judge, judge_values
from deid_ros.media.bags.signs import name_sign, number_rows, packed_in, text_sign

GREY = np.frombuffer(files()["raw"], np.uint8)      # 3,072 bytes that pack badly
PLAIN = base64.b64encode(GREY.tobytes()).decode()
RNG = np.random.default_rng


def plain(name, message, definition=""):
    """Whether a message of a type that ROS defines is plain."""
    raw = bytes(STORE.serialize_cdr(message, name))
    return judge(raw, connection(name, definition), ros1=False).plain


def verdict_of(definition, values, name="own_msgs/msg/Thing"):
    about, raw = own(definition, values, name)
    return judge(raw, about, ros1=False)


def json_verdict(text):
    return judge(text.encode(), connection("acme.Thing", form="json"), ros1=False)


def make(name, *fields):
    return STORE.types[name](*fields)


# JSON

@pytest.mark.parametrize("value", [
    {f"p{i}": int(v) for i, v in enumerate(GREY)},
    {f"p{i}": float(v) for i, v in enumerate(GREY)},
    {f"p{i}": i / 7 for i in range(9000)},
    [{"v": int(v)} for v in GREY[:500]] * 3,
    {str(i): {f"c{k}": int(v) for k, v in enumerate(row)}
     for i, row in enumerate(GREY.reshape(-1, 8))},
    {"a": [{"b": piece} for piece in (PLAIN[i:i + 24] for i in range(0, 2400, 24))]},
    {PLAIN[i:i + 24]: 1 for i in range(0, 2400, 24)},
    {"k": {PLAIN[i:i + 60]: {} for i in range(0, 2400, 60)}},
    [", ".join(map(str, row)) for row in GREY.reshape(-1, 32)],
    [[[PLAIN[i:i + 8]] for i in range(0, 4000, 8)]],
], ids=range(10))
def test_json_numbers_texts_and_keys_are_counted_over_the_message(value):
    assert not json_verdict(json.dumps(value)).plain
    # As a text within any other message too.
    assert not verdict_of("string a", {"a": json.dumps(value)}).plain


def test_every_value_of_a_key_that_comes_twice_is_seen():
    hidden = f'{{"a": "{PLAIN}", "a": 1}}'
    assert json.loads(hidden) == {"a": 1} and not json_verdict(hidden).plain
    assert not json_verdict(f'{{"x": [{{"a": {list(GREY)}, "a": [], "a": {{}}}}]}}').plain
    assert not verdict_of("string s", {"s": hidden}).plain
    assert json_verdict('{"a": 1, "a": 2}').plain


@pytest.mark.parametrize("digits", ["1" * 400, "0." + "123456789" * 40, "-" + "7" * 99,
                                    "1e" + "0" * 50])
def test_no_number_of_json_is_longer_than_a_number(digits):
    assert not json_verdict(f'{{"a": {digits}}}').plain
    with pytest.raises(ValueError, match="digits"):
        read_json(f"[{digits}]")
    assert json_verdict('{"a": 1.7976931348623157e+308, "b": -9223372036854775808}').plain


# Structure, not names

RULE = "=" * 80 + "\n"


def store_of(text):
    """Where a definition of own_msgs/Thing is looked up."""
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(text, "own_msgs/msg/Thing"))
    return store


def listed(entry, rows, name="own_msgs/msg/Entry"):
    """A message of one list, whose entries are laid out as ``entry`` says."""
    short = name.replace("/msg/", "/")
    text = f"{short}[] items\n{RULE}MSG: {short}\n{entry}"
    store = store_of(text)
    made = store.types["own_msgs/msg/Thing"]([store.types[name](*row) for row in rows])
    raw = bytes(store.serialize_cdr(made, "own_msgs/msg/Thing"))
    return judge(raw, connection("own_msgs/msg/Thing", text), ros1=False)


@pytest.mark.parametrize("name", [
    "geometry_msgs/msg/Point", "geometry_msgs/msg/Point32", "geometry_msgs/msg/Pose",
    "std_msgs/msg/ColorRGBA", "geometry_msgs/msg/Twist"])
@pytest.mark.parametrize("field", ["uint8[] d", "string d", "uint8[12] d"])
def test_a_type_is_what_its_definition_says_and_not_its_name(name, field):
    rows = [PLAIN[i:i + 40] if "string" in field else GREY[i:i + 12] for i in range(0, 720, 12)]
    assert not listed(f"float64 x\nfloat64 y\n{field}", [(0.0, 1.0, row) for row in rows],
                      name).plain


def test_bare_entries_are_counted_and_compared():
    pixels = GREY[:1500].reshape(-1, 3)
    for entry in ("uint8 r\nuint8 g\nuint8 b", "uint8 i\nuint16 j\nint64 k"):
        assert not listed(entry, pixels.tolist()).plain
        assert listed(entry, pixels[:9].tolist()).plain
    assert not listed("float32 i\nfloat32 j\nfloat32 k", pixels.astype(float).tolist()).plain
    wide = "".join(f"float32 v{i}\n" for i in range(24))
    assert not listed(wide, RNG(0).normal(size=(500, 24)).tolist()).plain
    assert listed(wide, RNG(0).normal(size=(60, 24)).tolist()).plain
    # Lists of few entries add up.
    few = "Few[] f\n" + RULE + "MSG: own_msgs/Few\nstd_msgs/UInt8[] v\n" + RULE + (
        "MSG: std_msgs/UInt8\nuint8 data")
    store = store_of(few)
    made = store.types["own_msgs/msg/Thing"]([store.types["own_msgs/msg/Few"](
        [store.types["std_msgs/msg/UInt8"](int(value)) for value in row])
        for row in GREY[:2800].reshape(-1, 7)])
    raw = bytes(store.serialize_cdr(made, "own_msgs/msg/Thing"))
    assert not judge(raw, connection("own_msgs/msg/Thing", few), ros1=False).plain
    # Single numbers of a long definition are no way out either.
    wide = "".join(f"uint8 v{i}\n" for i in range(1600))
    assert not verdict_of(wide, {f"v{i}": int(v) for i, v in enumerate(GREY[:1600])}).plain
    states = "".join(f"uint8 v{i}\n" for i in range(1600))
    assert verdict_of(states, {f"v{i}": i % 20 for i in range(1600)}).plain


def test_texts_beside_an_empty_cloud_or_picture_are_looked_at():
    cloud = likely("sensor_msgs/msg/PointCloud2", RNG(0))
    cloud.data = np.zeros(0, np.uint8)
    assert plain("sensor_msgs/msg/PointCloud2", cloud)
    cloud.fields = [make("sensor_msgs/msg/PointField", PLAIN, 0, 7, 1)]
    assert not plain("sensor_msgs/msg/PointCloud2", cloud)
    old = make("sensor_msgs/msg/PointCloud", likely("std_msgs/msg/Header", RNG(0)), [],
               [make("sensor_msgs/msg/ChannelFloat32", PLAIN, np.zeros(0, np.float32))])
    assert not plain("sensor_msgs/msg/PointCloud", old)
    marker = likely("visualization_msgs/msg/Marker", RNG(0))
    marker.texture.data = marker.mesh_file.data = np.zeros(0, np.uint8)
    assert plain("visualization_msgs/msg/Marker", marker)
    marker.texture.format = PLAIN
    assert not plain("visualization_msgs/msg/Marker", marker)


@pytest.mark.parametrize("names, kind, kept", [
    (("x", "y", "z"), "measured", True), (("x", "y", "z"), "bytes", False),
    (("x", "y", "z"), "pixels", False), (("x", "time", "vx"), "bytes", False),
    (("x", "y", "z"), "unknown", True)])
@pytest.mark.parametrize("big", [False, True])
def test_coordinates_of_a_cloud_are_measurements(names, kind, kept, big):
    places = RNG(0).normal(0, 9, (1000, 3))
    places = {"measured": places, "bytes": RNG(1).integers(0, 256, (1000, 12)).astype(
        np.uint8).view("<f4"), "pixels": GREY[:3000].reshape(-1, 3),
        "unknown": np.where(places > 0, places, np.nan)}[kind]
    cloud = likely("sensor_msgs/msg/PointCloud2", RNG(0))
    cloud.fields = [make("sensor_msgs/msg/PointField", name, 4 * i, 7, 1)
                    for i, name in enumerate(names)]
    cloud.height, cloud.width, cloud.point_step, cloud.row_step = 1, 1000, 12, 12_000
    cloud.is_bigendian = big
    data = np.ascontiguousarray(places, "<f4")
    cloud.data = (data.byteswap() if big else data).reshape(-1).view(np.uint8)
    assert plain("sensor_msgs/msg/PointCloud2", cloud) == kept


# Paths and points

def _pose(x, y, z, turn=(0.0, 0.0, 0.6, 0.8)):
    return make("geometry_msgs/msg/Pose", make("geometry_msgs/msg/Point", x, y, z),
                make("geometry_msgs/msg/Quaternion", *turn))


def _head(frame):
    return make("std_msgs/msg/Header", make("builtin_interfaces/msg/Time", 3, 4), frame)


def _path(count, high=0.0, frames="", turn=(0.0, 0.0, 0.6, 0.8), grid=False):
    rng = RNG(count)
    places = rng.integers(0, 255, (count, 3)).astype(float) if grid else rng.normal(size=(count, 3))
    return make("nav_msgs/msg/Path", _head("map"), [
        make("geometry_msgs/msg/PoseStamped", _head(frames[30 * i:30 * i + 30] or "map"),
             _pose(x, y, high * z, turn))
        for i, (x, y, z) in enumerate(places)])


@pytest.mark.parametrize("count, options, kept", [
    (910, {}, True), (911, {}, True), (2000, {}, True), (12_000, {}, True),
    (2000, {"high": 1.0}, True), (3000, {"high": 1.0}, False),
    (1500, {"frames": PLAIN}, False), (1500, {"turn": (3.0, 40.0, 7.0, 1.0)}, False),
    (2000, {"grid": True}, False)])
def test_a_long_path_stays_and_a_picture_as_path_goes(count, options, kept):
    assert plain("nav_msgs/msg/Path", _path(count, **options)) == kept


def test_points_and_colours_are_counted_over_all_lists():
    markers = []
    for number in range(100):
        marker = likely("visualization_msgs/msg/Marker", RNG(number))
        marker.texture.data = marker.mesh_file.data = np.zeros(0, np.uint8)
        marker.colors = []
        marker.points = [make("geometry_msgs/msg/Point", *row)
                         for row in RNG(number).normal(size=(8, 3))]
        markers.append(marker)
    name = "visualization_msgs/msg/MarkerArray"
    assert plain(name, make(name, markers))
    for marker in markers:
        marker.points = [make("geometry_msgs/msg/Point", *row)
                         for row in RNG(1).normal(size=(12, 3))]
    verdict = judge(bytes(STORE.serialize_cdr(make(name, markers), name)), connection(name),
                    ros1=False)
    assert verdict.modality == GEOMETRY
    for marker in markers:      # lines on the floor are free
        marker.points = [make("geometry_msgs/msg/Point", x, y, 0.1)
                         for x, y in RNG(1).normal(size=(200, 2))]
    assert plain(name, make(name, markers))
    for marker in markers:
        marker.points = []
        marker.colors = [make("std_msgs/msg/ColorRGBA", *row) for row in RNG(1).random((20, 4))]
    assert not plain(name, make(name, markers))


def test_raw_bytes_near_zero_are_no_plane():
    """Floats that are read as doubles lie near 0, where every cloud is thin."""
    rows = RNG(0).normal(0, 1e-5, (1500, 3)).tolist()
    for count, kept in ((400, True), (1500, False)):
        markers = [likely("visualization_msgs/msg/Marker", RNG(0)) for _ in range(count // 100)]
        for i, marker in enumerate(markers):
            marker.texture.data = marker.mesh_file.data = np.zeros(0, np.uint8)
            marker.colors = []
            marker.points = [make("geometry_msgs/msg/Point", *row)
                             for row in rows[100 * i:100 * i + 100]]
        name = "visualization_msgs/msg/MarkerArray"
        assert plain(name, make(name, markers)) == kept


@pytest.mark.parametrize("definition, values, kept", [
    ("uint8[16]", GREY[:16], False), ("float64[9]", RNG(0).normal(size=9), False),
    ("float64[12]", RNG(0).normal(size=12), False), ("float64[36]", RNG(0).normal(size=36), False),
    ("float64[36]", np.diag(RNG(0).normal(size=6)).ravel(), True),
    ("float64[9]", np.zeros(9), True)])
def test_uuids_and_matrices_are_bounded_over_a_message(definition, values, kept):
    rng = RNG(3)
    for count in (30, 200):
        rows = [(rng.permutation(values) if values.dtype == np.uint8 else values * rng.random(),)
                for _ in range(count)]
        assert listed(f"{definition} v", rows).plain == (kept or count == 30)


# Common types with long arrays

def _echo_scan(ranges, beams):
    message = likely("sensor_msgs/msg/MultiEchoLaserScan", RNG(0))
    message.angle_min, message.angle_max, message.angle_increment = -3.1, 3.1, 6.2 / (beams - 1)
    message.ranges = [make("sensor_msgs/msg/LaserEcho", np.asarray(row, np.float32))
                      for row in ranges]
    message.intensities = []
    return message


def test_scans_of_many_echoes_are_held_to_the_rule_of_scans():
    name = "sensor_msgs/msg/MultiEchoLaserScan"
    distances = RNG(0).normal(5, 1, (500, 4))
    assert plain(name, _echo_scan(distances, 500))
    assert not plain(name, _echo_scan(GREY[:2000].reshape(500, 4), 500))
    wide = _echo_scan(distances, 500)
    wide.angle_min, wide.angle_max, wide.angle_increment = -50.0, 50.0, 100 / 499
    assert not plain(name, wide)
    wide.angle_max = float("nan")
    assert not plain(name, wide)
    bright = _echo_scan(distances, 500)
    jpeg = np.frombuffer(files()["JPEG"][:500], np.uint8)
    bright.intensities = [make("sensor_msgs/msg/LaserEcho", np.array([value], np.float32))
                          for value in jpeg]
    assert not plain(name, bright)


@pytest.mark.parametrize("field", ["positions", "velocities", "accelerations", "effort"])
def test_trajectories_are_held_to_the_rule_of_scans(field):
    def of(rows):
        rows = np.asarray(rows, float)
        point = make("builtin_interfaces/msg/Duration", 1, 0)
        message = likely("trajectory_msgs/msg/JointTrajectory", RNG(0))
        message.joint_names = [f"joint_{i}" for i in range(rows.shape[1])]
        empty = np.zeros(0)
        message.points = [make("trajectory_msgs/msg/JointTrajectoryPoint", *(
            row if name == field else empty for name in (
                "positions", "velocities", "accelerations", "effort")), point) for row in rows]
        return message
    name = "trajectory_msgs/msg/JointTrajectory"
    assert plain(name, of(RNG(0).normal(size=(200, 7))))
    assert not plain(name, of(GREY[:1536].reshape(-1, 6)))
    assert not plain(name, of(GREY[:3072].reshape(-1, 48)))


def test_states_of_joints_are_held_to_the_rule_of_scans():
    name = "sensor_msgs/msg/JointState"
    state = likely(name, RNG(0))
    state.name = [f"joint_{i}" for i in range(250)]
    for values, kept in ((RNG(0).normal(size=250), True), (GREY[:250].astype(float), False)):
        state.position = state.velocity = state.effort = values
        assert plain(name, state) == kept


# Texts

def test_a_text_of_a_megabyte_is_read_once():
    """Every character lies in one run at most, however hostile the text."""
    for text in ("1" * 1_000_000, "1 " * 500_000, ("1 " * 255 + "x") * 2_000, "1.e" * 330_000,
                 ("1, " * 16 + "; x") * 20_000, "-+" * 500_000, ("1" * 23 + " ") * 40_000,
                 "[" * 500_000 + "1" + "]" * 499_999):
        runs = list(map(len, number_rows(text)))
        # A run of N numbers has at least 2N - 1 characters.
        assert sum(2 * length - 1 for length in runs) <= len(text)
    assert list(number_rows("x 1, 2 3;4 and 5")) == [["1", "2", "3", "4"], ["5"]]
    assert list(number_rows("")) == []


@pytest.mark.parametrize("text", [
    ("1 " * 255 + "x ") * 1_500, ("a" * 159 + ".") * 6_000, ("b" * 399 + " ") * 2_500,
    ("Ab1" * 53 + ".") * 6_000, "\\x41" * 63 + " " * 900_000])
def test_hostile_texts_are_judged_and_come_to_an_end(text):
    assert isinstance(text_sign(text), str)


@pytest.mark.parametrize("way", set(texts(b"")) - {"uri", "json"})
@pytest.mark.parametrize("size", [20, 60, 150])
def test_packed_data_in_pieces_is_no_text(way, size):
    """In one text, in one message, as keys."""
    text = texts(GREY.tobytes())[way]
    split = [text[i:i + size] for i in range(0, len(text), size)]
    assert not judge_values("\n# ".join(split)).plain
    assert not judge_values([{"note": piece} for piece in split[:500]]).plain
    assert not judge_values([[piece, "and"] for piece in split[:500]]).plain
    assert not judge_values(dict.fromkeys(split[:500], 1)).plain


@pytest.mark.parametrize("text", [
    "geometry_msgs/msg/PoseWithCovarianceStamped ",
    "ComputePathToPose NavigateRecovery UInt8MultiArray ",
    "<origin xyz='1e-05 -0.1634 0' rpy='0 0 1.5707'/> <mesh filename='package://ur5e/base.dae'/> ",
    "axis1Pos cell12Volt aField12 ",
    "battery 12.5V at 2026-01-05T12:00:00Z ", "/dev/video0 /dev/ttyUSB1 192.168.0.17:8080 ",
    "Fehler in Größe und Höhe: Gerät überhitzt; "])
def test_words_of_robots_are_no_packed_data(text):
    assert packed_in(text) == 0 and not text_sign(text * 200)


@pytest.mark.parametrize("name", [
    "camera_link", "sensor_msgs/msg/Image", "16UC1; compressedDepth png", "/robot_1/image_raw", "",
    "RIHS01_" + "0123456789abcdef" * 4])
def test_names_are_names(name):
    assert not name_sign(name)


# Order

def test_the_search_through_all_bytes_comes_last_and_only_where_it_can_matter(monkeypatch):
    calls = []
    monkeypatch.setattr(modalities, "magic", lambda data: calls.append(len(data)) or "")
    cloud = likely("sensor_msgs/msg/PointCloud2", RNG(0))
    cloud.height, cloud.data = 2, np.zeros(800_000, np.uint8)
    cloud.fields, cloud.point_step = [make("sensor_msgs/msg/PointField", "x", 0, 7, 1)], 4
    assert not plain("sensor_msgs/msg/PointCloud2", cloud) and calls == []
    assert plain("std_msgs/msg/Float32", make("std_msgs/msg/Float32", 1.0)) and calls == [8]


def test_a_file_is_found_wherever_it_lies():
    jpeg = files()["JPEG"]
    assert verdict_of("uint8[] a", {"a": np.frombuffer(jpeg, np.uint8)}).modality == PICTURE
    for form in ("json", "protobuf", "cbor", "cdr"):
        for data in (jpeg, b"\x12\xff" + jpeg[:200]):
            assert judge(data, connection("acme.T", form=form), ros1=False).modality == PICTURE


# Protobuf

def _varint(number):
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def _field(number, wire, content):
    return _varint(number << 3 | wire) + (_varint(len(content)) if wire == 2 else b"") + content


@pytest.mark.parametrize("raw", [
    b"".join(_field(1, 1, GREY[i:i + 8].tobytes()) for i in range(0, 3072, 8)),
    b"".join(_field(1, 0, _varint(int(v))) + _field(2, 2, b"a") for v in GREY),
    b"".join(_field(4, 2, _field(1, 5, struct.pack("<f", v)) + _field(2, 2, b"ok")) for v in GREY),
    b"".join(_field(int(v) + 256 * int(w), 0, b"\0") for v, w in GREY[:2000].reshape(-1, 2) if v),
    b"".join(_field(3, 2, GREY[i:i + 40].tobytes()) for i in range(0, 3072, 40)),
    _field(7, 2, _field(7, 2, _field(7, 2, GREY.tobytes())))], ids=range(6))
def test_protobuf_hides_nothing_in_its_fields(raw):
    assert not judge(raw, connection("acme.T", form="protobuf"), ros1=False).plain


def test_protobuf_of_a_robot_stays():
    pose = _field(1, 2, _field(1, 1, struct.pack("<d", 1.5))
                  + _field(2, 1, struct.pack("<d", -2.5)))
    raw = _field(1, 2, b"base_link") + b"".join(
        _field(2, 2, pose + _field(3, 2, f"object {i}".encode()) + _field(4, 0, _varint(i)))
        for i in range(60))
    assert judge(raw, connection("acme.T", form="protobuf"), ros1=False).plain


def test_limits_are_what_the_table_says():
    """docs/modalities.md names them."""
    from pathlib import Path
    table = (Path(__file__).parents[1] / "docs/modalities.md").read_text()
    for number in (LIMITS.bytes_in_one, LIMITS.bytes_in_all, LIMITS.identifiers, LIMITS.items,
                   LIMITS.numbers_in_one, LIMITS.numbers_in_all, LIMITS.leaves, LIMITS.pixels,
                   LIMITS.colours, LIMITS.colours_in_all):
        assert f"{number:,}" in table, number


def test_what_cannot_be_decoded_says_so():
    with pytest.raises(FrameError, match="cannot be decoded"):
        contents(b"\xff", connection("acme.T", form="protobuf"), ros1=False)
    assert judge(b"x" * 300, connection("acme.T", form="cdr"), ros1=False).modality == UNKNOWN
