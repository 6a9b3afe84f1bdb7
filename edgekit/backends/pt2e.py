"""8-bit quantization of an exported program for XNNPACK: PyTorch 2 Export (PT2E) quantization."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgekit.backends.layer_choice import check_changed, chosen
from edgekit.backends.layer_folding import LAYERS, LINEAR, constant, fold_layers
from edgekit.backends.programs import Tensors
from edgekit.backends.torch_layers import check_settings, layer_names, stored_layers
from edgekit.backends.xnnpack_quantizer import JOINS, RangeObserver, choose, is_normed
from edgekit.core.recipe import LayerPrecision, Precision, Quantize, names_layer
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
    last = _last(module, names, settings, wanted)
    wanted |= dict.fromkeys(last, Precision.DYNAMIC)
    with torch.no_grad():
        by_node = {node: wanted[name] for node, name in names.items()}
        prepared = prepare_pt2e(module, choose(module, settings, by_node))
        for sample in samples if Precision.INT8 in wanted.values() else (example,):
            prepared(*sample)
        _leave_room_for_biases(prepared)
        converted = convert_pt2e(prepared)
    layers = tuple(stored_layers(converted, names))
    check_changed(layers, settings, tool="XNNPACK", can="convolutions and linear layers")
    return Quantized(
        module=converted, layers=layers, notes=tuple(_notes(module, layers, wanted, last))
    )


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


def _last(
    module: GraphModule,
    names: Mapping[str, str],
    settings: Quantize,
    wanted: Mapping[str, Precision],
) -> list[str]:
    """The linear layers that nothing else in 8 bits comes after, where others are int8.

    The program gives float32: to quantize an output first saves nothing, and cuts off what is beyond
    the calibrated range. As `dynamic` layers they have the same weights and a float output.
    """
    goes_on: dict[Node, bool] = {}
    for node in reversed(module.graph.nodes):
        goes_on[node] = any(
            user.target in LAYERS or user.target in JOINS or goes_on[user] for user in node.users
        )
    ruled = [rule.layers for rule in settings.rules]
    nodes = [node for node in module.graph.nodes if node.name in names]
    inner = {names[node.name] for node in nodes if goes_on[node] or node.target is not LINEAR}
    last = [
        name
        for name, precision in wanted.items()
        if precision is Precision.INT8
        and name not in inner
        and not any(names_layer(glob, name) for glob in ruled)
    ]
    is_possible = settings.per_channel and not settings.symmetric
    others = any(wanted[name] is Precision.INT8 for name in inner)
    return last if is_possible and others else []


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
    module: GraphModule,
    layers: Iterable[LayerPrecision],
    wanted: Mapping[str, Precision],
    last: Iterable[str],
) -> Iterator[str]:
    """What is not in the precision that was asked for, and why."""
    if last:
        yield f"the ranges of {', '.join(last)} are taken at run time, so that no output is cut off"
    if is_normed(module) and any(layer.precision is Precision.INT8 for layer in layers):
        yield "sums and products of 8-bit layers stay in float32, for the model has layer norms"
    kept = [
        layer.name
        for layer in layers
        if layer.precision is Precision.FP32 and wanted.get(layer.name) is not Precision.FP32
    ]
    if kept:
        yield f"kept in float32, for XNNPACK has no 8-bit form of it: {', '.join(kept)}"
