"""Processes that end with the one that started them, and a lock that all of them hold."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import threading
from multiprocessing import parent_process, reduction
from multiprocessing.connection import wait
from typing import Any

__all__ = ["Lock", "die_with_parent"]

_PR_SET_PDEATHSIG = 1       # of <sys/prctl.h>


class Lock:
    """A file that is locked as long as any process holds it.

    Passed to a worker that is being started, the worker holds it too. The system lets go
    of it when the last of them has died, however it died.

    Args:
        file: descriptor of the open file.
    """

    def __init__(self, file: int) -> None:
        self.file = file

    def take(self) -> bool:
        """Lock the file; False if others hold it."""
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return _inherited, (reduction.DupFd(self.file),)


def _inherited(file: Any) -> Lock:
    return Lock(file.detach())


def die_with_parent(parent: int, *, number: int = signal.SIGKILL) -> None:
    """End this process when its parent has ended: by default at once and without a trace.

    On Linux the system sees to it; elsewhere, and besides, a thread watches the pipe to
    the parent that every spawned process has.

    Args:
        parent: process id of the parent, which may be gone already.
        number: of the signal that this process then gets.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    family = parent_process()
    if family is not None:
        threading.Thread(target=_watch, args=(family.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
