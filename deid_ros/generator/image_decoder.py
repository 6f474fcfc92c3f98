"""An experiment to compare the product with: surrogates made in image space.

A convolutional decoder, modulated by the identity code, sees a drawing of the blended
mesh at the head's pose and paints the face there and then. It takes the place of
``SurrogateGenerator`` where the generator's file ends in ``IMAGE_SPACE``; the model card
(``models/README.md``) says how the two compare. Its training is
``training.image_space``.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np

from deid_ros import geometry
from deid_ros.errors import GeneratorError, ModelError
from deid_ros.generator import atlas, skin
from deid_ros.generator.face_space import SHOWN, FaceSpace, apply_expression
from deid_ros.generator.surrogate import MAX_TRACKS, SurrogateGenerator, alpha_texture
from deid_ros.resources import onnx_runtime

__all__ = ["CHIP_SIDE", "IMAGE_SPACE", "LAYERS", "ImageSpaceGenerator", "chip_pose",
           "create_generator", "draw_geometry"]

#: How the file of such a decoder ends.
IMAGE_SPACE = ".image.onnx"
#: Side of the chip that the decoder paints, in pixels; upright, the model's origin in
#: its middle.
CHIP_SIDE = 128
#: The drawing's layers: where in the face a pixel lies (2), the normal (2) and depth of
#: the surface, lines of brows, nose, eyes and lips, openings of eyes and mouth, the face.
LAYERS = ("across", "down", "normal_x", "normal_y", "depth", "lines", "openings", "face")

# A chip's side in model units: a face with its skirt at any pose to 45 degrees.
_UNITS = 2.6
_ATTRIBUTE_SIDE = 64
# Parts of the 68 landmarks: first, behind the last, closed.
_LINES = ((17, 22, False), (22, 27, False), (27, 31, False), (31, 36, False),
          (36, 42, True), (42, 48, True), (48, 60, True), (60, 68, True))
_OPENINGS = ((36, 42), (42, 48), (60, 68))
_SHIFT = 4
# As in the product's generator: the mouth's limit, and how much of each number of the
# expression is passed on.
_LIMIT = 1.8
_PASSED = np.array([1, 1, 1, 1, 1, 0.4, 0.4], np.float32)
# The unsharp mask of ``skin.crisp``, for pixels of twice a texel's size.
_CRISP_WIDTH, _CRISP = 0.8, 0.8


def create_generator(path: Path) -> SurrogateGenerator | ImageSpaceGenerator:
    """The generator of a file: in image space if its name says so, else the product's.

    Raises:
        ModelError: it cannot be loaded.
    """
    return (ImageSpaceGenerator if path.name.endswith(IMAGE_SPACE) else SurrogateGenerator)(path)


def chip_pose(yaw: float, pitch: float, side: int = CHIP_SIDE) -> geometry.Pose:
    """The pose in a chip of a head turned by ``yaw`` and ``pitch`` (degrees)."""
    middle = (side - 1) / 2
    return geometry.Pose(yaw, pitch, 0.0, side / _UNITS, (middle, middle))


def draw_geometry(shape: np.ndarray, yaw: float, pitch: float) -> np.ndarray:
    """What the decoder sees of a mesh: uint8 (128, 128, 8), the ``LAYERS``.

    Args:
        shape: float (468, 3) in model units, with its expression.
        yaw, pitch: of the head, in degrees.
    """
    pose = chip_pose(yaw, pitch)
    points = geometry.project(geometry.with_skirt(np.asarray(shape, np.float64)), pose)
    out = np.zeros((CHIP_SIDE, CHIP_SIDE, len(LAYERS)), np.uint8)
    left, top, where, inside = atlas.draw_map(points, CHIP_SIDE, _ATTRIBUTE_SIDE)
    if where.size:
        normals = _normals(points)
        values = np.column_stack([128 + 127 * normals[:, :2], 128 + points[:, 2]])
        corners, weights = atlas.texel_weights(_ATTRIBUTE_SIDE)
        attributes = np.einsum("hwkc,hwk->hwc", values[corners], weights).astype(np.float32)
        drawn = cv2.remap(attributes, where, None, cv2.INTER_LINEAR)
        block = out[top:top + inside.shape[0], left:left + inside.shape[1]]
        block[..., :2] = np.clip(where * (255 / _ATTRIBUTE_SIDE), 0, 255)
        block[..., 2:5] = np.clip(drawn, 0, 255)
        block[..., 7] = 255
        block[inside == 0] = 0
    marks = np.round(points[geometry.MESH_TO_IBUG68, :2] * (1 << _SHIFT)).astype(np.int32)
    lines, openings = np.zeros((2, CHIP_SIDE, CHIP_SIDE), np.uint8)
    for first, end, closed in _LINES:
        cv2.polylines(lines, [marks[first:end]], closed, 255, 1, cv2.LINE_AA, _SHIFT)
    for first, end in _OPENINGS:
        cv2.fillPoly(openings, [marks[first:end]], 255, cv2.LINE_AA, _SHIFT)
    out[..., 5], out[..., 6] = lines, openings
    return out


@functools.cache
def _corner_sums() -> tuple[np.ndarray, np.ndarray]:
    """The triangles (t, 3), and a (504, t) table of which point each of them touches."""
    triangles = geometry.mesh_model()["triangles"].astype(np.intp)
    table = np.zeros((triangles.max() + 1, len(triangles)))
    table[triangles.ravel(), np.repeat(np.arange(len(triangles)), 3)] = 1
    return triangles, table


def _normals(points: np.ndarray) -> np.ndarray:
    """Unit normals (504, 3) of the points, away from the head."""
    triangles, table = _corner_sums()
    a, b, c = points[triangles].transpose(1, 0, 2)
    normals = table @ np.cross(c - a, b - a)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


class ImageSpaceGenerator:
    """Surrogates of one stream, painted by the decoder for every face and frame.

    Args:
        path: an exported decoder, with the ``face_space.npz`` of its training beside it.
        num_threads: threads of one inference.

    Raises:
        ModelError: a file cannot be loaded, or the two do not fit.
    """

    def __init__(self, path: Path, *, num_threads: int = 2) -> None:
        onnxruntime = onnx_runtime()
        self.space = FaceSpace.read(Path(path).with_name("face_space.npz"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=onnxruntime.get_available_providers())
        except Exception as error:  # ONNX Runtime has no common base class
            raise ModelError(f"The decoder {path} cannot be loaded ({error}); make one with: "
                             "python -m deid_ros.training.image_space") from error
        self._names = [entry.name for entry in self._session.get_inputs()]
        shapes = [tuple(entry.shape[1:]) for entry in self._session.get_inputs()]
        if shapes[0] != (self.space.code_size,) or shapes[-1][-1:] != (len(LAYERS),):
            raise ModelError(f"The decoder {path} takes inputs of {shapes}, expected codes of "
                             f"{self.space.code_size} numbers and drawings of {len(LAYERS)} "
                             "layers; train it again.")
        self._codes: OrderedDict[int, np.ndarray] = OrderedDict()
        # Pores and mask, as the product's textures carry them.
        self._overlay = np.dstack([(skin.grain()[..., 0] + 128).astype(np.uint8),
                                   alpha_texture()])

    def reset(self) -> None:
        """Forget every track."""
        self._codes.clear()

    def warm_up(self) -> None:
        """Run the network once, so that the first face does not wait."""
        self.paint(np.zeros(self.space.code_size, np.float32), self.space.expression_mean, 0, 0)

    def learn(self, matches: np.ndarray) -> None:
        """Take the identities of tracks: rows of ``faces.match_dtype``.

        Raises:
            GeneratorError: codes of another size than the decoder's.
        """
        if len(matches) and matches["code"].shape[-1] != self.space.code_size:
            raise GeneratorError(f"The codes have {matches['code'].shape[-1]} numbers, the "
                                 f"decoder takes {self.space.code_size}; build the gallery again.")
        for row in matches:
            self._codes[int(row["track_id"])] = np.array(row["code"], np.float32)
            if len(self._codes) > MAX_TRACKS:
                self._codes.popitem(last=False)

    def paint(self, code: np.ndarray, expression: np.ndarray, yaw: float,
              pitch: float) -> np.ndarray:
        """BGR uint8 (128, 128, 3) of a code (code_size,) and an expression (7,)."""
        space = self.space
        shape = apply_expression(space.shape(code), expression)
        mouth = (expression - space.expression_mean) / space.expression_std
        mouth[:SHOWN] = np.clip(mouth[:SHOWN], -_LIMIT, _LIMIT)
        feed = (np.asarray(code, np.float32) * space.even_light,
                space.expression_mean + mouth * space.expression_std,
                draw_geometry(shape, yaw, pitch) / np.float32(255))
        out = self._session.run(None, dict(zip(self._names, (
            np.asarray(value, np.float32)[None] for value in feed))))[0][0]
        chip = cv2.convertScaleAbs(np.clip(out, -1, 1) + 1, alpha=127.5)
        return cv2.addWeighted(chip, 1 + _CRISP,
                               cv2.GaussianBlur(chip, (0, 0), _CRISP_WIDTH), -_CRISP, 0)

    def generate(self, faces: np.ndarray) -> np.ndarray:
        """Paint the surrogates of one frame, as ``SurrogateGenerator.generate`` does.

        Args:
            faces: N rows of ``FACE``.

        Returns:
            uint8 (N, S, S, 4), RGBA.
        """
        squares = geometry.patch_squares(faces)
        sizes = geometry.patch_sizes(squares)
        side = int(sizes.max(initial=0))
        out = np.zeros((len(faces), side, side, 4), np.uint8)
        for slot, face, square, size in zip(out, faces, squares, sizes):
            if face["trusted"]:
                self._render(face, square, int(size), slot)
        return out

    def _render(self, face: np.ndarray, square: np.ndarray, size: int,
                slot: np.ndarray) -> None:
        space = self.space
        code = self._codes.get(int(face["track_id"]), np.zeros(space.code_size, np.float32))
        expression = (space.expression_mean
                      + _PASSED * (face["expression"] - space.expression_mean))
        chip = self.paint(code, expression, float(face["yaw"]), float(face["pitch"]))
        zoom = size / float(square[2])
        # Pixel centres: the patch's first pixel covers 1 / zoom pixels of the frame.
        center = (face["center"].astype(np.float64) - square[:2] + 0.5) * zoom - 0.5
        pose = geometry.Pose(float(face["yaw"]), float(face["pitch"]), float(face["roll"]),
                             float(face["scale"]) * zoom, tuple(center))
        frame = chip_pose(0, 0)
        turn = geometry.rotation(0, 0, pose.roll)[:2, :2] * (pose.scale / frame.scale)
        matrix = np.column_stack([turn, center - turn @ frame.center])
        points = geometry.project(
            geometry.with_skirt(apply_expression(space.shape(code), expression)), pose)
        side = atlas.fitting_side(pose.scale)
        left, top, where, inside = atlas.draw_map(points, size, side)
        if not where.size:
            return
        overlay = self._overlay
        if side < len(overlay):
            overlay = cv2.resize(overlay, (side, side), interpolation=cv2.INTER_AREA)
        matrix[:, 2] -= left, top
        height, width = inside.shape
        drawn = cv2.warpAffine(chip, matrix, (width, height), flags=cv2.INTER_CUBIC,
                               borderMode=cv2.BORDER_REPLICATE)
        pores, alpha = cv2.split(atlas.sample(overlay, where, inside))
        drawn = np.clip(drawn.astype(np.int16) + pores[..., None] - 128, 0, 255)
        drawn = np.dstack([drawn[..., ::-1].astype(np.uint8), alpha])
        slot[top:top + height, left:left + width] = cv2.bitwise_and(drawn, drawn, mask=inside)
