"""The decoder in image space that the product is compared with, in Keras.

Identity code, mouth and a drawing of the mesh in, a chip of the face out. Convolutions
modulated by the code (Perez et al., "FiLM", AAAI 2018) see the drawing at every size
from 16 pixels up. The live path never imports this module.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from deid_ros.faces import EXPRESSION
from deid_ros.generator.face_space import SHOWN, FaceSpace
from deid_ros.generator.image_decoder import CHIP_SIDE, LAYERS
from deid_ros.generator.network import Clip, DepthToSpace, Double, Haar, Modulate

__all__ = ["build_decoder", "build_judge"]

# Side of the maps: channels of each convolution.
_CHANNELS = {16: (128,), 32: (96, 64), 64: (56, 48)}


@keras.saving.register_keras_serializable("deid_ros")
class SpaceToDepth(layers.Layer):
    """(n, 2h, 2w, c) to (n, h, w, 4c): every pixel of a square beside the others."""

    def call(self, x: object) -> object:
        return keras.ops.concatenate([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], axis=-1)

    def compute_output_shape(self, shape: tuple) -> tuple:
        return shape[0], shape[1] // 2, shape[2] // 2, shape[3] * 4


def build_decoder(space: FaceSpace, *, latent: int = 192, seed: int = 0) -> keras.Model:
    """The decoder: ``code`` (n, code_size), ``expression`` (n, 7) and ``geometry``
    (n, 128, 128, 8) in 0..1 to ``chip``, BGR float32 (n, 128, 128, 3) in -1..1."""
    keras.utils.set_random_seed(seed)
    code = keras.Input((space.code_size,), name="code")
    expression = keras.Input((len(EXPRESSION),), name="expression")
    geometry = keras.Input((CHIP_SIDE, CHIP_SIDE, len(LAYERS)), name="geometry")
    mouth = slice(0, SHOWN)
    moved = layers.Rescaling(1.0 / space.expression_std[mouth],
                             -(space.expression_mean / space.expression_std)[mouth],
                             name="standardise")(expression[:, mouth])
    # Small components count less than large ones, but they count.
    gain = 1 / np.sqrt(space.code_std / space.code_std.max() + 0.05) / space.code_std.max() / 2
    z = layers.Concatenate()([layers.Rescaling(gain, name="gain")(code), Clip(2.5)(moved)])
    for _ in range(2):
        z = layers.LeakyReLU(0.2)(layers.Dense(latent)(z))
    drawn = layers.Rescaling(2.0, -1.0)(geometry)
    fine = layers.LeakyReLU(0.2)(layers.Conv2D(24, 1)(SpaceToDepth()(drawn)))
    x = layers.LeakyReLU(0.2)(layers.Reshape((8, 8, 96))(layers.Dense(8 * 8 * 96)(z)))
    for side, widths in _CHANNELS.items():
        seen = fine if side == CHIP_SIDE // 2 else layers.AveragePooling2D(CHIP_SIDE // side)(drawn)
        x = layers.Concatenate()([Double()(x), seen])
        for width in widths:
            x = layers.Conv2D(width, 3, padding="same")(x)
            x = Modulate()([x, z])
    x = DepthToSpace()(layers.Conv2D(48, 3, padding="same")(layers.Concatenate()([x, fine])))
    x = Modulate()([layers.Concatenate()([x, drawn]), z])
    chip = layers.Conv2D(3, 3, padding="same", name="chip")(x)
    return keras.Model([code, expression, geometry], chip, name="image_decoder")


def build_judge(*, seed: int = 1) -> keras.Model:
    """A small patch discriminator on wavelet bands: chips (n, 128, 128, 3) to scores
    (Isola et al., "Image-to-image translation with conditional adversarial networks",
    CVPR 2017)."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((CHIP_SIDE, CHIP_SIDE, 3))
    x = Haar()(image)
    for width in (48, 64, 96):
        x = layers.LeakyReLU(0.2)(layers.Conv2D(width, 4, strides=2, padding="same")(x))
    return keras.Model(image, layers.Conv2D(1, 3, padding="same")(x), name="judge")
