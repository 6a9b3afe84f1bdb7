"""A Keras model or SavedModel as one TensorFlow graph with the names of its signature."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edgekit.backends.keras_model import KerasModel, Library
from edgekit.core.noun import changed
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import UnsupportedError


@dataclass(frozen=True)
class Graph:
    """`concrete` takes tensors in the order of `signature` and gives a dict by output names.

    The names of `signature` are fit for a graph; `source_name` keeps what they were.
    """

    concrete: Any
    signature: Signature
    layers: frozenset[str]


def graph_of(model: KerasModel, signature: Signature) -> Graph:
    """Trace `model` for the shapes in `signature`; `None` axes stay free."""
    import tensorflow as tf

    inner = [spec.origin for spec in signature.inputs]
    safe = Signature(inputs=_safe(signature.inputs), outputs=_safe(signature.outputs))
    outputs = [(spec.name, spec.origin) for spec in safe.outputs]

    def serve(*tensors: Any) -> dict[str, Any]:
        results = model.call(dict(zip(inner, tensors, strict=True)))
        return {name: tf.identity(results[origin]) for name, origin in outputs}

    specs = [tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in safe.inputs]
    function = tf.function(serve, input_signature=specs, autograph=False)
    try:
        with _plain_reshapes(), _exact_scopes():
            concrete = function.get_concrete_function()
            if _is_compiled(concrete):
                concrete = _inlined(serve, specs)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        last = str(error).strip().splitlines()[-1][:300]
        raise UnsupportedError(
            f"the model cannot be traced for these shapes: {last}",
            fix="fix the axes it needs: --input NAME:SHAPE:DTYPE",
        ) from error
    return Graph(concrete, safe, _layer_names(model))


def _is_compiled(concrete: Any) -> bool:
    """Whether a part is set apart for XLA, which converters cannot look into."""
    functions = concrete.graph.as_graph_def().library.function
    return any(function.attr["_XlaMustCompile"].b for function in functions)


def _inlined(serve: Any, specs: list[Any]) -> Any:
    """Trace again with the functions inside as plain ops; Keras compiles grouped convolutions."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(run_eagerly=True)
    try:
        function = tf.function(serve, input_signature=specs, autograph=False)
        return function.get_concrete_function()
    finally:
        tf.config.run_functions_eagerly(run_eagerly=False)


@contextmanager
def _plain_reshapes() -> Iterator[None]:
    """Reshape to `(-1, 64)` where Keras asks for `(size of the batch, 64)`: the same, said plainly.

    Keras 3 reads the size of a free axis at run time, in four ops that no TFLite delegate takes.
    """
    from keras.src.backend.tensorflow import numpy as ops

    reshape = ops.reshape

    def plain(x: Any, newshape: Any) -> Any:
        if isinstance(newshape, list | tuple):
            sizes = [size if isinstance(size, int) else -1 for size in newshape]
            newshape = sizes if sizes.count(-1) == 1 else newshape
        return reshape(x, newshape)

    ops.reshape = plain
    try:
        yield
    finally:
        ops.reshape = reshape


@contextmanager
def _exact_scopes() -> Iterator[None]:
    """Scope the ops of a layer by its very name, so that users can name layers of what is converted.

    Keras 3 enters a layer's scope twice, once to see whether it is built, and TensorFlow counts
    scopes: the ops of `conv2d` would be in `conv2d_1`, which is the name of the next layer.
    """
    import tensorflow as tf
    from keras.src.backend.tensorflow import core

    enter = core.name_scope.__enter__

    def exact(scope: Any) -> Any:
        outer = tf.get_current_name_scope()
        path = f"{outer}/{scope.name}/" if outer else f"{scope.name}/"
        scope._tf_name_scope = tf.name_scope(path)  # noqa: SLF001 - what enter() enters
        return enter(scope)

    core.name_scope.__enter__ = exact
    try:
        yield
    finally:
        core.name_scope.__enter__ = enter


def layers_with(graph: Graph, op: str) -> list[str]:
    """The layers whose part of the graph holds TensorFlow op `op`, by name."""
    functions = graph.concrete.graph.as_graph_def().library.function
    nodes = [*graph.concrete.graph.as_graph_def().node, *(n for f in functions for n in f.node_def)]
    return list(dict.fromkeys(_layer(node.name, graph.layers) for node in nodes if node.op == op))


def in_layers(graph: Graph, op: str) -> str:
    """` in layer 'a', 'b'`, or nothing where the graph does not tell."""
    found = [name for name in layers_with(graph, op) if name]
    return f" in layer {', '.join(repr(name) for name in found[:5])}" if found else ""


def with_batch_of_one(signature: Signature) -> Signature:
    """`signature` with the free first axis of every input fixed to 1."""
    return changed(
        signature,
        inputs=tuple(
            changed(spec, shape=(1, *spec.shape[1:]))
            if spec.shape and spec.shape[0] is None
            else spec
            for spec in signature.inputs
        ),
    )


def has_free_batch(signature: Signature) -> bool:
    """Whether some input has a free first axis."""
    return any(spec.shape and spec.shape[0] is None for spec in signature.inputs)


def _layer_names(model: KerasModel) -> frozenset[str]:
    if model.library is Library.TENSORFLOW:
        return frozenset()
    layers = model.model._flatten_layers(include_self=False)  # noqa: SLF001
    return frozenset(layer.name for layer in layers)


def _layer(node: str, known: frozenset[str]) -> str:
    """The innermost layer in a node's scopes; tf_keras scopes a second call of `lstm` as `lstm_1`."""
    scopes = node.split("/")[:-1]
    for scope in reversed(scopes):
        for name in (scope, re.sub(r"_\d+$", "", scope)):
            if name in known:
                return name
    return scopes[-1] if scopes else ""


def _safe(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The specs under names a TensorFlow graph takes, each one once."""
    names = [re.sub(r"[^A-Za-z0-9_]", "_", spec.name) for spec in specs]
    names = [name if name[:1].isalpha() else f"t{name}" for name in names]
    if len({name.lower() for name in names}) < len(names):
        names = [f"{name}_{at}" for at, name in enumerate(names)]
    return tuple(
        spec if spec.name == name else changed(spec, name=name, source_name=spec.origin)
        for spec, name in zip(specs, names, strict=True)
    )
