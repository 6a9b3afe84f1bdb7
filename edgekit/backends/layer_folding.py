"""Put what follows a layer into its weights, so that a quantizer sees one op and its activation.

Batch norm, and what Keras makes of it (a subtraction, a product, a sum after a transpose), scales and
shifts each channel. Left outside, the layer's output is quantized at a range that nothing needs, and
the activation is hidden that a delegate computes together with the layer. A graph is changed in
place and keeps what it computes; it may not hold ops that write into their arguments.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node

_ATEN = torch.ops.aten
LINEAR = _ATEN.linear.default
TRANSPOSED = frozenset({_ATEN.conv_transpose1d.default, _ATEN.conv_transpose2d.input})
LAYERS = TRANSPOSED | {
    LINEAR, _ATEN.conv1d.default, _ATEN.conv1d.padding, _ATEN.conv2d.default,
    _ATEN.conv2d.padding, _ATEN.conv3d.default, _ATEN.conv3d.padding,
}  # fmt: skip
CLAMPS = frozenset({_ATEN.relu.default, _ATEN.relu_.default, _ATEN.hardtanh.default})
_PRODUCTS = frozenset({_ATEN.matmul.default, _ATEN.mm.default, _ATEN.addmm.default})
_COPIES = frozenset({_ATEN.clone.default, _ATEN.contiguous.default})
_VIEWS = frozenset({_ATEN.view.default, _ATEN._unsafe_view.default})  # noqa: SLF001 - names of ops
_TURN = _ATEN.permute.default
_NORM = _ATEN._native_batch_norm_legit_no_training.default  # noqa: SLF001 - an op's name
_NAMES = {
    "add": "add", "add_": "add", "sub": "sub", "sub_": "sub", "subtract": "sub",
    "mul": "mul", "mul_": "mul", "multiply": "mul", "div": "div", "div_": "div", "divide": "div",
}  # fmt: skip

_PerChannel = tuple[Any, Any]  # scale and shift, each of one value per output channel


def fold_layers(module: GraphModule) -> None:
    """Products with a constant become linear layers; what scales and shifts a layer goes into it.

    A clamp behind transposes moves up to the layer, `relu6` is written as the clamp it is, copies and
    transposes that undo each other are dropped.
    """
    graph = module.graph
    for node in list(graph.nodes):
        if node.target is _ATEN.relu6.default:
            node.target, node.args = _ATEN.hardtanh.default, (node.args[0], 0.0, 6.0)
        elif node.target is operator.getitem and node.args[0].target is _NORM and not node.args[1]:
            given = node.args[0].args
            node.target = _ATEN.batch_norm.default
            node.args = (*given[:5], False, *given[5:], False)
        elif node.target in _VIEWS:  # they need the copies that are dropped
            node.target = _ATEN.reshape.default
        elif node.target in _COPIES:
            node.replace_all_uses_with(node.args[0])
        elif node.op == "call_function":
            _as_linear(module, node)
    for node in list(graph.nodes):
        if node.target in LAYERS and constant(module, node.args[1]) is not None:
            _fold_following(module, node)
    for node in list(graph.nodes):
        if node.target is _TURN and node.args[0].target is _TURN:
            _join_turns(node)
    graph.eliminate_dead_code()
    graph.lint()
    module.recompile()


def constant(module: GraphModule, value: Any) -> Any:
    """The tensor that `value`, a node of `module` or a number, always has; None where it varies."""
    if isinstance(value, int | float):
        return torch.tensor(float(value))
    if not isinstance(value, Node) or value.op != "get_attr":
        return None
    found: Any = module
    for part in str(value.target).split("."):
        found = getattr(found, part)
    return found.detach() if isinstance(found, torch.Tensor) else None


def origin(weight: Node) -> str:
    """What a weight was called before anything was folded into it: `layer1.0.conv1.weight`."""
    return str(weight.meta.get("origin") or weight.target)


def _as_linear(module: GraphModule, node: Node) -> None:
    """Write a product with a constant matrix as a linear layer."""
    at = 1 if node.target is _ATEN.addmm.default else 0
    if node.target not in _PRODUCTS or node.kwargs or len(node.args) != at + 2:
        return
    weight = constant(module, node.args[at + 1])
    if weight is None or weight.dim() != 2 or not weight.is_floating_point():
        return
    with module.graph.inserting_before(node):
        turned = _attribute(
            module, f"{node.args[at + 1].name}_turned", weight.t(), origin=origin(node.args[at + 1])
        )
        linear = module.graph.call_function(LINEAR, (node.args[at], turned, *node.args[:at]))
    linear.meta.update(node.meta)
    node.replace_all_uses_with(linear)
    module.graph.erase_node(node)


def _fold_following(module: GraphModule, layer: Node) -> None:
    """Fold ops from `layer` on while each is the only user of the one before."""
    value, weight = layer.meta.get("val"), constant(module, layer.args[1])
    if value is None or (layer.target in TRANSPOSED and _argument(layer, 6, 1) != 1):
        return
    size = weight.shape[1 if layer.target in TRANSPOSED else 0]
    axis = value.dim() - 1 if layer.target is LINEAR else 1
    last, total = layer, None
    while len(last.users) == 1:
        user = next(iter(last.users))
        if user.target is _TURN:
            axis, last = _order(user).index(axis), user
            continue
        found = _affine(module, user, last, (axis, value.dim(), size))
        if found is None:
            _move_up(user, last, layer)
            break
        scale, shift = total or (torch.ones(size), torch.zeros(size))
        total = scale * found[0], shift * found[0] + found[1]
        user.replace_all_uses_with(last)
        module.graph.erase_node(user)
    if total is not None:
        _rewrite(module, layer, weight, total)


def _affine(
    module: GraphModule, node: Node, given: Node, axis: tuple[int, int, int]
) -> _PerChannel | None:
    """What `node` does to each channel of `given`; `axis` is the channels' place, rank and number."""
    if node.target is _ATEN.batch_norm.default:
        return _normalized(module, node) if node.args[0] is given and axis[0] == 1 else None
    packet = getattr(node.target, "overloadpacket", None)
    kind = _NAMES.get(getattr(packet, "__name__", "")) if packet else None
    if kind is None or node.kwargs or len(node.args) != 2:
        return None
    is_second = node.args[1] is given
    other = _per_channel(constant(module, node.args[0 if is_second else 1]), axis)
    if other is None or (is_second and kind == "div"):
        return None
    one, none = torch.ones_like(other), torch.zeros_like(other)
    if is_second and kind == "sub":
        return -one, other
    return {
        "add": (one, other),
        "sub": (one, -other),
        "mul": (other, none),
        "div": (1 / other, none),
    }[kind]


def _per_channel(value: Any, axis: tuple[int, int, int]) -> Any:
    """`value` with one number per channel, where it is the same along every other axis."""
    at, rank, size = axis
    if value is None or not value.is_floating_point() or value.dim() > rank:
        return None
    shape = (1,) * (rank - value.dim()) + tuple(value.shape)
    if any(length != 1 for place, length in enumerate(shape) if place != at):
        return None
    return value.reshape(-1).expand(size) if shape[at] in (1, size) else None


def _normalized(module: GraphModule, node: Node) -> _PerChannel | None:
    weight, bias, mean, variance = (
        None if given is None else constant(module, given) for given in node.args[1:5]
    )
    if mean is None or variance is None or node.args[5]:
        return None
    scale = (1 if weight is None else weight) / torch.sqrt(variance + node.args[7])
    return scale, (0 if bias is None else bias) - mean * scale


def _rewrite(module: GraphModule, layer: Node, weight: Any, change: _PerChannel) -> None:
    """Weights and bias of `layer` with `change` in them, worked out in float64."""
    scale, shift = (part.double() for part in change)
    shape = [1] * weight.dim()
    shape[1 if layer.target in TRANSPOSED else 0] = -1
    old = constant(module, _argument(layer, 2, None))
    bias = shift if old is None else old.double() * scale + shift
    with module.graph.inserting_before(layer):
        new = (
            _attribute(
                module,
                f"{layer.name}_weight",
                weight.double() * scale.reshape(shape),
                origin=origin(layer.args[1]),
            ),
            _attribute(module, f"{layer.name}_bias", bias),
        )
    layer.args = (layer.args[0], *new, *layer.args[3:])


def _move_up(node: Node, last: Node, layer: Node) -> None:
    """Compute a clamp right after the layer: it treats all values alike, wherever they lie."""
    if node.target is _ATEN.hardtanh.default or node.target in CLAMPS:
        if last is layer or node.args[0] is not last:
            return
        node.replace_all_uses_with(last)
        with layer.graph.inserting_after(layer):
            moved = layer.graph.call_function(node.target, (layer, *node.args[1:]))
        moved.meta.update(layer.meta)
        layer.replace_all_uses_with(moved, delete_user_cb=lambda user: user is not moved)
        layer.graph.erase_node(node)


def _order(turn: Node) -> list[int]:
    """Where each axis of the result comes from."""
    return [int(axis) % len(turn.args[1]) for axis in turn.args[1]]


def _join_turns(turn: Node) -> None:
    """Two transposes as one, or as none."""
    before = turn.args[0]
    order = [_order(before)[axis] for axis in _order(turn)]
    if order == sorted(order):
        turn.replace_all_uses_with(before.args[0])
    else:
        turn.args = (before.args[0], order)


def _argument(node: Node, at: int, default: Any) -> Any:
    return node.args[at] if len(node.args) > at else node.kwargs.get("bias", default)


def _attribute(module: GraphModule, name: str, value: Any, *, origin: str = "") -> Node:
    """The node that reads the buffer `name`, which is made where it is not there yet."""
    if name not in dict(module.named_buffers(recurse=False)):
        module.register_buffer(name, value.float().contiguous())
    node = module.graph.get_attr(name)
    node.meta.update(val=value.float(), origin=origin)
    return node
