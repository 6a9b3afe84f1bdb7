"""8-bit quantization of an exported program for XNNPACK: PyTorch 2 Export (PT2E) quantization."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgekit.backends.layer_choice import check_changed, chosen
from edgekit.backends.layer_folding import LAYERS, constant, fold_layers
from edgekit.backends.programs import Tensors
from edgekit.backends.torch_layers import check_settings, layer_names, stored_layers
from edgekit.backends.xnnpack_quantizer import RangeObserver, choose, is_normed
from edgekit.core.recipe import LayerPrecision, Precision, Quantize
from edgekit.errors import UnsupportedError

_PRECISIONS = (Precision.INT8, Precision.DYNAMIC, Precision.FP32)
_BIAS_ROOM = 2.0**30


@dataclass(frozen=True)
class Quantized:
    """A module with quantize and dequantize ops in it, and what its layers are stored in."""

    module: Any
    layers: tuple[LayerPrecision, ...]
    notes: tuple[str, ...]


def quantized(
    program: Any, settings: Quantize, example: Tensors, samples: Iterable[Tensors]
) -> Quantized:
    """Quantize the convolutions and linear layers of a flat program, and what joins their outputs.

    `samples` are calls for calibration, read once and not kept; where every layer is `dynamic` the
    weights alone have to be seen, and any `example` does. Weights are symmetric from -127 to 127,
    biases have 32 bits. Raises UnsupportedError for what XNNPACK cannot compute, ConfigError for a
    glob that names no layer.
    """
    check_settings(settings, tool="ExecuTorch")
    module = program.run_decompositions({}).module(check_guards=False)
    fold_layers(module)
    names = layer_names(module)
    wanted = chosen(settings, sorted(set(names.values())))
    _check_precisions(settings, wanted)
    with torch.no_grad():
        by_node = {node: wanted[name] for node, name in names.items()}
        prepared = prepare_pt2e(module, choose(module, settings, by_node))
        for sample in samples if Precision.INT8 in wanted.values() else (example,):
            prepared(*sample)
        _leave_room_for_biases(prepared)
        converted = convert_pt2e(prepared)
    layers = tuple(stored_layers(converted, names))
    check_changed(layers, settings, tool="XNNPACK", can="convolutions and linear layers")
    return Quantized(module=converted, layers=layers, notes=tuple(_notes(module, layers, wanted)))


def _check_precisions(settings: Quantize, wanted: Mapping[str, Precision]) -> None:
    for layer, precision in wanted.items():
        if precision not in _PRECISIONS:
            raise UnsupportedError(
                f"layer {layer!r} cannot be {precision} in an ExecuTorch program that is quantized",
                fix=f"choose one of: {', '.join(_PRECISIONS)}",
            )
    if Precision.DYNAMIC in wanted.values() and (settings.symmetric or not settings.per_channel):
        raise UnsupportedError(
            "XNNPACK computes dynamic layers only with weights per channel and activations that are "
            "not symmetric",
            fix="leave out --per-tensor and symmetric, or choose int8",
        )


def _leave_room_for_biases(prepared: GraphModule) -> None:
    """Widen the scale of a channel whose bias would not fit 32 bits at the scale of its product.

    That happens where a channel's weights are all but zero; XNNPACK would cut the bias off.
    """
    for node in prepared.graph.nodes:
        bias = node.args[2] if node.target in LAYERS and len(node.args) > 2 else None
        given, weights = (
            (_module(prepared, value) for value in node.args[:2]) if bias else (None,) * 2
        )
        if not isinstance(given, RangeObserver) or weights is None:
            continue
        scale = float(given.calculate_qparams()[0])
        least = constant(prepared, bias).abs() / (scale * _BIAS_ROOM) * 127
        least = least if weights.min_val.dim() else least.max()
        weights.min_val = torch.minimum(weights.min_val, -least)


def _module(prepared: GraphModule, node: Node) -> Any:
    return prepared.get_submodule(str(node.target)) if node.op == "call_module" else None


def _notes(
    module: GraphModule, layers: Iterable[LayerPrecision], wanted: Mapping[str, Precision]
) -> Iterator[str]:
    """What is in 8 bits beside the layers, and which layers are not though nobody asked for that."""
    if any(layer.precision is Precision.INT8 for layer in layers):
        joins = (
            "stay in float32, for it has layer norms" if is_normed(module) else "are in 8 bits too"
        )
        yield f"sums, products and concatenations of 8-bit layers {joins}"
    kept = [
        layer.name
        for layer in layers
        if layer.precision is Precision.FP32 and wanted.get(layer.name) is not Precision.FP32
    ]
    if kept:
        yield f"kept in float32, for XNNPACK has no 8-bit form of it: {', '.join(kept)}"
