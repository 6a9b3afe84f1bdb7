"""Passes over the graph of an exported program that let other tools read it.

Both change a `GraphModule` in place and keep what it computes; export it again afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg


def make_contiguous(module: Any) -> None:
    """Ask for the plain memory format wherever the graph asks for another, in branches too.

    Code with channels last (Keras on torch) leaves `clone(memory_format=channels_last)` behind,
    which ExecuTorch lowers to a `_clone_dim_order` whose own check may fail at run time with 0x12.
    The memory format is about strides, never about values.
    """
    for part in _graph_modules(module):
        for node in part.graph.nodes:
            if node.op == "call_function" and "memory_format" in node.kwargs:
                node.kwargs = {**node.kwargs, "memory_format": torch.contiguous_format}
            if node.target is torch.ops.aten.view.default:
                node.target = torch.ops.aten.reshape.default
        part.recompile()


def fold_constants(module: Any) -> None:
    """Work out everything that depends on weights alone, and drop weights nothing uses any more.

    Delegates take a convolution only where its weight is a constant of the program ("Expected
    weight to be a static param"), and not a transpose of one. A result larger than what it was
    worked out from is left alone.
    """
    values: dict[Node, Any] = {}
    for node in module.graph.nodes:
        value = _constant(module, node, values)
        if isinstance(value, torch.Tensor):
            values[node] = value
    for at, node in enumerate(list(module.graph.nodes)):
        if node in values and node.op == "call_function":
            _replace(module, node, values, name=f"{_largest_source(module, node)}_folded_{at}")
    module.graph.eliminate_dead_code()
    _drop_unused(module)
    module.recompile()


def _constant(module: Any, node: Node, values: dict[Node, Any]) -> Any:
    """The value of `node` where it is known before any input is."""
    if node.op == "get_attr":
        return None if _is_written(node) else _attribute(module, str(node.target))
    if node.op != "call_function" or not node.all_input_nodes or not _is_pure(node):
        return None
    if not all(given in values for given in node.all_input_nodes):
        return None
    args, kwargs = map_arg((node.args, node.kwargs), lambda given: values[given])
    with torch.no_grad():
        value = node.target(*args, **kwargs)
    given_size = sum(values[given].numel() for given in node.all_input_nodes)
    if not isinstance(value, torch.Tensor) or value.numel() > given_size:
        return None
    return value.detach().contiguous().clone()


def _is_pure(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    if schema is None or schema.is_mutable:
        return False
    return torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ())


def _is_written(node: Node) -> bool:
    """Whether some op changes this attribute in place: a buffer with state."""
    return any(
        (schema := getattr(user.target, "_schema", None)) is not None and schema.is_mutable
        for user in node.users
    )


def _largest_source(module: Any, node: Node) -> str:
    """The largest attribute that `node` is worked out from: a layer's weight, with its name."""
    found: dict[str, int] = {}
    waiting = [node]
    while waiting:
        given = waiting.pop()
        waiting += given.all_input_nodes
        if given.op == "get_attr":
            found[str(given.target)] = _attribute(module, str(given.target)).numel()
    return max(found, key=lambda name: found[name])


def _replace(module: Any, node: Node, values: dict[Node, Any], *, name: str) -> None:
    """Let the users of `node` that are not constants themselves read a buffer instead."""
    users = [user for user in node.users if user not in values]
    if not users:
        return
    owner, _, last = name.rpartition(".")
    module.get_submodule(owner).register_buffer(last, values[node])
    graph: Graph = module.graph
    with graph.inserting_before(node):
        folded = graph.get_attr(name)
        folded.meta.update(node.meta)
    for user in users:
        user.replace_input_with(node, folded)


def _drop_unused(module: Any) -> None:
    """Forget parameters and buffers no graph reads: an export would carry them along."""
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    # A weight may be held in two places, as by Keras' Sequential and the Functional inside it.
    named = (module.named_parameters, module.named_buffers)
    for name, _ in [pair for each in named for pair in each(remove_duplicate=False)]:
        if not any(name == target or name.startswith(f"{target}.") for target in used):
            owner, _, last = name.rpartition(".")
            holder = module.get_submodule(owner)
            holder._parameters.pop(last, None)  # noqa: SLF001 - delattr fails where it is gone
            holder._buffers.pop(last, None)  # noqa: SLF001


def _attribute(module: Any, target: str) -> Any:
    found = module
    for part in target.split("."):
        found = getattr(found, part)
    return found


def _graph_modules(module: Any) -> Iterator[Any]:
    return (part for part in module.modules() if isinstance(part, GraphModule))
