"""The one runner of all files: `python -m benchmarks.quantization.runner JOB.json`.

A job either runs one file on all rows of a data file, one row a call, and writes `OUT.npy`; or times
one row of several files in turn, round by round, so that whatever else the machine does hits each.
One thread everywhere; the last line printed is the answer as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Bind = Callable[[Array], Callable[[], Array]]
ROUNDS = 9
ROUND_S = 0.15


def main() -> None:
    """Do the job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    with np.load(job["data"]) as data:
        rows = data["x"].astype(np.float32)
    if "out" in job:
        bind = opened(job["path"])
        np.save(job["out"], np.concatenate([bind(row[None])() for row in rows]))
        print(json.dumps({}), flush=True)
    else:
        print(json.dumps({"p50_ms": timed(job["paths"], rows[:1])}), flush=True)
    os._exit(0)  # TensorFlow takes a second to unwind


def timed(paths: list[str], row: Array) -> list[float]:
    """The median of every file's runs; each round gives each file the same time."""
    calls = [opened(path)(row) for path in paths]
    runs: list[list[int]] = [[] for _ in calls]
    for number in range(ROUNDS + 1):
        for call, found in zip(calls, runs, strict=True):
            end = time.perf_counter() + ROUND_S
            while time.perf_counter() < end:
                start = time.perf_counter_ns()
                call()
                if number:  # the first round warms up
                    found.append(time.perf_counter_ns() - start)
    return [statistics.median(found) / 1e6 for found in runs]


def opened(path: str) -> Bind:
    """`bind(rows)` gives the call that runs them; a file laid out channels-last has `.layout` beside."""
    kinds = {".onnx": onnx, ".tflite": tflite, ".pte": executorch, ".pt2": torch_program}
    bind = kinds.get(Path(path).suffix, keras_model)(path)
    if not Path(path).with_suffix(".layout").exists():
        return bind
    return lambda rows: bind(np.ascontiguousarray(rows.transpose(0, 2, 3, 1)))


def onnx(path: str) -> Bind:
    """onnxruntime with its own defaults: all graph optimizations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda rows: lambda: session.run(None, {name: rows})[0]


def tflite(path: str) -> Bind:
    """LiteRT with XNNPACK, its default."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    at = interpreter.get_input_details()[0]["index"]
    out = interpreter.get_output_details()[0]["index"]

    feed, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def bind(rows: Array) -> Callable[[], Array]:
        if tuple(feed["shape"]) != rows.shape:
            interpreter.resize_tensor_input(at, rows.shape)
        interpreter.allocate_tensors()
        stored = _stored(rows, feed)

        def call() -> Array:
            interpreter.set_tensor(at, stored)
            interpreter.invoke()
            return _read(interpreter.get_tensor(out), answer)

        return call

    return bind


def _stored(rows: Array, detail: dict[str, Any]) -> Array:
    """As the file wants them: some tools leave it int8 inputs."""
    kind = np.dtype(detail["dtype"])
    if kind.kind == "f":
        return rows
    scale, zero = detail["quantization"]
    limits = np.iinfo(kind)
    result: Array = np.clip(np.round(rows / scale) + zero, limits.min, limits.max).astype(kind)
    return result


def _read(values: Array, detail: dict[str, Any]) -> Array:
    if values.dtype.kind == "f":
        return values
    scale, zero = detail["quantization"]
    result: Array = (values.astype(np.float32) - zero) * np.float32(scale)
    return result


def executorch(path: str) -> Bind:
    """ExecuTorch's runtime."""
    from edgekit.backends.executorch_runtime import Runner
    from edgekit.backends.pte_files import read_program

    program = read_program(Path(path))
    loaded = Runner(Path(path), program, num_threads=1)
    names = ["x"]
    return lambda rows: lambda: loaded.run([rows], names)[0]


def torch_program(path: str) -> Bind:
    """The source, as PyTorch runs it."""
    import torch

    torch.set_num_threads(1)
    module = torch.export.load(path).module()

    def bind(rows: Array) -> Callable[[], Array]:
        tensor = torch.from_numpy(rows)

        def call() -> Array:
            with torch.no_grad():
                result: Array = module(tensor).numpy()
            return result

        return call

    return bind


def keras_model(path: str) -> Bind:
    """The source, as Keras runs it with TensorFlow."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import tensorflow as tf

    model = keras.models.load_model(path, compile=False)
    graph = tf.function(lambda rows: model(rows, training=False))

    def bind(rows: Array) -> Callable[[], Array]:
        return lambda: graph(tf.constant(rows)).numpy()

    return bind


if __name__ == "__main__":
    main()
