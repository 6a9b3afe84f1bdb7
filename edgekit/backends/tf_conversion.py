"""From a Keras model to the bytes of a `.tflite` file by TensorFlow's converter, names kept."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.backends.keras_graphs import (
    Graph,
    graph_of,
    has_free_batch,
    in_layers,
    with_batch_of_one,
)
from edgekit.backends.keras_model import KerasModel
from edgekit.backends.tflite_files import custom_ops, signature_of
from edgekit.core.noun import changed
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import StepError, UnsupportedError

_KEY = "serving_default"
NEEDS_STATIC = "requires element_shape to be static"
_MISSING_OP = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
_ANY_OP = re.compile(r"'tf\.(\w+)' op")


@dataclass(frozen=True)
class Converted:
    """A file's bytes, the graph they were made of, and what had to be fixed for it."""

    data: bytes
    graph: Graph
    notes: tuple[str, ...] = ()


def converted(
    model: KerasModel, signature: Signature, *, tell: Callable[[Any, Graph], None]
) -> Converted:
    """`model` by the converter that `tell` has set up for its graph, with built-in ops only.

    A free batch axis is kept, save where a loop (LSTM, GRU) needs a size: then it is 1. Raises
    UnsupportedError naming the op that TFLite has no built-in for, and its layer.
    """
    graph = graph_of(model, signature)
    try:
        return Converted(_bytes_of(model, graph, tell), graph)
    except UnsupportedError as error:
        if NEEDS_STATIC not in str(error.__cause__) or not has_free_batch(signature):
            raise
        note = _batch_note(signature, graph)
        graph = graph_of(model, with_batch_of_one(signature))
        return Converted(_bytes_of(model, graph, tell), graph, (note,))


def written_signature(model: Any, wanted: Signature) -> Signature:
    """What the open file says, in the source's order; raises StepError where it is another."""
    if custom := custom_ops(model):
        raise UnsupportedError(
            f"the TFLite converter wrote ops that TFLite has no built-in for: {', '.join(custom)}",
            fix="change the layers that need them, or convert to onnx",
        )
    found = signature_of(model, _KEY)
    return Signature(
        inputs=_matched(wanted.inputs, found.inputs, keep_shape=True),
        outputs=_matched(wanted.outputs, found.outputs, keep_shape=False),
    )


def _bytes_of(model: KerasModel, graph: Graph, tell: Callable[[Any, Graph], None]) -> bytes:
    """The graph goes through a SavedModel, which alone keeps names and order.

    `from_concrete_functions(..., keras_model)` gives a file that answers NaN: it does not find the
    weights of a Keras 3 model. Here the variables that the graph reads are listed one by one.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    module = tf.Module()
    module.weights = list(graph.concrete.graph.variables)
    module.owner = model.owner
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={_KEY: graph.concrete})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[_KEY])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.allow_custom_ops = False
        tell(converter, graph)
        try:
            return bytes(converter.convert())
        except ConverterError as error:
            raise _refused(error, graph) from error


def _refused(error: Exception, graph: Graph) -> Exception:
    text = str(error)
    ops = list(dict.fromkeys(_MISSING_OP.findall(text) or _ANY_OP.findall(text)[:1]))
    if not ops:
        return StepError(f"the TFLite converter failed: {text.strip().splitlines()[-1][:400]}")
    named = ", ".join(f"{op}{in_layers(graph, op)}" for op in ops)
    if NEEDS_STATIC in text:
        return UnsupportedError(
            f"TFLite has no loop over tensors without a fixed size: {named}",
            fix="fix the free axes (--input NAME:SHAPE:DTYPE); a SavedModel keeps those it was saved "
            "with, so save it with a fixed batch, give the .keras file, or convert to onnx",
        )
    return UnsupportedError(
        f"TFLite has no built-in op for {named}",
        fix="change that layer, or convert to onnx; edgekit never writes TensorFlow (Flex) ops",
    )


def _batch_note(signature: Signature, graph: Graph) -> str:
    names = [spec.name for spec in signature.inputs if spec.shape and spec.shape[0] is None]
    loop = in_layers(graph, "TensorListReserve")
    return f"batch axis of {', '.join(names)} fixed to 1: TFLite needs a size for the loop{loop}"


def _matched(
    wanted: Sequence[TensorSpec], found: Sequence[TensorSpec], *, keep_shape: bool
) -> tuple[TensorSpec, ...]:
    """Pair by name: TFLite lists a signature in an order of its own."""
    by_name = {spec.name: spec for spec in found}
    if set(by_name) != {spec.name for spec in wanted}:
        raise StepError(f"the TFLite file has {sorted(by_name)}, not {[s.name for s in wanted]}")
    for spec in wanted:
        written = by_name[spec.name]
        if written.dtype != spec.dtype or (keep_shape and written.shape != spec.shape):
            raise StepError(
                f"{spec.name!r} is {written.dtype} {written.shape} in the TFLite file, "
                f"not {spec.dtype} {spec.shape}"
            )
    return tuple(changed(by_name[s.name], source_name=s.source_name) for s in wanted)
