"""What every parameter means: description, unit, type, range, choices.

One table for everybody: the nodes make their ROS descriptors from it, the
command line its help, ``config.load`` its checks, and a test compares it with
``config/pipeline.yaml``, which alone holds the defaults, and with the README.
Pure Python, no imports beyond the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BUILTIN", "COMMON", "LAUNCH", "PARAMETERS", "POLICIES_IN_A_LINE", "RENAMED",
           "Parameter", "help_of", "parameter"]

#: Parameters (and prefixes of parameters) that every ROS node has of itself.
#: They may stand in a user's file and are handed on unchecked.
BUILTIN = ("use_sim_time", "qos_overrides", "start_type_description_service")


@dataclass(frozen=True)
class Parameter:
    """One parameter of one node.

    Attributes:
        kind: ``bool``, ``int``, ``float``, ``str`` or ``list`` (of ``str``).
        description: one sentence without the final stop.
        unit: unit of the value, '' where it has none.
        minimum, maximum: inclusive bounds of numbers.
        choices: the only values allowed (of each item, for a list), or ().
        live: whether it may be changed while the node runs.
        secret: whether nobody may read it from the node.
        pattern: regular expression that a text matches, or ''; ``form`` says it in words.
    """

    kind: type
    description: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    secret: bool = False
    pattern: str = ""
    form: str = ""

    @property
    def allowed(self) -> str:
        """The allowed values in words: '0.0 to 1.0', 'one of a, b'."""
        if self.choices:
            if self.kind is list:
                return f"a list from {', '.join(self.choices)}"
            return f"one of {', '.join(self.choices)}"
        if self.form:
            return self.form
        if self.minimum is not None or self.maximum is not None:
            unit = f" {self.unit}" if self.unit else ""
            word = {int: "a whole number ", float: "a number "}.get(self.kind, "")
            return f"{word}from {self.minimum} to {self.maximum}{unit}"
        return {bool: "true or false", int: "a whole number", float: "a number",
                str: "a text", list: "a list of texts"}[self.kind]


_NAMES = r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*"
_IMAGE_TOPIC = Parameter(
    str, "Camera topic; a name that ends in /compressed is read as CompressedImage",
    pattern=f"/?{_NAMES}|~/{_NAMES}", form="a topic such as /camera/image_raw")
_EXTRACTORS = ("dlib_resnet", "vggface", "trained")

#: Policy -> what it does and is worth, for a log; ``matcher.POLICIES`` says it in a paragraph.
POLICIES_IN_A_LINE = {
    "independent": "is a random draw per track",
    "nearest": "is the paper's and leaks against a modern face recogniser",
    "margin": "takes the nearest beyond a distance and falls to an attacker who runs the same tool",
    "k_same": "lets k enrolled people share one surrogate",
}

#: node -> parameter -> what it is. The order is that of ``config/pipeline.yaml``.
PARAMETERS: Mapping[str, Mapping[str, Parameter]] = {
    "detector": {
        "image_topic": _IMAGE_TOPIC,
        "detector": Parameter(
            list, "Detectors whose union is covered",
            choices=("viola_jones", "ssd", "centerface", "dlib_hog"), live=True),
        "preset": Parameter(
            str, "How thoroughly frames are searched: fast on a weak machine, paranoid for "
            "pictures and archives", choices=("fast", "balanced", "paranoid"), live=True),
        "threshold": Parameter(
            float, "Least score of a detection; lower covers more, also what is no face",
            minimum=0.0, maximum=1.0, live=True),
        "margin": Parameter(
            float, "The covered box grows by this part of its size, and a px, on every side",
            minimum=0.0, maximum=2.0, live=True),
        "cover": Parameter(
            str, "What the covered box holds; head: hair, ears and chin too, where an "
            "obfuscation covers it", choices=("face", "head"), live=True),
        "min_surrogate_px": Parameter(
            int, "Smaller faces are covered with an obfuscation, not with a surrogate",
            unit="px", minimum=0, maximum=4096, live=True),
        "carry_frames": Parameter(
            int, "How long at most a face that nothing sees stays covered where it is predicted; "
            "eight frames where the face mesh says that there is none",
            unit="frames", minimum=0, maximum=3600),
        "extractor": Parameter(
            str, "The extractor that chips are cut for; the matcher's must be the same",
            choices=_EXTRACTORS),
        "queue": Parameter(
            int, "Camera images that wait for the detector at most; the newest win",
            unit="frames", minimum=1, maximum=100),
    },
    "matcher": {
        "gallery": Parameter(
            str, "Gallery file, absolute or relative to the installed share folder"),
        "extractor": Parameter(
            str, "What turns a chip into an embedding; the gallery's must be the same",
            choices=_EXTRACTORS),
        "extractor_weights": Parameter(
            str, "Weights file of your own; needed by vggface and trained, ignored by dlib_resnet"),
        "policy": Parameter(
            str, "How a surrogate identity is chosen: " + "; ".join(
                f"{name} {words}" for name, words in POLICIES_IN_A_LINE.items()),
            choices=tuple(POLICIES_IN_A_LINE), live=True),
        "mix": Parameter(
            int, "Gallery identities blended in one surrogate; at most the size of the gallery",
            unit="identities", minimum=1, maximum=1000, live=True),
        "preserve": Parameter(
            list, "What a surrogate keeps of the person, age and complexion in three bands each; "
            "['none'] for nothing",
            choices=("sex", "age", "complexion", "none"), live=True),
        "min_distance": Parameter(
            float, "Policy margin: least cosine distance of a contributor to the person; 0: the "
            "median distance between two gallery people of one sex", minimum=0.0, maximum=2.0,
            live=True),
        "k": Parameter(
            int, "Policy k_same: how many enrolled people share a surrogate at least",
            unit="people", minimum=2, maximum=1000, live=True),
        "enrolled": Parameter(
            str, "Policy k_same: the enrolled people, a file made by deid db build with a picture "
            "of each", live=True),
        "memory_seconds": Parameter(
            float, "How long a person who left the view keeps the surrogate; 0: forgotten at once",
            unit="s", minimum=0.0, maximum=86400.0, live=True),
        "key": Parameter(
            str, "Given, the same input gets the same surrogates again; empty: a fresh one "
            "per run", secret=True),
        "generator": Parameter(
            str, "The generator that draws the surrogates; the gallery's identity codes must be "
            "made with the face space beside it"),
    },
    "generator": {
        "generator": Parameter(
            str, "Exported generator, absolute or relative to the installed share folder"),
    },
    "replacer": {
        "image_topic": _IMAGE_TOPIC,
        "replace": Parameter(
            str, "What covers a face",
            choices=("surrogate", "blur", "pixelate", "solid"), live=True),
        "blend": Parameter(
            str, "How a surrogate is blended in: gaussian is a weighted mask, inplace works "
            "on gradients",
            choices=("gaussian", "inplace"), live=True),
        "deadline_ms": Parameter(
            float, "Later than this a face without surrogate is covered flat and a frame "
            "without face table is withheld",
            unit="ms", minimum=1.0, maximum=60000.0, live=True),
        "queue": Parameter(
            int, "Frames that wait for their tables at most; the oldest is withheld beyond",
            unit="frames", minimum=1, maximum=1000),
        "jpeg_quality": Parameter(
            int, "Quality of the JPEG images that leave where raw ones came; a JPEG keeps its own",
            minimum=1, maximum=100, live=True),
    },
    "video_source": {
        "source": Parameter(
            str, "A video file, an image, a folder of images, a V4L2 index, or astronaut for a "
            "photograph that is panned and zoomed"),
        "image_topic": _IMAGE_TOPIC,
        "rate": Parameter(float, "Frames published a second; 0: as many as the file has, 30 "
                          "where it does not say", unit="Hz", minimum=0.0, maximum=1000.0),
        "loop": Parameter(bool, "Begin again at the end of the source"),
        "frames": Parameter(int, "End after so many frames; 0: at the end of the source",
                            unit="frames", minimum=0, maximum=2**31 - 1),
        "width": Parameter(int, "Width to scale frames to; 0: as the source has it",
                           unit="px", minimum=0, maximum=16384),
        "height": Parameter(int, "Height to scale frames to; 0: as the source has it",
                            unit="px", minimum=0, maximum=16384),
        "frame_id": Parameter(str, "Coordinate frame written into the headers"),
        "wait_s": Parameter(float, "Longest wait for listeners before the first frame",
                            unit="s", minimum=0.0, maximum=3600.0),
        "wait_for": Parameter(
            list, "Nodes that must listen before the first frame; ['none']: anybody",
            choices=("detector", "matcher", "generator", "replacer", "recorder", "none")),
    },
    "recorder": {
        "topics": Parameter(list, "Topics to record"),
        "output": Parameter(str, "Folder of the rosbag2 to write; it must not exist yet"),
        "storage": Parameter(str, "File format of the rosbag2", choices=("mcap", "sqlite3")),
    },
}

#: Node and old name of a parameter -> its name now. The old one is refused with the new one.
RENAMED = {("matcher", "margin"): "min_distance"}

#: Node and parameter of what is set often: an option of ``deid pipeline`` and an argument of
#: the launch file. The rest goes through a file, ``--config`` and ``config:=``.
COMMON = (
    ("detector", "image_topic"), ("detector", "detector"), ("detector", "preset"),
    ("detector", "threshold"), ("detector", "margin"), ("detector", "cover"),
    ("replacer", "replace"), ("replacer", "blend"), ("replacer", "deadline_ms"),
    ("matcher", "policy"), ("matcher", "mix"), ("matcher", "preserve"),
    ("matcher", "min_distance"), ("matcher", "k"), ("matcher", "enrolled"),
    ("matcher", "memory_seconds"), ("matcher", "key"), ("matcher", "gallery"),
)

#: Arguments of the launch file that are no parameters of a stage.
LAUNCH: Mapping[str, Parameter] = {
    "config": Parameter(
        str, "ROS parameter file for all nodes; what it leaves out keeps its default"),
    "namespace": Parameter(
        str, "Namespace of all nodes and of their relative topics; one for each camera",
        pattern=f"/?({_NAMES})?", form="a namespace such as front_camera"),
    "record": Parameter(
        str, "Folder of a rosbag2 to write the output to; it must not exist yet. Empty: no "
        "recording"),
    "network": Parameter(
        str, "host: shared memory and loopback, nothing leaves this host; lan: every network "
        "card, large-data transports. A Fast DDS profile or discovery range set in the "
        "environment goes before it", choices=("host", "lan")),
    "use_sim_time": Parameter(
        bool, "Stamp diagnostics with /clock; deadlines always use the steady clock"),
    "log_level": Parameter(
        str, "Least severity of log messages that are shown",
        choices=("debug", "info", "warn", "error", "fatal")),
}


def parameter(node: str, name: str) -> Parameter:
    """The entry of one parameter; ``KeyError`` where there is none."""
    return PARAMETERS[node][name]


def help_of(node: str, name: str) -> str:
    """Description, unit and allowed values in one line, for the command line.

    ``%`` is doubled, as argparse wants it.
    """
    entry = PARAMETERS[node][name]
    words = entry.description
    if entry.choices or entry.minimum is not None:
        words += f" ({entry.allowed})"
    elif entry.unit:
        words += f" ({entry.unit})"
    return words.replace("%", "%%")
