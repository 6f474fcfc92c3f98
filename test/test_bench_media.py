"""``deid bench media`` where the tool ``deface`` is there and does not run."""

from __future__ import annotations

import argparse

import pytest

from deid_ros.bench import media
from deid_ros.config import load
from deid_ros.errors import DeidError


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A command as pip leaves it where ``deface`` was installed without what it needs."""
    command = tmp_path / "deface"
    command.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'imageio_ffmpeg'\" "
                       ">&2\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(media, "_clip", lambda path, count, args: path)
    spent = iter(range(1, 1000))
    monkeypatch.setattr(media, "_time", lambda *_: (float(next(spent)), 1.0 * next(spent)))
    return command


def arguments(**given) -> argparse.Namespace:
    return argparse.Namespace(**{"frames": 8, "rounds": 1, "deface": None, "size": (640, 480),
                                 "faces": 1, **given})


def test_a_deface_that_lacks_a_module_is_left_out_and_what_to_do_is_said(broken):
    result = media.measure(load(), arguments())
    assert "deface" not in result["ways"] and set(result["ways"]) == set(media.WAYS)
    said = media.text(result)
    assert "imageio_ffmpeg" in said and "deface/bin/pip install" in said


def test_a_deface_that_was_asked_for_is_a_reason_to_stop_before_minutes_of_work(broken):
    with pytest.raises(DeidError, match="imageio_ffmpeg.*deface/bin/pip install"):
        media.measure(load(), arguments(deface=str(broken)))
