"""A graph that computes in half precision and still takes and gives float32."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from edgekit.backends.graph_passes import fold_constants
from edgekit.backends.layer_choice import check_changed
from edgekit.backends.layer_folding import fold_layers
from edgekit.backends.programs import Program
from edgekit.backends.torch_layers import check_settings, layer_names, stored_layers
from edgekit.core.recipe import LayerPrecision, Precision, Quantize
from edgekit.errors import UnsupportedError

_DTYPES = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}
_FLOATS = (torch.float32, torch.float64)
_CAST = torch.ops.aten.to.dtype
_CHECK = torch.ops.aten._assert_tensor_metadata.default  # noqa: SLF001 - an op's name


def in_half(program: Program, settings: Quantize) -> tuple[Any, tuple[LayerPrecision, ...]]:
    """The module of a flat program, computing in `settings.precision`, and its layers.

    Batch norm is folded first: a delegate that folds it later keeps those weights in float32. Raises
    UnsupportedError for single layers in float32, and where there is no layer.
    """
    check_settings(settings, tool=f"a program in {settings.precision}")
    if settings.exclude or settings.rules:
        raise UnsupportedError(
            f"{settings.precision} is for the whole program here, not for single layers",
            fix="leave out exclude and rules, or keep layers in float with --precision int8",
        )
    module = program.run_decompositions({}).module(check_guards=False)
    module._forward_pre_hooks.clear()  # noqa: SLF001 - they compare shapes; torch.jit cannot trace it
    fold_layers(module)
    fold_constants(module)  # drops the weights that are not read any more
    _compute_in(module, _DTYPES[settings.precision])
    layers = tuple(stored_layers(module, layer_names(module)))
    check_changed(layers, settings, tool="edgekit", can="layers with weights")
    return module, layers


def _compute_in(module: GraphModule, dtype: Any) -> None:
    """Store weights in `dtype` (float16 or bfloat16) and compute in it, in branches too.

    Float inputs are cast where they come in, float outputs where they leave. Casts to float32 inside
    become casts to `dtype`, and checks of dtypes are dropped. Numbers out of the range of `dtype`
    become infinite.
    """
    for part in module.modules():
        if isinstance(part, GraphModule):
            _cast_inside(part, dtype)
    for node in list(module.graph.nodes):
        if node.op == "placeholder" and _dtype(node) in _FLOATS:
            _cast_input(node, dtype)
        elif node.op == "output":
            node.args = pytree.tree_map_only(Node, _cast_output, node.args)
    module.graph.lint()
    module.recompile()


def _cast_inside(part: GraphModule, dtype: Any) -> None:
    def cast(value: Any) -> Any:
        return dtype if value in _FLOATS else value

    for node in list(part.graph.nodes):
        if node.op == "get_attr":
            _cast_weight(part, str(node.target), dtype)
        elif node.target is _CHECK:
            part.graph.erase_node(node)
        elif node.op == "call_function":
            node.args = pytree.tree_map_only(torch.dtype, cast, node.args)
            node.kwargs = pytree.tree_map_only(torch.dtype, cast, node.kwargs)
    part.recompile()


def _cast_weight(part: GraphModule, path: str, dtype: Any) -> None:
    """The same attribute in `dtype`, whether it is a parameter, a buffer or neither."""
    owner, _, name = path.rpartition(".")
    holder = part.get_submodule(owner)
    tensor = getattr(holder, name)
    if isinstance(tensor, torch.Tensor) and tensor.dtype in _FLOATS:
        delattr(holder, name)
        holder.register_buffer(name, tensor.detach().to(dtype))


def _cast_input(node: Node, dtype: Any) -> None:
    with node.graph.inserting_after(node):
        cast = node.graph.call_function(_CAST, (node, dtype))
    node.replace_all_uses_with(cast, delete_user_cb=lambda user: user is not cast)


def _cast_output(node: Node) -> Node:
    wanted = _dtype(node)
    if wanted not in _FLOATS:
        return node
    with node.graph.inserting_before(next(reversed(node.graph.nodes))):
        return node.graph.call_function(_CAST, (node, wanted))


def _dtype(node: Node) -> Any:
    return getattr(node.meta.get("val"), "dtype", None)
