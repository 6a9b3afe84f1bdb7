"""What TensorFlow's TFLite converter is told to quantize, and what it cannot be told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edgekit.backends.calibration_rows import calibration_rows
from edgekit.backends.keras_graphs import Graph, layers_with
from edgekit.backends.keras_model import KerasModel, Library
from edgekit.backends.tflite_files import items, quantization_of
from edgekit.core.arrays import Arrays
from edgekit.core.jobs import ConvertJob
from edgekit.core.recipe import IoType, Pass, Precision, Quantize, RangeMethod
from edgekit.core.signature import Signature
from edgekit.errors import ConfigError, UnsupportedError

_OTHER = "give the float .tflite to ai-edge-quantizer instead (--via aeq_quantize)"
_LOOPS = ("While", "StatelessWhile")
_MOST_STEPS = 128
# tf_keras asks for a fused kernel, which has a loop inside, unless it was made with `unroll`.
_UNROLLED = {"unroll": True, "_could_use_gpu_kernel": False}


def checked(fused: Pass | None) -> Quantize | None:
    """The settings of the fused pass; raises UnsupportedError for one that the converter has not."""
    if fused is None:
        return None
    if not isinstance(fused, Quantize):
        raise UnsupportedError("this converter does not train", fix="choose the QAT route")
    is_static = fused.precision.needs_calibration
    symmetric = (None, True) if fused.precision is Precision.W8A16 else (None,)
    refused = {
        "layers with a precision of their own": fused.exclude or fused.rules or fused.op_types,
        "another symmetry of activations than its own": fused.symmetric not in symmetric,
        f"ranges by {fused.ranges}": fused.ranges is not RangeMethod.MINMAX,
        f"{fused.io} inputs and outputs without int8 arithmetic": fused.io is not IoType.FLOAT
        and fused.precision is not Precision.INT8,
        "weights per tensor without measured ranges": not (fused.per_channel or is_static),
    }
    for wish, holds in refused.items():
        if holds:
            raise UnsupportedError(f"TensorFlow's converter does not do {wish}", fix=_OTHER)
    return fused


def tell(converter: Any, settings: Quantize, job: ConvertJob, signature: Signature) -> None:
    """Set up the converter; samples are read one by one, by the signature's input names."""
    import tensorflow as tf

    sets, types = tf.lite.OpsSet, {IoType.INT8: tf.int8, IoType.UINT8: tf.uint8}
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if settings.precision is Precision.FP16:
        converter.target_spec.supported_types = [tf.float16]
    if not settings.precision.needs_calibration:
        return
    if job.calibration is None:
        raise ConfigError(
            f"{settings.precision} needs samples to measure the ranges of activations",
            fix="give them with --calibration-data",
        )
    calibration = job.calibration

    def samples() -> Iterator[Arrays]:
        yield from calibration_rows(calibration, signature)

    words = sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    integers = words if settings.precision is Precision.W8A16 else sets.TFLITE_BUILTINS_INT8
    converter.target_spec.supported_ops = [integers, sets.TFLITE_BUILTINS]
    converter.representative_dataset = samples
    converter._experimental_disable_per_channel = not settings.per_channel  # noqa: SLF001
    if settings.io is not IoType.FLOAT:
        converter.inference_input_type = types[settings.io]
        converter.inference_output_type = types[settings.io]


def check_granularity(model: Any, settings: Quantize) -> None:
    """Raise UnsupportedError where weights were to be per tensor, and are per channel."""
    tensors = [t for graph in items(model, "Subgraphs") for t in items(graph, "Tensors")]
    scales = [found for tensor in tensors if (found := quantization_of(tensor))]
    if not settings.per_channel and any(found.axis is not None for found in scales):
        raise UnsupportedError("TensorFlow's converter kept weights per channel", fix=_OTHER)


def has_loop(graph: Graph) -> bool:
    """Whether TensorFlow sees a loop; the converter may still know it as an LSTM op."""
    return any(layers_with(graph, op) for op in _LOOPS)


@contextmanager
def unrolled(model: KerasModel, graph: Graph) -> Iterator[None]:
    """Write recurrent layers out step by step while the model is traced.

    Raises UnsupportedError where that cannot be done: the converter ends with SIGSEGV when it
    quantizes a loop statically.
    """
    layers = [] if model.library is Library.TENSORFLOW else _recurrent(model)
    steps = [
        op.inputs[0].shape[0]
        for op in graph.concrete.graph.get_operations()
        if op.type == "TensorListFromTensor"
    ]
    if not layers or any(count is None or count > _MOST_STEPS for count in steps):
        raise loop_error()
    before = [
        {name: getattr(layer, name) for name in _UNROLLED if name in vars(layer)}
        for layer in layers
    ]
    for layer in layers:
        _set(layer, {name: value for name, value in _UNROLLED.items() if name in vars(layer)})
    try:
        yield
    finally:
        for layer, values in zip(layers, before, strict=True):
            _set(layer, values)


def loop_error() -> UnsupportedError:
    """Why a model with a loop that stays has no static quantization here, and what has."""
    return UnsupportedError(
        "TensorFlow's converter cannot quantize a loop statically, and this one cannot be unrolled",
        fix=f"fix the number of steps, {_MOST_STEPS} at most; choose dynamic; or {_OTHER}",
    )


def _set(layer: Any, values: Mapping[str, bool]) -> None:
    for name, value in values.items():
        setattr(layer, name, value)


def _recurrent(model: KerasModel) -> list[Any]:
    """The layers that loop over steps: those that can be told to unroll."""
    layers = model.model._flatten_layers(include_self=False)  # noqa: SLF001
    return [layer for layer in layers if "unroll" in vars(layer)]
