"""The inside of a PyTorch file."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from edgekit.backends.attention import as_matrix_products
from edgekit.backends.programs import open_program
from edgekit.backends.torch_files import open_flat, open_module, open_torchscript
from edgekit.core.artifact import Artifact, Format
from edgekit.core.inspection import Inspection, QuantizedTensors
from edgekit.core.jobs import InspectJob
from edgekit.core.signature import TensorSpec

_QUANTIZED = "quantized::linear_dynamic"
_UNCOUNTED = "MACs unknown: the counter does not know quantized layers"
_PLUMBING = ("prim::Constant", "prim::GetAttr", "prim::ListConstruct", "prim::TupleConstruct")


def inspect(job: InspectJob) -> Inspection:
    """Operators (module classes for weights with a factory), parameters, MACs of one row, sizes."""
    artifact = job.artifact
    data = Path(artifact.path).read_bytes()
    weights, ops = _contents(artifact)
    macs, notes = (None, (_UNCOUNTED,)) if _QUANTIZED in ops else _macs(artifact)
    dtypes = Counter(str(weight.dtype).removeprefix("torch.") for weight in weights)
    per_channel = sum(w.is_quantized and w.qscheme() == torch.per_channel_affine for w in weights)
    return Inspection(
        format=artifact.format,
        writer=artifact.writer,
        signature=artifact.signature,
        ops=dict(ops.most_common()),
        size_bytes=len(data),
        size_compressed_bytes=len(zlib.compress(data, 9)),
        parameters=sum(weight.numel() for weight in weights),
        macs=macs,
        tensors=QuantizedTensors(dtypes=dict(dtypes.most_common()), per_channel=per_channel),
        notes=notes,
    )


def _contents(artifact: Artifact) -> tuple[list[Any], Counter[str]]:
    """The weights and the operators by name."""
    if artifact.format is Format.EXPORTED:
        program = open_program(artifact)
        names = (_operator(n.target) for n in program.graph.nodes if n.op == "call_function")
        return list(program.parameters()), Counter(names)
    if artifact.format is Format.TORCHSCRIPT or artifact.source is None:
        module = open_torchscript(artifact.path, artifact.sha256)
        nodes = list(_nodes(module.inlined_graph))
        frozen = [n.t("value") for n in nodes if n.kind() == "prim::Constant" and _holds_tensor(n)]
        kinds = Counter(n.kind() for n in nodes if n.kind() not in _PLUMBING)
        floats = [tensor for tensor in frozen if tensor.is_floating_point()]
        return [*module.parameters(), *floats, *_packed(nodes)], kinds
    module = open_module(artifact.source)
    leaves = (m for m in module.modules() if not list(m.children()))
    return list(module.parameters()), Counter(type(leaf).__name__ for leaf in leaves)


def _operator(target: Any) -> str:
    """`aten.conv2d` for `aten.conv2d.default`."""
    schema = getattr(target, "_schema", None)
    return schema.name.replace("::", ".") if schema else getattr(target, "__name__", str(target))


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.nodes():
        yield node
        for block in node.blocks():
            yield from _nodes(block)


def _holds_tensor(node: Any) -> bool:
    return bool(node.hasAttribute("value") and node.kindOf("value") == "t")


def _packed(nodes: list[Any]) -> Iterator[Any]:
    """Weights and biases of quantized linear layers, which lie in objects of their own."""
    objects = {
        id(found): found
        for node in nodes
        if node.kind() == _QUANTIZED
        for found in [list(node.inputs())[1].toIValue()]
    }
    for found in objects.values():
        yield from (t for t in torch.ops.quantized.linear_unpack(found) if t is not None)


def _macs(artifact: Artifact) -> tuple[int | None, tuple[str, ...]]:
    """Half of the floating point operations of one call with one row."""
    inputs = artifact.signature.inputs
    unknown = [s.name for s in inputs if s.shape is None or None in s.shape[1:]]
    if unknown:
        return None, (f"MACs unknown: they depend on the size of {', '.join(unknown)}",)
    module = open_flat(artifact)
    counter = FlopCounterMode(display=False)
    # oneDNN's fused recurrent layers are one operator that the counter does not know.
    plain = torch.backends.mkldnn.flags(enabled=False)
    with torch.no_grad(), plain, as_matrix_products(), counter:
        module(*(_row(spec) for spec in inputs))
    return int(counter.get_total_flops()) // 2, ()


def _row(spec: TensorSpec) -> Any:
    return torch.zeros([size or 1 for size in spec.shape or ()], dtype=getattr(torch, spec.dtype))
