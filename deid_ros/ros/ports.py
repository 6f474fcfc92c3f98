"""Fast DDS's ports of shared memory, and what ``kill -9`` makes of them.

A participant listens on ports: files in ``/dev/shm``, each with a lock file that the
kernel unlocks when the process dies. Whoever starts next takes a dead port's number
and makes its memory anew, but those who wrote to the dead process go on writing into
the old memory, for seconds or for ever (Fast DDS issue 5469, up to 3.6 at least). So
a node that starts keeps the lock of every dead port that somebody still has in
memory: Fast DDS then takes the next number, and everybody sees a new port.

And a process whose own port was taken away, by another that took it for dead, hears
nothing any more: ``OwnPorts`` notices.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from pathlib import Path

__all__ = ["OwnPorts", "keep_dead_ports", "let_go_ports"]

_SHARED = Path("/dev/shm")
_PORT = re.compile(r"fast(?:dds|rtps)_port\d+")
#: Fast DDS tries this many numbers; some must be left.
_MOST = 80

_kept: dict[str, int] = {}


def keep_dead_ports(folder: Path = _SHARED) -> list[str]:
    """Keep the numbers of dead ports that are still in use.

    Called before the first node is made. Nothing is written or deleted.

    Returns:
        The names of the ports whose locks were taken.
    """
    dead: dict[str, int] = {}
    for lock in folder.glob("fast*_port*_el"):
        name = lock.name.removesuffix("_el")
        # Without its memory a port is nobody's; Fast DDS would complain of the lock.
        if not _PORT.fullmatch(name) or not (folder / name).exists():
            continue
        with contextlib.suppress(OSError):
            file = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                dead[name] = file
            except OSError:  # somebody lives there
                os.close(file)
    used = _in_memory() if dead else set()
    taken = []
    for name in sorted(dead, key=lambda name: os.fstat(dead[name]).st_mtime, reverse=True):
        if name in used and len(_kept) < _MOST:
            _kept[name] = dead[name]
            taken.append(name)
        else:
            os.close(dead[name])
    return taken


def let_go_ports(folder: Path = _SHARED) -> None:
    """Let go of the numbers of ports whose memory has been given up since."""
    for name in list(_kept):
        if not (folder / name).exists():
            os.close(_kept.pop(name))


def _in_memory() -> set[str]:
    """Ports that a process, of those this one may look at, has in memory."""
    found: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            found.update(_PORT.findall(maps.read_text(errors="replace")))
    return found


class OwnPorts:
    """The ports that this process listens on.

    Made when the node has been made.

    Args:
        patience: seconds for which a port may be away; it is while it is made anew.
        folder: where ports are.
    """

    def __init__(self, *, patience: float = 1.5, folder: Path = _SHARED) -> None:
        self._patience, self._folder = patience, folder
        self._files: dict[str, int] = {}
        self._since: dict[str, float] = {}
        for link in Path("/proc/self/fd").glob("*"):
            with contextlib.suppress(OSError):
                target = Path(os.readlink(link))
                name = target.name.removesuffix("_el")
                if (target.parent == folder and target.name.endswith("_el")
                        and _PORT.fullmatch(name) and name not in _kept):
                    self._files[name] = (folder / name).stat().st_ino

    def lost(self) -> list[str]:
        """The names of ports that were taken away and did not come back in time."""
        now = time.monotonic()
        gone = []
        for name, inode in self._files.items():
            if self._present(name, inode):
                self._since.pop(name, None)
            elif now - self._since.setdefault(name, now) > self._patience:
                gone.append(name)
        return gone

    def _present(self, name: str, inode: int) -> bool:
        try:
            now = (self._folder / name).stat().st_ino
        except OSError:
            return False
        if now == inode:
            return True
        # Another file: ours, made anew, or somebody else's.
        for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
            part = line.split(maxsplit=5)
            if len(part) == 6 and part[5] == str(self._folder / name) and int(part[4]) == now:
                self._files[name] = now
                return True
        return False
