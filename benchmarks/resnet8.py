"""Write a ResNet8 for 32 x 32 images and data for it: `python -m benchmarks.resnet8 MODEL DATA`.

The architecture of the image classification task of MLPerf Tiny, 78,666 parameters, with random
weights from a fixed seed: the cost of a conversion does not depend on their values.
"""

from __future__ import annotations

import sys

import keras
import numpy as np

SEED = 7
ROWS = 80


def main() -> None:
    """Save the model and `ROWS` random images with random labels."""
    model_path, data_path = sys.argv[1:]
    keras.utils.set_random_seed(SEED)
    network().save(model_path)
    rng = np.random.default_rng(SEED)
    images = rng.uniform(0, 255, (ROWS, 32, 32, 3)).astype(np.float32)
    np.savez(data_path, x=images, y=rng.integers(0, 10, ROWS))


def network() -> keras.Model:
    """`(N, 32, 32, 3)` to ten probabilities."""
    image = keras.Input((32, 32, 3), name="image")
    x = normalized(image, 16)
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        x = block(x, filters, stride)
    x = keras.layers.AveragePooling2D(8)(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(image, keras.layers.Dense(10, activation="softmax", name="probability")(x))


def block(x: keras.KerasTensor, filters: int, stride: int) -> keras.KerasTensor:
    """Two 3 x 3 convolutions and a shortcut, a 1 x 1 convolution where the shape changes."""
    y = normalized(x, filters, stride=stride)
    y = normalized(y, filters, activation=False)
    if stride != 1:
        x = keras.layers.Conv2D(filters, 1, strides=stride, padding="same")(x)
    return keras.layers.ReLU()(keras.layers.Add()([x, y]))


def normalized(
    x: keras.KerasTensor, filters: int, *, stride: int = 1, activation: bool = True
) -> keras.KerasTensor:
    """Convolution, BatchNorm and, unless turned off, ReLU."""
    x = keras.layers.Conv2D(filters, 3, strides=stride, padding="same")(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.ReLU()(x) if activation else x


if __name__ == "__main__":
    main()
