"""The gallery: the identities that surrogates are mixed from.

One ``.npz`` file without pickles and without photographs. It holds biometric
embeddings all the same: handle it like the photographs it was made from.
"""

from __future__ import annotations

import errno
import functools
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deid_ros.errors import GalleryError

__all__ = ["SCHEMA", "SEXES", "Gallery", "cosine_distances"]

#: The version of the file's layout. 3: with age and complexion.
SCHEMA = 3

#: What ``sex`` may say; '?' is unknown.
SEXES = ("M", "F", "?")

_SHAPE = (468, 3)
_ARRAYS = ("ids", "embeddings", "sex", "shapes", "codes", "sha256", "usable", "age",
           "complexion")
# Distances are rounded before they are compared, so that a tie stays a tie
# whatever the order in which a machine adds up.
_DIGITS = 6


def cosine_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """float64 (M, n): one minus the cosine of the rows of (M, D) and (n, D).

    The rows need not have length 1. From 0, same direction, to 2.

    Raises:
        GalleryError: the lengths D differ, or a row has no direction.
    """
    rows = []
    for array in (first, second):
        array = np.asarray(array, np.float64)
        length = np.linalg.norm(array, axis=-1, keepdims=True)
        if array.ndim != 2 or not (np.isfinite(length) & (length > 0)).all():
            raise GalleryError(f"Embeddings must be finite, non-zero rows (M, D), but got "
                               f"{array.shape}; compute them with an extractor.")
        rows.append(array / length)
    if rows[0].shape[1] != rows[1].shape[1]:
        raise GalleryError(f"Embeddings of {rows[0].shape[1]} and of {rows[1].shape[1]} numbers "
                           "cannot be compared; use one extractor for both.")
    return np.round(1.0 - rows[0] @ rows[1].T, _DIGITS)


def _unwritable(path: Path, error: OSError) -> GalleryError:
    return GalleryError(f"The gallery cannot be written to {path} ({error.strerror}); choose "
                        "another place.")


@dataclass(frozen=True, eq=False)
class Gallery:
    """n identities, one row each in every array. The arrays are read-only.

    Attributes:
        ids: (n,) str, unique.
        embeddings: (n, D) float32, rows of length 1.
        sex: (n,) str of one letter, 'M', 'F' or '?'.
        shapes: (n, 468, 3) float32, the neutral face mesh in model units (outer
            eye corners' distance = 1).
        codes: (n, C) float32, identity codes of the generator.
        sha256: (n,) str of 64 digits, of each source photograph.
        extractor: the extractor that made ``embeddings``.
        usable: (n,) bool, False where a surrogate should not be mixed from it
            (glasses, a beard); all True where nothing is known.
        age: (n,) float32, years; NaN where unknown.
        complexion: (n,) float32, individual typology angle in degrees, the lighter the
            larger (``traits.COMPLEXION``); NaN where unknown.
        space: SHA-256 of the face space file that made ``shapes`` and ``codes``; ''
            where nobody said.
        schema: version of the layout.

    Raises:
        GalleryError: arrays that contradict each other.
    """

    ids: np.ndarray
    embeddings: np.ndarray
    sex: np.ndarray
    shapes: np.ndarray
    codes: np.ndarray
    sha256: np.ndarray
    extractor: str
    usable: np.ndarray = None  # type: ignore[assignment]  # all True after __post_init__
    space: str = ""
    age: np.ndarray = None  # type: ignore[assignment]  # NaN after __post_init__
    complexion: np.ndarray = None  # type: ignore[assignment]  # NaN after __post_init__
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise GalleryError(f"The gallery has schema {self.schema}, this version reads schema "
                               f"{SCHEMA}; build it again with: deid db build")
        n = len(np.atleast_1d(self.ids))
        if self.usable is None:
            object.__setattr__(self, "usable", np.ones(n, bool))
        for name in ("age", "complexion"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(n, np.nan, np.float32))
        types = {"ids": str, "sex": str, "sha256": str, "embeddings": np.float32,
                 "shapes": np.float32, "codes": np.float32, "usable": bool,
                 "age": np.float32, "complexion": np.float32}
        for name, dtype in types.items():
            array = np.array(getattr(self, name), dtype)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        self._check(n)

    def _check(self, n: int) -> None:
        def refuse(what: str) -> None:
            raise GalleryError(f"The gallery is inconsistent: {what}; build it again with: "
                               "deid db build")

        lengths = {name: getattr(self, name).shape for name in _ARRAYS}
        if n == 0:
            refuse("it has no identities")
        for name, shape in lengths.items():
            dims = {"embeddings": 2, "shapes": 3, "codes": 2}.get(name, 1)
            if len(shape) != dims or shape[0] != n:
                refuse(f"'{name}' has shape {shape} for {n} ids")
        if lengths["shapes"][1:] != _SHAPE:
            refuse(f"'shapes' has shape {lengths['shapes']}, expected (n, 468, 3)")
        if len(set(self.ids.tolist())) != n:
            refuse("an id occurs twice")
        unknown = set(self.sex.tolist()) - set(SEXES)
        if unknown:
            refuse(f"'sex' says {sorted(unknown)[0]!r}, expected one of {', '.join(SEXES)}")
        for name in ("embeddings", "shapes", "codes"):
            if not np.isfinite(getattr(self, name)).all():
                refuse(f"'{name}' has numbers that are not finite")
        if not np.allclose(np.linalg.norm(self.embeddings, axis=1), 1, atol=1e-3):
            refuse("'embeddings' has rows that are not of length 1")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def code_size(self) -> int:
        """Length of an identity code."""
        return self.codes.shape[1]

    @classmethod
    def load(cls, path: str | Path) -> Gallery:
        """Read a gallery file.

        Raises:
            GalleryError: missing, not a gallery, of another schema, inconsistent.
        """
        path = Path(path)
        remedy = f"build one with: deid db build FOLDER -o {path}"
        try:
            with np.load(path, allow_pickle=False) as file:
                data = {name: file[name] for name in file.files}
        except FileNotFoundError:
            raise GalleryError(f"There is no gallery at {path}; {remedy}") from None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error,
                TypeError, AttributeError) as error:
            problem = " ".join(str(error).split())
            if "pickle" in problem:  # numpy's advice would be to trust the file
                problem = "it is no npz file, or holds Python objects"
            raise GalleryError(f"{path} cannot be read as a gallery ({problem}); "
                               f"{remedy}") from None
        if "schema" not in data or data["schema"].size != 1:
            raise GalleryError(f"{path} is not a gallery (it has no schema version); {remedy}")
        # The version goes first: another layout may well lack arrays.
        schema = data["schema"].item()
        if schema != SCHEMA:
            raise GalleryError(f"The gallery {path} has schema {schema}, this version reads schema "
                               f"{SCHEMA}; {remedy}")
        missing = {*_ARRAYS, "extractor", "space"} - set(data)
        if missing:
            raise GalleryError(f"The gallery {path} lacks {', '.join(sorted(missing))}; {remedy}")
        try:
            return cls(**{name: data[name] for name in _ARRAYS}, extractor=str(data["extractor"]),
                       space=str(data["space"]), schema=int(schema))
        except (GalleryError, ValueError, TypeError) as error:
            raise GalleryError(f"{path}: {error}") from None

    def save(self, path: str | Path) -> None:
        """Write the gallery file; it is there whole or not at all.

        The same gallery gives the same bytes.
        """
        path = Path(path)
        part = path.with_name(f"{path.name}.part")
        try:
            self.check_place(path)
            with open(part, "wb") as stream:
                np.savez_compressed(stream, schema=np.int64(self.schema),
                                    extractor=np.str_(self.extractor), space=np.str_(self.space),
                                    **{name: getattr(self, name) for name in _ARRAYS})
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise _unwritable(path, error) from None

    @staticmethod
    def check_place(path: str | Path) -> None:
        """Refuse a place where no gallery can be written, before one is built.

        Makes the folder.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not os.access(path.parent, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise _unwritable(path, error) from None

    def require_extractor(self, name: str) -> None:
        """Refuse embeddings of another extractor: their distances mean nothing."""
        if name != self.extractor:
            raise GalleryError(
                f"The gallery was built with the extractor '{self.extractor}', but '{name}' is "
                f"in use; set extractor to '{self.extractor}' or build another gallery with: "
                f"deid db build --extractor {name}")

    def require_space(self, digest: str, *, path: str | Path, space: str | Path) -> None:
        """Refuse codes of another face space: the generator would draw other people.

        Args:
            digest: SHA-256 of the face space that the generator was trained in.
            path: of this gallery, ``space``: of that file; for the message.
        """
        if digest != self.space:
            made = f"'{self.space[:12]}...'" if self.space else "one that it does not name"
            raise GalleryError(
                f"The identity codes of the gallery {path} were made with another face space "
                f"({made}) than that of the generator, {space} ('{digest[:12]}...'); build the "
                f"gallery again with: deid db build FOLDER -o {path}")

    @functools.cached_property
    def id_rank(self) -> np.ndarray:
        """(n,) the place of each row in the alphabetical order of the ids."""
        rank = np.empty(len(self), np.intp)
        rank[np.argsort(self.ids, kind="stable")] = np.arange(len(self))
        return rank

    def distances(self, embeddings: np.ndarray) -> np.ndarray:
        """float64 (M, n): cosine distance of M embeddings to every identity."""
        return cosine_distances(embeddings, self.embeddings)

    def order(self, distances: np.ndarray) -> np.ndarray:
        """Row numbers by distance, ties by id: (..., n) for ``distances`` (..., n)."""
        ranks = np.broadcast_to(self.id_rank, np.shape(distances))
        return np.lexsort((ranks, distances), axis=-1)

    def nearest(self, embeddings: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``count`` nearest identities of M embeddings.

        Args:
            embeddings: (M, D), M = 0 is allowed.

        Returns:
            ``(ids, distances)``: str (M, count) and float32 (M, count), nearest
            first; cosine distances; ties in the order of the ids.

        Raises:
            GalleryError: ``count`` is not between 1 and the size of the gallery.
        """
        if not 1 <= count <= len(self):
            raise GalleryError(f"{count} nearest identities were asked for, but the gallery has "
                               f"{len(self)}; ask for 1 to {len(self)}.")
        distances = self.distances(embeddings)
        rows = self.order(distances)[:, :count]
        return self.ids[rows], np.take_along_axis(distances, rows, axis=1).astype(np.float32)

    @functools.cached_property
    def neighbour_distances(self) -> np.ndarray:
        """(n,) float64: cosine distance of each identity to the nearest other one."""
        if len(self) == 1:
            return np.full(1, 2.0)
        distances = self.distances(self.embeddings)
        np.fill_diagonal(distances, np.inf)
        return distances.min(axis=1)
