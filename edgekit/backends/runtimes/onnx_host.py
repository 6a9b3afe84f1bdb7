"""Runs ONNX files with onnxruntime on this machine's CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnxruntime

from edgekit.backends.calls import resident_bytes, run_calls
from edgekit.core.arrays import Array, Arrays
from edgekit.core.jobs import RunJob
from edgekit.core.measured import RunResult
from edgekit.errors import UnsupportedError


def run(job: RunJob) -> RunResult:
    """Call the model with `job.num_threads` threads; a session's threads do not spin.

    As `job.reference` every op runs as it is written: integers are added up in 32 bits, on any CPU.
    """
    before = resident_bytes()
    session = _session(job)
    outputs = [spec.name for spec in job.artifact.signature.outputs]

    def call(arrays: Arrays) -> dict[str, Array]:
        return dict(zip(outputs, session.run(outputs, arrays), strict=True))

    def timed(arrays: Arrays) -> Callable[[], object]:
        return lambda: session.run(outputs, arrays)

    return run_calls(
        job,
        call,
        runtime="onnxruntime",
        versions={"onnxruntime": onnxruntime.__version__},
        timed=timed,
        resident_before=before,
    )


def _session(job: RunJob) -> onnxruntime.InferenceSession:
    path = Path(job.artifact.path)
    options = onnxruntime.SessionOptions()
    if job.reference:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = job.num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A lively session burns the cores that its neighbours are timed on.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as error:
        raise UnsupportedError(f"onnxruntime lacks an operator of {path.name}: {error}") from error
