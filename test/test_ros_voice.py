"""What the replacer says: once, then every minute, with what to do."""

from __future__ import annotations

import pytest

from deid_ros.ros.voice import Voice


class Stage:
    """A voice, a clock, and what was said."""

    def __init__(self, publishers: int = 0) -> None:
        self.now, self.said, self.publishers = 100.0, [], publishers
        self.voice = Voice("/camera/image_raw", lambda: (
            self.publishers, "similar topics: /front/image_raw"), say=self.said.append,
            warn=self.said.append)

    def run(self, seconds: float, *, rate: float = 0, takes: float | None = None,
            leaves: bool = False, paused: bool = False, deadline: float = 0.15,
            fast: bool = False) -> list[str]:
        """What is said in so many seconds of this stream."""
        before, end, tables = len(self.said), self.now + seconds, []
        steps = 0
        while self.now < end - 1e-9:
            self.now += 0.1
            steps += 1
            if rate:
                self.voice.came(self.now, self.now)
                if takes is not None:
                    tables.append((self.now + takes, self.now))
            while tables and tables[0][0] <= self.now:
                self.voice.searched(tables.pop(0)[1], self.now, fast=fast)
            if leaves:
                self.voice.left(self.now)
            if steps % 10 == 0:
                self.voice.look(self.now, deadline=deadline, paused=paused)
        return self.said[before:]


def test_it_waits_once_and_then_every_minute():
    stage = Stage()
    assert stage.run(30) == ["waiting for images on /camera/image_raw (nobody publishes; similar "
                             "topics: /front/image_raw)"]
    assert len(stage.run(90)) == 1
    stage.publishers = 1
    assert stage.run(60) == ["waiting for images on /camera/image_raw (1 publish, but nothing "
                             "comes)"]


def test_a_stream_that_flows_says_one_thing():
    stage = Stage()
    assert stage.run(120, rate=10, takes=0.1, leaves=True) == ["first frame left"]


@pytest.mark.parametrize("fast, remedy", [(False, "use preset:=fast or raise it"),
                                          (True, "raise it")])
def test_a_slow_detector_is_named_with_both_numbers(fast, remedy):
    stage = Stage()
    said = stage.run(30, rate=10, takes=0.3, fast=fast, deadline=0.05)
    assert len(said) == 1 and said[0].startswith("nothing left in 1")
    assert said[0].endswith(f"detection takes 100 ms, deadline_ms is 50; {remedy}")
    assert len(stage.run(120, rate=10, takes=0.3, deadline=0.05)) == 2


def test_a_detector_that_says_nothing_is_named():
    assert "no face table" in Stage().run(15, rate=10)[0]


def test_a_pause_is_no_fault():
    stage = Stage()
    stage.run(5, rate=10, takes=0.1, leaves=True)
    assert stage.run(60, rate=10, takes=0.1, paused=True) == []
    # Nor the seconds right after it.
    assert stage.run(5, rate=10, takes=0.1) == []


def test_a_camera_that_comes_late_has_its_ten_seconds():
    stage = Stage()
    stage.run(30)
    assert stage.run(8, rate=10) == []
    assert len(stage.run(8, rate=10)) == 1
