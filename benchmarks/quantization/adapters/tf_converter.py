"""TensorFlow's converter: `python tf_converter.py MODEL CALIBRATION.npz OUT.tflite`; int8, float I/O."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf


def main() -> None:
    source, calibration, output = sys.argv[1:]
    rows = np.load(calibration)["x"].astype(np.float32)

    def samples() -> Iterator[list[np.ndarray]]:
        for row in rows:
            yield [row[None]]

    converter = tf.lite.TFLiteConverter.from_keras_model(
        keras.models.load_model(source, compile=False)
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    Path(output).write_bytes(converter.convert())


if __name__ == "__main__":
    main()
