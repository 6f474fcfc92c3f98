"""Record tables and stacks of pictures: the same arrays come out as went in."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sensor_msgs")

from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from sensor_msgs.msg import PointCloud2  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from deid_ros.errors import FrameError  # noqa: E402
from deid_ros.faces import FACE, empty_faces, match_dtype  # noqa: E402
from deid_ros.ros.codec import FrameTag, bytes_array  # noqa: E402
from deid_ros.ros.tables import (  # noqa: E402
    from_matches,
    from_stack,
    from_table,
    to_stack,
    to_table,
)

TAG = FrameTag(480, 640, 0xDEADBEEF)
HEADER = Header(frame_id="camera")


def random_faces(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    faces = empty_faces(count)
    for name in FACE.names:
        faces[name] = rng.integers(0, 100, faces[name].shape)
    return faces


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_faces_round_trip_over_the_wire(count):
    faces = random_faces(count)
    msg = deserialize_message(serialize_message(to_table(faces, HEADER, TAG)), PointCloud2)
    came, tag = from_table(msg, FACE, tagged=True)
    np.testing.assert_array_equal(came, faces)
    assert came.dtype == FACE and tag == TAG and msg.header == HEADER
    assert (msg.height, msg.width, msg.point_step) == (1, count, FACE.itemsize)
    assert msg.row_step == count * FACE.itemsize + 16 == len(msg.data)


def test_the_table_is_described_by_its_fields():
    fields = {field.name: field for field in to_table(empty_faces(), HEADER, TAG).fields}
    assert list(fields) == list(FACE.names)
    assert fields["landmarks"].count == 136 and fields["landmarks"].datatype == 7
    assert fields["chip"].datatype == 3 and fields["carried"].datatype == 2


def test_rows_are_views_that_must_not_be_written():
    msg = to_table(random_faces(2), HEADER, TAG)
    rows, _ = from_table(msg, FACE, tagged=True)
    assert np.shares_memory(rows, np.frombuffer(msg.data, np.uint8))
    with pytest.raises(ValueError):
        rows["score"] = 0


@pytest.mark.parametrize("count, size", [(0, 7), (1, 1), (3, 64)])
def test_matches_bring_the_size_of_their_code(count, size):
    matches = np.zeros(count, match_dtype(size))
    matches["code"] = np.arange(count * size).reshape(count, size)
    came = from_matches(to_table(matches, HEADER))
    np.testing.assert_array_equal(came, matches)
    assert came.dtype == match_dtype(size)


def altered(**changes) -> PointCloud2:
    msg = to_table(random_faces(2), HEADER, TAG)
    for name, value in changes.items():
        setattr(msg, name, value)
    return msg


def renamed() -> PointCloud2:
    msg = altered()
    msg.fields[1].name = "confidence"
    return msg


def wrong_magic() -> PointCloud2:
    msg = altered()
    msg.data[-1] ^= 1
    return msg


@pytest.mark.parametrize("msg, words", [
    (PointCloud2(), "0 fields"),
    (renamed(), "confidence"),
    (altered(point_step=4), "4 where|in 4"),
    (altered(is_bigendian=True), "fields"),
    (altered(height=2), "2 x 2 rows"),
    (altered(width=3), "1 x 3 rows"),
    (altered(width=2**32 - 1), "rows"),
    (altered(row_step=5), "row step of 5"),
    (altered(data=bytes_array(np.zeros(10, np.uint8))), "10 bytes"),
    (altered(fields=[]), "0 fields"),
    (wrong_magic(), "which frame"),
])
def test_other_tables_are_refused(msg, words):
    with pytest.raises(FrameError, match=words):
        from_table(msg, FACE, tagged=True)


def test_a_table_without_a_tag_is_refused_where_one_is_needed():
    with pytest.raises(FrameError):
        from_table(to_table(random_faces(2), HEADER), FACE, tagged=True)


def test_faces_are_no_matches():
    for rows in (random_faces(1), np.zeros(1, [("code", "<f4", 3)])):
        with pytest.raises(FrameError):
            from_matches(to_table(rows, HEADER))


@pytest.mark.parametrize("count, side, channels", [(1, 1, 4), (3, 8, 4), (2, 150, 3)])
def test_stacks_round_trip(count, side, channels):
    pictures = np.random.default_rng(0).integers(
        0, 255, (count, side, side, channels), np.uint8)
    msg = to_stack(pictures, HEADER, TAG)
    assert (msg.height, msg.width) == (count * side, side)
    assert msg.encoding == {3: "bgr8", 4: "rgba8"}[channels] and msg.step > side * channels
    came, tag = from_stack(msg, channels)
    np.testing.assert_array_equal(came, pictures)
    assert tag == TAG


@pytest.mark.parametrize("changes", [
    {"encoding": "bgr8"}, {"width": 7}, {"height": 17}, {"height": 0}, {"width": 0}, {"step": 32},
    {"data": bytes_array(np.zeros(5, np.uint8))}])
def test_other_stacks_are_refused(changes):
    msg = to_stack(np.zeros((2, 8, 8, 4), np.uint8), HEADER, TAG)
    for name, value in changes.items():
        setattr(msg, name, value)
    with pytest.raises(FrameError):
        from_stack(msg, 4)
