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
    module is held against the program at the size it was traced with and at larger ones.
    """
    module, tensors = flat_module(job.artifact), examples(job)
    _keep_sizes_free(module)
    with torch.no_grad(), _quiet():
        traced = _traced(module, tensors)
    signature = _signature(job.signature)
    _check_same(module, traced, tensors)
    for first_only in (True, False):
        _check_same(module, traced, _larger(tensors, job.signature, first_only=first_only))
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
def _quiet() -> Iterator[None]:
    """Every call of torch.jit says that it is deprecated; the report's note says it once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _keep_sizes_free(module: Any) -> None:
    """Let the trace follow where sizes come from and go to.

    Called as `torch.ops.aten.*`, an operator takes a traced size for a plain number, and the trace
    keeps the size of the sample: the zero state of an LSTM would stay too small for a larger batch,
    which is then written past its end. The same operators called from Python are traced right.
    """
    for graph_module in module.graph_modules():
        for node in graph_module.graph.nodes:
            if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):  # noqa: SLF001
                if node.target is torch.ops.aten.sym_size.int:
                    node.target = _size
                elif any(isinstance(n.meta.get("val"), torch.SymInt) for n in node.all_input_nodes):
                    node.target = _in_python(node.target)
        graph_module.recompile()


def _size(tensor: Any, axis: int) -> Any:
    return tensor.shape[axis]


def _in_python(operator: Any) -> Any:
    """The function or method of Python that is the same operator."""
    name = operator.overloadpacket.__name__
    if name == "slice":
        return _slice
    found = getattr(torch, name, None) or getattr(torch.Tensor, name, None)
    if found is None:
        raise UnsupportedError(
            f"TorchScript cannot keep an axis free that {operator} depends on",
            fix="give the axis a size with --input NAME:SHAPE:DTYPE, or convert to onnx",
        )

    def call(*args: Any, **kwargs: Any) -> Any:
        return found(*args, **kwargs)

    return call


def _slice(tensor: Any, axis: int = 0, start: Any = None, end: Any = None, step: Any = 1) -> Any:
    return tensor[(slice(None),) * (axis % tensor.dim()) + (slice(start, end, step),)]


def _larger(tensors: Tensors, signature: Signature, *, first_only: bool) -> Tensors:
    """The same tensors twice as large in the first axis, or in all axes, where those are free."""
    grown = []
    for tensor, spec in zip(tensors, signature.inputs, strict=True):
        axes = [axis for axis, size in enumerate(spec.shape or ()) if size is None]
        repeats = [2 if a in axes and not (first_only and a) else 1 for a in range(tensor.dim())]
        grown.append(tensor.repeat(repeats))
    return tuple(grown)


def _check_same(module: Any, traced: Any, tensors: Tensors) -> None:
    with torch.inference_mode():
        try:
            expected = module(*tensors)
        except (RuntimeError, IndexError, ValueError):  # a size that the model itself refuses
            return
        actual = traced(*tensors)
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
