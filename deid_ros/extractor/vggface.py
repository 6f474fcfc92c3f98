"""VGG-Face, the 16-layer network, in Keras.

O. M. Parkhi, A. Vedaldi, A. Zisserman, "Deep Face Recognition", BMVC 2015.
Layers bear the names of the public Keras port (conv1_1 ... conv5_3, fc6, fc7,
fc8), so that its weights file loads by name. The weights are licensed apart and
belong to the user: none come with this package.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from deid_ros.errors import ExtractorError
from deid_ros.extractor.interfaces import check_chips, unit_rows
from deid_ros.extractor.weights import load_by_name
from deid_ros.resources import MODELS_VARIABLE, share_path

__all__ = ["FEATURES", "MEAN_BGR", "VggFace", "build_vggface"]

#: Mean of the training images (version 1), in BGR, subtracted from each pixel.
MEAN_BGR = (93.5940, 104.7624, 129.1863)

#: The layers whose output may serve as the embedding.
FEATURES = ("fc6", "fc7")

#: (filters, convolutions) of the five blocks; each ends in a 2x2 max pooling.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))

#: Where weights are looked for when no path is given.
DEFAULT_FILE = "vggface.h5"

BATCH = 8


def build_vggface(*, top: str = "fc8", size: int = 224, units: int = 4096,
                  classes: int = 2622, initializer: str = "glorot_uniform") -> Any:
    """The network from the pixels up to the layer ``top``, as a ``keras.Model``.

    With the defaults it has 145,002,878 parameters.

    Args:
        top: 'fc6' or 'fc7' (after the ReLU, as the next layer sees it) or 'fc8'
            (softmax over ``classes``).
        size: side of the input (px), BGR with ``MEAN_BGR`` subtracted.
        units: width of fc6 and fc7.
        classes: people told apart by fc8.
        initializer: of the kernels; 'zeros' is quick where weights follow.

    Raises:
        ExtractorError: ``top`` is none of the three.
    """
    if top not in (*FEATURES, "fc8"):
        raise ExtractorError(f"VGG-Face has no layer '{top}' to take features from; "
                             f"choose one of {', '.join(FEATURES)}.")
    try:
        import keras
    except ImportError as error:
        raise ExtractorError(f"The extractor 'vggface' needs Keras ({error}); bring it with: "
                             "pip install 'deid_ros[train]'") from None
    layers = keras.layers
    inputs = keras.Input((size, size, 3), name="input")
    x = inputs
    for block, (filters, count) in enumerate(BLOCKS, start=1):
        for number in range(1, count + 1):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu",
                              kernel_initializer=initializer,
                              name=f"conv{block}_{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = layers.Flatten(name="flatten")(x)
    for name, width, activation in (("fc6", units, "relu"), ("fc7", units, "relu"),
                                    ("fc8", classes, "softmax")):
        x = layers.Dense(width, activation=activation, kernel_initializer=initializer,
                         name=name)(x)
        if name == top:
            break
    return keras.Model(inputs, x, name="vggface")


class VggFace:
    """4096-D embeddings of 224 px chips.

    Args:
        weights: the weights file (``.h5``, ``.keras`` or ``.weights.h5``); where
            none is given, ``vggface.h5`` in the folder that ``DEID_MODELS`` names
            or in the installed ``models/`` folder.
        layer: 'fc6' or 'fc7'.

    Raises:
        ExtractorError: no such layer, no such file (the message names the path
            looked at), or a file that does not fit.
    """

    name = "vggface"
    chip_size = 224
    dimensions = 4096

    def __init__(self, *, weights: str | Path | None = None, layer: str = "fc7") -> None:
        if layer not in FEATURES:
            raise ExtractorError(f"VGG-Face has no layer '{layer}' to take features from; "
                                 f"choose one of {', '.join(FEATURES)}.")
        path = self.weights_path(weights)
        self.layer = layer
        self._network = build_vggface(top=layer, initializer="zeros")
        load_by_name(self._network, path)

    @staticmethod
    def weights_path(weights: str | Path | None = None) -> Path:
        """The weights file that will be read; ``ExtractorError`` where it is missing."""
        path = share_path("models", DEFAULT_FILE)
        folder = os.environ.get(MODELS_VARIABLE)
        if weights:
            path = Path(weights).expanduser()
        elif folder and (Path(folder) / DEFAULT_FILE).is_file():
            path = Path(folder) / DEFAULT_FILE
        if not path.is_file():
            raise ExtractorError(
                f"The weights of the extractor 'vggface' were looked for at {path} and are not "
                "there; name your copy with the parameter extractor_weights or put it there "
                f"as {DEFAULT_FILE}.")
        return path

    def embed(self, chips: np.ndarray) -> np.ndarray:
        """See ``Extractor.embed``."""
        import keras

        chips = check_chips(chips, size=self.chip_size, name=self.name)
        if not len(chips):
            return np.zeros((0, self.dimensions), np.float32)
        mean = np.asarray(MEAN_BGR, np.float32)
        features = [keras.ops.convert_to_numpy(self._network(
            chips[start:start + BATCH].astype(np.float32) - mean, training=False))
            for start in range(0, len(chips), BATCH)]
        return unit_rows(np.concatenate(features), name=self.name)
