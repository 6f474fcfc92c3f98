"""Ports of shared memory of processes that were killed, and of this one."""

from __future__ import annotations

import fcntl
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from deid_ros.ros import ports  # noqa: E402
from deid_ros.ros.ports import OwnPorts, keep_dead_ports, let_go_ports  # noqa: E402


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    held: dict[str, int] = {}
    monkeypatch.setattr(ports, "_kept", held)
    yield held
    for file in held.values():
        os.close(file)


def port(folder: Path, name: str) -> Path:
    """A port of shared memory with its lock file, which nobody has locked."""
    (folder / f"{name}_el").touch()
    (folder / name).write_bytes(bytes(mmap.PAGESIZE))
    return folder / name


def mapped(path: Path) -> mmap.mmap:
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def locked(path: Path) -> bool:
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def test_there_are_no_ports(tmp_path):
    assert keep_dead_ports(tmp_path) == [] and OwnPorts(folder=tmp_path).lost() == []


def test_a_dead_port_in_memory_is_kept_and_nothing_else(tmp_path, kept):
    memory = mapped(port(tmp_path, "fastdds_port990001"))
    port(tmp_path, "fastdds_port990002")                      # nobody has it in memory
    alive = port(tmp_path, "fastdds_port990003")
    also = mapped(alive)
    (tmp_path / "fastdds_port990004_el").touch()              # no memory
    (tmp_path / "fastdds_0123_el").touch()                    # no port
    with open(tmp_path / "fastdds_port990003_el") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert keep_dead_ports(tmp_path) == ["fastdds_port990001"] == list(kept)
        assert keep_dead_ports(tmp_path) == []                # it is kept already
    assert locked(tmp_path / "fastdds_port990001_el")
    assert not locked(tmp_path / "fastdds_port990002_el")
    assert len(list(tmp_path.iterdir())) == 8                 # nothing made, nothing deleted
    let_go_ports(tmp_path)
    assert locked(tmp_path / "fastdds_port990001_el")
    (tmp_path / "fastdds_port990001").unlink()                # the writers have given it up
    let_go_ports(tmp_path)
    assert not locked(tmp_path / "fastdds_port990001_el") and not kept
    memory.close()
    also.close()


def test_some_numbers_are_left_to_be_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(ports, "_MOST", 2)
    memories = [mapped(port(tmp_path, f"fastdds_port99001{i}")) for i in range(4)]
    assert len(keep_dead_ports(tmp_path)) == 2
    for memory in memories:
        memory.close()


@pytest.fixture
def own(tmp_path):
    """A port that this process listens on."""
    path = port(tmp_path, "fastdds_port990021")
    memory = mapped(path)
    with open(tmp_path / "fastdds_port990021_el"):
        yield path
    memory.close()


def test_a_port_that_was_taken_away_is_missed(own):
    here = OwnPorts(patience=0.0, folder=own.parent)
    assert here.lost() == []
    own.unlink()
    here.lost()
    assert here.lost() == ["fastdds_port990021"]
    own.write_bytes(bytes(mmap.PAGESIZE))                     # somebody else's
    assert here.lost() == ["fastdds_port990021"]


def test_a_port_that_was_made_anew_is_not(own):
    here = OwnPorts(patience=0.0, folder=own.parent)
    other = own.with_name("new")
    other.write_bytes(bytes(mmap.PAGESIZE))
    other.rename(own)
    memory = mapped(own)
    here.lost()
    assert here.lost() == [] == here.lost()
    memory.close()


LISTENER = """
import rclpy, sys
from deid_ros.ros.ports import OwnPorts
from deid_ros.ros.runtime import ros_context
from std_msgs.msg import Header
with ros_context(network="host") as context:
    node = rclpy.create_node("listener", context=context)
    node.create_subscription(Header, "said", lambda _: print("heard", flush=True), 5)
    print(*OwnPorts()._files, flush=True)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    executor.spin()
"""


@pytest.mark.ros
def test_who_is_started_after_a_kill_listens_on_other_ports(monkeypatch):
    """On the dead one's, writers would go on writing into memory that nobody reads."""
    import rclpy
    from ros_support import DOMAIN
    from std_msgs.msg import Header

    from deid_ros.ros.runtime import ros_context
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    before: set[bytes] = set()
    with ros_context(network="host") as context:
        node = rclpy.create_node("speaker", context=context)
        publisher = node.create_publisher(Header, "said", 5)
        timer = node.create_timer(0.02, lambda: publisher.publish(Header()))
        executor = rclpy.executors.SingleThreadedExecutor(context=context)
        executor.add_node(node)
        for _ in range(3):
            child = subprocess.Popen([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE,
                                     env=dict(os.environ))
            try:
                os.set_blocking(child.stdout.fileno(), False)
                text = b""
                for _ in range(1500):
                    executor.spin_once(timeout_sec=0.02)
                    text += child.stdout.read() or b""
                    if b"heard" in text:
                        break
                assert b"heard" in text
            finally:
                child.kill()
                child.wait()
            used = set(text.split(b"\n")[0].split())
            assert used and not used & before
            before |= used
        timer.cancel()
        executor.shutdown()
        node.destroy_node()
