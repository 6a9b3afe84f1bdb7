"""Exported program to TorchScript: traced, frozen, bit for bit the same answers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from edgekit.backends.pickles import first_line
from edgekit.backends.programs import Tensors, examples, flat_module
from edgekit.backends.torch_files import NAMES_FILE
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import ConvertJob
from edgekit.core.noun import to_json
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import StepError, UnsupportedError


def convert(job: ConvertJob) -> Artifact:
    """Trace and freeze. The names, which TorchScript does not keep, lie in the file as JSON.

    Freezing only inlines the weights: folding batch norm would change the answers. The traced
    module is held against the program at the size it was traced with and at a larger one.
    """
    module, tensors = flat_module(job.artifact), examples(job)
    with torch.no_grad(), _quiet(), _portable_attention():
        traced = _traced(module, tensors)
    signature = _signature(job.signature)
    for given in (tensors, _larger(tensors, job.signature)):
        _check_same(module, traced, given)
    path = Path(job.folder) / f"model{Format.TORCHSCRIPT.suffix}"
    with _quiet():
        torch.jit.save(traced, str(path), _extra_files={NAMES_FILE: to_json(signature)})
    return artifact_of(
        path,
        format=Format.TORCHSCRIPT,
        signature=signature,
        writer=f"torch.jit {torch.__version__}",
        notes=("TorchScript is deprecated upstream; ExecuTorch is its successor",),
    )


def _traced(module: Any, tensors: Tensors) -> Any:
    try:
        traced = torch.jit.trace(module, tensors, check_trace=False, strict=False)
        return torch.jit.freeze(traced, optimize_numerics=False)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UnsupportedError(
            f"torch.jit.trace refuses this program: {first_line(error)}",
            fix="convert to onnx or executorch instead",
        ) from error


@contextmanager
def _portable_attention() -> Iterator[None]:
    """The fast path of nn.TransformerEncoder is one opaque operator, taken or not by grad mode."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


@contextmanager
def _quiet() -> Iterator[None]:
    """Every call of torch.jit says that it is deprecated; the report's note says it once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _larger(tensors: Tensors, signature: Signature) -> Tensors:
    """The same tensors, one row longer where the first axis is free: a trace may have kept a size."""
    return tuple(
        torch.cat([tensor, tensor[:1]]) if spec.shape and spec.shape[0] is None else tensor
        for tensor, spec in zip(tensors, signature.inputs, strict=True)
    )


def _check_same(module: Any, traced: Any, tensors: Tensors) -> None:
    with torch.inference_mode():
        expected, actual = module(*tensors), traced(*tensors)
    actual = actual if isinstance(actual, tuple) else (actual,)
    for at, (one, other) in enumerate(zip(expected, actual, strict=True)):
        if one.shape != other.shape or one.dtype != other.dtype:
            raise UnsupportedError(
                f"the trace kept the size it was made with: output {at} is {tuple(other.shape)}, "
                f"expected {tuple(one.shape)}",
                fix="fix the free axes with --input NAME:SHAPE:DTYPE",
            )
        if not torch.equal(one.nan_to_num(), other.nan_to_num()):
            worst = (one.double() - other.double()).abs().max().item()
            raise StepError(f"the trace gives other answers: output {at} differs by {worst:g}")


def _signature(signature: Signature) -> Signature:
    return Signature(
        inputs=tuple(_mapped(spec) for spec in signature.inputs),
        outputs=tuple(_mapped(spec) for spec in signature.outputs),
    )


def _mapped(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(name=spec.name, dtype=spec.dtype, shape=spec.shape, source_name=spec.origin)
