"""The detector stage as one call: frame in, face table and chips out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deid_ros.detector.boxes import iou, unite
from deid_ros.detector.chips import cut_chips, prepare_chips
from deid_ros.detector.clock import CutDetector, FrameClock
from deid_ros.detector.interfaces import Detector
from deid_ros.detector.mesh import FaceMesh, mesh_squares, squares_differ
from deid_ros.detector.refine import Refiner
from deid_ros.detector.runtime import check_frame
from deid_ros.detector.searcher import Searcher, create_searcher
from deid_ros.detector.smoothing import MeshSmoother
from deid_ros.detector.tracker import Track, Tracker
from deid_ros.errors import DetectorError
from deid_ros.faces import DETECTION, empty_faces
from deid_ros.geometry import MESH_TO_IBUG68, fit_pose, measure_expression

__all__ = ["FaceFinder", "Found"]

# The mesh network's belief above which its points are used, above which they may
# carry a surrogate, and above which they go on doing so.
_USABLE, _TRUSTED, _KEPT = 0.3, 0.7, 0.4
# A face seen at a score like this is one; another is taken for one, and gets a surrogate,
# after so many good meshes in a row, as is one that lost it after two. It loses it after
# so many poor ones, while the detector goes on seeing it: in between its mesh follows.
_SURE, _PATIENT, _AGAIN, _GRACE = 0.5, 3, 2, 4
_SLACK = 2.0             # px on every side: half a cell of a detector's answer
# Mesh and detection must overlap by this much (IoU) to be of the same face.
_AGREE = 0.35
_STILL = 0.5             # of the mesh's tolerance: a face that moved less is seen as before
_SAME_PLACE = 0.5        # IoU of a face that lives through a cut
_MAX_YAW = 80.0          # degrees: beyond, half of the mesh is guesswork
# A better chip is cut when the first was poor, and no more often than this.
_CHIPS, _POOR, _BETTER = 3, 60.0, 1.8
#: What a covered box holds.
COVERS = ("face", "head")
# A head around the box of its face's mesh: left, above, right, below, in parts of it.
_HEAD = np.array([0.22, 0.42, 0.22, 0.12])


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of the faces of one frame.

    ``faces``: N rows of ``faces.FACE``. ``chips``: BGR uint8 (M, S, S, 3), M <= N,
    to which ``faces['chip']`` points. ``cut``: another scene begins with this frame.
    """

    faces: np.ndarray
    chips: np.ndarray
    cut: bool = False


class FaceFinder:
    """Detector, mesh, tracker and chips of one stream of frames.

    Args:
        detector: names of back ends whose union is found, or a ``Detector``.
        threshold: least score, 0..1; None: each back end's own.
        preset: how frames are searched, a key of ``presets.PRESETS``; None: once, as
            they are.
        margin: the covered box grows by this part of its size, and two px, on every
            side.
        cover: ``face``, or ``head``: the box takes in hair, ears and chin too.
        min_surrogate_px: faces whose long side is smaller are not trusted.
        carry_frames: frames for which a face that nothing sees stays covered.
        extractor: what chips are cut for, a key of ``chips.CHIP_SIZES``.
        max_meshes: faces of one frame, largest first, that get a mesh (a few ms
            each); the others are found, tracked and not trusted.
        mesh, fine: a quick and a fine ``FaceMesh`` to share; by default they are made.

    Raises:
        DetectorError: an unknown detector or extractor.
        ModelError: a model file or package is missing.
    """

    def __init__(self, *, detector: str | Sequence[str] | Detector,
                 preset: str | None = None, threshold: float | None = None, margin: float,
                 cover: str = "face", min_surrogate_px: int, carry_frames: int, extractor: str,
                 max_meshes: int = 24, mesh: FaceMesh | None = None,
                 fine: FaceMesh | None = None) -> None:
        prepare_chips(extractor)
        if cover not in COVERS:
            raise DetectorError(f"A face cannot be covered as '{cover}'; choose one of "
                                f"{', '.join(COVERS)}.")
        self.detector = (detector if isinstance(detector, Detector)
                         else create_searcher(detector, preset=preset, threshold=threshold))
        self.margin, self.cover = margin, cover
        self.min_surrogate_px = min_surrogate_px
        self.extractor = extractor
        self.max_meshes = max_meshes
        self._mesh = mesh or FaceMesh()
        searched = isinstance(self.detector, Searcher)
        self._refiner = Refiner(every=self.detector.preset.detail if searched else 1, mesh=fine)
        self._tracker = Tracker(carry_frames=carry_frames)
        self.reset()

    def reset(self) -> None:
        """Forget everything but which ids were used: another stream begins."""
        self._tracker.reset()
        self._clock, self._cuts = FrameClock(), CutDetector()
        self._renew = False
        if isinstance(self.detector, Searcher):
            self.detector.reset()

    def renew_chips(self) -> None:
        """Cut a chip of every face again from the next frame on; any thread may ask.

        For a matcher that has forgotten them.
        """
        self._renew = True

    def find(self, frame: np.ndarray, *, stamp_ns: int = 0) -> Found:
        """Find the faces of the next frame.

        Args:
            frame: BGR uint8 (H, W, 3).
            stamp_ns: the frame's time in nanoseconds; any value is survived, zero
                means unknown.

        Raises:
            FrameError: ``frame`` is not such an array.
        """
        check_frame(frame)
        frames, seconds = self._clock.step(stamp_ns)
        cut = self._cuts.changed(frame)
        tracker = self._tracker
        if self._renew:
            self._renew = False
            for track in tracker.tracks:
                track.chips, track.chip_quality = 0, 0.0
        tracker.predict(frames)
        detections = self._detect(frame, cut)
        matched = tracker.match(detections["box"])
        if cut:
            matched = self._end_moved(detections, matched)
        known = list(tracker.tracks)
        seen = {int(index) for index in matched if index >= 0}
        missed = [track for i, track in enumerate(known) if i not in seen]

        tracks, fresh = [], []
        for row, index in zip(detections, matched, strict=True):
            fresh.append(index < 0)
            tracks.append(known[index] if index >= 0 else tracker.add(row["box"], row["score"]))
        meshes, confidence = self._locate(frame, detections, tracks, missed)
        for i, (row, track) in enumerate(zip(detections, tracks, strict=True)):
            expected, velocity = track.center, track.velocity
            known = track.mesh.copy() if track.confidence else None
            if not fresh[i]:
                tracker.hit(track, row["box"], row["score"], frames)
            track.angle = float(row["angle"])
            self._take_mesh(track, meshes[i], float(confidence[i]), row["box"], seconds,
                            shift=track.center - expected)
            if known is not None and track.confidence:
                # Boxes differ from pass to pass and would shake a face that stands still.
                track.steer(velocity, (track.mesh - known)[:, :2].mean(axis=0), frames)
        for i, track in enumerate(missed, start=len(tracks)):
            box = mesh_box(meshes[i])
            held = confidence[i] >= _TRUSTED and iou(box, track.box)[0, 0] > _AGREE
            tracker.miss(track, frames, box if held else None)
            self._take_mesh(track, meshes[i], float(confidence[i]) if held else 0.0, track.box,
                            seconds)
        if cut:
            # In another scene only what the mesh still sees is carried on.
            tracker.end([track for track in missed if track.lost])
        tracker.expire(frame.shape)
        raw = {track.id: row["box"] for track, row in zip(tracks, detections, strict=True)}
        faces, chips = self._table(frame, raw)
        return Found(faces, chips, cut)

    def _detect(self, frame: np.ndarray, cut: bool) -> np.ndarray:
        """Rows of ``DETECTION``; where tracks are, a searcher believes weak answers too."""
        if not isinstance(self.detector, Searcher):
            return self.detector.detect(frame)
        if cut:
            self.detector.reset(turn=0)
        known = [] if cut else [track.box for track in self._tracker.tracks]
        return self.detector.detect(frame, known=np.array(known).reshape(-1, 4))

    def _end_moved(self, detections: np.ndarray, matched: np.ndarray) -> np.ndarray:
        """After a cut, end matched tracks that did not stay in place: others stand there.

        Returns the matches with the indices that the remaining tracks have now.
        """
        tracks = self._tracker.tracks
        moved = [int(index) for row, index in zip(detections, matched, strict=True)
                 if index >= 0 and iou(row["box"], tracks[index].box)[0, 0] < _SAME_PLACE]
        stay = [i for i in range(len(tracks)) if i not in moved]
        place = {old: new for new, old in enumerate(stay)}
        self._tracker.end([tracks[i] for i in moved])
        return np.array([place.get(int(index), -1) for index in matched], int)

    def _locate(self, frame: np.ndarray, detections: np.ndarray, tracks: list[Track],
                missed: list[Track]) -> tuple[np.ndarray, np.ndarray]:
        """Meshes and confidence of the detected faces and of those the detector missed."""
        lost = np.zeros(len(missed), DETECTION)
        for row, track in zip(lost, missed, strict=True):
            row["box"], row["angle"] = track.box, track.angle
        rows = np.concatenate([detections, lost])
        squares = np.full((len(rows), 4), np.nan, np.float32)
        for i, track in enumerate([*tracks, *missed]):
            if track.mesh is not None and track.confidence >= _TRUSTED:
                square = mesh_squares(track.mesh[None])[0]
                # From another square the network gives other points, and another square
                # next time: a face that stays is seen in the one it was seen in.
                if track.square is not None and not squares_differ(
                        track.square[None], square[None], part=_STILL)[0]:
                    square = track.square
                track.square = square
                # The box just seen is the better guide where the two differ.
                middle = rows["box"][i, :2] + rows["box"][i, 2:] / 2
                if np.hypot(*(square[:2] - middle)) < 0.2 * square[2]:
                    squares[i] = square
        meshes = np.zeros((len(rows), 468, 3), np.float32)
        confidence = np.zeros(len(rows), np.float32)
        side = rows["box"][:, 2:].max(axis=1)
        # Detected before missed, large before small; too small to be used: none.
        order = np.lexsort((-side, np.arange(len(rows)) >= len(detections)))
        order = [i for i in order if side[i] >= 0.75 * self.min_surrogate_px][:self.max_meshes]
        if order:
            meshes[order], confidence[order] = self._mesh.locate(
                frame, rows[order], squares=squares[order])
            everybody = [*tracks, *missed]
            meshes[order] = self._refiner.refine(
                frame, [everybody[i] for i in order], meshes[order], confidence[order],
                busy=isinstance(self.detector, Searcher) and not self.detector.light)
        return meshes, confidence

    @staticmethod
    def _take_mesh(track: Track, mesh: np.ndarray, confidence: float, box: np.ndarray,
                   seconds: float, *, shift: np.ndarray | None = None) -> None:
        """Keep a face's mesh where it is believable and lies where the face is.

        ``shift`` (2,): what the detector, if it saw the face, added to its predicted
        place (px).
        """
        if confidence >= _USABLE and iou(mesh_box(mesh), box)[0, 0] > _AGREE:
            if not track.confidence:
                track.smoother = MeshSmoother()   # what it remembers is stale
            track.mesh, track.confidence = mesh.copy(), confidence
            track.steady = track.smoother(mesh, seconds)
            return
        # Its last mesh goes on with the motion; unseen, it carries no surrogate.
        track.confidence = 0.0
        if shift is None or track.mesh is None:
            track.trusted = False
        else:
            track.shift_mesh(shift)
            track.trusted &= bool(iou(mesh_box(track.mesh), box)[0, 0] > _AGREE)

    def _table(self, frame: np.ndarray, raw: dict[int, np.ndarray]
               ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ``FACE`` and the chips they point to."""
        tracks = self._tracker.tracks
        faces = empty_faces(len(tracks))
        cut: list[Track] = []
        for face, track in zip(faces, tracks, strict=True):
            box = self._fill(face, track, raw.get(track.id))
            _place(face, box, frame.shape)
            clear = track.trusted and track.confidence >= _KEPT
            if clear and self._wants_chip(face, track):
                face["chip"] = len(cut)
                cut.append(track)
        meshes = np.array([track.mesh for track in cut]).reshape(-1, 468, 3)
        chips = cut_chips(frame, np.array([track.box for track in cut]), meshes, self.extractor)
        return faces, chips

    def _fill(self, face: np.ndarray, track: Track, raw: np.ndarray | None) -> np.ndarray:
        """Fill one row of ``FACE``; its box to be covered (4,), not yet clipped."""
        face["track_id"], face["score"] = track.id, track.score
        face["carried"] = track.missed > 0
        boxes = [track.box] if raw is None else [track.box, raw]
        if track.confidence >= _USABLE or track.trusted:
            # Smoothing must not uncover a moving face: both meshes are covered.
            boxes += [mesh_box(track.mesh), mesh_box(track.steady)]
        box = unite(np.array(boxes))
        if self.cover == "head":
            box = box + np.concatenate([-_HEAD[:2], _HEAD[:2] + _HEAD[2:]]) * np.tile(box[2:], 2)
        more = self.margin * box[2:] + _SLACK
        grown = np.concatenate([box[:2] - more, box[2:] + 2 * more])
        if track.steady is None:
            # No mesh ever: a frontal pose of the box's size, for outlines only.
            center = track.box[:2] + track.box[2:] / 2
            face["scale"], face["center"] = track.box[2:].max() / 1.8, center
            face["roll"] = track.angle
            self._judge(track, good=False, poor=True, lost=True)
            return grown
        pose = fit_pose(track.steady)
        face["yaw"], face["pitch"], face["roll"] = pose.yaw, pose.pitch, pose.roll
        face["scale"], face["center"] = pose.scale, pose.center
        face["expression"] = measure_expression(track.steady, pose)
        face["landmarks"] = track.steady[MESH_TO_IBUG68, :2].reshape(-1)
        large = mesh_box(track.mesh)[2:].max() / self.min_surrogate_px
        sane = abs(pose.yaw) <= _MAX_YAW and bool(np.isfinite(face["landmarks"]).all())
        self._judge(track, good=sane and large >= 1.0 and track.confidence >= _TRUSTED,
                    poor=large < 0.85 or track.confidence < _KEPT, lost=not sane)
        face["trusted"] = track.trusted
        return grown

    @staticmethod
    def _judge(track: Track, *, good: bool, poor: bool, lost: bool) -> None:
        """Whether a face may carry a surrogate now.

        Harder to gain than to lose, and neither at once: a face on the edge of it must
        not flicker between surrogate and obfuscation. What is seen for the first time is
        judged by this one frame: it may be a picture.
        """
        track.good = track.good + 1 if good else 0
        track.poor = track.poor + 1 if poor else 0
        if track.trusted:
            track.trusted = not lost and track.poor <= _GRACE
        else:
            needed = _AGAIN if track.best >= _SURE else _PATIENT
            track.trusted = good and (track.age == 0 or track.good >= needed)
        track.age += 1

    @staticmethod
    def _wants_chip(face: np.ndarray, track: Track) -> bool:
        """Whether to cut a chip: the first, or a much better one after a poor one."""
        turn = np.cos(np.radians(face["yaw"])) * np.cos(np.radians(face["pitch"]))
        quality = float(mesh_box(track.mesh)[2:].max() * turn ** 2)
        if track.chips and (track.chips >= _CHIPS or track.chip_quality > _POOR
                            or quality < _BETTER * track.chip_quality):
            return False
        track.chips += 1
        track.chip_quality = quality
        return True


def mesh_box(mesh: np.ndarray) -> np.ndarray:
    """The box (4,) around a mesh (468, 2 or 3)."""
    low = mesh[:, :2].min(axis=0)
    return np.concatenate([low, mesh[:, :2].max(axis=0) - low])


def _place(face: np.ndarray, box: np.ndarray, shape: tuple[int, ...]) -> None:
    """Write a box as whole pixels that cover it, at most one frame beyond the frame."""
    limit = np.array([shape[1], shape[0]], np.float64)
    low = np.clip(np.floor(np.nan_to_num(box[:2])), -limit, limit)
    high = np.clip(np.ceil(np.nan_to_num(box[:2] + box[2:])), low, 2 * limit)
    face["x_offset"], face["y_offset"] = low
    face["width"], face["height"] = np.maximum(high - low, 1)
