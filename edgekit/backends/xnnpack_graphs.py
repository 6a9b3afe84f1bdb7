"""What an XNNPACK delegate of an ExecuTorch program does: its nodes and its weights.

Layout: executorch/backends/xnnpack/serialization (`XH00` header, then the flatbuffer `XNNGraph`).
"""

from __future__ import annotations

import struct
from collections import Counter
from math import prod

from edgekit.backends.flatbuffer_tables import Table

BACKEND = "XnnpackBackend"
_HEADER = struct.Struct("<4x4sHII")
_NODES, _VALUES = 1, 2
# The union XNodeUnion in order, from 1. New kinds are added at its end.
_KINDS = (
    "Add", "FullyConnected", "Softmax", "Sigmoid", "StaticTranspose", "Clamp", "Conv2d", "Div",
    "StaticResizeBilinear2D", "StaticConstantPad", "AvgPooling2d", "Minimum", "DepthwiseConv2d",
    "MaxPooling2d", "Multiply", "Subtract", "Floor", "Convert", "GlobalAvgPooling2d",
    "StaticReshape", "ArgMaxPooling2d", "SquareRoot", "Ceiling", "Hardswish", "LeakyReLU",
    "Maximum", "Negate", "Square", "ELU", "Abs", "PReLU", "Concatenate2", "Concatenate3",
    "Concatenate4", "StaticSlice", "ScaledDotProductAttention", "BatchMatrixMultiply",
    "Concatenate5", "ConvTranspose2d", "ReciprocalSquareRoot", "Log", "Gelu", "Tanh", "Exp",
    "Sin", "Copy", "Cos",
)  # fmt: skip


# XNNDatatype in order, from 0; `qc`: a scale for each channel, `qb`: for each block.
_DTYPES = (
    "invalid", "float32", "float16", "qint8", "quint8", "qint32", "qcint8", "qcint32", "qcint4",
    "qdint8", "qbint4", "qpint8", "int32", "pfp32", "bfloat16",
)  # fmt: skip


def read_graph(payload: bytes) -> tuple[Counter[str], int, Counter[str]]:
    """How many nodes of each kind the delegate runs, how many weights it holds, in what dtypes."""
    magic, _, start, _ = _HEADER.unpack_from(payload)
    graph = Table.root(payload, start if magic == b"XH00" else 0)
    nodes = Counter(_kind(node.union(0)[0]) for node in graph.tables(_NODES))
    weights: dict[int, int] = {}
    dtypes: dict[int, str] = {}
    for value in graph.tables(_VALUES):
        kind, tensor = value.union(0)
        if kind == 2 and tensor is not None:
            tensor = tensor.table(0)
        if tensor is not None and (buffer := tensor.number(3, "Uint32")):
            weights[buffer] = prod(tensor.numbers(2, "Uint32"))
            number = tensor.number(0, "Int16")
            dtypes[buffer] = _DTYPES[number] if number < len(_DTYPES) else f"dtype-{number}"
    return nodes, sum(weights.values()), Counter(dtypes.values())


def _kind(number: int) -> str:
    return _KINDS[number - 1] if 0 < number <= len(_KINDS) else f"node-{number}"
