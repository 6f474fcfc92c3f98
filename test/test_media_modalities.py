"""The table of modalities: what is plain stays, what holds a face in any form goes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from modalities_support import STORE, connection, files, likely, own, texts
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from deid_ros.media.bags.modalities import (
    BIOMETRIC,
    GEOMETRY,
    PICTURE,
    SOUND,
    judge,
    judge_values,
)

_MEDIA = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/PointCloud",
          "sensor_msgs/msg/PointCloud2", "stereo_msgs/msg/DisparityImage")
HARMLESS = sorted(name for name in STORE.fielddefs if name not in _MEDIA and not name.startswith(
    ("rosbag2_interfaces", "rmw_dds")) and STORE.fielddefs[name][1])


@pytest.mark.parametrize("name", HARMLESS)
def test_common_types_are_kept(name):
    for seed in range(4):
        message = likely(name, np.random.default_rng(seed))
        for field in ("texture", "mesh_file"):
            if hasattr(message, field):
                for inner in ("data",):
                    setattr(getattr(message, field), inner, np.zeros(0, np.uint8))
        verdict = judge(bytes(STORE.serialize_cdr(message, name)), connection(name), ros1=False)
        if "embedded" not in name and not _has_picture(message):
            assert verdict.plain, verdict


def _has_picture(value):
    if getattr(value, "__msgtype__", "") in _MEDIA and len(value.data):
        return True
    if isinstance(value, list):
        return any(map(_has_picture, value))
    return hasattr(value, "__msgtype__") and any(
        _has_picture(getattr(value, name)) for name in value.__dataclass_fields__
        if name != "__msgtype__")


@pytest.mark.parametrize("kind", files())
@pytest.mark.parametrize("field", ["uint8[] a", "int8[] a", "byte[] a", "uint8[] a\nuint8[] more"])
def test_bytes_of_own_types_are_dropped(kind, field):
    data = np.frombuffer(files()[kind], np.uint8)
    values = {"a": data.view(np.int8) if field == "int8[] a" else data}
    if "more" in field:
        values = {"a": np.zeros(0, np.uint8), "more": data}
    about, raw = own(field, values)
    assert not judge(raw, about, ros1=False).plain


@pytest.mark.parametrize("way", texts(b"x" * 9))
@pytest.mark.parametrize("kind", files())
def test_texts_that_are_pictures_are_dropped(way, kind):
    text = texts(files()[kind])[way]
    for before in ("", "see this: "):
        about, raw = own("string a", {"a": before + text})
        assert not judge(raw, about, ros1=False).plain
    assert not judge(json.dumps({"deep": [{"er": text}]}).encode(),
                     connection("acme.Thing", form="json"), ros1=False).plain


def _block(number, data):
    return bytes([number << 3 | 2, len(data) & 127 | 128, len(data) >> 7]) + data


def _laid_out(form, rows):
    """Rows of bytes as a message of a form: (connection, bytes); cbor nobody can read."""
    if form == "json":
        return connection("acme.Thing", form=form), json.dumps(
            {"name": "a", "rows": [{"v": list(row)} for row in rows]}).encode()
    if form == "protobuf":
        return connection("acme.Thing", form=form), _block(1, b"name") + b"".join(
            _block(2, _block(1, row)) for row in rows)
    if form == "cbor":
        return connection("acme.Thing", form=form), b"\xa1dname" + b"".join(rows)
    text = "Row[] rows\n" + "=" * 80 + "\nMSG: own_msgs/Row\nuint8[] v"
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(text, "own_msgs/msg/Thing"))
    made = store.types["own_msgs/msg/Thing"]([store.types["own_msgs/msg/Row"](np.frombuffer(
        row, np.uint8)) for row in rows])
    write = store.serialize_ros1 if form == "ros1" else store.serialize_cdr
    return connection("own_msgs/msg/Thing", text, form=form), bytes(
        write(made, "own_msgs/msg/Thing"))


@pytest.mark.parametrize("form", ["json", "protobuf", "cdr", "ros1", "cbor"])
@pytest.mark.parametrize("width", [8, 32, 60])
def test_rows_of_bytes_go_in_every_form_and_a_few_stay(form, width):
    data = bytes(value | 128 for value in files()["grey"])      # no text, no file's beginning
    rows = [data[i:i + width] for i in range(0, len(data), width)]
    for count, kept in ((3, True), (len(rows), False)):
        about, raw = _laid_out(form, rows[:count])
        verdict = judge(raw, about, ros1=False)
        assert verdict.plain == kept, verdict
        assert kept or "lies in it" not in verdict.reason


@pytest.mark.parametrize("form", ["json", "protobuf", "cdr", "ros1", "cbor"])
def test_a_file_among_the_bytes_goes_in_every_form(form):
    about, raw = _laid_out(form, [files()["JPEG"][:300], files()["grey"][:9]])
    assert judge(raw, about, ros1=False).modality == PICTURE


def test_pieces_of_a_text_are_one_text():
    pieces = texts(files()["JPEG"])["base64"]
    assert not judge_values({"p": [pieces[i:i + 60] for i in range(0, len(pieces), 60)]}).plain


def test_markers_with_an_empty_texture_stay_and_with_one_go():
    name = "visualization_msgs/msg/Marker"
    message = likely(name, np.random.default_rng(0))
    message.texture.data, message.mesh_file.data = np.zeros(0, np.uint8), np.zeros(0, np.uint8)
    assert judge(bytes(STORE.serialize_cdr(message, name)), connection(name), ros1=False).plain
    message.texture.data = np.frombuffer(files()["PNG"], np.uint8)
    verdict = judge(bytes(STORE.serialize_cdr(message, name)), connection(name), ros1=False)
    assert verdict.modality == PICTURE


def _cloud(names, count, height=1, step=None, rng=None):
    make = STORE.types
    step = step or 4 * len(names)
    fields = [make["sensor_msgs/msg/PointField"](n, 4 * i, 7, 1) for i, n in enumerate(names)]
    header = likely("std_msgs/msg/Header", np.random.default_rng(0))
    data = np.zeros(count * step, np.uint8) if rng is None else rng.normal(
        size=count * step // 4).astype(np.float32).view(np.uint8)
    return make["sensor_msgs/msg/PointCloud2"](
        header, height, count // height, fields, False, step, step * count // height, data, True)


@pytest.mark.parametrize("names, count, height, step, plain", [
    (("x", "y", "z"), 100, 1, None, True), (("x", "y", "z"), 0, 1, None, True),
    (("x", "y", "z", "rgb"), 0, 0, None, True),
    (("x", "y", "z", "ring", "time"), 900, 1, None, True),
    (("x", "y", "z"), 307200, 480, None, False), (("x", "y", "z"), 400, 20, None, False),
    (("x", "y", "z"), 5000, 1, None, False), (("x", "y", "z", "rgb"), 50, 1, None, False),
    (("x", "y", "z", "intensity"), 50, 1, None, False), (("x", "y", "z", "p"), 50, 1, None, False),
    (("x", "y", "z"), 1000, 1, 16, False),
])
def test_clouds(names, count, height, step, plain):
    message = _cloud(names, count, max(height, 1), step, np.random.default_rng(0))
    raw = bytes(STORE.serialize_cdr(message, "sensor_msgs/msg/PointCloud2"))
    verdict = judge(raw, connection("sensor_msgs/msg/PointCloud2"), ros1=False)
    assert verdict.plain == plain and (plain or verdict.modality == GEOMETRY)


def test_points_in_space_go_and_paths_on_a_floor_stay():
    rng = np.random.default_rng(0)
    make = STORE.types
    for high, plain in ((0.0, True), (1.0, False)):
        message = likely("geometry_msgs/msg/PolygonStamped", rng)
        message.polygon.points = [make["geometry_msgs/msg/Point32"](*rng.normal(size=2), high * z)
                                  for z in rng.normal(size=3000)]
        raw = bytes(STORE.serialize_cdr(message, "geometry_msgs/msg/PolygonStamped"))
        about = connection("geometry_msgs/msg/PolygonStamped")
        assert judge(raw, about, ros1=False).plain == plain
    message = likely("visualization_msgs/msg/Marker", rng)
    message.colors = [make["std_msgs/msg/ColorRGBA"](0.0, 1.0, 0.0, 1.0)] * 500
    raw = bytes(STORE.serialize_cdr(message, "visualization_msgs/msg/Marker"))
    assert not judge(raw, connection("visualization_msgs/msg/Marker"), ros1=False).plain


def _scan(beams, ranges, intensities=()):
    message = likely("sensor_msgs/msg/LaserScan", np.random.default_rng(0))
    message.angle_min, message.angle_max = -3.1, 3.1
    message.angle_increment = 6.2 / (beams - 1)
    message.ranges, message.intensities = ranges, np.asarray(intensities, np.float32)
    return bytes(STORE.serialize_cdr(message, "sensor_msgs/msg/LaserScan"))


def test_a_scan_is_one_row_and_a_grid_is_no_picture():
    rng = np.random.default_rng(0)
    about = connection("sensor_msgs/msg/LaserScan")
    assert judge(_scan(1080, rng.normal(5, 1, 1080).astype(np.float32)), about, ros1=False).plain
    assert not judge(_scan(1080, rng.normal(5, 1, 4096).astype(np.float32)), about,
                     ros1=False).plain
    jpeg = np.frombuffer(files()["JPEG"], np.uint8).astype(np.float32)
    assert not judge(_scan(len(jpeg), jpeg), about, ros1=False).plain
    assert not judge(_scan(len(jpeg), jpeg + 0.5, jpeg), about, ros1=False).plain
    grid = likely("nav_msgs/msg/OccupancyGrid", rng)
    grid.info.width, grid.info.height = 100, 50
    for data, plain in ((rng.choice([-1, 0, 100, 40], 5000, p=[.5, .3, .1, .1]), True),
                        (rng.integers(0, 101, 5000), False),
                        (rng.integers(-128, 127, 5000), False)):
        grid.data = data.astype(np.int8)
        raw = bytes(STORE.serialize_cdr(grid, "nav_msgs/msg/OccupancyGrid"))
        assert judge(raw, connection("nav_msgs/msg/OccupancyGrid"), ros1=False).plain == plain


@pytest.mark.parametrize("definition, values, modality, name", [
    ("float32[] landmarks", {"landmarks": np.arange(136, dtype=np.float32)}, BIOMETRIC,
     "hri_msgs/msg/FacialLandmarks"),
    ("float32[128] embedding", {"embedding": np.arange(128, dtype=np.float32)}, BIOMETRIC,
     "own_msgs/msg/Person"),
    ("float32[] v", {"v": np.full(64, 0.125, np.float32)}, BIOMETRIC, "own_msgs/msg/Vector"),
    ("uint8[] data", {"data": np.arange(40, dtype=np.uint8)}, SOUND,
     "audio_common_msgs/msg/AudioData"),
    ("int16[] data", {"data": np.arange(80, dtype=np.int16)}, SOUND, "own_msgs/msg/MicArray"),
    ("uint8[] data", {"data": np.arange(40, dtype=np.uint8)}, PICTURE,
     "foxglove_msgs/msg/CompressedVideo"),
])
def test_bodies_voices_and_videos(definition, values, modality, name):
    about, raw = own(definition, values, name)
    assert judge(raw, about, ros1=False).modality == modality


@pytest.mark.parametrize("text", [
    "<robot name='r'>" + "<link name='base_link'/> " * 900 + "</robot>",
    json.dumps({f"speed_{i}": i / 7 for i in range(200)}), "Zustand gut. " * 500,
    "/a/very/long/path/" * 5, "[INFO] [1600000000.1]: \x1b[32mok\x1b[0m " * 60])
def test_long_texts_of_robots_stay(text):
    about, raw = own("string a", {"a": text})
    assert judge(raw, about, ros1=False).plain


def test_a_type_that_does_not_fit_its_bytes_is_dropped():
    name = "sensor_msgs/msg/Image"
    message = likely(name, np.random.default_rng(0))
    message.data = np.arange(200, dtype=np.uint8).repeat(30)
    raw = bytes(STORE.serialize_cdr(message, name))
    for lie in ("std_msgs/msg/String", "sensor_msgs/msg/Imu", "nav_msgs/msg/Odometry", "a/msg/B"):
        assert not judge(raw, connection(lie), ros1=False).plain
    small = bytes(STORE.serialize_cdr(likely("std_msgs/msg/Header", np.random.default_rng(1)),
                                      "std_msgs/msg/Header"))
    assert judge(small, connection("a/msg/B"), ros1=False).plain
