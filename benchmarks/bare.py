"""What a careful person would write without edgekit: `python -m benchmarks.bare MODEL DATA OUTPUT`.

One process loads a Keras model, converts it by TensorFlow's converter, runs both sides on all
samples in the calls edgekit makes (1 row, then 16 at a time), times one call of each by the loop
edgekit has, and prints the largest difference. No report, no checks, no walls between the steps.
With a fourth argument it leaves at once when done, without the second or more that TensorFlow takes
to unwind; edgekit's children do not unwind either.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgekit.measure import measure

ROWS_PER_CALL = 16
Array = NDArray[Any]


def main() -> None:
    """Load, convert, run both, time both."""
    model_path, data_path, output_path, *at_once = sys.argv[1:]
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with np.load(data_path) as data:
        samples = data["x"].astype(np.float32)
    model = keras.models.load_model(model_path, compile=False)
    Path(output_path).write_bytes(convert(model))
    expected, source_ms = run(samples, bind_keras(model))
    actual, artifact_ms = run(samples, bind_tflite(output_path))
    print(f"max abs diff {np.abs(expected - actual).max():.2e}")
    print(f"p50 {np.median(artifact_ms):.3f} ms (source {np.median(source_ms):.3f} ms)", flush=True)
    if at_once:
        os._exit(0)


def convert(model: keras.Model) -> bytes:
    """By way of a SavedModel, as edgekit goes; `from_keras_model` takes longer."""
    graph = tf.function(lambda rows: model(rows, training=False))
    concrete = graph.get_concrete_function(tf.TensorSpec((None, *model.input_shape[1:])))
    module = tf.Module()
    module.weights = list(concrete.graph.variables)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": concrete})
        content: bytes = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    return content


def run(samples: Array, bind: Callable[[Array], Callable[[], Array]]) -> tuple[Array, Array]:
    """All outputs, and the times of one call in milliseconds."""
    starts = [0, *range(1, len(samples), ROWS_PER_CALL), len(samples)]
    calls = [samples[a:b] for a, b in itertools.pairwise(starts)]
    outputs = np.concatenate([bind(rows)() for rows in calls])
    timing = measure(bind(calls[0]), num_runs=50, min_time_s=1.0, threads=1, rows=1)
    return outputs, np.array(timing.runs_ns) / 1e6


def bind_keras(model: keras.Model) -> Callable[[Array], Callable[[], Array]]:
    """The model as a compiled graph."""
    graph = tf.function(lambda rows: model(rows, training=False))

    def bind(rows: Array) -> Callable[[], Array]:
        tensor = tf.constant(rows)
        return lambda: graph(tensor).numpy()

    return bind


def bind_tflite(path: str) -> Callable[[Array], Callable[[], Array]]:
    """The file in an interpreter, made to fit each number of rows."""
    interpreter = Interpreter(model_path=path, num_threads=1)
    at = interpreter.get_input_details()[0]["index"]
    out = interpreter.get_output_details()[0]["index"]

    def bind(rows: Array) -> Callable[[], Array]:
        interpreter.resize_tensor_input(at, rows.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(at, rows)

        def call() -> Array:
            interpreter.invoke()
            result: Array = interpreter.get_tensor(out)
            return result

        return call

    return bind


if __name__ == "__main__":
    main()
