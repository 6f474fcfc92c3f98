"""Whether the output is paused, remembered beyond the death of the node.

A replacer that dies while it is paused is started again by its supervisor, and
must not then let frames out that somebody has stopped. The mark is an empty file
that belongs to one run of the launch file or the supervisor; it says nothing of
what was seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from std_srvs.srv import SetBool

from deid_ros.ros.remembered import file_of_run

__all__ = ["Pause", "PauseMark"]

class PauseMark:
    """The mark of one node.

    Args:
        node: its full name.
        run: of the run; by default what ``DEID_RUN`` says, '' for no memory.

    Raises:
        ConfigError: the folder of the marks belongs to somebody else.
    """

    def __init__(self, node: str, *, run: str | None = None) -> None:
        self._path = file_of_run(node, "paused", run)
        self._on = self._path is not None and self._path.exists()

    def __bool__(self) -> bool:
        """Whether it is paused."""
        return self._on

    def set(self, on: bool) -> None:
        """Pause, or end the pause.

        Raises:
            OSError: the mark cannot be written; it is paused all the same.
        """
        if on:
            self._on = True
            if self._path is not None:
                self._path.touch(mode=0o600)
        else:
            self.forget()
            self._on = False

    def forget(self) -> None:
        """Remove the mark, at an end that was asked for."""
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()


class Pause:
    """The service ``~/pause``; true while it is paused.

    Args:
        node: a ``StageNode``.
        clear: forgets what waits and says how many frames that were: what came
            before or during a pause does not leave after it.
    """

    def __init__(self, node: Any, clear: Callable[[], int]) -> None:
        self.mark = PauseMark(node.get_fully_qualified_name())
        self._node, self._clear = node, clear
        if self.mark:
            node.get_logger().warning("paused, as before; ~/pause with false ends it")
        node.create_service(SetBool, "~/pause", self._on_pause)

    def __bool__(self) -> bool:
        return bool(self.mark)

    def _on_pause(self, request: SetBool.Request, answer: SetBool.Response) -> SetBool.Response:
        try:
            self.mark.set(request.data)
            answer.success = True
            answer.message = "nothing leaves" if request.data else "frames leave"
        except OSError as error:
            answer.success = False
            answer.message = (f"{error}; " + ("paused until this node ends" if request.data
                                              else "still paused"))
            self._node.failed("pause", error)
        self._node.health.count("withheld.paused", self._clear())
        self._node.get_logger().info(answer.message)
        return answer
