"""Quantize an ONNX file with onnxruntime's static quantizer (QDQ), on ranges of our own."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from edgekit.backends.layer_choice import chosen
from edgekit.backends.onnx_layers import Wires, layers_of, weights_of
from edgekit.backends.onnx_passes import (
    check_float_io,
    check_mix,
    finished,
    known_ops,
    opened,
    prepared,
    quantize_settings,
)
from edgekit.backends.onnx_products import fold_factors, own_weights
from edgekit.backends.onnx_ranges import onnx_ranges, tensors_data
from edgekit.backends.onnx_roundings import free_products
from edgekit.core.artifact import Artifact
from edgekit.core.jobs import OptimizeJob
from edgekit.core.recipe import Precision, Quantize

LINEAR_OPS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
CONVOLUTIONAL_OPS = (
    *LINEAR_OPS,
    *("Add", "Mul", "Relu", "Clip", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("Concat", "Split", "Slice", "Pad", "Resize"),
    *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"),
)
_MOVING_OPS = (
    "Reshape",
    "Flatten",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "MaxPool",
    "AveragePool",
    "Slice",
)
_OTHER_OPS = (
    "Gather",
    "Where",
    "LayerNormalization",
    "InstanceNormalization",
    "Softmax",
    "Sigmoid",
)
_NORMS = ("LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization")
_TOOL = "onnxruntime.quantization"
_STATIC = (Precision.INT8, Precision.W8A16)


def optimize(job: OptimizeJob) -> Artifact:
    """8-bit weights, activations in 8 or 16 bits by ranges from calibration samples.

    Options: `activations` and `weights` (uint8 or int8) of the 8-bit layers, `reduce_range` ("true":
    weights in 7 bits). With uint8 weights or in 7 bits nothing saturates, on any CPU (`onnx_hazards`).
    """
    settings = quantize_settings(job)
    check_float_io(settings)
    model = opened(job)
    wanted = chosen(settings, [layer.name for layer in layers_of(model)])
    check_mix(wanted, _STATIC)
    model = prepared(model, job.folder)
    ops, why = _static_ops(model, settings)
    excluded = {name for name, precision in wanted.items() if precision is Precision.FP32}
    floats = _float_nodes(model, excluded)
    fold_factors(model)
    own_weights(model, excluded)
    quantized = _quantizer(job, model, wanted, ops=ops, floats=floats).quantize_model()
    free_products(quantized, quantized=ops)
    return finished(job, quantized, tool=_TOOL, can=", ".join(ops), notes=(why,))


def _quantizer(
    job: OptimizeJob,
    model: Any,
    wanted: dict[str, Precision],
    *,
    ops: Collection[str],
    floats: Collection[str],
) -> Any:
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import QuantType

    settings = quantize_settings(job)
    short = QuantType.QUInt16, QuantType.QUInt8
    if job.options.get("activations") == "int8":
        short = QuantType.QInt16, QuantType.QInt8
    wide = settings.precision is Precision.W8A16
    nodes = [n for n in model.graph.node if n.op_type in ops and n.name not in floats]
    names = {name for node in nodes for name in (*node.input, *node.output)}
    ranges = onnx_ranges(job, model, names, settings=settings, bits=16 if wide else 8)
    kind = short[0] if wide else short[1]
    return QDQQuantizer(
        model,
        settings.per_channel,
        job.options.get("reduce_range") == "true",
        QuantType.QUInt8 if job.options.get("weights") == "uint8" else QuantType.QInt8,
        kind,
        tensors_data(ranges),
        [],
        list(floats),
        list(ops),
        {
            "ActivationSymmetric": settings.symmetric or False,
            # onnxruntime's own choice, the second axis, is not the channel of a batch of matrices.
            "QDQOpTypePerChannelSupportToAxis": {"MatMul": -1},
            "TensorQuantOverrides": _overrides(model, wanted, wide=wide, kinds=short),
        },
    )


def _overrides(
    model: Any, wanted: dict[str, Precision], *, wide: bool, kinds: tuple[Any, Any]
) -> dict[str, list[dict[str, Any]]]:
    """Which tensors differ from the pass's own width: those that layers of the other width touch.

    A tensor is in 16 bits where a 16-bit layer makes or takes it; 8-bit layers take a copy of it that
    is converted.
    """
    if len(set(wanted.values()) & set(_STATIC)) < 2:
        return {}
    wires = Wires(model.graph)
    touched: dict[str, set[Precision]] = {}
    takers: dict[str, set[str]] = {}
    for node in model.graph.node:
        precision = wanted.get(node.name)
        if precision not in _STATIC:
            continue
        inputs = [name for name in node.input if name and wires.constant(name) is None]
        for name in (*_carried(inputs, wires), *node.output):
            touched.setdefault(name, set()).add(precision)
        if precision is Precision.INT8:
            for name in inputs:
                takers.setdefault(name, set()).add(node.name)
    overrides: dict[str, list[dict[str, Any]]] = {}
    for name, precisions in touched.items():
        is_wide = Precision.W8A16 in precisions
        entry: dict[str, Any] = (
            {} if is_wide is wide else {"quant_type": kinds[0 if is_wide else 1]}
        )
        if is_wide and name in takers:
            entry["convert"] = {"quant_type": kinds[1], "recv_nodes": takers[name]}
        if entry:
            overrides[name] = [entry]
    return overrides


def _carried(names: Iterable[str], wires: Wires) -> list[str]:
    """`names`, and the tensors they have their scale from: ops that only move values share it."""
    found = list(names)
    for name in found:
        maker = wires.makers.get(name)
        if maker is not None and maker.op_type in _MOVING_OPS:
            found.append(maker.input[0])
    return found


def _float_nodes(model: Any, layers: Collection[str]) -> set[str]:
    """Nodes that stay float: `layers`, and what works on their output alone until the next layer.

    A sum or concatenation with another branch is the last of them.
    """
    wires = Wires(model.graph)
    names = {node.name for node in model.graph.node if weights_of(node, wires)} | set(layers)
    found = set(layers)
    fresh = [out for node in model.graph.node if node.name in layers for out in node.output]
    while fresh:
        tensor = fresh.pop()
        for node in model.graph.node:
            if tensor not in node.input or node.name in names | found:
                continue
            found.add(node.name)
            if sum(wires.constant(name) is None for name in node.input if name) == 1:
                fresh += node.output
    return found


def _static_ops(model: Any, settings: Quantize) -> tuple[tuple[str, ...], str]:
    """The op types to quantize, and a note that says which and why."""
    if settings.op_types:
        ops = known_ops(settings.op_types, (*CONVOLUTIONAL_OPS, *_OTHER_OPS))
        return ops, f"quantized op types, as asked: {', '.join(ops)}"
    wires = Wires(model.graph)
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    norms = any(node.op_type in _NORMS for node in model.graph.node)
    if norms or any(not weights_of(node, wires) for node in products):
        return LINEAR_OPS, (
            f"quantized op types: {', '.join(LINEAR_OPS)} only, because this is a transformer: its "
            f"normalizations and softmax lose too much in 8 bits"
        )
    present = {node.op_type for node in model.graph.node}
    shown = ", ".join(op for op in CONVOLUTIONAL_OPS if op in present)
    return CONVOLUTIONAL_OPS, f"quantized op types: {shown}"
