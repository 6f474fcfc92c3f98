"""A run that can be cut off and taken up again, and comes to the same end.

While a run lasts, ``OUT/.deid-run.json`` holds the key of its random draws and a digest
of its settings, readable by its owner only, where files have owners; no face and no
embedding. What is finished has a manifest and is left alone; what was being written is
begun anew and, with the same key, becomes what it would have been. When the run is
through, the file goes: nobody can draw the same surrogates again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
import tempfile
from pathlib import Path

from deid_ros.config import Config
from deid_ros.errors import MediaError
from deid_ros.media.evidence import Recipe
from deid_ros.media.lifetime import Lock

__all__ = ["STATE", "Run"]

STATE = ".deid-run.json"
_MOST = 65536       # bytes of it that are read


class Run:
    """The run that writes to a folder; a context manager that holds it alone.

    Within it, ``config`` are the settings with the key of this run. Nothing that outlasts it
    is written before ``begin``.

    Args:
        folder: where the outputs go; made where it is missing.
        config: the settings; the matcher's ``key`` is filled in.
        recipe: what decides what comes out.
        resume: take up the run that was cut off.

    Attributes:
        resumed: whether a run was taken up.
        lock: on the state file, while the run lasts; workers hold it too.

    Raises:
        MediaError: when it is entered: another run is writing there, the folder cannot be
            written to, or the run to be taken up had other settings.
    """

    def __init__(self, folder: Path, config: Config, *, recipe: Recipe, resume: bool) -> None:
        self._folder, self._path, self._resume = folder, folder / STATE, resume
        self.lock = Lock(-1)
        self.resumed = self._held = self._lasts = False
        self._made: list[Path] = []
        settings = {node: dict(values) for node, values in recipe.settings.items()}
        given = settings["matcher"].pop("key") == "given"
        words = json.dumps([settings, recipe.how], sort_keys=True, default=sorted)
        self._state = {"settings": hashlib.sha256(words.encode()).hexdigest(),
                       "key_given": given,
                       "key": config["matcher"]["key"] or secrets.token_hex(32)}
        self.config = {node: dict(values) for node, values in config.items()}

    def __enter__(self) -> Run:
        try:
            self._made = [path for path in (self._folder, *self._folder.parents)
                          if not path.exists()]
            self._folder.mkdir(parents=True, exist_ok=True)
            self.lock = Lock(self._open())
            self._held = self.lock.take() and self._is_ours()
            if not self._held:
                raise MediaError(f"Another run is writing to {self._folder}, or a worker of one; "
                                 "wait for it, or choose another folder with -o.")
            with contextlib.suppress(PermissionError):  # where files have no owners
                os.fchmod(self.lock.file, 0o600)
            before = os.pread(self.lock.file, _MOST, 0)
            self._lasts = bool(before)
            if self._resume:
                self._take_up(before)
        except OSError as error:
            self.__exit__()
            raise MediaError(f"{self._folder} cannot be written to ({error.strerror or error}); "
                             "choose another folder with -o.") from None
        except MediaError:
            self.__exit__()
            raise
        self.config["matcher"]["key"] = self._state["key"]
        return self

    def _open(self) -> int:
        """The state file, which must be an ordinary file of this user's, and no link."""
        # Without waiting: a FIFO would be waited for.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(self._path, flags, 0o600)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
                raise
            file = -1
        found = os.fstat(file) if file >= 0 else None
        if (found is None or not stat.S_ISREG(found.st_mode) or found.st_nlink > 1
                or not self._is_mine(found.st_uid)):
            if file >= 0:
                os.close(file)
            raise MediaError(f"{self._path} is a link, no file, or somebody else's; the state of "
                             "a run is not trusted to it: remove it, or choose another folder "
                             "with -o.")
        return file

    def _is_mine(self, owner: int) -> bool:
        """Whether a file of that owner is this user's.

        Some file systems have no owners (vfat) or map them (NFS): there a file that is made
        now belongs to somebody else too, always the same.
        """
        if owner == os.geteuid():
            return True
        with tempfile.TemporaryFile(dir=self._folder) as file:
            return os.fstat(file.fileno()).st_uid == owner

    def _is_ours(self) -> bool:
        """Whether the locked file is still the one of that name."""
        try:
            return os.path.samestat(os.fstat(self.lock.file), os.lstat(self._path))
        except OSError:
            return False

    def _take_up(self, state: bytes) -> None:
        try:
            before = json.loads(state)
            same = before["settings"] == self._state["settings"]
            key, given = str(before["key"]), self._state["key_given"]
            if given:
                same = same and secrets.compare_digest(key.encode(), self._state["key"].encode())
            same = same and (given or not before["key_given"])
        except (ValueError, KeyError, TypeError):
            return  # cut off before it began
        if not same:
            raise MediaError(f"The run in {self._folder} was begun with other settings, and would "
                             "not come to the same end; give the same options and the same "
                             f"--config, or remove {self._path} to go on with new surrogates.")
        self._state, self.resumed = before, True

    def begin(self) -> None:
        """From now on this run can be taken up."""
        self._lasts = True
        if not self.resumed:
            os.ftruncate(self.lock.file, 0)
            os.pwrite(self.lock.file, json.dumps(self._state).encode(), 0)
            os.fsync(self.lock.file)

    def through(self) -> None:
        """Everything was tried: nothing is left to take up."""
        self._lasts = False

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            if self._held and not self._lasts:
                self._path.unlink()
            for path in self._made:     # those in which something lies stay
                path.rmdir()
        if self.lock.file >= 0:
            os.close(self.lock.file)
