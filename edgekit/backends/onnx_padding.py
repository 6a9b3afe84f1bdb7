"""Keep a zero padding before a max-pool from being fused into it.

onnxruntime (seen in 1.31.1) turns Pad(0) + MaxPool into a MaxPool with pads of its own, which count
as minus infinity: where a window holds only negative numbers the answer changes. ResNet50V2 of
keras.applications is off by 0.03 in a probability, and right with graph optimization off.
"""

from __future__ import annotations

from typing import Any

_NEVER_NEGATIVE = frozenset({"Relu", "Sigmoid", "Softmax"})


def keep_padding(model: Any) -> None:
    """Put a Max of one input, which changes nothing, between each such Pad and its MaxPool."""
    from onnx import helper

    nodes = model.graph.node
    made_by = {name: node for node in nodes for name in node.output}
    for at, pool in reversed(list(enumerate(nodes))):
        pad = made_by.get(pool.input[0]) if pool.op_type == "MaxPool" else None
        if pad is None or pad.op_type != "Pad":
            continue
        padded = made_by.get(pad.input[0])
        if padded is not None and padded.op_type in _NEVER_NEGATIVE:
            continue
        kept = f"{pool.input[0]}_kept"
        nodes.insert(at, helper.make_node("Max", [pool.input[0]], [kept], name=kept))
        pool.input[0] = kept
