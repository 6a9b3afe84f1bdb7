"""Train the Keras sample model: `python -m sample_models.digits_cnn.build [FOLDER]`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from sample_models.digits import SEED, Split, build_into, folder_from_arguments

EPOCHS = 30
BATCH = 32


def network() -> keras.Model:
    """Convolution, BatchNorm, a depthwise block and a softmax over ten digits; input `(N, 8, 8, 1)`."""
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(24, 3, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    x = layers.Conv2D(48, 1, activation="relu")(x)
    x = layers.Conv2D(48, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    digit = layers.Dense(10, activation="softmax", name="digit")(x)
    return keras.Model(image, digit, name="digits_cnn")


def write(folder: Path, split: Split) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Train and save `digits_cnn.keras`."""
    keras.utils.set_random_seed(SEED)
    model = network()
    model.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(split.train_x[..., None], split.train_y, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    _, accuracy = model.evaluate(split.test_x[..., None], split.test_y, verbose=0)
    print(f"digits_cnn: accuracy {accuracy:.4f} on {len(split.test_y)}")
    model.save(folder / "digits_cnn.keras")
    return lambda images: images[..., None]


if __name__ == "__main__":
    build_into(folder_from_arguments(__file__), write)
