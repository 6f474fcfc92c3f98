"""Work done behind one's back: in a thread of its own, in the order in which it is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

__all__ = ["Behind"]


class Behind:
    """Does things one after another while its owner goes on; what fails is told later.

    Args:
        name: of the thread.
        waiting: things that wait at most, so that memory is bounded.
    """

    def __init__(self, name: str, *, waiting: int = 2) -> None:
        self._pool = ThreadPoolExecutor(1, name)
        self._waiting = waiting
        self._given: deque[Future] = deque()
        self._failed = False

    def do(self, work: Callable[..., Any], *args: Any) -> None:
        """Have ``work(*args)`` done.

        Raises:
            Exception: what a thing given before has raised; nothing was done after it.
        """
        self._settle(self._waiting)
        self._given.append(self._pool.submit(self._do, work, *args))

    def _do(self, work: Callable[..., Any], *args: Any) -> None:
        if self._failed:
            return
        self._failed = True
        work(*args)
        self._failed = False

    def finish(self) -> None:
        """Wait until everything is done.

        Raises:
            Exception: as ``do``.
        """
        self._settle(0)

    def _settle(self, left: int) -> None:
        while len(self._given) > left or (self._given and self._given[0].done()):
            try:
                self._given.popleft().result()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Leave undone what has not begun, and end the thread."""
        self._pool.shutdown(cancel_futures=True)
        self._given.clear()
