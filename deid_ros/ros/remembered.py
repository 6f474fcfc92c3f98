"""What a node must still know after it died and was started again.

Pure Python without ROS. One run of the launch file or the supervisor has a name, handed
to its nodes in the environment; what they remember lies in files of that name, in a
folder that is this user's alone, and ends with the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deid_ros.errors import ConfigError

__all__ = ["PARENT_VARIABLE", "RUN_VARIABLE", "Remembered", "file_of_run", "forget", "name_run"]

#: Tells the processes of one run from those of another; unset: nothing is remembered.
RUN_VARIABLE = "DEID_RUN"
#: Process id of the launch or the supervisor: a node ends when that process has gone.
PARENT_VARIABLE = "DEID_SUPERVISOR"


def name_run() -> str:
    """A name for a new run of this process. A number alone comes again after a restart."""
    return f"{os.getpid()}-{secrets.token_hex(8)}"


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"deid_ros-{os.getuid()}"


def file_of_run(node: str, ending: str, run: str | None = None) -> Path | None:
    """The file in which a node remembers something; None outside of a run.

    Args:
        node: its full name.
        run: by default what ``DEID_RUN`` says.

    Raises:
        ConfigError: the folder of these files belongs to somebody else.
    """
    run = os.environ.get(RUN_VARIABLE, "") if run is None else run
    if not run:
        return None
    folder = _folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise ConfigError(f"{folder} is no folder of this user's, so that nothing can be "
                          "paused or remembered reliably; remove it or set TMPDIR.")
    return folder / f"{run}{node.replace('/', '.')}.{ending}"


def forget(run: str) -> None:
    """Remove the parameters that the nodes of a run remembered, at its end."""
    for path in _folder().glob(f"{run}.*.parameters"):
        path.unlink(missing_ok=True)


class Remembered:
    """The parameters of a node that were set while it ran.

    Args:
        node: its full name.
        run: as for ``file_of_run``.
    """

    def __init__(self, node: str, *, run: str | None = None) -> None:
        self._path = file_of_run(node, "parameters", run)

    def values(self) -> dict[str, Any]:
        """Parameter -> value; none where nothing was set, or the file is damaged."""
        if self._path is not None:
            with contextlib.suppress(OSError, ValueError):
                found = json.loads(self._path.read_text(encoding="utf-8"))
                if isinstance(found, dict):
                    return found
        return {}

    def add(self, values: Mapping[str, Any]) -> None:
        """Remember these too.

        Raises:
            OSError: they cannot be written.
        """
        if self._path is None:
            return
        part = self._path.with_suffix(".part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w",
                  encoding="utf-8") as stream:
            json.dump({**self.values(), **values}, stream)
        part.replace(self._path)
