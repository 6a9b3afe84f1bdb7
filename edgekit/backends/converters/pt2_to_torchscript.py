"""Exported program to TorchScript: traced, frozen, bit for bit the same answers."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from edgekit.backends.half_graphs import in_half
from edgekit.backends.pickles import first_line
from edgekit.backends.programs import Tensors, examples, export_program, flat_module, flattened
from edgekit.backends.torch_dynamic import in_dynamic
from edgekit.backends.torch_files import LAYERS_FILE, NAMES_FILE
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import ConvertJob
from edgekit.core.noun import changed, to_json
from edgekit.core.recipe import LayerPrecision, Precision, Quantize
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import StepError, UnsupportedError

_NUMBERED = re.compile(r"___torch_mangle_(\d+)")
_DYNAMIC_NOTE = "PyTorch is to drop its quantized tensors: a later version may not load this file"
_ROUNDING = 1e-5  # of the largest answer; the parity of the whole line judges closer


def convert(job: ConvertJob) -> Artifact:
    """Trace and freeze. The names, which TorchScript does not keep, lie in the file as JSON.

    Freezing only inlines the weights: folding batch norm would change the answers. What was
    written is held against the program at the size it was traced with and at larger ones.
    """
    tensors = examples(job)
    module, layers, notes = _passed(job, tensors)
    _keep_sizes_free(module)
    with torch.no_grad(), _quiet():
        signature = _signature(job.signature)
        texts = {NAMES_FILE: to_json(signature)}
        if layers:
            texts[LAYERS_FILE] = to_json(layers)
        content = _saved(_traced(module, tensors), texts)
        written = torch.jit.load(io.BytesIO(content))
    _check_same(module, written, tensors)
    for first_only in (True, False):
        _check_same(module, written, _larger(tensors, job.signature, first_only=first_only))
    path = Path(job.folder) / f"model{Format.TORCHSCRIPT.suffix}"
    path.write_bytes(content)
    artifact = artifact_of(
        path,
        format=Format.TORCHSCRIPT,
        signature=signature,
        writer=f"torch.jit {torch.__version__}",
        notes=("TorchScript is deprecated upstream; ExecuTorch is its successor", *notes),
    )
    return changed(artifact, layers=layers)


def _passed(
    job: ConvertJob, tensors: Tensors
) -> tuple[Any, tuple[LayerPrecision, ...], tuple[str, ...]]:
    """The flat module after the pass that is fused, the layers it has now, and notes about them."""
    module = flat_module(job.artifact)
    if job.fused is None:
        return module, (), ()
    if not isinstance(job.fused, Quantize):
        raise UnsupportedError(
            "TorchScript programs are not fine-tuned here", fix="choose --precision fp16"
        )
    program = export_program(module, tensors, job.signature)
    if job.fused.precision is Precision.DYNAMIC:
        passed, layers = in_dynamic(program, job.fused)
        floats = [layer.name for layer in layers if layer.precision is Precision.FP32]
        notes = (_DYNAMIC_NOTE, *((f"kept in float32: {', '.join(floats)}",) if floats else ()))
    else:
        (passed, layers), notes = in_half(program, job.fused), ()
    return flattened(passed, [spec.name for spec in job.signature.inputs]), layers, notes


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


def _saved(traced: Any, extra: dict[str, str]) -> bytes:
    """The archive without its tables of source lines, which hold absolute paths of this machine.

    Class names are numbered on from earlier traces in this process: here they start at 0.
    """
    buffer, kept = io.BytesIO(), io.BytesIO()
    torch.jit.save(traced, buffer, _extra_files=extra)
    reader = torch._C.PyTorchFileReader(io.BytesIO(buffer.getvalue()))  # noqa: SLF001
    names = [n for n in reader.get_all_records() if not n.endswith(".debug_pkl")]
    numbers = sorted({int(found) for name in names for found in _NUMBERED.findall(name)})

    def renumbered(text: str) -> str:
        return _NUMBERED.sub(lambda m: f"___torch_mangle_{numbers.index(int(m[1]))}", text)

    writer = torch._C.PyTorchFileWriter(kept)  # noqa: SLF001
    for name in names:
        record = reader.get_record(name)
        if name == "version":
            writer.set_min_version(int(record))
        elif not name.startswith(".data/"):
            if name.endswith(".py") or name == "data.pkl":  # a pickle names classes in plain lines
                record = renumbered(record.decode("latin-1")).encode("latin-1")
            writer.write_record(renumbered(name), record, len(record))
    writer.write_end_of_file()
    return kept.getvalue()


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
    if name == "_unsafe_view":  # what a reshape that must copy is exported as
        return torch.Tensor.reshape
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
        worst = _largest(one.double() - other.double())
        if worst > _ROUNDING * _largest(one.double()):
            raise StepError(f"the trace gives other answers: output {at} differs by {worst:g}")


def _largest(values: Any) -> float:
    return float(values.nan_to_num().abs().max()) if values.numel() else 0.0


def _signature(signature: Signature) -> Signature:
    return Signature(
        inputs=tuple(_mapped(spec) for spec in signature.inputs),
        outputs=tuple(_mapped(spec) for spec in signature.outputs),
    )


def _mapped(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(name=spec.name, dtype=spec.dtype, shape=spec.shape, source_name=spec.origin)
