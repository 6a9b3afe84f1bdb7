"""Layers whose answer depends on the CPU: 8-bit products that some kernels cannot add up.

On x86 without VNNI, onnxruntime multiplies with VPMADDUBSW, which takes unsigned activations and signed
weights, adds two neighbouring products in 16 bits and cuts off what is past 32767 (Intel, "64 and
IA-32 Architectures Software Developer's Manual", vol. 2). 255 * (w1 + w2) stays below where no weight is
over 64, which is what `reduce_range` writes. Seen with onnxruntime 1.31.1 on an emulated Haswell:
matrix products and convolutions with uint8 weights go another way and are right; convolutions of int8
activations too; matrix products of int8 by int8 are not, nor is an LSTM with weights of either sign.
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from edgekit.backends.onnx_layers import Wires, named_layers, precision_in, weights_of
from edgekit.core.recipe import Precision

_LARGEST_SAFE = 64
_ZERO_POINT_AT = 2  # of the activation of a QLinearConv


def saturating_layers(model: Any, folder: Path) -> tuple[str, ...]:
    """The layers that kernels of x86 without VNNI would get wrong; external data lies in `folder`."""
    return tuple(
        name
        for name, node, wires in named_layers(model)
        if precision_in(node, wires) in (Precision.INT8, Precision.DYNAMIC)
        and not _is_signed_convolution(node, wires)
        and any(_is_full_range(weight, node, folder) for weight in weights_of(node, wires))
    )


def hazard_notes(model: Any, folder: Path) -> tuple[str, ...]:
    """What a user has to know about them; empty where there are none."""
    layers = saturating_layers(model, folder)
    if not layers:
        return ()
    note = (
        f"{len(layers)} 8-bit layers have weights of the full range, such as {layers[0]}: right on "
        f"Arm and on x86 with VNNI, but on x86 without VNNI their sums saturate (quantize for "
        f"that target: weights are uint8 or in 7 bits then)"
    )
    return (note,)


def _is_signed_convolution(node: Any, wires: Wires) -> bool:
    if node.op_type == "QLinearConv":
        zero_point = wires.held.get(node.input[_ZERO_POINT_AT])
        return zero_point is not None and zero_point.data_type == TensorProto.INT8
    return (
        node.op_type in ("Conv", "ConvTranspose")
        and wires.quantized_as(node.input[0]) == TensorProto.INT8
    )


def _is_full_range(weight: Any, node: Any, folder: Path) -> bool:
    if weight.data_type == TensorProto.UINT8 and node.op_type != "DynamicQuantizeLSTM":
        return False
    values = numpy_helper.to_array(weight, str(folder)).astype(np.int16)
    if weight.data_type == TensorProto.UINT8:
        return bool(np.ptp(values) > 2 * _LARGEST_SAFE) if values.size else False
    return bool(np.abs(values).max(initial=0) > _LARGEST_SAFE)
