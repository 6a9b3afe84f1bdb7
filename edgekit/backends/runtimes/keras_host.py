"""Run a Keras model or SavedModel in its own framework: the expected side of every comparison."""

from __future__ import annotations

import os
from collections.abc import Callable

from edgekit.backends.calls import run_calls
from edgekit.backends.kept import forget
from edgekit.backends.keras_files import open_keras, source_of
from edgekit.backends.keras_model import KerasModel, Library
from edgekit.core.arrays import Array, Arrays
from edgekit.core.jobs import RunJob
from edgekit.core.measured import RunResult
from edgekit.core.noun import changed


def run(job: RunJob) -> RunResult:
    """Run in inference mode: a compiled graph per shape with TensorFlow, no gradients with torch.

    TensorFlow fixes its number of threads when it first runs something. Where this child has run
    TensorFlow before, the number that holds is reported in place of the one asked for.
    """
    forget()
    if _backend() == "torch":
        return _run_with_torch(job)
    threads = _tensorflow_threads(job.num_threads)
    model = open_keras(source_of(job.artifact))
    return _run_with_tensorflow(changed(job, num_threads=threads), model)


def _backend() -> str:
    return os.environ.get("KERAS_BACKEND", "tensorflow")


def _tensorflow_threads(wanted: int) -> int:
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(wanted)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # it has run already
        pass
    return tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))


def _run_with_tensorflow(job: RunJob, model: KerasModel) -> RunResult:
    import keras
    import tensorflow as tf

    graph = tf.function(model.call, autograph=False)

    def bound(feeds: Arrays) -> Callable[[], object]:
        tensors = {name: tf.constant(array) for name, array in feeds.items()}
        compiled = graph.get_concrete_function(tensors)
        return lambda: compiled(tensors)

    def call(feeds: Arrays) -> dict[str, Array]:
        tensors = {name: tf.constant(array) for name, array in feeds.items()}
        return {name: value.numpy() for name, value in graph(tensors).items()}

    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    if model.library is Library.TF_KERAS:
        import tf_keras

        versions["tf_keras"] = tf_keras.__version__
    return run_calls(
        job, call, runtime=f"{model.library} on TensorFlow", versions=versions, timed=bound
    )


def _run_with_torch(job: RunJob) -> RunResult:
    import keras
    import torch

    torch.set_num_threads(job.num_threads)
    model = open_keras(source_of(job.artifact))

    def bound(feeds: Arrays) -> Callable[[], object]:
        tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
        return torch.no_grad()(lambda: model.call(tensors))

    def call(feeds: Arrays) -> dict[str, Array]:
        results = bound(feeds)()
        assert isinstance(results, dict)
        return {name: value.numpy() for name, value in results.items()}

    versions = {"torch": torch.__version__, "keras": keras.__version__}
    return run_calls(job, call, runtime="keras on torch", versions=versions, timed=bound)
