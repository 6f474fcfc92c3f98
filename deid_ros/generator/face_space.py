"""The space of faces: a shape and a texture as one short identity code.

Principal components of shapes and textures in the coordinates of the face mesh
(Blanz and Vetter, "A morphable model for the synthesis of 3D faces", SIGGRAPH 1999),
with what the expression explains taken out. Codes of people can be averaged; the
generator turns a code into a face.
"""

from __future__ import annotations

import functools
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deid_ros import geometry
from deid_ros.errors import ModelError
from deid_ros.generator import skin
from deid_ros.resources import share_path

__all__ = ["COARSE_SIDE", "SHOWN", "FaceSpace", "window"]

#: Side of the textures that the principal components describe.
COARSE_SIDE = 128
#: So many of the first numbers of ``EXPRESSION`` (the mouth's) show in a texture.
SHOWN = 3
_SCHEMA = 4
# How much of what differs between the halves of a face is taken out.
_UNEVEN = 0.6
_RIDGE = 2.0  # of the projection of a partly seen texture, in grey levels


@functools.cache
def window() -> tuple[slice, slice]:
    """Rows and columns of the coarse texture that the components describe.

    What lies outside never shows: ``skin.smooth_rim`` spreads the inside over it.
    """
    inner = cv2.resize(skin.regions()["inner"].astype(np.float32), (COARSE_SIDE,) * 2,
                       interpolation=cv2.INTER_AREA) > 0
    rows, columns = np.flatnonzero(inner.any(1)), np.flatnonzero(inner.any(0))
    return (slice(int(rows[0]) - 1, int(rows[-1]) + 2),
            slice(int(columns[0]) - 1, int(columns[-1]) + 2))


@dataclass(frozen=True, eq=False)
class FaceSpace:
    """Means and components; see ``training.face_space`` for how they are found.

    texture_mean float32 (128, 128, 3) BGR 0..255; texture_basis float32 (a, h*w*3) on the
    ``window`` of it, rows of unit length; texture_unit, grey levels per unit of code; texture_moves
    float32 (7, a): what a unit of expression adds to the code; texture_detail float32 (32, 32),
    grey levels (root mean square) of what portraits show beyond it; the same for shape,
    with rows of 468*3 in model units; code_std float32 (a + b); tone float32 (3,),
    the mean complexion in Lab; expression_mean and expression_std float32 (7,); openings
    float32 (a + b, 2): how much wider than others an identity's mouth and eyes are drawn
    where the same is asked for, per unit of code (eye distances; ``training.openings``).
    """

    texture_mean: np.ndarray
    texture_basis: np.ndarray
    texture_unit: float
    texture_moves: np.ndarray
    texture_detail: np.ndarray
    shape_mean: np.ndarray
    shape_basis: np.ndarray
    shape_unit: float
    code_std: np.ndarray
    tone: np.ndarray
    own_tone: np.ndarray
    expression_mean: np.ndarray
    expression_std: np.ndarray
    openings: np.ndarray

    @property
    def code_size(self) -> int:
        """Numbers in an identity code: texture first, then shape."""
        return len(self.texture_basis) + len(self.shape_basis)

    def save(self, path: Path) -> None:
        """Write ``models/face_space.npz``; the texture's basis as int8 to keep it small."""
        arrays = {k: np.asarray(getattr(self, k)) for k in self.__dataclass_fields__}
        step = np.abs(self.texture_basis).max(axis=1, keepdims=True) / 127
        arrays["texture_basis"] = np.round(self.texture_basis / step).astype(np.int8)
        np.savez_compressed(path, schema=_SCHEMA, texture_step=step.astype(np.float32), **arrays)

    @classmethod
    def read(cls, path: Path) -> FaceSpace:
        """Read what ``save`` wrote.

        Raises:
            ModelError: the file is missing, or of another schema.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                if int(file["schema"]) != _SCHEMA:
                    raise ModelError(f"{path} has schema {int(file['schema'])}, expected "
                                     f"{_SCHEMA}; train the generator again.")
                arrays = {k: file[k] for k in cls.__dataclass_fields__}
                arrays["texture_basis"] = arrays["texture_basis"] * file["texture_step"]
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile,
                zlib.error) as error:
            raise ModelError(f"The face space {path} cannot be read ({error}); reinstall "
                             "deid_ros or train the generator again.") from error
        for name in ("texture_unit", "shape_unit"):
            arrays[name] = float(arrays[name])
        return cls(**{k: v.astype(np.float32) if isinstance(v, np.ndarray) else v
                      for k, v in arrays.items()})

    @staticmethod
    @functools.cache
    def load() -> FaceSpace:
        """The space that the installed generator was trained in."""
        return FaceSpace.read(share_path("models", "face_space.npz"))

    def split(self, code: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The texture's and the shape's part of codes (..., code_size)."""
        count = len(self.texture_basis)
        return code[..., :count], code[..., count:]

    @functools.cached_property
    def even_light(self) -> np.ndarray:
        """Factors (code_size,) that take light from one side out of a code.

        Components that change sign under reflection are mostly how a photograph was
        lit, and partly how a face is uneven; four tenths of them are left.
        """
        full = np.zeros((len(self.texture_basis), COARSE_SIDE, COARSE_SIDE, 3), np.float32)
        rows, columns = window()
        full[:, rows, columns] = self.texture_basis.reshape(
            -1, rows.stop - rows.start, columns.stop - columns.start, 3)
        parity = np.einsum("khwc,khwc->k", full, full[:, :, ::-1])
        factors = np.ones(self.code_size, np.float32)
        factors[:len(parity)] = 1 - _UNEVEN * (1 - np.clip(parity, -1, 1)) / 2
        return factors

    def shape(self, code: np.ndarray) -> np.ndarray:
        """The shape of a code with the mean expression: float32 (468, 3)."""
        part = self.split(np.asarray(code, np.float32))[1] * self.shape_unit
        return self.shape_mean + (part @ self.shape_basis).reshape(-1, 3)

    def project(self, texture: np.ndarray, shape: np.ndarray, expression: np.ndarray,
                valid: np.ndarray | None = None) -> np.ndarray:
        """The identity code, float32 (code_size,), of a texture and a shape.

        Args:
            texture: BGR uint8 (384, 384, 3), complexion already normalised.
            shape: (468, 3) in model units, with the ``expression`` (7,).
            valid: bool (384, 384); all of the core without it.
        """
        small = cv2.resize(texture, (COARSE_SIDE,) * 2, interpolation=cv2.INTER_AREA)
        gap = (small - self.texture_mean)[window()].reshape(-1)
        if valid is None:
            coefficients = self.texture_basis @ gap
        else:
            weight = cv2.resize(valid.astype(np.float32), (COARSE_SIDE,) * 2,
                                interpolation=cv2.INTER_AREA)[window()]
            weight = np.repeat((weight > 0.9).astype(np.float32).reshape(-1), 3)
            # Bayesian estimate under the components' own variance: unseen texels
            # are what is most likely given the seen ones.
            basis = self.texture_basis * weight
            prior = (self.split(self.code_std)[0] * self.texture_unit) ** 2
            noise = 100.0 * _RIDGE
            normal = basis @ self.texture_basis.T + np.diag(noise / np.maximum(prior, 1e-6))
            coefficients = np.linalg.solve(normal, basis @ gap)
        expression = np.asarray(expression, np.float32)
        texture_code = coefficients / self.texture_unit
        texture_code = texture_code - (expression - self.expression_mean) @ self.texture_moves
        neutral = geometry.apply_expression(shape, self.expression_mean)
        shape_code = self.shape_basis @ (neutral - self.shape_mean).reshape(-1)
        return np.concatenate([texture_code, shape_code / self.shape_unit]).astype(np.float32)
