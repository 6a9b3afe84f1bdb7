"""Keras or SavedModel to TFLite by TensorFlow's converter, with built-in ops only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.backends.keras_files import open_keras, source_of
from edgekit.backends.keras_graphs import Graph, graph_of
from edgekit.backends.keras_model import KerasModel
from edgekit.backends.layer_choice import check_changed
from edgekit.backends.tf_conversion import NEEDS_STATIC, Converted, converted, written_signature
from edgekit.backends.tf_quantization import (
    check_granularity,
    checked,
    has_loop,
    loop_error,
    tell,
    unrolled,
)
from edgekit.backends.tflite_files import op_names, open_model
from edgekit.backends.tflite_graph import check_runs
from edgekit.backends.tflite_layers import layers_of, shortfall
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import ConvertJob
from edgekit.core.noun import changed
from edgekit.core.recipe import IoType, LayerPrecision, Quantize
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import UnsupportedError

_TOOL = "TensorFlow's converter"
_CAN = "convolutions, fully connected and recurrent layers"
_UNROLLED = "loops unrolled: TensorFlow's converter cannot quantize them statically"


def convert(job: ConvertJob) -> Artifact:
    """Write `model.tflite` with a signature that has the source's names, in the source's order.

    A free batch axis is kept, save where a loop (LSTM, GRU) needs a size: then it is 1, and a note
    says so. A fused pass quantizes on the way. Raises UnsupportedError naming the op that TFLite has
    no built-in for, and its layer, or the setting that the converter does not have.
    """
    import tensorflow as tf

    settings = checked(job.fused)
    model = open_keras(source_of(job.artifact))
    made = _float(model, job) if settings is None else _quantized(model, job, settings)
    path = Path(job.folder) / f"model{Format.TFLITE.suffix}"
    path.write_bytes(made.data)
    written = open_model(path)
    layers: tuple[LayerPrecision, ...] = ()
    notes = made.notes
    if settings is not None:
        check_runs(path, settings.precision)
        check_granularity(written, settings)
        layers = layers_of(written)
        check_changed(layers, settings, tool=_TOOL, can=_CAN)
        notes = (*notes, *shortfall(layers, lambda _: settings.precision, tool=_TOOL))
    return changed(
        artifact_of(
            path,
            format=Format.TFLITE,
            signature=written_signature(written, _stored(made.graph.signature, settings)),
            writer=f"TensorFlow {tf.__version__} TFLite converter",
            notes=notes,
        ),
        layers=layers,
    )


def _float(model: KerasModel, job: ConvertJob) -> Converted:
    return converted(model, job.signature, tell=lambda _converter, _graph: None)


def _quantized(model: KerasModel, job: ConvertJob, settings: Quantize) -> Converted:
    """Quantized on the way; what would crash the converter is rewritten or refused before."""

    def set_up(converter: Any, graph: Graph) -> None:
        tell(converter, settings, job, graph.signature)

    try:
        if not settings.precision.needs_calibration or not _loops(model, job):
            return converted(model, job.signature, tell=set_up)
        graph = graph_of(model, job.signature)
        with unrolled(model, graph):
            if has_loop(graph_of(model, job.signature)):
                raise loop_error()
            made = converted(model, job.signature, tell=set_up)
    except RuntimeError as error:  # the calibrator's own
        raise UnsupportedError(
            f"{_TOOL} cannot do {settings.precision} for this model: {str(error)[:300]}",
            fix="choose int8 or dynamic, or quantize the .tflite file (--via aeq_quantize)",
        ) from error
    return replace(made, notes=(*made.notes, _UNROLLED))


def _loops(model: KerasModel, job: ConvertJob) -> bool:
    """Whether the float file has a loop; of some the converter makes an LSTM op instead."""
    if not has_loop(graph_of(model, job.signature)):
        return False
    path = Path(job.folder) / f"float{Format.TFLITE.suffix}"
    try:
        path.write_bytes(_float(model, job).data)
    except UnsupportedError as error:
        if NEEDS_STATIC not in str(error.__cause__):
            raise
        return True
    return "WHILE" in op_names(open_model(path))


def _stored(signature: Signature, settings: Quantize | None) -> Signature:
    """The signature as it is to be in the file: `int8` in place of `float32` where asked for."""
    if settings is None or settings.io is IoType.FLOAT:
        return signature
    kind = settings.io.value

    def in_bytes(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(changed(s, dtype=kind) if s.dtype == "float32" else s for s in specs)

    return Signature(inputs=in_bytes(signature.inputs), outputs=in_bytes(signature.outputs))
