"""Composed scenes whose faces are known exactly: heads pasted over face-free textures.

A head comes from a portrait: the face mesh says where its face is, a soft ellipse
around the mesh cuts it out with its hair. Turned heads are drawn from the portrait's
own mesh (texture unwrapped, rendered at another yaw) in front of an ellipse of hair.
Backgrounds are textures that hold no face: bricks, grass, gravel, noise, gradients.
Everything follows from a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deid_ros import geometry
from deid_ros.bench.scene import texture
from deid_ros.errors import MediaError
from deid_ros.generator import atlas
from deid_ros.tables import read_table

__all__ = ["BACKGROUNDS", "Head", "Look", "Scene", "background", "compose", "film", "load_heads",
           "portraits", "turned"]

#: Face-free textures by name.
BACKGROUNDS = ("brick", "grass", "gravel", "noise", "gradient", "clutter")

_IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
_JAW = geometry.MESH_TO_IBUG68[:17]
# The ellipse of a head around the box of its mesh: half axes in parts of the box,
# and how far its middle lies above that of the box.
_AXES, _LIFT = (0.66, 0.76), 0.14
_SOFT = 0.12          # part of the ellipse's radius over which it fades
_RENDER = 320         # px, side of the picture a turned head is drawn in
_APART = 1.9          # box sizes that faces of one scene keep from each other
_DRIFT = 0.04         # jaw widths that a face of a film moves from frame to frame


@dataclass(frozen=True, slots=True)
class Head:
    """A head cut out of a picture.

    ``pixels`` float32 (h, w, 4): BGR 0..255 and alpha 0..1; ``box`` the mesh's x, y,
    width, height (px of ``pixels``); ``jaw`` the width of the jaw line (px);
    ``mesh`` float32 (468, 3) px; ``yaw`` degrees by which it was turned.
    """

    pixels: np.ndarray
    box: np.ndarray
    jaw: float
    mesh: np.ndarray
    yaw: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """How the faces of a scene look.

    ``jaw`` width of the jaw line in px (of the head before it was turned); ``roll``
    degrees clockwise, either sign at random; ``light`` factor on all brightness;
    ``blur`` Gaussian sigma in jaw widths; ``noise`` sigma in grey levels; ``hidden``
    what is covered: '', 'eyes', 'mouth', 'side'; ``cut`` part of the face beyond the
    frame's edge.
    """

    jaw: float
    roll: float = 0.0
    light: float = 1.0
    blur: float = 0.0
    noise: float = 2.0
    hidden: str = ""
    cut: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """``frame`` BGR uint8 (H, W, 3); ``boxes`` float64 (N, 4), the part within the
    frame of the box of each face's mesh (px)."""

    frame: np.ndarray
    boxes: np.ndarray


def load_heads(folder: Path | None = None, *, table: Path | None = None, split: str = "",
               count: int = 24, seed: int = 0) -> list[Head]:
    """Heads of the portraits of a folder, or that of scikit-image's astronaut.

    Args:
        folder: pictures with one face each.
        table: CSV with the columns ``id`` (file name without its end) and ``split``.
        split: only people of this split of the table.
        count: heads at most, picked at random.
        seed: of the choice.

    Raises:
        MediaError: no picture with a face that can be used.
    """
    from deid_ros.detector import FaceMesh, create_detector

    detector, mesher = create_detector(["centerface"]), FaceMesh()
    heads = []
    for picture in _pictures(folder, table, split, seed):
        image = picture() if callable(picture) else cv2.imread(str(picture))
        if image is None:
            continue
        # Room for hair at the rim, and for faces that fill the picture.
        image = cv2.copyMakeBorder(image, *[max(image.shape[:2]) // 5] * 4, cv2.BORDER_REPLICATE)
        found = detector.detect(image)
        if len(found):
            meshes, confidence = mesher.locate(image, found[:1])
            if confidence[0] > 0.7:
                heads.append(_cut_out(image, meshes[0]))
        if len(heads) == count:
            break
    if not heads:
        raise MediaError(f"There is no portrait with a face in {folder}; give a folder of "
                         "pictures with one face each.")
    return heads


def _pictures(folder: Path | None, table: Path | None, split: str, seed: int) -> list:
    if folder is None:
        return [_astronaut]
    return portraits(folder, table=table, split=split, seed=seed)


def portraits(folder: Path, *, table: Path | None = None, split: str = "",
              seed: int = 0) -> list[Path]:
    """The pictures of a folder, or of the people of a table, in random order.

    Raises:
        MediaError: there is no such folder, or the table lacks its columns.
    """
    if not folder.is_dir():
        raise MediaError(f"{folder} is no folder; give a folder of portraits.")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _IMAGES)
    if table is not None:
        rows = read_table(table, ["id"] + ["split"] * bool(split), error=MediaError)
        known = {row["id"] for row in rows if not split or row["split"] == split}
        paths = [path for path in paths if path.stem in known]
    order = np.random.default_rng(seed).permutation(len(paths))
    return [paths[i] for i in order]


def _astronaut() -> np.ndarray:
    try:
        from skimage import data
    except ImportError:
        raise MediaError("The photograph of an astronaut comes with scikit-image; bring it with: "
                         "pip install scikit-image") from None
    return np.ascontiguousarray(data.astronaut()[:, :, ::-1])


def _box(mesh: np.ndarray) -> np.ndarray:
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    return np.concatenate([low, high - low]).astype(np.float64)


def _ellipse(shape: tuple[int, int], middle: np.ndarray, axes: np.ndarray,
             soft: float = _SOFT) -> np.ndarray:
    ys, xs = np.mgrid[:shape[0], :shape[1]].astype(np.float32)
    far = np.hypot((xs - middle[0]) / axes[0], (ys - middle[1]) / axes[1])
    return np.clip((1 + soft / 2 - far) / soft, 0, 1).astype(np.float32)


def _cut_out(image: np.ndarray, mesh: np.ndarray) -> Head:
    box = _box(mesh)
    middle = box[:2] + box[2:] * (0.5, 0.5 - _LIFT)
    axes = box[2:] * _AXES
    alpha = _ellipse(image.shape[:2], middle, axes)
    low = np.maximum(np.floor(middle - 1.1 * axes), 0).astype(int)
    high = np.ceil(middle + 1.1 * axes).astype(int)
    part = np.s_[low[1]:high[1], low[0]:high[0]]
    pixels = np.dstack([image[part].astype(np.float32), alpha[part]])
    mesh = (mesh - [*low, 0]).astype(np.float32)
    return Head(pixels, _box(mesh), float(np.ptp(mesh[_JAW, 0])), mesh)


def turned(head: Head, yaw: float) -> Head:
    """The head at another yaw (degrees), drawn from its own mesh and texture."""
    picture = head.pixels[..., :3].clip(0, 255).astype(np.uint8)
    surface = atlas.unwrap(picture, head.mesh)
    pose = geometry.fit_pose(head.mesh)
    shape = geometry.frontalise(head.mesh, pose)
    width = float(np.ptp(shape[_JAW, 0]))
    scale = 0.45 * _RENDER / width
    at = geometry.Pose(yaw, pose.pitch, 0.0, scale, (_RENDER / 2, 0.55 * _RENDER))
    points = geometry.project(geometry.with_skirt(shape), at)
    drawn = atlas.render(surface, points, _RENDER).astype(np.float32)
    face = cv2.GaussianBlur(cv2.erode(drawn[..., 3], np.ones((3, 3))), (0, 0), 1.2) / 255
    # Behind it the skull, of the hair's colour: from the ring above the forehead.
    ring = head.pixels[..., 3].copy()
    top, bottom = int(head.box[1]), int(head.box[1] + head.box[3])
    ring[max(top, 1):bottom] = 0
    hair = (head.pixels[..., :3] * ring[..., None]).sum((0, 1)) / max(float(ring.sum()), 1e-3)
    side = float(np.sin(np.radians(yaw)))
    box = _box(points[:468])
    middle = np.array([_RENDER / 2 - 0.38 * side * scale * width,
                       box[1] + 0.38 * box[3]])
    axes = scale * width * np.array([0.58 + 0.06 * abs(side), 0.76])
    skull = _ellipse((_RENDER, _RENDER), middle, axes)
    grain = np.random.default_rng(0).normal(0, 9, (_RENDER, _RENDER, 1)).astype(np.float32)
    colour = face[..., None] * drawn[..., :3] + (1 - face[..., None]) * (
        hair + cv2.GaussianBlur(grain, (0, 0), 1.0)[..., None] * 2)
    pixels = np.dstack([colour, np.maximum(face, skull)]).astype(np.float32)
    return Head(pixels, box, scale * width, points[:468].astype(np.float32), yaw)


def background(name: str, width: int, height: int, *, seed: int = 0) -> np.ndarray:
    """A face-free picture: BGR uint8 (height, width, 3).

    Raises:
        MediaError: scikit-image is missing.
    """
    rng = np.random.default_rng([seed, BACKGROUNDS.index(name)])
    if name == "clutter":
        return texture(width, height, seed=int(rng.integers(1 << 30)))
    if name == "noise":
        frame = rng.normal(rng.uniform(60, 190), rng.uniform(10, 50), (height, width, 3))
        return np.clip(frame, 0, 255).astype(np.uint8)
    if name == "gradient":
        ends = rng.uniform(0, 255, (2, 2, 3)).astype(np.float32)
        frame = cv2.resize(ends, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.clip(frame + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8)
    try:
        from skimage import data
    except ImportError:
        raise MediaError("The textures come with scikit-image; bring it with: "
                         "pip install scikit-image") from None
    grey = getattr(data, name)()
    zoom = rng.uniform(0.6, 2.0)
    grey = cv2.resize(grey, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    grey = cv2.copyMakeBorder(grey, 0, max(height - grey.shape[0], 0), 0,
                              max(width - grey.shape[1], 0), cv2.BORDER_REFLECT)
    y, x = (int(rng.integers(0, size - wanted + 1)) for size, wanted in
            zip(grey.shape, (height, width), strict=True))
    grey = grey[y:y + height, x:x + width].astype(np.float32)[..., None]
    tint = rng.uniform(0.7, 1.15, 3)
    return np.clip(grey * tint, 0, 255).astype(np.uint8)


def compose(heads: Sequence[Head], look: Look, *, size: tuple[int, int] = (640, 480),
            faces: int = 6, where: str = "", seed: int = 0) -> Scene:
    """One scene with as many of ``faces`` faces as have room.

    Args:
        heads: drawn from at random.
        look: of every face.
        size: width and height of the frame (px).
        faces: how many at most.
        where: name of the background; '' picks one.
        seed: of everything.
    """
    return film(heads, look, 1, size=size, faces=faces, where=where, seed=seed)[0]


def film(heads: Sequence[Head], look: Look, frames: int, *, size: tuple[int, int] = (640, 480),
         faces: int = 6, where: str = "", seed: int = 0) -> list[Scene]:
    """The same scene as ``frames`` frames, in which every face drifts a little."""
    rng = np.random.default_rng([seed, round(10 * look.jaw), round(10 * abs(look.roll))])
    where = where or BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    wall = background(where, *size, seed=int(rng.integers(1 << 30))).astype(np.float32)
    cast = []
    for middle in _places(look, size, faces, rng):
        head = heads[int(rng.integers(len(heads)))]
        drift = look.jaw * _DRIFT * rng.uniform(-1, 1, 2)
        cast.append((head, middle, look.roll * rng.choice((-1, 1)), rng.random() < 0.5, drift))
    scenes = []
    for t in range(frames):
        frame, boxes = wall.copy(), []
        for head, middle, roll, flip, drift in cast:
            boxes.append(_paste(frame, head, look, middle + t * drift, roll, flip))
        frame = frame * look.light + rng.normal(0, look.noise, frame.shape)
        scenes.append(Scene(np.clip(frame, 0, 255).astype(np.uint8), _within(boxes, size)))
    return scenes


def _within(boxes: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    box = np.array(boxes, np.float64).reshape(-1, 4)
    low = np.maximum(box[:, :2], 0)
    high = np.minimum(box[:, :2] + box[:, 2:], size)
    return np.concatenate([low, np.maximum(high - low, 0)], axis=1)


def _places(look: Look, size: tuple[int, int], faces: int,
            rng: np.random.Generator) -> list[np.ndarray]:
    """Middles of the faces: apart from each other and, unless cut, within the frame."""
    width, height = size
    half = look.jaw * np.array([0.62, 0.75])
    if look.roll:
        half[:] = half.max()
    half = np.minimum(half, np.array(size) * 0.45)
    places: list[np.ndarray] = []
    for _ in range(60 * faces):
        if len(places) == faces:
            break
        middle = rng.uniform(half, np.array(size) - half)
        if look.cut:
            edge, beyond = rng.integers(3), look.cut - 0.5
            if edge == 0:
                middle[0] = -beyond * look.jaw
            elif edge == 1:
                middle[0] = width + beyond * look.jaw
            else:
                middle[1] = height + beyond * 1.25 * look.jaw
        if all(np.hypot(*(middle - other)) > _APART * look.jaw for other in places):
            places.append(middle)
    return places


def _paste(frame: np.ndarray, head: Head, look: Look, middle: np.ndarray, roll: float,
           flip: bool) -> np.ndarray:
    """Draw a head into a float32 frame; the box (4,) of its mesh."""
    pixels, mesh = head.pixels, head.mesh[:, :2]
    if look.hidden:
        pixels = _hide(head, look.hidden)
    if flip:
        pixels = pixels[:, ::-1]
        mesh = mesh * (-1, 1) + (pixels.shape[1] - 1, 0)
    scale = look.jaw / head.jaw
    # Colour times alpha, so that averaging leaves no rim of what was cut off.
    pixels = np.dstack([pixels[..., :3] * pixels[..., 3:], pixels[..., 3]])
    if scale < 0.5:
        pixels = cv2.resize(pixels, None, fx=2 * scale, fy=2 * scale,
                            interpolation=cv2.INTER_AREA)
        ratio = np.array(pixels.shape[1::-1]) / head.pixels.shape[1::-1]
        mesh = (mesh + 0.5) * ratio - 0.5
        scale = 0.5
    box = _box(mesh)
    center = box[:2] + box[2:] / 2
    move = cv2.getRotationMatrix2D((float(center[0]), float(center[1])), -roll, scale)
    move[:, 2] += middle - center
    drawn = cv2.warpAffine(pixels, move, frame.shape[1::-1], flags=cv2.INTER_LINEAR)
    if look.blur:
        drawn = cv2.GaussianBlur(drawn, (0, 0), max(look.blur * look.jaw, 0.3))
    frame *= 1 - drawn[..., 3:]
    frame += drawn[..., :3]
    return _box(np.asarray(mesh, np.float64) @ move[:, :2].T + move[:, 2])


def _hide(head: Head, what: str) -> np.ndarray:
    """The head with a part of its face behind something flat."""
    pixels = np.ascontiguousarray(head.pixels.copy())
    x, y, w, h = head.box
    if what == "eyes":      # dark glasses
        low, high, colour = (x + 0.08 * w, y + 0.26 * h), (x + 0.92 * w, y + 0.48 * h), (25, 20, 20)
    elif what == "mouth":   # a mask
        low, high = (x + 0.05 * w, y + 0.58 * h), (x + 0.95 * w, y + 1.02 * h)
        colour = (205, 190, 160)
    else:                   # a pole in front of one half
        low, high, colour = (x + 0.55 * w, -9.0), (x + 1.3 * w, 9999.0), (70, 80, 90)
    corners = tuple(tuple(int(round(v)) for v in corner) for corner in (low, high))
    flat = np.ascontiguousarray(pixels[..., :3])
    cv2.rectangle(flat, *corners, colour, -1)
    return np.dstack([flat, pixels[..., 3]])
