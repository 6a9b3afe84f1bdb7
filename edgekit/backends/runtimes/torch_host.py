"""Runs PyTorch models on this machine: the source side of a comparison, and TorchScript itself."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgekit.backends.calls import run_calls
from edgekit.backends.kept import forget
from edgekit.backends.torch_files import open_flat
from edgekit.core.arrays import Array, Arrays
from edgekit.core.artifact import Format
from edgekit.core.jobs import RunJob
from edgekit.core.measured import RunResult


def run(job: RunJob) -> RunResult:
    """Call the model in inference mode with `job.num_threads` threads inside each operator."""
    forget()
    torch.set_num_threads(job.num_threads)
    module = open_flat(job.artifact)
    inputs = [spec.name for spec in job.artifact.signature.inputs]
    outputs = [spec.name for spec in job.artifact.signature.outputs]

    def bound(arrays: Arrays) -> Callable[[], tuple[torch.Tensor, ...]]:
        tensors = [torch.from_numpy(arrays[name]) for name in inputs]

        def invoke() -> tuple[torch.Tensor, ...]:
            with torch.inference_mode():
                return tuple(module(*tensors))

        return invoke

    def call(arrays: Arrays) -> dict[str, Array]:
        results = bound(arrays)()
        return {name: r.numpy(force=True) for name, r in zip(outputs, results, strict=True)}

    is_script = job.artifact.format is Format.TORCHSCRIPT
    return run_calls(
        job,
        call,
        runtime="torchscript" if is_script else "torch",
        versions={"torch": torch.__version__},
        timed=bound,
    )
