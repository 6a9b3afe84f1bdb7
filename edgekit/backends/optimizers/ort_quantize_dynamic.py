"""Quantize an ONNX file with onnxruntime's dynamic quantizer: activations are rounded as they come."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from onnx import TensorProto

from edgekit.backends.layer_choice import chosen
from edgekit.backends.onnx_layers import layers_of
from edgekit.backends.onnx_passes import (
    check_float_io,
    check_mix,
    finished,
    known_ops,
    opened,
    prepared,
    quantize_settings,
    restore_names,
)
from edgekit.backends.onnx_products import split_products
from edgekit.core.artifact import Artifact
from edgekit.core.jobs import OptimizeJob
from edgekit.core.recipe import Precision, Quantize

DYNAMIC_OPS = ("MatMul", "Gemm", "LSTM")  # a Conv becomes ConvInteger, up to 20 times slower
_TOOL = "onnxruntime.quantization"


def optimize(job: OptimizeJob) -> Artifact:
    """8-bit weights of MatMul, Gemm and LSTM; their activations are quantized as they come.

    Where the target is x86 without VNNI, kernels for int8 weights saturate (see `onnx_hazards`):
    there products get uint8 weights, which are as exact, and an LSTM weights in 7 bits.
    """
    settings = quantize_settings(job)
    check_float_io(settings)
    model = opened(job)
    wanted = chosen(settings, [layer.name for layer in layers_of(model)])
    check_mix(wanted, (Precision.DYNAMIC,))
    ops = known_ops(settings.op_types, DYNAMIC_OPS) or DYNAMIC_OPS
    floats = [name for name, precision in wanted.items() if precision is Precision.FP32]
    model = prepared(model, job.folder)
    split_products(model)
    if {"vnni", "arm64"} & set(job.features):
        model = _with_dynamic(model, settings, ops=ops, floats=floats)
    else:
        model = _with_dynamic(model, settings, ops=("LSTM",), floats=floats, is_reduced=True)
        others = [op for op in ops if op != "LSTM"]
        model = _with_dynamic(model, settings, ops=others, floats=floats, weights="QUInt8")
    restore_names(model, wanted)
    return finished(job, model, tool=_TOOL, can=", ".join(ops))


def _with_dynamic(
    model: Any,
    settings: Quantize,
    *,
    ops: Collection[str],
    floats: Collection[str],
    weights: str = "QInt8",
    is_reduced: bool = False,
) -> Any:
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.quant_utils import QuantizationMode, QuantType

    if not any(node.op_type in ops for node in model.graph.node):
        return model
    del model.graph.value_info[:]  # the shapes of before; the quantizer infers them again
    quantizer = ONNXQuantizer(
        model,
        settings.per_channel,
        is_reduced,
        QuantizationMode.IntegerOps,
        False,  # noqa: FBT003 (static)
        QuantType[weights],
        QuantType.QUInt8,
        None,
        [],
        list(floats),
        list(ops),
        # Shapes behind an op of onnxruntime's own are not known; floats is what these ops make.
        {"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
    )
    quantizer.quantize_model()
    return quantizer.model.model
