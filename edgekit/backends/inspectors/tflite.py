"""The inside of a TFLite file."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

from edgekit.backends.tflite_files import (
    custom_ops,
    dtype_of,
    elements_of,
    items,
    op_names,
    open_model,
    quantization_of,
    signature_of,
    writer_of,
)
from edgekit.backends.tflite_layers import layers_of
from edgekit.core.artifact import Format
from edgekit.core.inspection import Inspection, QuantizedTensors
from edgekit.core.jobs import InspectJob
from edgekit.core.signature import Signature

_INDEX_DTYPES = frozenset({"int32", "int64", "bool", "string"})


def inspect(job: InspectJob) -> Inspection:
    """Ops, layers, parameters, multiply-accumulates, dtypes and sizes, all from the flatbuffer."""
    path = Path(job.artifact.path)
    model = open_model(path)
    names = op_names(model)
    source = job.artifact.source
    signature = signature_of(model, source.signature_key if source else None)
    data = path.read_bytes()
    macs, notes = _macs(model, names, signature)
    return Inspection(
        format=Format.TFLITE,
        writer=writer_of(model),
        signature=signature,
        ops=dict(
            Counter(n for g in items(model, "Subgraphs") for n in _ops(g, names)).most_common()
        ),
        size_bytes=len(data),
        size_compressed_bytes=len(zlib.compress(data, 9)),
        parameters=_parameters(model),
        macs=macs,
        tensors=_tensors(model),
        notes=(*notes, *_custom_notes(custom_ops(model))),
        layers=layers_of(model),
    )


def _ops(graph: Any, names: list[str]) -> list[str]:
    return [names[operator.OpcodeIndex()] for operator in items(graph, "Operators")]


def _custom_notes(custom: list[str]) -> tuple[str, ...]:
    flex = any(name.startswith("Flex") for name in custom)
    needs = "needs the TensorFlow (Flex) delegate" if flex else "needs a runtime that has them"
    return (f"custom ops: {', '.join(custom)}; the file {needs}",) if custom else ()


def _weights(model: Any) -> list[Any]:
    """Constant tensors that hold weights: not the shapes, axes and paddings of ops."""
    seen: set[int] = set()
    found = []
    for graph in items(model, "Subgraphs"):
        for tensor in items(graph, "Tensors"):
            buffer = model.Buffers(tensor.Buffer())
            is_index = dtype_of(tensor) in _INDEX_DTYPES and quantization_of(tensor) is None
            if is_index or not (buffer.DataLength() or buffer.Size()) or tensor.Buffer() in seen:
                continue
            seen.add(tensor.Buffer())
            found.append(tensor)
    return found


def _parameters(model: Any) -> int:
    return sum(elements_of(tensor) for tensor in _weights(model))


def _tensors(model: Any) -> QuantizedTensors:
    tensors = [tensor for graph in items(model, "Subgraphs") for tensor in items(graph, "Tensors")]
    scales = [found for tensor in tensors if (found := quantization_of(tensor))]
    return QuantizedTensors(
        dtypes=dict(Counter(map(dtype_of, tensors)).most_common()),
        per_channel=sum(found.axis is not None for found in scales),
    )


def _macs(model: Any, names: list[str], signature: Signature) -> tuple[int | None, tuple[str, ...]]:
    """Multiply-accumulates of one row of the main graph; None where a free size hides them."""
    if any(None in (spec.shape or ())[1:] for spec in signature.inputs):
        return None, ("multiply-accumulates depend on an axis that is free",)
    graph = model.Subgraphs(0)
    total = 0
    for operator, name in zip(items(graph, "Operators"), _ops(graph, names), strict=True):
        if name in _MACS_OF:
            total += _MACS_OF[name](_shapes(graph, operator))
    first = signature.inputs[0].shape if signature.inputs else None
    rows = first[0] if first and len(first) > 1 else 1
    inner = names and model.SubgraphsLength() > 1 and model.SignatureDefsLength() <= 1
    notes = ("multiply-accumulates inside loops and branches are not counted",) if inner else ()
    return total // (rows or 1), notes


def _shapes(graph: Any, operator: Any) -> list[tuple[int, ...]]:
    """The stored shapes of an operator's inputs in order (absent ones are empty), then outputs."""
    indices = [*operator.InputsAsNumpy(), *operator.OutputsAsNumpy()]
    return [
        tuple(max(int(axis), 1) for axis in graph.Tensors(i).ShapeAsNumpy())
        if i >= 0 and graph.Tensors(i).ShapeLength()
        else ()
        for i in map(int, indices)
    ]


def _convolution(shapes: list[tuple[int, ...]]) -> int:
    """Filter is (out, kh, kw, in/groups), or out in the middle for 3-D (kd, kh, kw, in, out)."""
    return prod(shapes[-1]) * prod(shapes[1][1:])


def _depthwise(shapes: list[tuple[int, ...]]) -> int:
    """Filter is (1, kh, kw, out)."""
    return prod(shapes[-1]) * prod(shapes[1][1:3])


def _transposed(shapes: list[tuple[int, ...]]) -> int:
    """Inputs are output shape, filter (out, kh, kw, in), data."""
    return prod(shapes[2]) * prod(shapes[1][:3])


def _contraction(shapes: list[tuple[int, ...]]) -> int:
    """(m, k) by (k, n), either of them transposed: k^2 = (m k) (k n) / (m n)."""
    left, right, result = (prod(shape[-2:]) for shape in (shapes[0], shapes[1], shapes[-1]))
    return prod(shapes[-1]) * round((left * right / result) ** 0.5) if result else 0


def _fully_connected(shapes: list[tuple[int, ...]]) -> int:
    return prod(shapes[-1]) * shapes[1][-1]


def _sequence_lstm(shapes: list[tuple[int, ...]]) -> int:
    """Every weight matrix (inputs 1..8, and the projection) once a row and step."""
    steps = prod(shapes[0][:-1])
    return steps * sum(prod(shape) for shape in [*shapes[1:9], shapes[16]] if len(shape) == 2)


_MACS_OF: dict[str, Callable[[list[tuple[int, ...]]], int]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _contraction,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _sequence_lstm,
}
