"""Extractors: a chip in, a unit embedding out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deid_ros.errors import ExtractorError
from deid_ros.extractor.dlib_resnet import DlibResnet
from deid_ros.extractor.interfaces import Extractor
from deid_ros.extractor.trained import TrainedExtractor
from deid_ros.extractor.vggface import VggFace

__all__ = ["EXTRACTORS", "DlibResnet", "Extractor", "TrainedExtractor", "VggFace",
           "create_extractor"]

#: Name -> class; neither dlib nor Keras is imported before one is made.
EXTRACTORS: dict[str, Callable[..., Extractor]] = {
    DlibResnet.name: DlibResnet,
    VggFace.name: VggFace,
    TrainedExtractor.name: TrainedExtractor,
}


def create_extractor(name: str, *, weights: str | Path | None = None,
                     layer: str = "fc7") -> Extractor:
    """The extractor called ``name``.

    Args:
        name: a key of ``EXTRACTORS``.
        weights: weights file of ``vggface`` ('' and None: the usual places), the
            exported network of ``trained``; ``dlib_resnet`` has its own and ignores it.
        layer: the layer of ``vggface`` that gives the embedding, fc6 or fc7.

    Raises:
        ExtractorError: an unknown name, missing or unfit weights.
        ModelError: dlib's model file is missing or altered.
    """
    if name not in EXTRACTORS:
        raise ExtractorError(f"There is no extractor called '{name}'; choose one of "
                             f"{', '.join(EXTRACTORS)}.")
    if name == VggFace.name:
        return VggFace(weights=weights, layer=layer)
    if name == TrainedExtractor.name:
        return TrainedExtractor(weights=weights)
    return EXTRACTORS[name]()
