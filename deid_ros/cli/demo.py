"""``deid demo``: the nodes over real ROS 2 topics, and pictures of what they did."""

from __future__ import annotations

import argparse
import bisect
import itertools
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deid_ros.cli.options import add_config, add_parameter, overrides_of
from deid_ros.config import defaults, load
from deid_ros.errors import ConfigError, MediaError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Input", "Outputs", "check_stamps", "read_bag", "register", "run"]

DESCRIPTION = """\
Run a video source, the four nodes and the recorder over real ROS 2 topics that
stay on this host, then show what happened. The source is a photograph of an
astronaut, panned and zoomed, or whatever --source names."""

EPILOG = """\
examples:
  deid demo                          the built-in picture
  deid demo --source clip.mp4        a video of yours
  deid demo --policy nearest --mix 3
                                     another way to choose surrogates

what it leaves in the output folder:
  video.mp4          input and output side by side
  before_after.png   one frame of it
  bag/               a rosbag2 of what was published; no raw image is in it
  summary.json       the numbers that are printed

exit status: 0 it worked; 1 nothing came out, a frame came out that had not gone in,
or the astronaut's face was not covered; 2 refused.
"""

_SETTLE_S = 1.5
_CAPTIONS = ("before", "after")
#: JPEG nearly without loss (1 is cv2.IMWRITE_JPEG_QUALITY).
_FINE = (1, 97)


def register(subparsers: argparse._SubParsersAction) -> None:
    """Add ``deid demo`` to the command line."""
    parser = subparsers.add_parser("demo", help="see the ROS 2 pipeline work",
                                   description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--source", default="astronaut", metavar="SOURCE",
                        help="a video, a picture, a folder of pictures, the number of a V4L2 "
                             "camera [astronaut]")
    parser.add_argument("-o", "--out", default="out/demo", metavar="FOLDER", type=Path,
                        help="folder for the results; those of an earlier demo are replaced "
                             "[out/demo]")
    parser.add_argument("--seconds", type=float, default=15.0, metavar="S",
                        help="how much of the source to show, at most [15]")
    parser.add_argument("--rate", type=float, default=15.0, metavar="HZ",
                        help="frames published a second [15]")
    parser.add_argument("--width", type=int, default=640, metavar="PX",
                        help="wider frames are scaled down to this; 0: never [640]")
    for node, name in (("detector", "detector"), ("matcher", "policy"), ("matcher", "mix"),
                       ("matcher", "key"), ("replacer", "replace"), ("replacer", "blend")):
        add_parameter(parser, node, name)
    add_config(parser)


@dataclass
class Input:
    """Frames on their way into the source, remembered for the pictures.

    Kept as JPEG, so that a minute of video fits into memory. ``times`` (ns) are
    when each was handed out: its stamp lies between its own and the next.
    """

    frames: Iterator[np.ndarray]
    jpegs: list[bytes] = field(default_factory=list)
    times: list[int] = field(default_factory=list)

    def __iter__(self) -> Iterator[np.ndarray]:
        import cv2

        # The recorder has to find the camera's info topic before the first stamp.
        time.sleep(_SETTLE_S)
        for frame in self.frames:
            self.jpegs.append(cv2.imencode(".jpg", frame, _FINE)[1].tobytes())
            self.times.append(time.time_ns())
            yield frame

    def index_of(self, stamp: int) -> int:
        """The number of the frame with this stamp (ns); -1 if it is older than all."""
        return bisect.bisect_right(self.times, stamp) - 1

    def frame(self, index: int) -> np.ndarray:
        """BGR uint8 (H, W, 3)."""
        import cv2
        import numpy as np

        return cv2.imdecode(np.frombuffer(self.jpegs[index], np.uint8), cv2.IMREAD_COLOR)


@dataclass(frozen=True)
class Outputs:
    """What a bag holds: stamps (ns) of the camera's infos and of the output images."""

    stamps_in: list[int]
    stamps_out: list[int]


def read_bag(bag: Path, info_topic: str, image_topic: str) -> Outputs:
    """The stamps in a bag.

    Raises:
        MediaError: the bag cannot be read.
    """
    stamps: dict[str, list[int]] = {info_topic: [], image_topic: []}
    for topic, message in _messages(bag, list(stamps)):
        stamps[topic].append(_stamp(message))
    return Outputs(stamps[info_topic], stamps[image_topic])


def check_stamps(outputs: Outputs) -> list[str]:
    """What is wrong with the stamps, a sentence each."""
    problems = []
    strangers = set(outputs.stamps_out) - set(outputs.stamps_in)
    if not outputs.stamps_out:
        problems.append("no frame came out")
    if strangers:
        problems.append(f"{len(strangers)} output stamps are no input stamps, the first "
                        f"{min(strangers)} ns")
    if len(set(outputs.stamps_out)) != len(outputs.stamps_out):
        problems.append("a stamp came out twice")
    return problems


def run(args: argparse.Namespace, *,
        cores: Mapping[str, Mapping[str, Any]] | None = None) -> int:
    """Run the demo and print its summary; ``cores`` as for ``ros.graph.Graph``."""
    for name, least, most in (("seconds", 0.5, 600.0), ("rate", 0.1, 240.0), ("width", 0, 16384)):
        value = getattr(args, name)
        if not least <= value <= most:
            raise ConfigError(f"--{name} is {value} but must be from {least} to {most}.")
    overrides = overrides_of(args)
    bag = args.out / "bag"
    overrides["video_source"] = {"source": args.source, "rate": args.rate,
                                 "frames": max(1, round(args.seconds * args.rate))}
    config = load(args.config, overrides)

    from deid_ros.ros import topics
    from deid_ros.ros.camera import info_topic
    from deid_ros.ros.session import Run, run_composed

    for name, patient in (("deadline_ms", 1000.0), ("queue", 30)):
        # Nobody steers a robot by a demo: on a slow or busy machine show frames late
        # rather than withhold them. What the user has set stays.
        if config["replacer"][name] == defaults()["replacer"][name]:
            config["replacer"][name] = patient
    infos = info_topic(config["video_source"]["image_topic"])
    image = "/" + topics.IMAGE
    config["recorder"] |= {"output": str(bag.absolute()),
                           "topics": [infos, image, "/" + topics.CAMERA_INFO]}
    _clear(args.out)
    frames, fps = _open(args.source, width=args.width, rate=args.rate)
    shown = Input(frames)
    print(f"deid demo: {args.source} at {args.rate:g} Hz through the nodes ...", flush=True)
    # A domain of its own, so that no other camera of this host takes part.
    domain = None if os.environ.get("ROS_DOMAIN_ID") else 1 + os.getpid() % 100
    summary = run_composed(Run(config=config, source=True, record=True, domain_id=domain),
                           cores={**(cores or {}), "video_source": {"source": iter(shown)}})
    summary.write(args.out / "summary.json")
    print(summary.text())

    problems = check_stamps(read_bag(bag, infos, image))
    if summary.frames_in > len(shown.times):
        problems.append("another camera publishes on this ROS domain; set another ROS_DOMAIN_ID")
    if args.source == "astronaut" and not summary.faces_covered:
        problems.append("the astronaut's face was not covered")
    if summary.frames_out:
        _pictures(args.out, shown, bag, image, fps)
        for name in ("video.mp4", "before_after.png", "bag"):
            print(f"written  {args.out / name}")
    for problem in problems:
        print(f"wrong    {problem}")
    return 1 if problems else 0


def _clear(out: Path) -> None:
    """Take the results of an earlier demo away, and nothing else."""
    bag = out / "bag"
    # Killed half-way, a bag has no metadata; anything else is not ours.
    if bag.exists() and not (bag / "metadata.yaml").is_file() and not all(
            path.suffix in (".mcap", ".db3") for path in bag.iterdir()):
        raise MediaError(f"{bag} is not a rosbag2, not replacing it; name another folder with -o.")
    shutil.rmtree(bag, ignore_errors=True)
    for name in ("video.mp4", "before_after.png", "summary.json"):
        (out / name).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)


def _open(source: str, *, width: int, rate: float) -> tuple[Iterator[np.ndarray], Fraction]:
    """The source's frames, scaled down; the rate (Hz) at which they look natural."""
    import cv2

    from deid_ros.ros.sources import open_source

    fps = Fraction(rate).limit_denominator(1001)
    if Path(source).is_file():
        capture = cv2.VideoCapture(source)
        found = capture.get(cv2.CAP_PROP_FPS)
        capture.release()
        if 1 <= found <= 240:
            fps = Fraction(found).limit_denominator(1001)

    def scaled() -> Iterator[np.ndarray]:
        for frame in itertools.chain([first], frames):
            height, across = frame.shape[:2]
            if width and across > width:
                frame = cv2.resize(frame, (width, max(1, round(height * width / across))),
                                   interpolation=cv2.INTER_AREA)
            yield frame

    frames = open_source(source)
    # What cannot be read is refused now and not by a running node.
    first = next(frames, None)
    if first is None:
        raise MediaError(f"The source {source!r} has no frames; name another one.")
    return scaled(), fps


def _messages(bag: Path, topics: list[str]) -> Iterator[tuple[str, Any]]:
    from rosbags.highlevel import AnyReader, AnyReaderError
    from rosbags.typesys import Stores, get_typestore

    try:
        with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_KILTED)) as reader:
            wanted = [c for c in reader.connections if c.topic in topics]
            for connection, _, data in reader.messages(wanted) if wanted else ():
                yield connection.topic, reader.deserialize(data, connection.msgtype)
    except AnyReaderError as error:
        raise MediaError(f"The bag {bag} cannot be read ({error}).") from None


def _stamp(message: Any) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def _pictures(out: Path, shown: Input, bag: Path, topic: str, fps: Fraction) -> None:
    """``video.mp4`` and ``before_after.png``."""
    import av
    import cv2
    import numpy as np

    changes: list[tuple[float, int, np.ndarray]] = []
    with av.open(str(out / "video.mp4"), "w", options={"movflags": "faststart"}) as container:
        codec = next(name for name in ("libx264", "libopenh264", "mpeg4")
                     if name in av.codecs_available)
        stream = container.add_stream(codec, rate=fps)
        stream.codec_context.time_base = 1 / fps
        stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "20", "preset": "veryfast"}
        for _, message in _messages(bag, [topic]):
            index = shown.index_of(_stamp(message))
            after = np.frombuffer(message.data, np.uint8).reshape(message.height, -1, 3)
            last = changes[-1][1] if changes else -1
            if index <= last or (before := shown.frame(index)).shape != after.shape:
                continue  # not of our source: the checks have said so
            # H.264 wants even sizes.
            pair = np.hstack([before, after])[:after.shape[0] // 2 * 2, :2 * after.shape[1]]
            if not changes:
                stream.width, stream.height = pair.shape[1], pair.shape[0]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pair), format="bgr24")
            # A withheld frame leaves a gap: the picture before it stays longer.
            frame.pts, frame.time_base = index, 1 / fps
            container.mux(stream.encode(frame))
            changes.append((_change(before, after), index, cv2.imencode(".jpg", after, _FINE)[1]))
        container.mux(stream.encode(None))
    if changes:
        changes.sort(key=lambda change: change[:2])
        shows = [change for change in changes if change[0] > 0] or changes
        _, index, after = shows[len(shows) // 2]
        cv2.imwrite(str(out / "before_after.png"),
                    _side_by_side(shown.frame(index), cv2.imdecode(after, cv2.IMREAD_COLOR)))


def _change(before: np.ndarray, after: np.ndarray) -> float:
    """Part of the frame that was changed; negative where the change is cut by its edge."""
    import cv2

    # JPEG alone changes a pixel by less than this.
    changed = cv2.absdiff(before, after).max(axis=2) > 40
    inside = changed[2:-2, 2:-2].sum() == changed.sum()
    part = float(changed.mean())
    return part if inside else part - 1.0


def _side_by_side(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Both with a caption below, a white line between them."""
    import cv2
    import numpy as np

    height, width = before.shape[:2]
    picture = np.full((height + 36, 2 * width + 8, 3), 255, np.uint8)
    for x, half, word in zip((0, width + 8), (before, after), _CAPTIONS):
        picture[:height, x:x + width] = half
        cv2.putText(picture, word, (x + 8, height + 25), cv2.FONT_HERSHEY_SIMPLEX, 0.7,
                    (60, 60, 60), 1, cv2.LINE_AA)
    return picture

