"""The generator at work: from matches and faces to rendered surrogates.

The network runs only when a track gets its identity or moves its mouth; what runs
for every face and frame is the rendering of its texture at the head's pose.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deid_ros import geometry
from deid_ros.errors import GeneratorError, ModelError
from deid_ros.generator import atlas, skin
from deid_ros.generator.face_space import SHOWN, FaceSpace
from deid_ros.generator.mouth import open_wide
from deid_ros.resources import model_path, onnx_runtime, share_path

__all__ = ["MAX_TRACKS", "SurrogateGenerator", "TextureNetwork", "alpha_texture"]

#: Tracks remembered at most; the one seen longest ago is forgotten first.
MAX_TRACKS = 256

# The mouth has moved when one of its numbers changed by so many standard deviations.
_MOVED = 0.35
# So many standard deviations from the mean is the widest mouth that is drawn.
_WIDEST = 6.0
# The texture follows the mouth within so many standard deviations of the portraits'
# mouths, most of which smile; the mesh follows it all the way.
_LIMIT = 1.8
# How much of each number of the expression is passed on: all, so that who is calm stays
# calm; but how high brows sit says who somebody is.
_PASSED = np.array([1, 1, 1, 1, 1, 0, 0], np.float32)
# How much stronger than in the gallery shapes differ: hair, ears and neck of the source
# pull a recogniser's eye back to the source's own.
_SHAPED = 1.25
# How far, at most, painted lips or lids are from where the mesh has them.
_PAINTED = 0.03
# Eyes that differ by less than twice this are open alike; more is a wink.
_UNEVEN = 0.01
# Part of a new texture that shows in the first frame, so that it does not flicker.
_FADE = 0.5
# Frames in which a face that was shown before its match becomes its identity.
_MORPH_FRAMES = 6


class TextureNetwork:
    """The exported network and the face space that it was trained in.

    Args:
        path: an ``.onnx`` file with ``face_space.npz`` beside it; the installed and
            verified one by default.
        num_threads: threads of one inference.

    Raises:
        ModelError: a file is missing or altered, or the two do not fit.
    """

    def __init__(self, path: Path | None = None, *, num_threads: int = 2) -> None:
        onnxruntime = onnx_runtime()
        if path is None or Path(path) == share_path("models", "generator.onnx"):
            path, space = model_path("generator"), model_path("face_space")
        else:
            path, space = Path(path), Path(path).with_name("face_space.npz")
        self.space = FaceSpace.read(space)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        # Threads that spin between frames steal the core from the other nodes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=onnxruntime.get_available_providers())
        except Exception as error:  # ONNX Runtime has no common base class
            raise ModelError(f"The generator {path} cannot be loaded ({error}); give the path "
                             "of an exported generator.onnx.") from error
        self._names = [entry.name for entry in self._session.get_inputs()]
        size = self._session.get_inputs()[0].shape[-1]
        if size != self.space.code_size:
            raise ModelError(f"The generator {path} takes codes of {size} numbers, {space} makes "
                             f"{self.space.code_size}; both must come from one training.")

    def texture(self, code: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """BGR uint8 (384, 384, 3) of a code (code_size,) and an expression (7,)."""
        space, shown = self.space, np.array(expression, np.float32)
        spread = _LIMIT * space.expression_std
        shown = np.clip(shown, space.expression_mean - spread, space.expression_mean + spread)
        feed = {self._names[0]: (np.asarray(code, np.float32) * space.even_light)[None],
                self._names[1]: shown[None]}
        out = self._session.run(None, feed)[0][0]
        texture = skin.smooth_rim(cv2.convertScaleAbs(np.clip(out, -1, 1) + 1, alpha=127.5))
        return open_wide(texture, float(expression[0]))


@dataclass(slots=True)
class _Track:
    """What is drawn for one track: where its code is, and where it is going."""

    code: np.ndarray
    target: np.ndarray
    steps: int = 0
    shape: np.ndarray | None = None
    texture: np.ndarray | None = None
    mouth: np.ndarray | None = None


class SurrogateGenerator:
    """Surrogates for the faces of one stream.

    Args:
        network: the texture network or the path of its file; the installed one by
            default.
        num_threads: threads of one inference, where ``network`` is not given.
    """

    def __init__(self, network: TextureNetwork | Path | None = None, *,
                 num_threads: int = 2) -> None:
        if network is None or isinstance(network, Path):
            network = TextureNetwork(network, num_threads=num_threads)
        self._network = network
        self._tracks: OrderedDict[int, _Track] = OrderedDict()
        # Before a track is matched it wears the face of nobody, the mean.
        self._nobody = np.zeros(self._network.space.code_size, np.float32)
        self._alpha = alpha_texture()

    @property
    def space(self) -> FaceSpace:
        """The face space whose codes this generator takes."""
        return self._network.space

    def reset(self) -> None:
        """Forget every track."""
        self._tracks.clear()

    def warm_up(self) -> None:
        """Run the network once, so that the first face does not wait."""
        self._network.texture(self._nobody, self.space.expression_mean)

    def learn(self, matches: np.ndarray) -> None:
        """Take the identities of tracks: rows of ``faces.match_dtype``.

        Raises:
            GeneratorError: codes of another size than the generator's.
        """
        if not len(matches):
            return
        if matches["code"].shape[-1] != len(self._nobody):
            raise GeneratorError(f"The codes have {matches['code'].shape[-1]} numbers, the "
                                 f"generator takes {len(self._nobody)}; build the gallery again "
                                 "with: deid db build")
        for row in matches:
            code = np.array(row["code"], np.float32)
            track = self._tracks.get(int(row["track_id"]))
            if track is None:
                self._remember(int(row["track_id"]), _Track(code, code))
            elif not np.array_equal(track.target, code):
                track.target = code
                track.steps = _MORPH_FRAMES if track.texture is not None else 1

    def generate(self, faces: np.ndarray) -> np.ndarray:
        """Render the surrogates of one frame.

        Args:
            faces: N rows of ``FACE``.

        Returns:
            uint8 (N, S, S, 4), RGBA; row i fills the first ``patch_sizes`` rows and
            columns of its slot, and these are the pixels of ``patch_squares(faces)``.
            Alpha is the mask; it is zero throughout for a face that is not trusted.
        """
        squares = geometry.patch_squares(faces)
        sizes = geometry.patch_sizes(squares)
        side = int(sizes.max(initial=0))
        out = np.zeros((len(faces), side, side, 4), np.uint8)
        for slot, face, square, size in zip(out, faces, squares, sizes):
            if face["trusted"]:
                self._render(face, square, int(size), slot)
        return out

    def _remember(self, name: int, track: _Track) -> None:
        self._tracks[name] = track
        if len(self._tracks) > MAX_TRACKS:
            self._tracks.popitem(last=False)

    def _render(self, face: np.ndarray, square: np.ndarray, size: int,
                slot: np.ndarray) -> None:
        name = int(face["track_id"])
        track = self._tracks.get(name)
        if track is None:
            track = _Track(self._nobody, self._nobody)
            self._remember(name, track)
        self._tracks.move_to_end(name)
        self._update(track, face["expression"])
        shape = geometry.apply_expression(track.shape, self._drawn(face["expression"], track.code))
        pose = geometry.Pose(float(face["yaw"]), float(face["pitch"]), float(face["roll"]),
                             float(face["scale"]), (float(face["center"][0]),
                                                    float(face["center"][1])))
        points = geometry.project(geometry.with_skirt(shape), pose)
        zoom = size / float(square[2])
        # Pixel centres: the patch's first pixel covers 1 / zoom pixels of the frame.
        points[:, :2] = (points[:, :2] - square[:2] + 0.5) * zoom - 0.5
        points[:, 2] *= zoom
        side = atlas.fitting_side(pose.scale * zoom)
        left, top, where, inside = atlas.draw_map(points, size, side)
        if where.size:
            texture = track.texture
            if side < len(texture):
                texture = cv2.resize(texture, (side, side), interpolation=cv2.INTER_AREA)
            height, width = inside.shape
            slot[top:top + height, left:left + width] = atlas.sample(texture, where, inside)

    def _drawn(self, expression: np.ndarray, code: np.ndarray) -> np.ndarray:
        """The expression (7,) that the mesh is given for a source's."""
        moved = _PASSED * (expression - self.space.expression_mean)
        both, apart = moved[3:5].mean(), moved[3:5] - moved[3:5].mean()
        moved[3:5] = both + np.sign(apart) * np.maximum(np.abs(apart) - _UNEVEN, 0)
        # Where lips and lids are painted differs between identities.
        mouth, eyes = np.clip(code @ self.space.openings, -_PAINTED, _PAINTED)
        moved[0] -= mouth
        moved[3:5] -= eyes
        return self.space.expression_mean + moved

    def _update(self, track: _Track, expression: np.ndarray) -> None:
        """Bring a track's texture up to its identity and mouth."""
        space = self.space
        mouth = np.clip((expression - space.expression_mean)[:SHOWN]
                        / space.expression_std[:SHOWN], -_LIMIT, _WIDEST)
        if track.steps:
            track.code = track.code + (track.target - track.code) / track.steps
            track.steps -= 1
        elif track.texture is not None and np.abs(mouth - track.mouth).max() < _MOVED:
            return
        shown = space.expression_mean.copy()
        shown[:SHOWN] += mouth * space.expression_std[:SHOWN]
        fresh = cv2.cvtColor(self._network.texture(track.code, shown), cv2.COLOR_BGR2RGB)
        if track.texture is not None:
            fresh = cv2.addWeighted(fresh, _FADE, track.texture[..., :3].copy(), 1 - _FADE, 0)
            # Half way there: the rest follows with the next frames.
            mouth = track.mouth + _FADE * (mouth - track.mouth)
        track.texture = np.dstack([fresh, self._alpha])
        track.mouth = mouth
        track.shape = space.shape_mean + _SHAPED * (space.shape(track.code) - space.shape_mean)


def alpha_texture() -> np.ndarray:
    """The mask in texture coordinates: 255 on the mesh, falling to 0 over the skirt."""
    corners, weights = atlas.texel_weights()
    inside = np.r_[np.ones(len(geometry.reference_mesh())), np.zeros(len(geometry.OVAL))]
    alpha = np.einsum("hwk,hwk->hw", inside[corners], weights)
    return np.round(255 * alpha).astype(np.uint8)
