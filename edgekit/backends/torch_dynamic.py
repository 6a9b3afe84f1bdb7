"""Linear layers of a graph in 8 bits with the kernels of PyTorch itself: `quantized::linear_dynamic`.

The Python side of it (`torch.ao`) is deprecated; the kernels are what TorchScript still has. There are
none for convolutions with activations quantized at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import GraphModule

from edgekit.backends.graph_passes import fold_constants
from edgekit.backends.layer_choice import check_changed, chosen
from edgekit.backends.layer_folding import LINEAR, constant, fold_layers, origin
from edgekit.backends.programs import Program
from edgekit.backends.torch_layers import check_settings, layer_names, stored_layers
from edgekit.core.noun import changed
from edgekit.core.recipe import LayerPrecision, Precision, Quantize
from edgekit.errors import UnsupportedError

_SMALLEST_SCALE = 1e-12


def in_dynamic(program: Program, settings: Quantize) -> tuple[Any, tuple[LayerPrecision, ...]]:
    """The module of a flat program with its linear layers in 8 bits, and all its layers.

    Raises UnsupportedError where there is no linear layer, and for settings the kernels lack.
    """
    check_settings(settings, tool="TorchScript")
    module = program.run_decompositions({}).module(check_guards=False)
    module._forward_pre_hooks.clear()  # noqa: SLF001 - they compare shapes; torch.jit cannot trace it
    fold_layers(module)
    names = layer_names(module)
    wanted = chosen(settings, sorted(set(names.values())))
    other = sorted(set(wanted.values()) - {Precision.DYNAMIC, Precision.FP32})
    if other or settings.symmetric:
        raise UnsupportedError(
            f"TorchScript has no {other[0] if other else 'symmetric'} layers next to dynamic ones",
            fix="choose dynamic or fp32 for each layer, and leave out symmetric",
        )
    stored = tuple(stored_layers(module, names))
    done = _replace(module, {node: wanted[name] for node, name in names.items()}, settings)
    layers = tuple(
        changed(layer, precision=Precision.DYNAMIC)
        if any(names[node] == layer.name for node in done)
        else layer
        for layer in stored
    )
    check_changed(layers, settings, tool="PyTorch", can="linear layers")
    fold_constants(module)
    return module, layers


def _replace(module: GraphModule, wanted: Mapping[str, Precision], settings: Quantize) -> list[str]:
    """Call a quantized module instead of each linear layer; the names of the nodes replaced.

    Layers that share weights and bias share the module.
    """
    done = []
    for node in list(module.graph.nodes):
        if node.target is not LINEAR or wanted.get(node.name) is not Precision.DYNAMIC:
            continue
        bias = node.args[2] if len(node.args) > 2 else None
        name = f"quantized_{origin(node.args[1])}_{bias}".replace(".", "_")
        if name not in dict(module.named_children()):
            module.add_module(
                name, _quantized(constant(module, node.args[1]), constant(module, bias), settings)
            )
        with module.graph.inserting_before(node):
            call = module.graph.call_module(name, (node.args[0],))
        call.meta.update(node.meta)
        node.replace_all_uses_with(call)
        module.graph.erase_node(node)
        done.append(node.name)
    module.graph.eliminate_dead_code()
    module.recompile()
    return done


def _quantized(weight: Any, bias: Any, settings: Quantize) -> Any:
    """A linear layer with weights from -127 to 127, per output channel or by one scale."""
    from torch.ao.nn.quantized.dynamic import Linear

    weight = weight.contiguous()
    made = Linear(weight.shape[1], weight.shape[0], bias_=bias is not None)
    if settings.per_channel:
        scales = (weight.abs().amax(1) / 127).clamp_min(_SMALLEST_SCALE).double()
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        packed = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
    else:
        scale = max(float(weight.abs().max()) / 127, _SMALLEST_SCALE)
        packed = torch.quantize_per_tensor(weight, scale, 0, torch.qint8)
    made.set_weight_bias(packed, bias)
    return made
