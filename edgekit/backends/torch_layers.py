"""The layers of a graph by the names their user gave them, and what they are stored in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.backends.layer_folding import LAYERS, constant, origin
from edgekit.core.recipe import IoType, LayerPrecision, Precision, Quantize
from edgekit.errors import UnsupportedError

_RECURRENT = frozenset(
    {
        torch.ops.aten.lstm.input,
        torch.ops.aten.gru.input,
        torch.ops.aten.rnn_tanh.input,
        torch.ops.aten.rnn_relu.input,
    }
)
_STORED = {
    torch.float16: Precision.FP16,
    torch.bfloat16: Precision.BF16,
    torch.float32: Precision.FP32,
}


def check_settings(settings: Quantize, *, tool: str) -> None:
    """Raise UnsupportedError for the settings that no pass over a torch program has."""
    asked = {
        f"io = {settings.io}": (settings.io is not IoType.FLOAT, "io = float"),
        f"op_types = {', '.join(settings.op_types)}": (settings.op_types != (), "exclude = [...]"),
    }
    for name, (is_asked, fix) in asked.items():
        if is_asked:
            raise UnsupportedError(f"{tool} cannot be quantized with {name}", fix=f"use {fix}")


def layer_names(module: GraphModule) -> dict[str, str]:
    """The layer's name for each node that is one: its weight's owner, such as `layer1.0.conv1`.

    Calls that share a weight are one layer. Where an owner has several weights, they tell.
    """
    origins = {
        node.name: re.sub(r"_folded_\d+$", "", origin(node.args[1]))
        for node in module.graph.nodes
        if node.target in LAYERS and constant(module, node.args[1]) is not None
    }
    owners = [path.rpartition(".")[0] for path in set(origins.values())]
    return {
        node: owner if owner and owners.count(owner) == 1 else path
        for node, path in origins.items()
        for owner in [path.rpartition(".")[0]]
    }


def stored_layers(module: GraphModule, names: Mapping[str, str]) -> Iterator[LayerPrecision]:
    """Every layer in `names` and every recurrent one, as the graph has it now."""
    seen: set[str] = set()
    for node in module.graph.nodes:
        kind = str(node.target).partition(".")[2].partition(".")[0]
        if node.target in _RECURRENT:
            weights = [constant(module, value) for value in node.args[2]]
            yield LayerPrecision(
                name=node.name,
                op=kind,
                precision=_STORED[weights[0].dtype],
                parameters=sum(weight.numel() for weight in weights),
            )
        name = names.get(node.name)
        if name is not None and name not in seen:
            seen.add(name)
            weight, precision = _weight(module, node)
            yield LayerPrecision(name=name, op=kind, precision=precision, parameters=weight.numel())


def _weight(module: GraphModule, layer: Node) -> tuple[Any, Precision]:
    given, weight = layer.args[:2]
    if "dequantize" not in str(weight.target):
        value = constant(module, weight)
        return value, _STORED[value.dtype]
    is_dynamic = isinstance(given.args[1], Node)  # its scale is worked out at each call
    precision = Precision.DYNAMIC if is_dynamic else Precision.INT8
    return constant(module, weight.args[0]), precision
