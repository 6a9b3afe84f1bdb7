"""Layers whose answer depends on the CPU: 8-bit products that some kernels cannot add up.

On x86 without VNNI, onnxruntime multiplies unsigned activations with signed weights by VPMADDUBSW,
which adds two neighbouring products in 16 bits and cuts off what is past 32767 (Intel, "64 and IA-32
Architectures Software Developer's Manual", vol. 2). 255 * (w1 + w2) stays below where no weight is
over 64, which is what `reduce_range` writes.
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from edgekit.backends.onnx_layers import PRODUCTS, Wires, named_layers, weights_of

_LARGEST_SAFE = 64
_BY_OP = {"QLinearConv": 2, "QLinearMatMul": 2, "QGemm": 2}  # where the activation's zero point is
_DYNAMIC = ("MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")


def saturating_layers(model: Any, folder: Path) -> tuple[str, ...]:
    """The layers that multiply unsigned activations with signed weights of the full range.

    `folder` is where the model's external data lies.
    """
    return tuple(
        name
        for name, node, wires in named_layers(model)
        if _takes_unsigned(node, wires)
        and any(_is_full_range(weight, folder) for weight in weights_of(node, wires))
    )


def hazard_notes(model: Any, folder: Path) -> tuple[str, ...]:
    """What a user has to know about them; empty where there are none."""
    layers = saturating_layers(model, folder)
    if not layers:
        return ()
    note = (
        f"{len(layers)} layers multiply uint8 activations with full-range int8 weights, such as "
        f"{layers[0]}: right on Arm and on x86 with VNNI, but without VNNI the sums saturate "
        f"(quantize for that target, which sets reduce_range or int8 activations)"
    )
    return (note,)


def _takes_unsigned(node: Any, wires: Wires) -> bool:
    if node.op_type in _DYNAMIC:  # DynamicQuantizeLinear gives uint8, and there is no other
        return True
    if node.op_type in _BY_OP:
        zero_point = wires.held.get(node.input[_BY_OP[node.op_type]])
        return zero_point is not None and zero_point.data_type == TensorProto.UINT8
    if node.op_type not in PRODUCTS:
        return False
    return any(wires.quantized_as(name) == TensorProto.UINT8 for name in node.input[:2])


def _is_full_range(weight: Any, folder: Path) -> bool:
    if weight.data_type != TensorProto.INT8:
        return False
    values = numpy_helper.to_array(weight, str(folder)).astype(np.int16)
    return bool(np.abs(values).max(initial=0) > _LARGEST_SAFE)
