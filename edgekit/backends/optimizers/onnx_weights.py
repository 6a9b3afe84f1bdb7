"""Store the weights of an ONNX file in 8 or 4 bits; everything is computed in float as before."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekit.backends.layer_choice import chosen
from edgekit.backends.onnx_layers import RECURRENT, Wires, layers_of
from edgekit.backends.onnx_passes import (
    check_float_io,
    check_mix,
    finished,
    opened,
    prepared,
    quantize_settings,
    restore_names,
)
from edgekit.backends.onnx_products import drop_unused, split_products
from edgekit.core.artifact import Artifact
from edgekit.core.jobs import OptimizeJob
from edgekit.core.recipe import Precision, Quantize
from edgekit.errors import UnsupportedError

# op type: (the input that is the weight, the axis of its output channels)
_AXES = {
    "Conv": (1, 0),
    "ConvTranspose": (1, 1),
    "Gemm": (1, 1),
    "Gather": (0, 0),
    **dict.fromkeys(RECURRENT, (1, 1)),
}
_OPSET_WITH_AXIS = 13


def optimize(job: OptimizeJob) -> Artifact:
    """Weights in 8 bits (of every layer) or 4 (of matrix products; layers that rules name in 8)."""
    settings = quantize_settings(job)
    check_float_io(settings)
    model = opened(job)
    wanted = chosen(settings, [layer.name for layer in layers_of(model)])
    able = (Precision.W8,) if settings.precision is Precision.W8 else (Precision.W4, Precision.W8)
    check_mix(wanted, able)
    model = prepared(model, job.folder)
    _store_8_bits(model, {n for n, p in wanted.items() if p is Precision.W8}, settings)
    if settings.precision is Precision.W8:
        return finished(job, model, tool="edgekit weight-only, onnxruntime", can=", ".join(_AXES))
    model = _store_4_bits(model, {n for n, p in wanted.items() if p is Precision.W4}, settings)
    return finished(job, model, tool="onnxruntime.quantization", can="MatMul, Gemm")


def _store_8_bits(model: Any, layers: Collection[str], settings: Quantize) -> None:
    """Put each weight behind a DequantizeLinear: symmetric, one scale per output channel.

    A weight that two layers share is stored once.
    """
    graph = model.graph
    wires = Wires(graph)
    added: dict[str, Any] = {}
    for node in graph.node:
        if node.name not in layers:
            continue
        for at, axis in _weight_axes(node, wires):
            held = wires.held.get(node.input[at])
            if held is None or held.data_type != TensorProto.FLOAT:
                continue
            by_axis = axis if settings.per_channel else None
            output = f"{held.name}_dequantized" + ("" if by_axis is None else f"_{by_axis}")
            if output not in added:
                added[output] = _dequantized(model, held, by_axis, output)
            node.input[at] = output
    nodes = [*added.values(), *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused(model)


def _weight_axes(node: Any, wires: Wires) -> list[tuple[int, int]]:
    """The inputs of `node` that are weights, each with the axis of its output channels."""
    if node.op_type == "MatMul":
        held = [(at, wires.held[name]) for at, name in enumerate(node.input) if name in wires.held]
        return [(at, len(w.dims) - 1 if at else max(len(w.dims) - 2, 0)) for at, w in held]
    if node.op_type not in _AXES:
        return []
    at, axis = _AXES[node.op_type]
    if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
        axis = 0
    return [(at, axis), (2, axis)] if node.op_type in RECURRENT else [(at, axis)]


def _dequantized(model: Any, held: Any, axis: int | None, output: str) -> Any:
    """Add `held` in int8 to the graph; the node that makes floats of it again."""
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if axis is not None and opset < _OPSET_WITH_AXIS:
        raise UnsupportedError(
            f"opset {opset} has one scale per tensor only", fix="use --per-tensor, or a newer opset"
        )
    array = numpy_helper.to_array(held)
    stored, scale = _int8(array, axis)
    names = f"{output}_int8", f"{output}_scale"
    model.graph.initializer.extend(
        [numpy_helper.from_array(stored, names[0]), numpy_helper.from_array(scale, names[1])]
    )
    extra = {} if axis is None else {"axis": axis}
    return helper.make_node("DequantizeLinear", names, [output], f"{output}_node", **extra)


def _int8(
    array: NDArray[np.float32], axis: int | None
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 values and their scale, one per index of `axis` or one in all."""
    others = None if axis is None else tuple(i for i in range(array.ndim) if i != axis)
    largest = np.abs(array).max(axis=others, initial=0.0)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    shape = [1] * array.ndim
    if axis is not None:
        shape[axis] = -1
    stored = np.round(array / scale.reshape(shape)).clip(-127, 127).astype(np.int8)
    return stored, scale


def _store_4_bits(model: Any, layers: Collection[str], settings: Quantize) -> Any:
    """Blocks of 4-bit weights in MatMulNBits, for the products with stored weights among `layers`."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    block = settings.block_size
    if block < 16 or block & (block - 1):
        raise UnsupportedError(
            f"blocks of {block} weights: onnxruntime has powers of 2 from 16",
            fix="such as 32 or 128",
        )
    split_products(model)
    floats = [node.name for node in model.graph.node if node.name not in layers]
    quantizer = MatMulNBitsQuantizer(
        model, block_size=block, is_symmetric=True, nodes_to_exclude=floats, bits=4
    )
    quantizer.process()
    restore_names(quantizer.model.model, layers)
    return quantizer.model.model
