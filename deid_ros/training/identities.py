"""OFFLINE: chips of identities for training an extractor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deid_ros.errors import TrainingError
from deid_ros.tables import read_table

__all__ = ["ChipSet", "augment", "load_chips", "read_identities"]

_IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
#: Name under which ``detector.cut_chips`` knows the chips of trained extractors.
CHIPS = "trained"

# Augmentation: degrees, part of the side, part of the size, brightness, contrast, tint.
_TURN, _SHIFT, _ZOOM, _LIGHT, _CONTRAST, _TINT = 8.0, 0.05, 0.08, 30.0, 0.25, 10.0


@dataclass(frozen=True, eq=False)
class ChipSet:
    """``chips`` uint8 (n, S, S, 3) BGR; ``labels`` int64 (n,), rows of ``names`` (str)."""

    names: np.ndarray
    labels: np.ndarray
    chips: np.ndarray

    def save(self, path: Path) -> None:
        """Keep it as one npz, so that a resumed training starts at once."""
        np.savez(path, names=self.names, labels=self.labels, chips=self.chips)

    @classmethod
    def load(cls, path: Path) -> ChipSet:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["names"], file["labels"], file["chips"])


def read_identities(folder: Path, *, table: Path | None = None) -> list[tuple[Path, str]]:
    """Image and identity of every picture.

    Args:
        folder: a folder for each identity, or with ``table`` the images' folder.
        table: CSV with the columns file (below ``folder``) and id; without a column
            file the images are named after the ids.

    Raises:
        TrainingError: an unreadable folder or table, fewer than two identities.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder} is no folder; give a folder with one folder of images for "
                            "each identity.")
    found = _from_table(folder, table) if table else [
        (path, below.name) for below in sorted(folder.iterdir()) if below.is_dir()
        for path in sorted(below.iterdir()) if path.suffix.lower() in _IMAGES]
    count = len({name for _, name in found})
    if count < 2:
        where = table or folder
        raise TrainingError(f"{where} has {count} identities with images, two are the least; give "
                            "one folder of images for each identity, or --csv with the columns "
                            "file and id.")
    return found


def _from_table(folder: Path, table: Path) -> list[tuple[Path, str]]:
    rows = read_table(table, ["id"], error=TrainingError)
    if not rows:
        raise TrainingError(f"The table {table} has no rows.")
    if "file" in rows[0]:
        pairs = [(folder / row["file"], row["id"]) for row in rows]
        missing = [path for path, _ in pairs if not path.is_file()]
        if missing:
            raise TrainingError(f"{table} names {missing[0]}, which is not there.")
        return pairs
    images = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in _IMAGES}
    return [(images[row["id"]], row["id"]) for row in rows if row["id"] in images]


def load_chips(files: Iterable[tuple[Path, str]], *, aligned: bool,
               warn: Callable[[str], None] = lambda line: None) -> ChipSet:
    """Cut the chip of every image, or take it as it is.

    Args:
        files: as ``read_identities`` gives them; may be wrapped in a progress bar.
        aligned: the images are chips already, of one alignment: only scaled.
        warn: told one line for each image that is left out.

    Raises:
        TrainingError: fewer than two identities are left.
    """
    from deid_ros.detector.chips import CHIP_SIZES

    cut = _take if aligned else _cutter()
    size = CHIP_SIZES[CHIPS]
    chips, owners = [], []
    for path, name in files:
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        chip = None if image is None else cut(image, size)
        if chip is None:
            warn(f"{path}: {'not an image' if image is None else 'no face found'}, left out")
            continue
        chips.append(chip)
        owners.append(name)
    names, labels = np.unique(np.array(owners, str), return_inverse=True)
    if len(names) < 2:
        raise TrainingError(f"Chips of {len(names)} identities could be cut, two are the least; "
                            "give images with one clear face each, or chips with --chips.")
    return ChipSet(names, labels.astype(np.int64), np.stack(chips))


def _take(image: np.ndarray, size: int) -> np.ndarray:
    how = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC
    return cv2.resize(image, (size, size), interpolation=how)


def _cutter() -> Callable[[np.ndarray, int], np.ndarray | None]:
    from deid_ros.detector import FaceMesh, create_detector
    from deid_ros.detector.chips import cut_chips

    detector, mesh = create_detector(["centerface"]), FaceMesh()

    def cut(image: np.ndarray, size: int) -> np.ndarray | None:
        found = detector.detect(image)[:1]
        if not len(found):
            return None
        return cut_chips(image, found["box"], mesh.locate(image, found)[0], CHIPS)[0]

    return cut


def augment(chips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Chips mirrored, moved, turned, zoomed and in other light: float32 (n, S, S, 3)."""
    out = np.empty(chips.shape, np.float32)
    side = chips.shape[1]
    for i, chip in enumerate(chips):
        turn, zoom = rng.uniform(-_TURN, _TURN), 1 + rng.uniform(-_ZOOM, _ZOOM)
        matrix = cv2.getRotationMatrix2D((side / 2, side / 2), turn, zoom)
        matrix[:, 2] += rng.uniform(-_SHIFT, _SHIFT, 2) * side
        moved = cv2.warpAffine(chip, matrix, (side, side), borderMode=cv2.BORDER_REFLECT)
        if rng.random() < 0.5:
            moved = moved[:, ::-1]
        light = rng.uniform(-_LIGHT, _LIGHT) + rng.uniform(-_TINT, _TINT, 3)
        out[i] = (moved - 127.5) * (1 + rng.uniform(-_CONTRAST, _CONTRAST)) + 127.5 + light
    return np.clip(out, 0, 255)
