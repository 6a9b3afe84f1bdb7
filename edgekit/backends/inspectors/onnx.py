"""The inside of an ONNX file."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from edgekit.backends.onnx_files import graphs, onnx_signature, read_onnx, writer
from edgekit.backends.onnx_hazards import hazard_notes
from edgekit.backends.onnx_layers import layers_of
from edgekit.core.artifact import Format
from edgekit.core.inspection import Inspection, QuantizedTensors
from edgekit.core.jobs import InspectJob

_SHAPE_DTYPES = (TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING)
_WEIGHT_INPUT = {"QLinearConv": 3, "QLinearMatMul": 3}
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_CONVOLUTIONS = ("Conv", "ConvInteger", "QLinearConv")
_MATRIX_PRODUCTS = ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul")
_OF_ONNXRUNTIME = ("MatMulNBits", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QGemm")
_COUNTED = (*_CONVOLUTIONS, *_MATRIX_PRODUCTS, *_GATES, "ConvTranspose", *_OF_ONNXRUNTIME)


def inspect(job: InspectJob) -> Inspection:
    """Ops, parameters, multiply-accumulates of one row, dtypes and sizes, all from the file."""
    path = Path(job.artifact.path)
    model = read_onnx(path)
    data = path.read_bytes()
    macs, notes = _macs(model)
    return Inspection(
        format=Format.ONNX,
        writer=writer(model),
        signature=onnx_signature(model),
        ops=dict(_ops(model).most_common()),
        size_bytes=len(data),
        size_compressed_bytes=len(zlib.compress(data, 9)),
        parameters=_parameters(model),
        macs=macs,
        tensors=_tensors(model),
        layers=layers_of(model),
        notes=(
            *(f"opset {o.domain or 'ai.onnx'} {o.version}" for o in model.opset_import),
            *notes,
            *hazard_notes(model, path.parent),
        ),
    )


def _nodes(model: Any) -> list[Any]:
    """All nodes but those inside function bodies: a call of a function is one op."""
    bodies = {id(function) for function in model.functions}
    return [node for graph in graphs(model) if id(graph) not in bodies for node in graph.node]


def _ops(model: Any) -> Counter[str]:
    names = ((n.domain, n.op_type) for n in _nodes(model))
    return Counter(op if domain in ("", "ai.onnx") else f"{domain}.{op}" for domain, op in names)


def _weights(model: Any) -> list[Any]:
    """Initializers that hold weights: not the shapes and axes of ops."""
    return [w for w in model.graph.initializer if w.data_type not in _SHAPE_DTYPES]


def _parameters(model: Any) -> int:
    return sum(prod(weight.dims) for weight in _weights(model))


def _tensors(model: Any) -> QuantizedTensors:
    dtypes = Counter(str(helper.tensor_dtype_to_np_dtype(w.data_type)) for w in _weights(model))
    sizes = {weight.name: prod(weight.dims) for weight in model.graph.initializer}
    scales = [n.input[1] for n in _nodes(model) if n.op_type == "DequantizeLinear"]
    return QuantizedTensors(
        dtypes=dict(dtypes.most_common()),
        per_channel=sum(1 for name in scales if sizes.get(name, 1) > 1),
    )


def _macs(model: Any) -> tuple[int | None, tuple[str, ...]]:
    """Multiply-accumulates of one row; None, and why, where a shape stays unknown."""
    one_row = onnx.ModelProto()
    one_row.CopyFrom(model)
    for value in one_row.graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = 1
    for value in (*one_row.graph.output, *one_row.graph.value_info):
        value.type.tensor_type.ClearField("shape")
    del one_row.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(one_row, data_prop=True)
    shapes = _shapes(inferred.graph)
    total = 0
    for node in inferred.graph.node:
        if node.op_type in _COUNTED:
            try:
                total += _node_macs(node, shapes)
            except KeyError as error:
                return None, (f"MACs unknown: the shape of {error} is not",)
    return total, ()


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    found = {weight.name: tuple(weight.dims) for weight in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            found.setdefault(value.name, tuple(d.dim_value for d in tensor.shape.dim))
    return found


def _node_macs(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:
    weight = shapes[node.input[_WEIGHT_INPUT.get(node.op_type, 1)]]
    if node.op_type in _CONVOLUTIONS:
        return prod(shapes[node.output[0]]) * prod(weight[1:])
    first = shapes[node.input[0]]
    if node.op_type == "ConvTranspose":
        return prod(first) * prod(weight[1:])
    if node.op_type in _GATES:
        recurrent = shapes[node.input[2]]
        return first[0] * first[1] * (prod(weight) + prod(recurrent))
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    inner = first[0] if transposed else first[-1]
    return prod(shapes[node.output[0]]) * inner
