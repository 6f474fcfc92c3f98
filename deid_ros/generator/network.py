"""The generative network: identity code and expression in, texture out.

A convolutional decoder in the manner of Dosovitskiy et al., "Learning to generate
chairs with convolutional networks", CVPR 2015 (what deconvfaces builds on), in the
pose-free texture of the face mesh. Its lowest frequencies are the face space's
linear texture; the convolutions, modulated by the code as in Perez et al., "FiLM",
AAAI 2018, add everything finer. Written in Keras operations alone, so that it trains
with TensorFlow or JAX; the live path never imports this module.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from deid_ros.faces import EXPRESSION
from deid_ros.generator.atlas import TEXTURE_SIDE
from deid_ros.generator.face_space import COARSE_SIDE, SHOWN, FaceSpace, window

__all__ = ["build_discriminator", "build_generator"]

# Part of the portraits' own detail that is drawn at most; all of it looks like grain.
_DETAIL = 0.6
_TIMES = TEXTURE_SIDE // COARSE_SIDE
_CHANNELS = {16: 128, 32: 96, 64: 48, 128: 24}


@keras.saving.register_keras_serializable("deid_ros")
class Constant(layers.Layer):
    """A learned map that is the same for every face: (n, side, side, channels)."""

    def __init__(self, side: int, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.side, self.channels = side, channels

    def build(self, input_shape: tuple) -> None:
        self.map = self.add_weight(shape=(1, self.side, self.side, self.channels),
                                   initializer=keras.initializers.RandomNormal(stddev=0.3, seed=1))

    def call(self, inputs: Any) -> Any:
        return ops.repeat(self.map, ops.shape(inputs)[0], axis=0)

    def get_config(self) -> dict:
        return {**super().get_config(), "side": self.side, "channels": self.channels}


@keras.saving.register_keras_serializable("deid_ros")
class Clip(layers.Layer):
    """Numbers kept within -limit..limit."""

    def __init__(self, limit: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limit = limit

    def call(self, inputs: Any) -> Any:
        return ops.clip(inputs, -self.limit, self.limit)

    def get_config(self) -> dict:
        return {**super().get_config(), "limit": self.limit}


@keras.saving.register_keras_serializable("deid_ros")
class Modulate(layers.Layer):
    """Feature-wise scale and shift by the latent vector, then leaky ReLU."""

    def build(self, input_shape: tuple) -> None:
        channels, latent = input_shape[0][-1], input_shape[1][-1]
        self.kernel = self.add_weight(shape=(latent, 2 * channels), initializer=(
            keras.initializers.RandomNormal(stddev=0.05, seed=2)))
        self.bias = self.add_weight(shape=(2 * channels,), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        x, latent = inputs
        style = ops.matmul(latent, self.kernel) + self.bias
        scale, shift = ops.split(style[:, None, None, :], 2, axis=-1)
        return ops.leaky_relu(x * (1 + scale) + shift, 0.2)


@keras.saving.register_keras_serializable("deid_ros")
class Double(layers.Layer):
    """Every pixel four times: (n, h, w, c) to (n, 2h, 2w, c).

    What resizing does, written so that its gradient is a plain sum (TensorFlow's
    own takes most of a training step on a CPU).
    """

    def call(self, x: Any) -> Any:
        _, h, w, c = x.shape
        x = ops.reshape(x, (-1, h, 1, w, 1, c))
        x = ops.broadcast_to(x, (ops.shape(x)[0], h, 2, w, 2, c))
        return ops.reshape(x, (-1, 2 * h, 2 * w, c))

    def compute_output_shape(self, shape: tuple) -> tuple:
        return shape[0], 2 * shape[1], 2 * shape[2], shape[3]


@keras.saving.register_keras_serializable("deid_ros")
class Haar(layers.Layer):
    """One level of the Haar wavelet, (n, h, w, c) to (n, h / 2, w / 2, 4c).

    What is fine is faint: the three fine bands are louder, so that the judge sees
    them early (Gal et al., "SWAGAN", SIGGRAPH 2021).
    """

    def call(self, x: Any) -> Any:
        a, b = x[:, ::2, ::2], x[:, ::2, 1::2]
        c, d = x[:, 1::2, ::2], x[:, 1::2, 1::2]
        return ops.concatenate([(a + b + c + d) / 4, 2 * (a - b + c - d), 2 * (a + b - c - d),
                                2 * (a - b - c + d)], axis=-1)

    def compute_output_shape(self, shape: tuple) -> tuple:
        return shape[0], shape[1] // 2, shape[2] // 2, shape[3] * 4


@keras.saving.register_keras_serializable("deid_ros")
class DepthToSpace(layers.Layer):
    """(n, h, w, k*k*c) to (n, k*h, k*w, c): sub-pixel convolution (Shi et al., CVPR 2016)."""

    def __init__(self, times: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.times = times

    def call(self, x: Any) -> Any:
        _, h, w, c = x.shape
        k = self.times
        x = ops.reshape(x, (-1, h, w, k, k, c // (k * k)))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, k * h, k * w, c // (k * k)))

    def compute_output_shape(self, shape: tuple) -> tuple:
        k = self.times
        return shape[0], k * shape[1], k * shape[2], shape[3] // (k * k)

    def get_config(self) -> dict:
        return {**super().get_config(), "times": self.times}


@keras.saving.register_keras_serializable("deid_ros")
class NoGrid(layers.Layer):
    """What comes back with every cell of ``DepthToSpace`` taken out: (n, h, w, k*k*c).

    To look like skin it is enough for a judge that there is something fine; the cheapest is
    the same dots in every cell, which people see as a grid. The part of each place in the
    cell that is the same in the cells around goes; their mean stays.
    """

    def __init__(self, times: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.times = times

    def call(self, x: Any) -> Any:
        _, h, w, c = x.shape
        cells = ops.reshape(x, (-1, h, w, self.times ** 2, c // self.times ** 2))
        apart = cells - ops.mean(cells, axis=3, keepdims=True)
        again = ops.average_pool(ops.reshape(apart, (-1, h, w, c)), 5, 1, padding="same")
        return x - again

    def get_config(self) -> dict:
        return {**super().get_config(), "times": self.times}


@keras.saving.register_keras_serializable("deid_ros")
class Restrain(layers.Layer):
    """Detail (n, 384, 384, 3) made weaker where it is stronger than ``limit``.

    For identities and mouths unlike any portrait the convolutions would cover the
    face with wrinkles or pores. ``limit`` (s, s) is the largest root mean square in
    each part of the texture, which is s by s parts.
    """

    def __init__(self, limit: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limit = np.asarray(limit, np.float32)

    def call(self, x: Any) -> Any:
        side, parts = x.shape[1], len(self.limit)
        power = ops.mean(ops.square(x), axis=-1, keepdims=True)
        power = ops.average_pool(power, side // parts)
        power = ops.average_pool(power, 3, 1, padding="same")
        weaker = ops.minimum(1.0, self.limit[None, :, :, None] * ops.rsqrt(power + 1e-8))
        return x * ops.image.resize(weaker, (side, side), interpolation="bilinear")

    def get_config(self) -> dict:
        return {**super().get_config(), "limit": self.limit.tolist()}


def _linear_texture(space: FaceSpace) -> np.ndarray:
    """Kernel of the face space's linear texture in its window, grey 0..255 to -1..1."""
    moves = (space.texture_moves * space.expression_std[:, None])[:SHOWN]
    return np.concatenate([np.eye(len(space.texture_basis)), moves]) @ (
        space.texture_basis * (space.texture_unit / 127.5)).astype(np.float32)


def _coarse(space: FaceSpace, code: Any, moved: Any) -> Any:
    """The face space's texture, (n, 128, 128, 3) in -1..1."""
    kernel = _linear_texture(space)
    rows, columns = window()
    # In full precision, also under a mixed policy: eight bits of mantissa show.
    linear = layers.Dense(kernel.shape[1], use_bias=False, trainable=False,
                          name="linear_texture", dtype="float32")
    part = code[:, :len(space.texture_basis)]
    x = linear(layers.Concatenate()([part, moved]))
    linear.set_weights([kernel])
    x = layers.Reshape((rows.stop - rows.start, columns.stop - columns.start, 3),
                       dtype="float32")(x)
    x = layers.ZeroPadding2D(((rows.start, COARSE_SIDE - rows.stop),
                              (columns.start, COARSE_SIDE - columns.stop)), dtype="float32")(x)
    mean = Constant(COARSE_SIDE, 3, trainable=False, name="mean_texture", dtype="float32")
    mapped = mean(code)
    mean.set_weights([space.texture_mean[None] / 127.5 - 1])
    return layers.Add(dtype="float32")([x, mapped])


def build_generator(space: FaceSpace, *, latent: int = 192, seed: int = 0) -> keras.Model:
    """The generator: ``code`` (n, code_size) and ``expression`` (n, 7) to ``texture``.

    The texture is RGB-agnostic: its channels are those of the training textures
    (BGR), float32 (n, 384, 384, 3) in -1..1, not clipped.
    """
    keras.utils.set_random_seed(seed)
    code = keras.Input((space.code_size,), name="code")
    expression = keras.Input((len(EXPRESSION),), name="expression")
    # The mouth alone shows in the texture (teeth, folds); lids and brows move the
    # mesh. Beyond what portraits show, the texture stays as it is at their limit.
    mouth = slice(0, SHOWN)
    moved = layers.Rescaling(1.0 / space.expression_std[mouth],
                             -(space.expression_mean / space.expression_std)[mouth],
                             name="standardise")(expression[:, mouth])
    moved = Clip(2.5)(moved)
    # Small components count less than large ones, but they count.
    gain = 1 / np.sqrt(space.code_std / space.code_std.max() + 0.05) / space.code_std.max() / 2
    scaled = layers.Rescaling(gain, name="gain")(code)
    z = layers.Concatenate()([scaled, moved])
    for _ in range(2):
        z = layers.LeakyReLU(0.2)(layers.Dense(latent)(z))

    coarse = _coarse(space, code, moved)

    x = layers.Dense(8 * 8 * 96)(z)
    x = layers.LeakyReLU(0.2)(layers.Reshape((8, 8, 96))(x))
    for side, channels in _CHANNELS.items():
        if x.shape[-1] != channels:
            x = layers.Conv2D(channels, 1, use_bias=False)(x)
        x = Double()(x)
        if side == COARSE_SIDE:
            x = layers.Concatenate()([x, coarse, Constant(side, 4)(code)])
        x = layers.Conv2D(channels, 3, padding="same")(x)
        x = Modulate()([x, z])
    # Starts at zero: the untrained network is the linear texture.
    detail = layers.Conv2D(3 * _TIMES ** 2, 3, padding="same", kernel_initializer="zeros")(x)
    detail = DepthToSpace(_TIMES)(NoGrid(_TIMES)(detail))
    detail = Restrain(_DETAIL / 127.5 * space.texture_detail, dtype="float32")(detail)
    smooth = layers.UpSampling2D(_TIMES, interpolation="bilinear",
                                 dtype="float32")(coarse)
    texture = layers.Add(name="texture", dtype="float32")([smooth, detail])
    return keras.Model([code, expression], texture, name="generator")


def build_discriminator(*, seed: int = 1) -> keras.Model:
    """Two patch discriminators, at full and at half size, with their features.

    Isola et al., "Image-to-image translation with conditional adversarial networks",
    CVPR 2017; several scales and feature matching as in Wang et al., "High-resolution
    image synthesis", CVPR 2018. Input (n, 384, 384, 3) in -1..1; outputs: the two
    score maps, then the hidden maps.
    """
    keras.utils.set_random_seed(seed)
    image = keras.Input((TEXTURE_SIDE, TEXTURE_SIDE, 3))
    scores, hidden = [], []
    for scale, widths in ((1, (48, 64, 96)), (2, (32, 64, 96))):
        x = layers.AveragePooling2D(scale)(image) if scale > 1 else image
        x = Haar()(x)
        for width in widths:
            x = layers.LeakyReLU(0.2)(layers.Conv2D(width, 4, strides=2, padding="same")(x))
            hidden.append(x)
        scores.append(layers.Conv2D(1, 3, padding="same")(x))
    return keras.Model(image, [*scores, *hidden], name="discriminator")
