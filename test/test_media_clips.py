"""Videos made of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros.errors import MediaError
from deid_ros.media.clips import write_clip

av = pytest.importorskip("av")


def pictures(count: int, size: tuple[int, int] = (64, 48)):
    for i in range(count):
        yield np.full((size[1], size[0], 3), (40, 40 + 8 * i, 200), np.uint8)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
@pytest.mark.parametrize("size", [(64, 48), (65, 49)])
def test_what_is_written_is_read(tmp_path, name, size):
    assert write_clip(tmp_path / name, pictures(7, size), fps=12.5) == 7
    with av.open(str(tmp_path / name)) as file:
        frames = list(file.decode(video=0))
        assert float(file.streams.video[0].average_rate) == pytest.approx(12.5, rel=0.01)
    assert [(f.width, f.height) for f in frames] == [size] * 7
    for i, frame in enumerate(frames):
        mean = frame.to_ndarray(format="bgr24").reshape(-1, 3).mean(0)
        assert np.abs(mean - (40, 40 + 8 * i, 200)).max() < 8
        assert frame.time == pytest.approx(i / 12.5, abs=0.01)


def test_what_exists_is_kept(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"mine")
    with pytest.raises(MediaError, match="a.mp4"):
        write_clip(tmp_path / "a.mp4", pictures(2), fps=10)
    assert (tmp_path / "a.mp4").read_bytes() == b"mine"
    assert write_clip(tmp_path / "a.mp4", pictures(2), fps=10, overwrite=True) == 2


def test_no_picture_leaves_no_file(tmp_path):
    with pytest.raises(MediaError, match="no picture"):
        write_clip(tmp_path / "a.mp4", pictures(0), fps=10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.avi", "a.txt", "a"])
def test_other_kinds_are_refused(tmp_path, name):
    with pytest.raises(MediaError, match="is not written; name it .mp4"):
        write_clip(tmp_path / name, pictures(1), fps=10)
