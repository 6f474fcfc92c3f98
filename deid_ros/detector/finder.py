"""The detector stage as one call: frame in, face table and chips out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deid_ros.detector.boxes import containment, iou
from deid_ros.detector.clock import CutDetector, FrameClock
from deid_ros.detector.evidence import (
    RULE,
    EvidenceRule,
    Verdict,
    is_over,
    judge,
    speaks_for_a_face,
)
from deid_ros.detector.face_table import FaceTable, MeshTrust
from deid_ros.detector.interfaces import Detector
from deid_ros.detector.mesh import FaceMesh, mesh_box, mesh_squares, posed_mesh, squares_differ
from deid_ros.detector.refine import Refiner
from deid_ros.detector.runtime import check_frame
from deid_ros.detector.searcher import Searcher
from deid_ros.detector.smoothing import MeshSmoother
from deid_ros.detector.tracker import Track, Tracker
from deid_ros.faces import DETECTION

__all__ = ["FaceFinder", "Found"]

_SEARCH = ("detector", "preset", "threshold")
_TRUST = MeshTrust()
# A face of less than this long side (px), seen at a score like this (and then on at one
# like that), and turned by less (degrees), needs no mesh of its own.
_SMALL, _CLEAR, _CLEAR_AGAIN, _POSABLE = 40.0, 0.45, 0.3, 60.0
_WITHIN = 0.6            # part of a box that lies in a covered one
# Mesh and detection must overlap by this much (IoU) to be of the same face.
_AGREE = 0.35
_DRIFT = 0.15            # of its size, that an unseen face may have moved and be trusted
_STILL = 0.5             # of the mesh's tolerance: a face that moved less is seen as before
_SAME_PLACE = 0.5        # IoU of a face that lives through a cut


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of the faces of one frame.

    ``faces``: N rows of ``faces.FACE``. ``chips``: BGR uint8 (M, S, S, 3), M <= N,
    to which ``faces['chip']`` points. ``cut``: another scene begins with this frame.
    ``hints`` float32 (K, 4): boxes of all that the detector saw, however weakly; None where
    nobody knows. ``doubtful``: tracks that were never seen beyond doubt.
    """

    faces: np.ndarray
    chips: np.ndarray
    cut: bool = False
    hints: np.ndarray | None = None
    doubtful: frozenset[int] = frozenset()


class FaceFinder:
    """Detector, mesh, tracker and chips of one stream of frames.

    Args:
        detector: names of back ends whose union is found, ``Detector`` objects, or a
            ``Searcher``.
        threshold: least score, 0..1; None: 0.3.
        preset: how frames are searched, a key of ``presets.PRESETS``; None: once, as
            they are.
        margin: the covered box grows by this part of its size, and a px, on every side.
        cover: ``face``, or ``head``: the box takes in hair, ears and chin too.
        min_surrogate_px: faces whose long side is smaller are not trusted.
        carry_frames: frames for which a face that nothing sees stays covered at most.
        extractor: what chips are cut for, a key of ``chips.CHIP_SIZES``.
        max_meshes: faces of one frame, largest first, that get a mesh (a few ms
            each); the others are found, tracked and not trusted.
        mesh, fine: a quick and a fine ``FaceMesh`` to share; by default they are made.
        rule: what is believed to be a face.

    Raises:
        DetectorError: an unknown detector or extractor.
        ModelError: a model file or package is missing.
    """

    def __init__(self, *, detector: str | Detector | Sequence[str | Detector],
                 preset: str | None = None, threshold: float | None = None, margin: float,
                 cover: str = "face", min_surrogate_px: int, carry_frames: int, extractor: str,
                 max_meshes: int = 24, mesh: FaceMesh | None = None,
                 fine: FaceMesh | None = None, rule: EvidenceRule = RULE) -> None:
        self.max_meshes = max_meshes
        self.rule = rule
        self._mesh = mesh or FaceMesh()
        self._refiner = Refiner(mesh=fine)
        self._tracker = Tracker(carry_frames=carry_frames)
        self._search: dict[str, Any] = {}
        self._covers: dict[str, Any] = {"extractor": extractor}
        self.adjust(detector=detector, preset=preset, threshold=threshold, margin=margin,
                    cover=cover, min_surrogate_px=min_surrogate_px)
        self.reset()

    def adjust(self, **options: Any) -> None:
        """Change settings while tracks live on.

        Args:
            options: ``detector``, ``preset``, ``threshold``, ``margin``, ``cover``,
                ``min_surrogate_px``, as for the constructor; a ``Searcher`` brings its own
                preset and threshold.

        Raises:
            DetectorError, ModelError: as for the constructor; nothing is changed of that.
        """
        search = {name: options.pop(name) for name in _SEARCH if name in options}
        if options:
            self._covers |= options
            self.table = FaceTable(**self._covers)
        if search:
            self._search |= search
            detector = self._search["detector"]
            self.detector = detector if isinstance(detector, Searcher) else Searcher(
                detector, preset=self._search["preset"], threshold=self._search["threshold"],
                rule=self.rule)
            self._refiner.every = self.detector.preset.detail

    def reset(self) -> None:
        """Forget everything but which ids were used: another stream begins."""
        self._tracker.reset()
        self._clock, self._cuts = FrameClock(), CutDetector()
        self._renew = False
        self._glimpsed = np.zeros((0, 4))   # boxes of the frame before that began no track
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
        if cut:
            self.detector.reset(turn=0)
            self._glimpsed = self._glimpsed[:0]
        tracker.predict(frames)
        detections = self.detector.search(frame)
        hints = detections["box"]
        matched = self._match(detections)
        if cut:
            matched = self._end_moved(detections, matched)
        known = list(tracker.tracks)
        detections, matched, glimpses = self._believe(frame, detections, matched)
        seen = {int(index) for index in matched if index >= 0}
        missed = [track for i, track in enumerate(known) if i not in seen]

        tracks, fresh = [], []
        for row, index in zip(detections, matched, strict=True):
            fresh.append(index < 0)
            tracks.append(known[index] if index >= 0 else tracker.add(row["box"], row["score"]))
        meshes, belief = self._locate(frame, detections, tracks, missed)
        confidence = self._pose_small(detections, tracks, meshes, belief)
        for i, (row, track) in enumerate(zip(detections, tracks, strict=True)):
            expected, velocity = track.center, track.velocity
            before = track.mesh.copy() if track.confidence else None
            if not fresh[i]:
                tracker.hit(track, row["box"], row["score"], frames)
            track.angle = float(row["angle"])
            self._take_mesh(track, meshes[i], float(confidence[i]), row["box"], seconds,
                            shift=track.center - expected)
            if before is not None and track.confidence:
                # Boxes differ from pass to pass and would shake a face that stands still.
                track.steer(velocity, (track.mesh - before)[:, :2].mean(axis=0), frames)
            self._doubt(track, float(row["score"]), belief[i])
        for i, track in enumerate(missed, start=len(tracks)):
            box = mesh_box(meshes[i])
            held = confidence[i] >= _TRUST.gained and iou(box, track.box)[0, 0] > _AGREE
            tracker.miss(track, frames, box if held else None)
            self._take_mesh(track, meshes[i], float(confidence[i]) if held else 0.0, track.box,
                            seconds)
            self._doubt(track, 0.0, belief[i])
        if cut:
            # In another scene only what the mesh still sees is carried on.
            tracker.end([track for track in missed if track.lost])
        tracker.end([track for track in tracker.tracks if is_over(
            self.rule, sure=track.sure, spoken=track.spoken, doubted=track.doubted)])
        tracker.expire(frame.shape)
        raw = {track.id: row["box"] for track, row in zip(tracks, detections, strict=True)}
        everybody = [*tracker.tracks, *glimpses]
        faces, chips = self.table.rows(frame, everybody, raw)
        return Found(faces, chips, cut, hints, frozenset(
            track.id for track in everybody if not track.sure))

    def _match(self, detections: np.ndarray) -> np.ndarray:
        """The track of each row of ``DETECTION``, int (N,), or -1: sure rows choose first."""
        sure = detections["score"] >= self.detector.threshold
        matched = np.full(len(detections), -1)
        matched[sure] = self._tracker.match(detections["box"][sure])
        matched[~sure] = self._tracker.match(detections["box"][~sure],
                                             taken=matched[matched >= 0],
                                             overlap=self.rule.follow_overlap)
        return matched

    def _believe(self, frame: np.ndarray, detections: np.ndarray, matched: np.ndarray
                 ) -> tuple[np.ndarray, np.ndarray, list[Track]]:
        """Of the rows that belong to no track those that begin one, and glimpses.

        Returns:
            The rows of ``DETECTION`` that have or begin a track, the index of the track of
            each or -1, and what is to be covered in this frame only.
        """
        rule, threshold = self.rule, self.detector.threshold
        covered = np.array([track.box for track in self._tracker.tracks]).reshape(-1, 4)
        covered = np.concatenate([covered, detections["box"][matched >= 0]])
        glimpses, seen, begins = [], [], matched >= 0
        asked = self.detector.asked
        for i in np.flatnonzero(matched < 0):
            row = detections[i]
            box, score, turned = row["box"], float(row["score"]), bool(row["turned"])
            sure = score >= rule.sure_score and not turned
            # Half beside a face that is covered: an ear, a hand, the same face again.
            if not sure and (containment(box, covered) > _WITHIN).any():
                continue
            belief = np.nan
            if not sure and asked and score >= rule.ask_part * threshold:
                asked -= 1
                belief, found = self._ask(frame, row)
                # The mesh finds the way to a face beside the box.
                if belief >= rule.mesh_belief and (containment(found, covered) > _WITHIN).any():
                    continue
            verdict = judge(rule, score=score, threshold=threshold, turned=turned, belief=belief,
                            again=bool((iou(box, self._glimpsed) > rule.again_overlap).any()))
            if verdict is Verdict.FACE:
                begins[i] = True
                covered = np.concatenate([covered, box[None]])
            elif verdict is Verdict.GLIMPSE:
                glimpses.append(self._tracker.glimpse(box, score))
                seen.append(box)
        self._glimpsed = np.array(seen).reshape(-1, 4)
        return detections[begins], matched[begins], glimpses

    def _ask(self, frame: np.ndarray, row: np.ndarray) -> tuple[float, np.ndarray]:
        """The mesh's belief in a face where a row of ``DETECTION`` says, and its box (4,).

        A face that lies elsewhere is none of this row's: its belief counts for nothing.
        """
        meshes, belief = self._mesh.locate(frame, row[None])
        box = mesh_box(meshes[0])
        here = iou(box, row["box"])[0, 0] > self.rule.mesh_overlap
        return (float(belief[0]) if here else 0.0), box

    def _doubt(self, track: Track, score: float, belief: float) -> None:
        """Count the frames that speak for a track, and those since."""
        rule = self.rule
        track.sure |= score >= rule.sure_score or belief >= rule.mesh_belief
        if speaks_for_a_face(rule, score=score, threshold=self.detector.threshold, belief=belief):
            track.spoken, track.doubted = track.spoken + 1, 0
        else:
            track.doubted += 1

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
        """Meshes of the detected faces and of those the detector missed, and the network's
        belief in each; NaN where none was looked for."""
        lost = np.zeros(len(missed), DETECTION)
        for row, track in zip(lost, missed, strict=True):
            row["box"], row["angle"] = track.box, track.angle
        rows = np.concatenate([detections, lost])
        squares = np.full((len(rows), 4), np.nan, np.float32)
        for i, track in enumerate([*tracks, *missed]):
            if track.mesh is not None and track.confidence >= _TRUST.gained:
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
        belief = np.full(len(rows), np.nan, np.float32)
        side = rows["box"][:, 2:].max(axis=1)
        # Detected before missed, large before small; too small to be used: none.
        order = np.lexsort((-side, np.arange(len(rows)) >= len(detections)))
        least = 0.75 * self.table.min_surrogate_px
        order = [i for i in order if side[i] >= least][:self.max_meshes]
        if order:
            meshes[order], belief[order] = self._mesh.locate(
                frame, rows[order], squares=squares[order])
            everybody = [*tracks, *missed]
            meshes[order] = self._refiner.refine(
                frame, [everybody[i] for i in order], meshes[order], belief[order])
        return meshes, belief

    @staticmethod
    def _pose_small(detections: np.ndarray, tracks: list[Track], meshes: np.ndarray,
                    belief: np.ndarray) -> np.ndarray:
        """How far each mesh can be relied on, after small faces got the mean one.

        Where the network is unsure of a small face that the detector sees clearly, the
        detector's own pose is good enough, and ``meshes`` is filled with that.
        """
        confidence = np.nan_to_num(belief)
        for i, (row, track) in enumerate(zip(detections, tracks, strict=True)):
            needed = _CLEAR_AGAIN if track.posed else _CLEAR
            track.posed = bool(confidence[i] < _TRUST.gained and row["box"][2:].max() < _SMALL
                               and row["score"] >= needed and abs(row["yaw"]) < _POSABLE)
            if track.posed:
                meshes[i], confidence[i] = posed_mesh(row), 1.0
        return confidence

    @staticmethod
    def _take_mesh(track: Track, mesh: np.ndarray, confidence: float, box: np.ndarray,
                   seconds: float, *, shift: np.ndarray | None = None) -> None:
        """Keep a face's mesh where it is believable and lies where the face is.

        ``shift`` (2,): what the detector, if it saw the face, added to its predicted
        place (px).
        """
        if confidence >= _TRUST.usable and iou(mesh_box(mesh), box)[0, 0] > _AGREE:
            if not track.confidence:
                track.smoother = MeshSmoother()   # what it remembers is stale
            track.mesh, track.confidence = mesh.copy(), confidence
            track.steady = track.smoother(mesh, seconds)
            return
        # Its last mesh goes on with the motion.
        track.confidence = 0.0
        if track.mesh is None:
            track.trusted = False
        elif shift is None:
            # Unseen, it keeps its surrogate where its place is certain.
            drift = track.missed * float(np.hypot(*track.velocity))
            track.trusted &= drift < _DRIFT * float(track.box[2:].max())
        else:
            track.shift_mesh(shift)
            track.trusted &= bool(iou(mesh_box(track.mesh), box)[0, 0] > _AGREE)
