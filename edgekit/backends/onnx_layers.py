"""The layers of an ONNX graph: nodes that multiply with weights, their names, and what they are stored in.

A graph is read as it is written, not as a runtime would fuse it: an op whose weight comes through
DequantizeLinear is stored in 8 bits, and computes in them where its activation does so too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import Any

from onnx import TensorProto

from edgekit.backends.onnx_files import graphs
from edgekit.core.recipe import LayerPrecision, Precision

PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
RECURRENT = ("LSTM", "GRU", "RNN")

_WEIGHTS_AT = {
    **dict.fromkeys(PRODUCTS, (1,)),
    **dict.fromkeys(RECURRENT, (1, 2)),
    "MatMulInteger": (1,),
    "ConvInteger": (1,),
    "DynamicQuantizeMatMul": (1,),
    "DynamicQuantizeLSTM": (1, 2),
    "QLinearConv": (3,),
    "QLinearMatMul": (3,),
    "QGemm": (3,),
    "MatMulNBits": (1,),
    "Gather": (0,),
}
_DYNAMIC = ("MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
_STATIC = ("QLinearConv", "QLinearMatMul", "QGemm")
_CARRIERS = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity", "Transpose")
_STORED = {
    TensorProto.FLOAT: Precision.FP32,
    TensorProto.DOUBLE: Precision.FP32,
    TensorProto.FLOAT16: Precision.FP16,
    TensorProto.BFLOAT16: Precision.BF16,
    TensorProto.INT8: Precision.W8,
    TensorProto.UINT8: Precision.W8,
    TensorProto.INT4: Precision.W4,
    TensorProto.UINT4: Precision.W4,
}
_COMPUTED = {
    TensorProto.INT8: Precision.INT8,
    TensorProto.UINT8: Precision.INT8,
    TensorProto.INT16: Precision.W8A16,
    TensorProto.UINT16: Precision.W8A16,
}


class Wires:
    """Who makes and who holds each tensor of one graph."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.makers = {name: node for node in graph.node for name in node.output if name}
        self.held = {tensor.name: tensor for tensor in getattr(graph, "initializer", ())}
        values = (*graph.value_info, *graph.input, *graph.output)
        typed = [value for value in values if not isinstance(value, str)]
        self.types = {value.name: value.type.tensor_type.elem_type for value in typed}

    def constant(self, name: str) -> Any:
        """The stored tensor that `name` is, or is made from by ops that only carry it; or None."""
        while name not in self.held:
            maker = self.makers.get(name)
            if maker is not None and maker.op_type == "Constant":
                return next((a.t for a in maker.attribute if a.name == "value"), None)
            if maker is None or maker.op_type not in _CARRIERS:
                return None
            name = maker.input[0]
        return self.held[name]

    def quantized_as(self, name: str) -> int | None:
        """The integer type that the activation `name` was rounded to; None where it was not."""
        maker = self.makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear":
            return None
        if len(maker.input) < 3 or not maker.input[2]:
            return int(TensorProto.UINT8)
        zero_point = self.held.get(maker.input[2])
        return None if zero_point is None else int(zero_point.data_type)


def layers_of(model: Any) -> tuple[LayerPrecision, ...]:
    """Every node with weights, and every matrix product of activations, under a name of its own."""
    return tuple(
        LayerPrecision(
            name=name,
            op=node.op_type,
            precision=precision_in(node, wires),
            parameters=_parameters(node, wires),
        )
        for name, node, wires in named_layers(model)
    )


def name_layers(model: Any) -> None:
    """Write the names of `layers_of` into the nodes, and give every other node one that differs."""
    found = list(named_layers(model))  # kept: protobuf makes new objects for what nobody holds
    named = {id(node): name for name, node, _ in found}
    taken = set(named.values())
    for graph in graphs(model):
        for at, node in enumerate(graph.node):
            if id(node) in named:
                node.name = named[id(node)]
                continue
            name = node.name or f"{node.op_type}_{at}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)


def weights_of(node: Any, wires: Wires) -> list[Any]:
    """The stored weights that `node` multiplies with."""
    at = (0, 1) if node.op_type == "MatMul" else _WEIGHTS_AT.get(node.op_type, ())
    found = [wires.constant(node.input[i]) for i in at if i < len(node.input)]
    return [tensor for tensor in found if tensor is not None and tensor.data_type in _STORED]


def named_layers(model: Any) -> Iterator[tuple[str, Any, Wires]]:
    """Layers with unique names, in the order of the graph; a name that comes again is numbered."""
    times: Counter[str] = Counter()
    for graph in graphs(model):
        wires = Wires(graph)
        for node in graph.node:
            if not _is_layer(node, wires):
                continue
            name = _name(node, wires)
            times[name] += 1
            yield (name if times[name] == 1 else f"{name}_{times[name]}"), node, wires


def _is_layer(node: Any, wires: Wires) -> bool:
    if node.op_type == "MatMul":
        return all(wires.types.get(name, TensorProto.FLOAT) in _STORED for name in node.output)
    if node.op_type == "Gather":
        return any(len(tensor.dims) > 1 for tensor in weights_of(node, wires))
    return node.op_type in _WEIGHTS_AT


def _name(node: Any, wires: Wires) -> str:
    """The node's own name; of the names that torch's exporter counts out, the module's instead.

    That name is in the weight's (`layer1.0.conv1.weight`) or in that of the bias added afterwards.
    """
    if node.name and not node.name.startswith("node_"):
        return str(node.name)
    following = [n for n in wires.graph.node if n.op_type == "Add" and node.output[0] in n.input]
    for owner in (node, *following[:1]):
        for name in owner.input:
            held = wires.constant(name)
            for end in (".weight", "_weight", ".bias", "_bias"):
                if held is not None and held.name.removesuffix("_quantized").endswith(end):
                    return str(held.name.removesuffix("_quantized").removesuffix(end))
    return node.name or f"{node.op_type}:{node.output[0]}"


def precision_in(node: Any, wires: Wires) -> Precision:
    """What the layer `node` is stored in, and computed in where that is less than float."""
    if node.op_type in _DYNAMIC:
        return Precision.DYNAMIC
    if node.op_type in _STATIC:
        return Precision.INT8
    if node.op_type == "MatMulNBits":
        bits = next((a.i for a in node.attribute if a.name == "bits"), 4)
        return Precision.W8 if bits == 8 else Precision.W4
    weights = weights_of(node, wires)
    stored = {_STORED[tensor.data_type] for tensor in weights}
    widest = next((p for p in _STORED.values() if p in stored), None)
    if widest not in (Precision.W8, None):
        return widest
    kinds = [wires.quantized_as(name) for name in node.input[:2] if wires.constant(name) is None]
    if kinds and None not in kinds:
        return max((_COMPUTED[kind] for kind in kinds if kind), key=list(Precision).index)
    if widest is None:
        return _STORED.get(wires.types.get(node.output[0], TensorProto.FLOAT), Precision.FP32)
    return widest


def _parameters(node: Any, wires: Wires) -> int:
    if node.op_type == "MatMulNBits":
        return prod(a.i for a in node.attribute if a.name in ("K", "N"))
    return sum(prod(tensor.dims) for tensor in weights_of(node, wires))
