"""Keras or SavedModel to TFLite by TensorFlow's converter, with built-in ops only."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.backends.keras_files import open_keras, source_of
from edgekit.backends.keras_graphs import (
    Graph,
    graph_of,
    has_free_batch,
    in_layers,
    with_batch_of_one,
)
from edgekit.backends.keras_model import KerasModel
from edgekit.backends.layer_choice import check_changed
from edgekit.backends.tf_quantization import (
    check_granularity,
    checked,
    has_loop,
    loop_error,
    tell,
    unrolled,
)
from edgekit.backends.tflite_files import op_names, open_model, signature_of
from edgekit.backends.tflite_graph import check_runs
from edgekit.backends.tflite_layers import layers_of, shortfall
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import ConvertJob
from edgekit.core.noun import changed
from edgekit.core.recipe import IoType, LayerPrecision, Quantize
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import StepError, UnsupportedError

_KEY = "serving_default"
_TOOL = "TensorFlow's converter"
_CAN = "convolutions, fully connected and recurrent layers"
_UNROLLED = "loops unrolled: TensorFlow's converter cannot quantize them statically"
_NEEDS_STATIC = "requires element_shape to be static"
_MISSING_OP = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
_ANY_OP = re.compile(r"'tf\.(\w+)' op")


def convert(job: ConvertJob) -> Artifact:
    """Write `model.tflite` with a signature that has the source's names, in the source's order.

    A free batch axis is kept, save where a loop (LSTM, GRU) needs a size: then it is 1, and a note
    says so. A fused pass quantizes on the way. Raises UnsupportedError naming the op that TFLite has
    no built-in for, and its layer, or the setting that the converter does not have.
    """
    import tensorflow as tf

    settings = checked(job.fused)
    data, graph, notes = _made(open_keras(source_of(job.artifact)), job, settings)
    path = Path(job.folder) / f"model{Format.TFLITE.suffix}"
    path.write_bytes(data)
    layers: tuple[LayerPrecision, ...] = ()
    if settings is not None:
        written = open_model(path)
        check_runs(path, settings.precision)
        check_granularity(written, settings)
        layers = layers_of(written)
        check_changed(layers, settings, tool=_TOOL, can=_CAN)
        notes = (*notes, *shortfall(layers, lambda _: settings.precision, tool=_TOOL))
    return changed(
        artifact_of(
            path,
            format=Format.TFLITE,
            signature=_written_signature(path, graph.signature, settings),
            writer=f"TensorFlow {tf.__version__} TFLite converter",
            notes=notes,
        ),
        layers=layers,
    )


def _made(
    model: KerasModel, job: ConvertJob, settings: Quantize | None
) -> tuple[bytes, Graph, tuple[str, ...]]:
    """The file's bytes, the graph they were made of, and what had to be fixed for it."""
    graph = graph_of(model, job.signature)
    notes: tuple[str, ...] = ()
    if settings is not None and settings.precision.needs_calibration and has_loop(graph):
        graph, notes = _without_loop(model, graph, job)
    try:
        return _converted(model, graph, job, settings), graph, notes
    except UnsupportedError as error:
        if _NEEDS_STATIC not in str(error.__cause__) or not has_free_batch(job.signature):
            raise
        note = _batch_note(job.signature, graph)
        graph = graph_of(model, with_batch_of_one(job.signature))
        return _converted(model, graph, job, settings), graph, (note,)


def _without_loop(
    model: KerasModel, graph: Graph, job: ConvertJob
) -> tuple[Graph, tuple[str, ...]]:
    """`graph` where the converter makes an LSTM op of the loop, else one that is unrolled."""
    path = Path(job.folder) / f"float{Format.TFLITE.suffix}"
    try:
        path.write_bytes(_converted(model, graph, job, None))
    except UnsupportedError as error:
        if _NEEDS_STATIC not in str(error.__cause__):
            raise
    else:
        if "WHILE" not in op_names(open_model(path)):
            return graph, ()
    with unrolled(model, graph):
        graph = graph_of(model, job.signature)
    if has_loop(graph):
        raise loop_error()
    return graph, (_UNROLLED,)


def _converted(
    model: KerasModel, graph: Graph, job: ConvertJob, settings: Quantize | None
) -> bytes:
    """The file's bytes; the graph goes through a SavedModel, which alone keeps names and order.

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
        if settings is not None:
            tell(converter, settings, job, graph.signature)
        try:
            return bytes(converter.convert())
        except ConverterError as error:
            raise _refused(error, graph) from error
        except RuntimeError as error:  # the calibrator's own
            if settings is None:
                raise
            raise UnsupportedError(
                f"{_TOOL} cannot do {settings.precision} for this model: {str(error)[:300]}",
                fix="choose int8 or dynamic, or quantize the .tflite file (--via aeq_quantize)",
            ) from error


def _refused(error: Exception, graph: Graph) -> Exception:
    text = str(error)
    ops = list(dict.fromkeys(_MISSING_OP.findall(text) or _ANY_OP.findall(text)[:1]))
    if not ops:
        return StepError(f"the TFLite converter failed: {text.strip().splitlines()[-1][:400]}")
    named = ", ".join(f"{op}{in_layers(graph, op)}" for op in ops)
    if _NEEDS_STATIC in text:
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


def _written_signature(path: Path, wanted: Signature, settings: Quantize | None) -> Signature:
    """What the file says, in the source's order; raises StepError where it is not what was asked."""
    model = open_model(path)
    custom = _custom_ops(model)
    if custom:
        raise UnsupportedError(
            f"the TFLite converter wrote ops that TFLite has no built-in for: {', '.join(custom)}",
            fix="change the layers that need them, or convert to onnx",
        )
    found = signature_of(model, _KEY)
    io = settings.io if settings else IoType.FLOAT
    return Signature(
        inputs=_matched(_stored(wanted.inputs, io), found.inputs, keep_shape=True),
        outputs=_matched(_stored(wanted.outputs, io), found.outputs, keep_shape=False),
    )


def _stored(specs: Sequence[TensorSpec], io: IoType) -> list[TensorSpec]:
    """The specs as they are to be in the file: `int8` in place of `float32` where asked for."""
    if io is IoType.FLOAT:
        return list(specs)
    return [changed(s, dtype=io.value) if s.dtype == "float32" else s for s in specs]


def _custom_ops(model: Any) -> list[str]:
    codes = [model.OperatorCodes(at) for at in range(model.OperatorCodesLength())]
    return [code.CustomCode().decode() for code in codes if code.CustomCode()]


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
