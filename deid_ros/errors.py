"""The errors of the package: one class per room.

Every message is one sentence that gives the offending value and the remedy.
The command line prints it and exits with status 2; a node logs it and
withholds or covers the frame.
"""


class DeidError(Exception):
    """Anything this package refuses to do, with the reason and the remedy."""


class ConfigError(DeidError):
    """An option or parameter that is unknown or out of range."""


class ModelError(DeidError):
    """A model file that is missing, altered or of the wrong kind."""


class FrameError(DeidError):
    """A frame (image array or message) that cannot be read safely."""


class DetectorError(DeidError):
    """A detector back end that is unknown or failed."""


class ExtractorError(DeidError):
    """An extractor that is unknown or lacks its weights."""


class GalleryError(DeidError):
    """A gallery that cannot be read, built or used with this extractor."""


class GeneratorError(DeidError):
    """A surrogate that cannot be generated."""


class ReplacerError(DeidError):
    """A surrogate that cannot be put in place."""


class MediaError(DeidError):
    """An image, video or rosbag that cannot be read or written."""


class TrainingError(DeidError):
    """A training run that cannot start or continue."""


class EvaluationError(DeidError):
    """A measurement that cannot be made."""
