"""A run that can be cut off and taken up again, and comes to the same end.

While a run lasts, ``OUT/.deid-run.json`` holds the key of its random draws and a digest
of its settings, readable by its owner only; no face and no embedding. What is finished
has a manifest and is left alone; what was being written is begun anew and, with the same
key, becomes what it would have been. When the run is through, the file goes: nobody can
draw the same surrogates again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deid_ros.config import Config
from deid_ros.errors import MediaError
from deid_ros.media.evidence import settings_of
from deid_ros.media.lifetime import Lock

__all__ = ["STATE", "Run"]

STATE = ".deid-run.json"
_MOST = 65536       # bytes of it that are read


class Run:
    """The run that writes to a folder; a context manager that holds it alone.

    Args:
        folder: where the outputs go; made when the run begins.
        config: the settings; the matcher's ``key`` is filled in.
        how: what else decides what comes out.
        resume: take up the run that was cut off.

    Attributes:
        config: the settings with the key of this run.
        given: whether the user gave the key.
        resumed: whether a run was taken up.
        lock: on the state file, while the run lasts; workers hold it too.

    Raises:
        MediaError: the run to be taken up had other settings; when it begins, another
            run is writing there, or the folder cannot be written to.
    """

    def __init__(self, folder: Path, config: Config, *, how: Mapping[str, Any],
                 resume: bool) -> None:
        self._folder, self._path = folder, folder / STATE
        self.lock = Lock(-1)
        self.given = bool(config["matcher"]["key"])
        self.resumed = self._through = False
        known = settings_of(config)
        del known["matcher"]["key"]
        words = json.dumps([known, how], sort_keys=True, default=sorted)
        self._state = {"settings": hashlib.sha256(words.encode()).hexdigest(),
                       "key_given": self.given,
                       "key": config["matcher"]["key"] or secrets.token_hex(32)}
        self._before = self._read()
        if resume and self._before:
            self._take_up()
        self.config = {node: dict(values) for node, values in config.items()}
        self.config["matcher"]["key"] = self._state["key"]

    def _read(self) -> bytes:
        try:
            file = self._open(os.O_RDONLY)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise MediaError(f"{self._path} cannot be read ({error.strerror or error}); remove "
                             "it, or choose another folder with -o.") from None
        with os.fdopen(file, "rb") as stream:
            return stream.read(_MOST)

    def _open(self, flags: int) -> int:
        """The state file, which must be an ordinary file of this user's, and no link.

        Raises:
            OSError: it is missing, or cannot be opened.
            MediaError: it is something else, or somebody else's.
        """
        # Without waiting: a FIFO would be waited for.
        try:
            file = os.open(self._path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                           0o600)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):
                raise
            file = -1
        found = os.fstat(file) if file >= 0 else None
        if (found is None or not stat.S_ISREG(found.st_mode) or found.st_nlink > 1
                or found.st_uid != os.geteuid()):
            if file >= 0:
                os.close(file)
            raise MediaError(f"{self._path} is a link, no file, or somebody else's; the state of "
                             "a run is not trusted to it: remove it, or choose another folder "
                             "with -o.")
        return file

    def _take_up(self) -> None:
        try:
            before = json.loads(self._before)
            same = before["settings"] == self._state["settings"]
            key = str(before["key"])
            if self.given:
                same = same and secrets.compare_digest(key.encode(), self._state["key"].encode())
        except (ValueError, KeyError, TypeError):
            return  # cut off before it began
        if not same or (before["key_given"] and not self.given):
            raise MediaError(f"The run in {self._folder} was begun with other settings, and would "
                             "not come to the same end; give the same options and the same "
                             f"--config, or remove {self._path} to go on with new surrogates.")
        self._state, self.resumed = before, True

    def __enter__(self) -> Run:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.lock = Lock(self._open(os.O_RDWR | os.O_CREAT))
        except OSError as error:
            raise MediaError(f"{self._folder} cannot be written to ({error.strerror or error}); "
                             "choose another folder with -o.") from None
        if not (self.lock.take() and self._is_ours() and self._read() == self._before):
            os.close(self.lock.file)
            raise MediaError(f"Another run is writing to {self._folder}, or a worker of one; wait "
                             "for it, or choose another folder with -o.")
        os.fchmod(self.lock.file, 0o600)
        if not self.resumed:
            os.ftruncate(self.lock.file, 0)
            os.pwrite(self.lock.file, json.dumps(self._state).encode(), 0)
            os.fsync(self.lock.file)
        return self

    def _is_ours(self) -> bool:
        """Whether the locked file is still the one of that name."""
        try:
            return os.path.samestat(os.fstat(self.lock.file), os.lstat(self._path))
        except OSError:
            return False

    def through(self) -> None:
        """Everything was tried: nothing is left to take up."""
        self._through = True

    def __exit__(self, *_: object) -> None:
        if self._through:
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self.lock.file)
