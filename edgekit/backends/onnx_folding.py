"""A factor and a sum per channel that follow a product go into its weights and bias.

Converters of Keras models leave the batch normalization after a Dense layer as Mul and Add behind a
Gemm; quantized, each would be rounded for itself.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, numpy_helper

from edgekit.backends.onnx_files import graphs
from edgekit.backends.onnx_layers import Wires
from edgekit.backends.onnx_products import drop_unused

Floats = npt.NDArray[np.float64]


def fold_channels(model: Any) -> None:
    """Fold constant Mul and Add nodes behind Gemm and Conv into these; shared weights stay."""
    for node in list(model.graph.node):
        while node.op_type in ("Gemm", "Conv") and _fold(model, node):
            pass
    drop_unused(model)


def _fold(model: Any, node: Any) -> bool:
    """Fold the node behind `node` into it, where that can be; whether it was."""
    graph, wires = model.graph, Wires(model.graph)
    readers = Counter(name for inner in graphs(model) for n in inner.node for name in n.input)
    readers.update(value.name for value in graph.output)
    after = next((n for n in graph.node if node.output[0] in n.input), None)
    weight = wires.held.get(node.input[1])
    bias = wires.held.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if after is None or after.op_type not in ("Mul", "Add") or readers[node.output[0]] != 1:
        return False
    if weight is None or readers[weight.name] != 1 or weight.data_type != TensorProto.FLOAT:
        return False
    settings = {a.name: a.i if a.type == a.INT else a.f for a in node.attribute}
    if (bias is None and len(node.input) > 2) or {
        settings.get(k, 1) for k in ("alpha", "beta")
    } != {1}:
        return False
    axis = 0 if node.op_type == "Conv" or settings.get("transB") else 1
    channels, rank = weight.dims[axis], len(weight.dims)
    other = next(name for name in after.input if name != node.output[0])
    constant = _per_channel(wires.held.get(other), channels, rank)
    offset = np.zeros(channels) if bias is None else _per_channel(bias, channels, 1)
    if constant is None or offset is None:
        return False
    if after.op_type == "Mul":
        shape = [channels if at == axis else 1 for at in range(rank)]
        scaled = numpy_helper.to_array(weight).astype(np.float64) * constant.reshape(shape)
        weight.CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), weight.name))
    offset = offset * constant if after.op_type == "Mul" else offset + constant
    name = f"{node.output[0]}_{after.op_type.lower()}_bias"
    graph.initializer.append(numpy_helper.from_array(offset.astype(np.float32), name))
    del node.input[2:]
    node.input.append(name)
    node.output[0] = after.output[0]
    graph.node.remove(after)
    return True


def _per_channel(tensor: Any, channels: int, rank: int) -> Floats | None:
    """A stored tensor as one number a channel; None where it is not that."""
    if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) > rank:
        return None
    array = numpy_helper.to_array(tensor).astype(np.float64)
    shape = (*(1,) * (rank - array.ndim), *array.shape)
    at = min(1, rank - 1)
    if array.size not in (1, channels) or shape[at] != array.size:
        return None
    return np.broadcast_to(array.ravel(), (channels,))
