"""The consistency bench: it must see what is wrong, and nothing where nothing is."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from sample_faces import make_face

from deid_ros.bench.consistency import _flow, _forget_every, _share
from deid_ros.bench.contact_sheet import ContactSheet
from deid_ros.cli import main
from deid_ros.errors import DeidError
from deid_ros.faces import DETECTION
from deid_ros.media.clips import write_clip

pytest.importorskip("av")


def bench(path, tmp_path, *options):
    out = tmp_path / "r.json"
    assert main(["bench", "consistency", str(path), "--replace", "solid", "--pairs", "0", "--json",
                 str(out), *options]) == 0
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def clip(tmp_path_factory, astronaut):
    """A head that moves a little through ten frames."""
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    frames = [np.ascontiguousarray(astronaut[:256, 90 - 4 * i:346 - 4 * i]) for i in range(10)]
    write_clip(path, frames, fps=25)
    return path


def test_share_of_a_mask():
    mask = np.zeros((80, 80), np.uint8)
    assert _share(mask, (20, 20, 40, 40)) == 0
    mask[:, :40] = 255
    assert _share(mask, (20, 20, 40, 40)) == pytest.approx(0.5, abs=0.03)
    assert _share(mask, (200, 20, 40, 40)) == 1     # outside of the frame: nothing to cover


def test_every_third_detection_is_forgotten():
    class Always:
        def search(self, frame):
            return np.zeros(2, DETECTION)

    detector = Always()
    _forget_every(detector, 3)
    assert [len(detector.search(None)) for _ in range(7)] == [2, 2, 0, 2, 2, 0, 2]


def test_flow_is_the_motion_of_what_is_behind():
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.integers(0, 255, (220, 260, 3), dtype=np.uint8), (0, 0), 2)
    face = make_face((100, 90), 80)[0]
    moved = _flow(wall[:180, :200].copy(), wall[3:183, 2:202].copy(), face)
    np.testing.assert_allclose(moved, (-2, -3), atol=0.2)
    assert _flow(np.zeros((180, 200, 3), np.uint8), np.zeros((180, 200, 3), np.uint8), face) is None


def test_a_sheet_shows_what_is_wrong_first(tmp_path):
    with pytest.raises(DeidError, match="nothing"):
        ContactSheet().write(tmp_path / "a.png")
    sheet = ContactSheet()
    box = np.array([10.0, 10, 20, 20])
    for i in range(100):
        frame = np.full((48, 64, 3), i, np.uint8)
        sheet.add(i, frame, frame, [("ssd", box, i != 50)])
    sheet.write(tmp_path / "a.png")
    drawn = cv2.imread(str(tmp_path / "a.png"))
    assert drawn.shape[1] == 4 * 320
    assert (drawn[:240, :320].reshape(-1, 3) == (0, 0, 255)).all(axis=1).any()
    assert not (drawn[240:].reshape(-1, 3) == (0, 0, 255)).all(axis=1).any()
    with pytest.raises(DeidError, match="written"):
        sheet.write(tmp_path / "a.nonsense")


@pytest.mark.parametrize("options", [(), ("--delete-every", "3"), ("--live", "--preset", "fast")])
def test_a_covered_head_is_never_bare(clip, tmp_path, options):
    result = bench(clip, tmp_path, *options)
    assert result["frames"] == 10 and result["tracks"] == 1 and result["switches"] == 0
    assert result["covered"] == {"solid": 10}
    assert result["reference_faces"]["centerface"] == 10
    assert result["uncovered"] == {"centerface": 0, "ssd": 0}
    assert result["jitter_px"]["mean"] < 4


def test_a_bare_head_is_noticed(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("deid_ros.detector.searcher.Searcher.search",
                        lambda self, frame: np.zeros(0, DETECTION))
    sheet = tmp_path / "sheet.png"
    result = bench(clip, tmp_path, "--sheet", str(sheet))
    assert result["uncovered"]["centerface"] == 10
    assert result["uncovered_frames"] == list(range(10))
    assert sheet.stat().st_size > 10_000


def test_a_picture_is_a_video_that_stands_still(tmp_path, astronaut):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), astronaut[:256, 90:346])
    result = bench(path, tmp_path, "--limit", "6")
    assert result["frames"] == 6 and result["jitter_px"]["p95"] < 0.5


def test_refusals(tmp_path, capsys):
    assert main(["bench", "consistency", str(tmp_path / "no.mp4")]) == 2
    assert main(["bench", "consistency", str(tmp_path / "no.png"), "--limit", "1"]) == 2
    assert "limit" in capsys.readouterr().err
