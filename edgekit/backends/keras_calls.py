"""The layer calls that a Keras model consists of, in order, alike for Keras 3 and tf_keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LayerCall:
    """One call of `operation`: a layer, a whole model, or one of `keras.ops`.

    `inputs` and `outputs` are symbolic tensors. `again` calls the operation on other tensors in
    place of `inputs`, with all else that it was called with.
    """

    operation: Any
    inputs: list[Any]
    outputs: list[Any]
    takes_list: bool
    again: Callable[[list[Any]], Any]


def calls_of(functional: Any) -> Iterator[LayerCall]:
    """The calls in an order in which each has its inputs; calls that no output needs are left out."""
    for depth in sorted(functional._nodes_by_depth, reverse=True):  # noqa: SLF001
        for node in functional._nodes_by_depth[depth]:  # noqa: SLF001
            if not node.is_input:
                yield _tf_keras_call(node) if hasattr(node, "layer") else _keras_call(node)


def graph_in(operation: Any) -> Any | None:
    """The graph of layers behind a functional or Sequential model; None for anything else."""
    inner = getattr(operation, "_functional", None) or operation
    return inner if hasattr(inner, "_nodes_by_depth") else None


def _keras_call(node: Any) -> LayerCall:
    inputs = list(node.input_tensors)

    def again(values: list[Any]) -> Any:
        given = dict(zip(map(id, inputs), values, strict=True))
        args, options = node.arguments.fill_in(given)
        return node.operation(*args, **options)

    first = node.arguments.args[0] if node.arguments.args else None
    return LayerCall(
        node.operation, inputs, list(node.outputs), isinstance(first, list | tuple), again
    )


def _tf_keras_call(node: Any) -> LayerCall:
    import tensorflow as tf

    inputs = list(node.keras_inputs)

    def again(values: list[Any]) -> Any:
        given: dict[str, list[Any]] = {}
        for tensor, value in zip(inputs, values, strict=True):
            given.setdefault(str(id(tensor)), []).append(value)
        args, options = node.map_arguments(given)
        if node.layer._expects_training_arg:  # noqa: SLF001 - else it takes that of the caller
            options = {**options, "training": False}
        return node.layer(*args, **options)

    first = node.call_args[0] if node.call_args else None
    return LayerCall(
        node.layer, inputs, tf.nest.flatten(node.outputs), isinstance(first, list | tuple), again
    )
