"""Keras or SavedModel to ONNX by tf2onnx, the exporter that Keras itself uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends.keras_files import open_keras, source_of
from edgekit.backends.keras_graphs import Graph, graph_of, in_layers
from edgekit.backends.onnx_padding import keep_padding
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import ConvertJob
from edgekit.core.noun import changed
from edgekit.core.signature import Shape, Signature, TensorSpec
from edgekit.errors import ConfigError, StepError, UnsupportedError

_DEFAULT_OPSET = 18
_MIN_OPSET, _MAX_OPSET = 13, 18


def convert(job: ConvertJob) -> Artifact:
    """Write `model.onnx` with the source's names in the source's order, free axes kept free.

    Option `opset` is 13..18. The bytes differ from run to run (tf2onnx counts its names across a
    process); the graph does not. Raises UnsupportedError naming ops that ONNX does not have.
    """
    import onnx
    import tf2onnx
    from keras.src.export.tf2onnx_lib import patch_tf2onnx

    graph = graph_of(open_keras(source_of(job.artifact)), job.signature)
    patch_tf2onnx()  # numpy 2: https://github.com/onnx/tensorflow-onnx/pull/2390
    proto = _converted(graph, opset=_opset(job.options))
    _refuse_foreign_ops(proto, graph)
    _in_order(proto.graph, graph.signature)
    signature = _written_signature(proto.graph, graph.signature)
    keep_padding(proto)
    onnx.checker.check_model(proto, full_check=True)
    path = Path(job.folder) / f"model{Format.ONNX.suffix}"
    onnx.save_model(proto, path)
    return artifact_of(
        path,
        format=Format.ONNX,
        signature=signature,
        writer=f"tf2onnx {tf2onnx.__version__}",
    )


def _converted(graph: Graph, *, opset: int) -> Any:
    """The ONNX model of a traced graph, its tensors under the names of the signature.

    Through a frozen graph: tf2onnx takes constants that layers hold outside of variables (the mean
    of a Normalization) for inputs of the model.
    """
    import tensorflow as tf
    from tf2onnx import tf_loader
    from tf2onnx.convert import from_graph_def

    concrete = graph.concrete
    given = [tensor.name for tensor in concrete.inputs if tensor.dtype != tf.resource]
    inputs = given[: len(graph.signature.inputs)]
    outputs = {name: tensor.name for name, tensor in concrete.structured_outputs.items()}
    frozen = tf_loader.from_function(concrete, given, list(outputs.values()))
    captured = {inner.op.name: outer for outer, inner in concrete.graph.captures}
    for node in frozen.node:
        if node.op == "Placeholder" and node.name in captured:
            value = tf.make_tensor_proto(captured[node.name].numpy())
            node.op = "Const"
            node.attr.clear()
            node.attr["dtype"].type = value.dtype
            node.attr["value"].tensor.CopyFrom(value)
    proto, _ = from_graph_def(
        frozen,
        input_names=inputs,
        output_names=list(outputs.values()),
        opset=opset,
        custom_op_handlers={"Erfc": (_erfc, [])},
        tensors_to_rename={
            **dict(zip(inputs, (spec.name for spec in graph.signature.inputs), strict=True)),
            **{tensor: name for name, tensor in outputs.items()},
        },
    )
    return proto


def _opset(options: dict[str, str]) -> int:
    given = options.get("opset", str(_DEFAULT_OPSET))
    if not given.isdigit() or not _MIN_OPSET <= int(given) <= _MAX_OPSET:
        raise ConfigError(
            f"opset {given} is not one that tf2onnx writes",
            fix=f"give --opset {_MIN_OPSET} to {_MAX_OPSET}",
        )
    return int(given)


def _erfc(graph: Any, node: Any, _name: str, _arguments: Any) -> None:
    """erfc(x) = 1 - erf(x). Keras's GELU is made of it, and tf2onnx does not know it.

    https://github.com/onnx/tensorflow-onnx/pull/2463
    """
    import onnx

    dtype = graph.get_dtype(node.output[0])
    node.type = "Erf"
    one = graph.make_const(
        f"{node.name}_one", np.ones((), onnx.helper.tensor_dtype_to_np_dtype(dtype))
    )
    negative = graph.insert_new_node_on_output("Neg", node.output[0])
    pair = [negative.output[0], one.output[0]]
    graph.insert_new_node_on_output("Add", negative.output[0], inputs=pair)


def _refuse_foreign_ops(proto: Any, graph: Graph) -> None:
    """tf2onnx keeps a TensorFlow op it does not know in the file, logs a line and goes on."""
    import onnx

    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    missing = [
        node.op_type
        for part in (proto.graph, *proto.functions)
        for node in _all_nodes(part)
        if not onnx.defs.has(node.op_type, opsets.get(node.domain, 1), node.domain)
    ]
    if missing:
        named = ", ".join(f"{op}{in_layers(graph, op)}" for op in dict.fromkeys(missing))
        raise UnsupportedError(
            f"ONNX has no op for {named}",
            fix="change that layer, or try the other exporter: --via keras_to_pt2",
        )


def _all_nodes(part: Any) -> list[Any]:
    """The nodes of a graph and of the bodies of its loops and branches."""
    found: list[Any] = []
    for node in part.node:
        found.append(node)
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                found += _all_nodes(body)
    return found


def _in_order(graph: Any, wanted: Signature) -> None:
    """Put the graph's inputs and outputs into the order of the source; TensorFlow sorts dicts."""
    for values, specs in ((graph.input, wanted.inputs), (graph.output, wanted.outputs)):
        by_name = {_bare(value.name): value for value in values}
        if set(by_name) != {spec.name for spec in specs}:
            raise StepError(f"the ONNX file has {sorted(by_name)}, not {[s.name for s in specs]}")
        ordered = [type(values[0]).FromString(by_name[s.name].SerializeToString()) for s in specs]
        del values[:]
        values.extend(ordered)


def _bare(name: str) -> str:
    return name.partition(":")[0]


def _written_signature(graph: Any, wanted: Signature) -> Signature:
    return Signature(
        inputs=_read_back(graph.input, wanted.inputs, keep_shape=True),
        outputs=_read_back(graph.output, wanted.outputs, keep_shape=False),
    )


def _read_back(
    values: Sequence[Any], specs: Sequence[TensorSpec], *, keep_shape: bool
) -> tuple[TensorSpec, ...]:
    """The specs as the file has them; raises StepError where an axis or a dtype is another."""
    import onnx

    found: list[TensorSpec] = []
    for value, spec in zip(values, specs, strict=True):
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        shape: Shape | None = spec.shape
        if tensor.HasField("shape"):
            shape = tuple(d.dim_value or None for d in tensor.shape.dim)
        if dtype != spec.dtype or (keep_shape and shape != spec.shape):
            raise StepError(
                f"{spec.name!r} is {dtype} {shape} in the ONNX file, not {spec.dtype} {spec.shape}"
            )
        own = None if value.name == spec.origin else spec.origin
        found.append(changed(spec, name=value.name, source_name=own, dtype=dtype, shape=shape))
    return tuple(found)
