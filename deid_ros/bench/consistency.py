"""``deid bench consistency``: is every face of a video covered, by one and the same other."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deid_ros.bench.machine import Usage, machine_line
from deid_ros.config import Config
from deid_ros.errors import ConfigError, DeidError

__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "PARAMETERS", "add_options", "measure", "text"]

HELP = "on a video: uncovered faces, switched identities, trembling"

DESCRIPTION = """\
Process a video (or a picture, shown again and again) and look for what must not
happen. Uncovered: two detectors look at the original frames; a face of theirs of
which less than three quarters may have changed (of an ellipse of 0.8 of its box's
axes: beside a profile there is wall in the box) is counted, and shown in red on the
contact sheet, where it may turn out to be no face. Switches: surrogates beyond one
per person, and tracks that went from one person to another, both by dlib's recogniser
on the original. Distance: between consecutive outputs of a track, in dlib's units
(0.6 is another person), beside the original's own. Jitter: how far the covered place
moves against the face behind it (optical flow), in px of a face 100 px wide."""

EXAMPLES = """\
examples:
  deid bench consistency clip.mp4 --sheet sheet.jpg
                                     the numbers, and pictures to look at
  deid bench consistency clip.mp4 --delete-every 3
                                     the same with every third detection deleted
  deid bench consistency face.jpg --limit 40
                                     a picture as a video: does it tremble?
"""

PARAMETERS = (("detector", "detector"), ("detector", "preset"), ("detector", "threshold"),
              ("detector", "carry_frames"), ("matcher", "gallery"), ("matcher", "policy"),
              ("matcher", "key"), ("generator", "generator"), ("replacer", "replace"),
              ("replacer", "blend"))

_REFERENCE = ("centerface", "ssd")
_SURE = 0.5            # their threshold
# Of their box an ellipse of this part of the axes must be covered to this part: the
# box of a profile holds much that is no face.
_AXES, _COVERED = 0.8, 0.75
_DLIB = 1.44           # length of dlib's descriptors, which ours have brought to 1
_SAME = 0.6            # dlib's distance below which two faces are the same person
_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is measured."""
    parser.add_argument("video", type=Path, metavar="VIDEO", help="video or picture")
    parser.add_argument("--limit", type=int, default=300, metavar="N", help="frames at most [300]")
    parser.add_argument("--delete-every", type=int, default=0, metavar="N",
                        help="drop what the detector found in every N-th frame [0: never]")
    parser.add_argument("--live", action="store_true",
                        help="as for a camera: no frame waits to be covered backwards")
    parser.add_argument("--pairs", type=int, default=24, metavar="N",
                        help="pairs of consecutive frames whose faces are compared [24]")
    parser.add_argument("--sheet", type=Path, metavar="FILE",
                        help="write a contact sheet: original and output, uncovered faces first")


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Run the bench.

    Returns:
        ``frames``, ``withheld``, ``covered`` (faces by what covered them), ``tracks``,
        ``reference_faces`` and ``uncovered`` by detector, ``uncovered_frames``;
        ``people``, ``surrogates``, ``switches``; ``distance`` (``output``, ``original``,
        ``pairs``); ``jitter_px`` (``mean``, ``p95``; None without
        a face to follow); ``machine``.

    Raises:
        DeidError: an option out of range; the video cannot be read.
    """
    for name, value, least in (("limit", args.limit, 2), ("delete-every", args.delete_every, 0),
                               ("pairs", args.pairs, 0)):
        if value < least:
            raise ConfigError(f"--{name} is {value} but must be at least {least}.")
    from deid_ros.pipeline import Pipeline

    usage = Usage()
    pipeline = Pipeline(config)
    pipeline.prepare()
    if args.delete_every:
        _forget_every(pipeline.finder.detector, args.delete_every)
    frames, step = _frames(args)
    witness = _Witness(step)
    codes = _record_codes(pipeline) if pipeline.makes_surrogates else {}
    for frame, done in _processed(pipeline, frames, config, live=args.live):
        witness.see(frame, done)
    result = {"bench": "consistency", "video": args.video.name,
              "preset": config["detector"]["preset"], "delete_every": args.delete_every,
              "live": args.live, **witness.verdict(codes), "machine": usage.spent().machine()}
    if args.sheet:
        witness.sheet.write(args.sheet)
    return result


def _forget_every(detector: Any, every: int) -> None:
    """Make a detector find nothing in every so-many-th frame."""
    inner, calls = detector.search, iter(range(1, 1 << 62))

    def search(frame: Any) -> Any:
        found = inner(frame)
        return found[:0] if next(calls) % every == 0 else found

    detector.search = search


def _record_codes(pipeline: Any) -> dict[int, bytes]:
    """Track -> identity code, filled while the pipeline runs."""
    codes: dict[int, bytes] = {}
    inner = pipeline.matcher.match

    def match(*args: Any, **options: Any) -> Any:
        matches = inner(*args, **options)
        for row in matches:
            codes[int(row["track_id"])] = row["code"].tobytes()
        return matches

    pipeline.matcher.match = match
    return codes


def _frames(args: argparse.Namespace) -> tuple[Iterator[tuple[Any, int]], int]:
    """Frames with their stamps (ns), and every how many a pair is compared."""
    import cv2

    if args.video.suffix.lower() in _PICTURES:
        picture = cv2.imread(str(args.video))
        if picture is None:
            raise DeidError(f"{args.video} cannot be read; check the file.")
        every = max(args.limit // max(args.pairs, 1), 2)
        return ((picture, 1 + i * 40_000_000) for i in range(args.limit)), every
    from deid_ros.media.videos import VideoReader

    with VideoReader(args.video) as reader:
        count = min(reader.count or args.limit, args.limit)

    def read() -> Iterator[tuple[Any, int]]:
        with VideoReader(args.video) as again:
            for index, (pixels, pts, _) in enumerate(again):
                if index >= args.limit:
                    return
                yield pixels, max(1, round(pts * again.time_base * 1_000_000_000))

    return read(), max(count // max(args.pairs, 1), 2) if args.pairs else 1 << 30


def _processed(pipeline: Any, frames: Iterator[tuple[Any, int]], config: Config, *,
               live: bool) -> Iterator[tuple[Any, Any]]:
    """(original, ``Processed`` or the error for which it is withheld)."""
    from deid_ros.media.lookback import LookBack

    look = LookBack(pipeline, frames=0 if live else config["detector"]["carry_frames"])
    for frame, stamp in frames:
        yield from look.push(frame, stamp_ns=stamp, token=frame)
    yield from look.flush()


class _Witness:
    """Looks at originals and outputs, and remembers what is wrong."""

    def __init__(self, step: int) -> None:
        from deid_ros.bench.contact_sheet import ContactSheet
        from deid_ros.detector import FaceMesh, create_detector

        self._detectors = {name: create_detector(name, threshold=_SURE) for name in _REFERENCE}
        self._mesher, self._extractor = FaceMesh(), None
        self._step, self._index = step, -1
        self._before: tuple[Any, Any] | None = None
        self._embedded: dict[int, tuple[Any, Any]] = {}       # track -> original, output
        self.counts: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.bare: Counter[str] = Counter()
        self.bare_frames: list[int] = []
        self._tracks: set[int] = set()
        self._jitter: list[float] = []
        self._distances: dict[str, list[float]] = defaultdict(list)
        self._persons: dict[int, list[Any]] = defaultdict(list)
        self._changed = 0
        self.sheet = ContactSheet()
        self.withheld = 0

    def see(self, frame: Any, done: Any) -> None:
        """One frame and what became of it."""
        self._index += 1
        if isinstance(done, DeidError):
            self.withheld += 1
            self._before = None
            return
        self.counts.update(done.covered_by)
        self._tracks |= {int(track) for track in done.faces["track_id"]}
        marks = self._look(frame, done)
        self._compare(frame, done)
        self._follow(frame, done)
        if any(not covered for _, _, covered in marks):
            self.bare_frames.append(self._index)
        self.sheet.add(self._index, frame, done.frame, marks)
        self._before = frame, done.faces

    def _look(self, frame: Any, done: Any) -> list[tuple[str, Any, bool]]:
        """Faces of the original: by whom, box, whether covered."""
        marks = []
        for name, detector in self._detectors.items():
            for row in detector.detect(frame):
                covered = _share(done.mask, row["box"]) >= _COVERED
                self.seen[name] += 1
                self.bare[name] += not covered
                marks.append((name, row["box"].copy(), covered))
        return marks

    def _compare(self, frame: Any, done: Any) -> None:
        """Embeddings of the same track in this frame and the one before."""
        if self._index % self._step > 1:
            self._embedded = {}
            return
        now: dict[int, tuple[Any, Any]] = {}
        for face in done.faces[done.faces["trusted"] > 0]:
            own, other = self._embed(frame, face), self._embed(done.frame, face)
            if own is not None and other is not None:
                now[int(face["track_id"])] = own, other
                self._persons[int(face["track_id"])].append(own)
        import numpy as np
        for track in now.keys() & self._embedded.keys():
            for name, a, b in zip(("original", "output"), now[track], self._embedded[track],
                                  strict=True):
                self._distances[name].append(_DLIB * float(np.linalg.norm(a - b)))
        self._embedded = now

    def _embed(self, frame: Any, face: Any) -> Any:
        """The embedding (D,) of the face at a row of ``FACE``; None where none is seen."""
        import numpy as np

        from deid_ros.detector.boxes import make_detections
        from deid_ros.detector.chips import cut_chips
        from deid_ros.extractor import create_extractor

        if self._extractor is None:
            self._extractor = create_extractor("dlib_resnet")
        points = face["landmarks"].reshape(68, 2)
        box = np.concatenate([points.min(0), np.ptp(points, axis=0)])[None]
        found = make_detections(box, [1.0], float(face["roll"]))
        meshes, confidence = self._mesher.locate(frame, found)
        if confidence[0] < 0.5:
            return None
        return self._extractor.embed(cut_chips(frame, box, meshes, "dlib_resnet"))[0]

    def _follow(self, frame: Any, done: Any) -> None:
        """How far each covered place moved against the face behind it."""
        if self._before is None or self._before[0].shape != frame.shape:
            return
        import numpy as np
        former, faces = self._before
        for face in done.faces[done.faces["trusted"] > 0]:
            old = faces[(faces["track_id"] == face["track_id"]) & (faces["trusted"] > 0)]
            if len(old):
                flow = _flow(former, frame, old[0])
                if flow is not None:
                    moved = face["center"] - old[0]["center"]
                    width = np.ptp(face["landmarks"].reshape(68, 2)[:17, 0])
                    self._jitter.append(float(np.hypot(*(moved - flow))) * 100 / max(width, 1.0))

    def verdict(self, codes: dict[int, bytes]) -> dict[str, Any]:
        """The numbers of ``measure``."""
        import numpy as np

        people = self._people()
        surrogates = [{codes[track] for track in group if track in codes} for group in people]
        extra = sum(max(len(each) - 1, 0) for each in surrogates)
        jitter = self._jitter
        mean = {name: round(float(np.mean(values)), 3) if values else None
                for name, values in ((n, self._distances[n]) for n in ("output", "original"))}
        return {
            "frames": self._index + 1, "withheld": self.withheld, "covered": dict(self.counts),
            "tracks": len(self._tracks), "reference_faces": dict(self.seen),
            "uncovered": {name: int(self.bare[name]) for name in _REFERENCE},
            "uncovered_frames": self.bare_frames[:100],
            "people": len(people), "surrogates": len(set().union(*surrogates)) if people else 0,
            "switches": extra + self._changed,
            "distance": {**mean, "pairs": len(self._distances["output"])},
            "jitter_px": {"mean": round(float(np.mean(jitter)), 3),
                          "p95": round(float(np.percentile(jitter, 95)), 3)} if jitter else None}

    def _people(self) -> list[list[int]]:
        """Tracks by person; counts tracks whose person changes on the way."""
        import numpy as np

        groups: list[tuple[Any, list[int]]] = []
        for track, embeddings in sorted(self._persons.items()):
            half = len(embeddings) // 2
            if half >= 2 and _DLIB * np.linalg.norm(
                    np.mean(embeddings[:half], 0) - np.mean(embeddings[half:], 0)) > _SAME:
                self._changed += 1
            middle = np.mean(embeddings, axis=0)
            for known, tracks in groups:
                if _DLIB * np.linalg.norm(known - middle) < _SAME:
                    tracks.append(track)
                    break
            else:
                groups.append((middle, [track]))
        return [tracks for _, tracks in groups]


def _share(mask: Any, box: Any) -> float:
    """The part of the ellipse in a box, within the frame, that a mask covers."""
    import cv2
    import numpy as np

    ellipse = np.zeros(mask.shape, np.uint8)
    x, y, w, h = (float(v) for v in box)
    cv2.ellipse(ellipse, (round(x + w / 2), round(y + h / 2)),
                (max(round(_AXES * w / 2), 1), max(round(_AXES * h / 2), 1)), 0, 0, 360, 255, -1)
    inside = ellipse > 0
    return float((mask[inside] > 0).mean()) if inside.any() else 1.0


def _flow(former: Any, frame: Any, face: Any) -> Any:
    """Median motion (2,) px of the original's pixels behind a face; None: not to be told."""
    import cv2
    import numpy as np

    grey = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in (former, frame)]
    region = np.zeros(grey[0].shape, np.uint8)
    hull = cv2.convexHull(face["landmarks"].reshape(68, 2).astype(np.float32))
    cv2.fillConvexPoly(region, np.round(hull).astype(np.int32), 255)
    points = cv2.goodFeaturesToTrack(grey[0], 80, 0.01, 2, mask=region)
    if points is None or len(points) < 8:
        return None
    there, good, _ = cv2.calcOpticalFlowPyrLK(*grey, points, None, winSize=(15, 15), maxLevel=3)
    good = good[:, 0] > 0
    if good.sum() < 8:
        return None
    return np.median((there - points)[good, 0], axis=0)


def text(result: dict[str, Any]) -> str:
    """The numbers for people."""
    distance, jitter = result["distance"], result["jitter_px"]
    frames = ", ".join(str(index) for index in result["uncovered_frames"][:12])
    return "\n".join([
        f"consistency  {result['video']}, {result['preset']}"
        + (f", every {result['delete_every']}. detection deleted" if result["delete_every"] else "")
        + (", live" if result["live"] else ""),
        f"machine      {machine_line(result['machine'])}",
        f"frames       {result['frames']}, withheld {result['withheld']}",
        "covered      " + (", ".join(f"{k} {n}" for k, n in result["covered"].items()) or "none"),
        "uncovered    " + ", ".join(
            f"{result['uncovered'][name]} of {result['reference_faces'].get(name, 0)} that {name} "
            "sees" for name in result["uncovered"]) + (f" (frames {frames})" if frames else ""),
        f"identities   {result['tracks']} tracks, {result['people']} people, "
        f"{result['surrogates']} surrogates, {result['switches']} switches",
        f"distance     output {distance['output']}, original {distance['original']} "
        f"({distance['pairs']} pairs)",
        "jitter       " + (f"mean {jitter['mean']:.2f} px, p95 {jitter['p95']:.2f} px of a 100 px "
                           "face" if jitter else "no face was followed")])
