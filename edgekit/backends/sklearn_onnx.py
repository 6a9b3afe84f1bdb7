"""Gives a graph written by skl2onnx the outputs of edgekit's signature.

skl2onnx has its own names and habits: `(N, 1)` where scikit-learn answers `(N,)`, text labels, two
columns for the decision of a binary classifier. Small nodes at the end of the graph undo them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgekit.backends.onnx_files import graphs
from edgekit.core.arrays import Array
from edgekit.core.signature import Signature, TensorSpec

_ML, _ML_VERSION = "ai.onnx.ml", 3
_INNER = "_as_computed"


def reshape_outputs(model: Any, signature: Signature, found: list[Array]) -> None:
    """Append the nodes that turn the first outputs of `model` into those of `signature`, in order.

    `found` are the outputs of `model` on two rows or more.
    """
    wanted = signature.outputs
    taken = {spec.name for spec in (*signature.inputs, *wanted)}
    _rename(model, {name: name + _INNER for name in taken - {s.name for s in signature.inputs}})
    given = [value.name for value in model.graph.output][: len(wanted)]
    for spec, name, value in zip(wanted, given, found, strict=False):
        model.graph.node.extend(_ending(spec, name, value))
    _declare(model.graph.input, signature.inputs, None)
    _declare(model.graph.output, wanted, None)
    _need_label_encoder(model)


def fix_batch(model: Any, signature: Signature) -> None:
    """Give the first axis the size that the signature asks for, if any."""
    batch = signature.inputs[0].shape[0] if signature.inputs[0].shape else None
    _declare(model.graph.input, signature.inputs, batch)
    _declare(model.graph.output, signature.outputs, batch)


def _need_label_encoder(model: Any) -> None:
    """skl2onnx stamps the lowest version its own nodes need; those added here need version 2."""
    for entry in model.opset_import:
        if entry.domain == _ML:
            entry.version = max(entry.version, _ML_VERSION)
            return
    model.opset_import.append(helper.make_opsetid(_ML, _ML_VERSION))


def _rename(model: Any, names: dict[str, str]) -> None:
    """Rename tensors wherever they stand, bodies of loops included."""
    for graph in graphs(model):
        if graph in model.functions:  # a function has names of its own
            continue
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for part in ("output", "value_info", "initializer"):
            for value in getattr(graph, part, ()):
                value.name = names.get(value.name, value.name)


def _ending(spec: TensorSpec, name: str, value: Array) -> list[Any]:
    """Nodes from the tensor `name`, whose values look like `value`, to the output of `spec`."""
    rank = len(spec.shape or ())
    steps: list[tuple[str, str, dict[str, Any]]] = []
    if value.dtype.kind in "UOS":
        categories = list(spec.categories or ())
        pairs = {"keys_strings": categories, "values_int64s": list(range(len(categories)))}
        steps.append(("LabelEncoder", _ML, pairs))
    elif str(value.dtype) != spec.dtype:
        code = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        steps.append(("Cast", "", {"to": code}))
    if value.ndim == 2 and rank == 1:
        # Two columns for one decision: the second is that of the second class.
        steps.append(("ArrayFeatureExtractor", _ML, {"column": value.shape[1] - 1}))
        steps.append(("Flatten to rows", "", {}))
    elif value.ndim == 1 and rank == 2:
        steps.append(("To one column", "", {}))
    return _chain(steps or [("Identity", "", {})], name, spec.name)


def _chain(steps: list[tuple[str, str, dict[str, Any]]], start: str, end: str) -> list[Any]:
    nodes: list[Any] = []
    for at, (kind, domain, settings) in enumerate(steps):
        result = end if at == len(steps) - 1 else f"{end}_step_{at}"
        if kind in ("Flatten to rows", "To one column"):
            shape = [-1] if kind == "Flatten to rows" else [-1, 1]
            nodes += _with_constant("Reshape", start, shape, result)
        elif kind == "ArrayFeatureExtractor":
            nodes += _with_constant(kind, start, [settings["column"]], result, domain=domain)
        else:
            nodes.append(helper.make_node(kind, [start], [result], domain=domain, **settings))
        start = result
    return nodes


def _with_constant(
    kind: str, start: str, values: list[int], result: str, *, domain: str = ""
) -> list[Any]:
    """A node whose second input is a constant of int64."""
    name = f"{result}_constant"
    tensor = helper.make_tensor(name, onnx.TensorProto.INT64, [len(values)], values)
    return [
        helper.make_node("Constant", [], [name], value=tensor),
        helper.make_node(kind, [start, name], [result], domain=domain),
    ]


def _declare(values: Any, specs: tuple[TensorSpec, ...], batch: int | None) -> None:
    """Replace declared inputs or outputs by those of the signature, the first axis named."""
    del values[:]
    for spec in specs:
        shape = [batch or "batch", *(spec.shape or ())[1:]]
        code = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        values.append(helper.make_tensor_value_info(spec.name, code, shape))
