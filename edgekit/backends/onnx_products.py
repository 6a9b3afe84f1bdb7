"""Products rewritten into what onnxruntime's quantizers get right.

Seen in 1.31.1, each in silence:

- `ONNXModel.replace_gemm_with_matmul` transposes a weight in place: where two Gemms share a square one,
  it is transposed twice.
- The static quantizer sets the `beta` of a Gemm to 1 and leaves the bias as it was.
- The static quantizer quantizes a shared weight for all that read it, also for nodes to be excluded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from edgekit.backends.onnx_files import graphs
from edgekit.backends.onnx_layers import Wires


def split_products(model: Any) -> None:
    """Make every Gemm with a stored weight a MatMul of the same name, and an Add for its bias."""
    graph = model.graph
    wires = Wires(graph)
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        settings = {a.name: a.f if a.type == a.FLOAT else a.i for a in node.attribute}
        weight = wires.held.get(node.input[1]) if node.op_type == "Gemm" else None
        if weight is None or settings.get("transA"):
            graph.node.append(node)
            continue
        graph.node.extend(_products(node, settings, wires))
    drop_unused(model)


def fold_factors(model: Any) -> None:
    """Multiply `alpha` and `beta` of every Gemm into its stored weight and bias."""
    wires = Wires(model.graph)
    for node in model.graph.node:
        if node.op_type != "Gemm":
            continue
        for attribute, at, end in (("alpha", 1, "_weight"), ("beta", 2, "_bias")):
            found = next((a for a in node.attribute if a.name == attribute), None)
            if found is None or found.f == 1.0 or len(node.input) <= at:
                continue
            if node.input[at] in wires.held:
                node.input[at] = _changed(
                    wires, node.input[at], scale=found.f, transpose=False, end=end
                )
                found.f = 1.0
    drop_unused(model)


def own_weights(model: Any, layers: Collection[str]) -> None:
    """Give each of `layers` a copy of a stored weight that it shares with others."""
    wires = Wires(model.graph)
    readers = Counter(name for node in model.graph.node for name in set(node.input))
    for node in model.graph.node:
        if node.name not in layers:
            continue
        for at, name in enumerate(node.input):
            if name in wires.held and readers[name] > 1:
                copy = model.graph.initializer.add()
                copy.CopyFrom(wires.held[name])
                copy.name = node.input[at] = f"{name}_of_{node.name}"


def drop_unused(model: Any) -> None:
    """Leave out the stored tensors that nothing reads any more."""
    graph = model.graph
    used = {name for inner in graphs(model) for node in inner.node for name in node.input}
    used |= {value.name for inner in graphs(model) for value in _values(inner)}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _products(node: Any, settings: dict[str, Any], wires: Wires) -> list[Any]:
    alpha, beta = settings.get("alpha", 1.0), settings.get("beta", 1.0)
    weight = _changed(
        wires, node.input[1], scale=alpha, transpose=bool(settings.get("transB")), end="_transposed"
    )
    if len(node.input) < 3 or not node.input[2]:
        return [helper.make_node("MatMul", [node.input[0], weight], node.output, node.name)]
    product = f"{node.output[0]}_product"
    nodes = [helper.make_node("MatMul", [node.input[0], weight], [product], node.name)]
    bias = node.input[2]
    if beta != 1.0 and bias in wires.held:
        bias = _changed(wires, bias, scale=beta, transpose=False, end="_scaled")
    elif beta != 1.0:
        factor = numpy_helper.from_array(np.float32(beta), f"{node.name}_beta")
        wires.graph.initializer.append(factor)
        nodes.append(
            helper.make_node("Mul", [bias, factor.name], [f"{product}_bias"], f"{node.name}_beta")
        )
        bias = f"{product}_bias"
    return [*nodes, helper.make_node("Add", [product, bias], node.output, f"{node.name}_bias")]


def _values(graph: Any) -> list[Any]:
    return [value for value in graph.output if not isinstance(value, str)]


def _changed(wires: Wires, name: str, *, scale: float, transpose: bool, end: str) -> str:
    """A stored tensor scaled and transposed under a name of its own, made once."""
    if scale == 1.0 and not transpose:
        return name
    changed = f"{name}{end}" if scale == 1.0 else f"{name}{end}_{float(scale).hex()}"
    if changed not in wires.held:
        array = numpy_helper.to_array(wires.held[name])
        array = (array.T if transpose else array) * np.asarray(scale, array.dtype)
        wires.held[changed] = numpy_helper.from_array(np.ascontiguousarray(array), changed)
        wires.graph.initializer.append(wires.held[changed])
    return changed
