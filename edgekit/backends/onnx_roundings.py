"""Leave out roundings of a quantized ONNX graph that nothing gains from.

The quantizer rounds what every quantized op makes. Where a matrix product is followed by float ops or is
the model's answer, that only costs accuracy, and most where the range was measured too narrow:
onnxruntime's integer products give floats as well as integers (MatMulIntegerToFloat, QGemm).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from edgekit.backends.onnx_files import graphs
from edgekit.backends.onnx_products import drop_unused

_GIVE_FLOATS = ("MatMul", "Gemm")


def free_products(model: Any, *, quantized: Collection[str]) -> None:
    """Take QuantizeLinear and DequantizeLinear off products that no op type in `quantized` takes up."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    takers: dict[str, list[Any]] = {}
    for inner in graphs(model):
        for node in inner.node:
            for name in node.input:
                takers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    gone: list[Any] = []
    for rounding in graph.node:
        made = makers.get(rounding.input[0]) if rounding.op_type == "QuantizeLinear" else None
        if made is None or made.op_type not in _GIVE_FLOATS or rounding.input[0] in outputs:
            continue
        back = takers.get(rounding.output[0], [])
        uses = [node for one in back for node in takers.get(one.output[0], [])]
        if len(back) != 1 or any(node.op_type in quantized for node in uses):
            continue
        if len(takers[rounding.input[0]]) == 1:
            made.output[0] = back[0].output[0]
            gone += [rounding, *back]
    for node in gone:
        graph.node.remove(node)
    drop_unused(model)
