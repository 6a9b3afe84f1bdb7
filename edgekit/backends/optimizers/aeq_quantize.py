"""Quantize a float `.tflite` by ai-edge-quantizer, wherever it came from, with ranges of edgekit's own.

The tool's own calibrator takes a moving average (0.95) of each sample's minimum and maximum, which
costs 7 to 20 dB; here ranges are those of all samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends.activation_ranges import Range
from edgekit.backends.aeq_rules import nearest, reachable, tell
from edgekit.backends.layer_choice import check_changed, chosen
from edgekit.backends.tflite_files import items, op_names, open_model, requantized_signature, text
from edgekit.backends.tflite_graph import check_runs
from edgekit.backends.tflite_layers import (
    Layer,
    has_attention,
    layers_of,
    located_layers,
    shortfall,
)
from edgekit.backends.tflite_ranges import ranges_of
from edgekit.backends.written import artifact_of
from edgekit.core.arrays import Array
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import OptimizeJob
from edgekit.core.noun import changed
from edgekit.core.recipe import IoType, LayerPrecision, Pass, Precision, Quantize, RangeMethod
from edgekit.core.signature import Signature
from edgekit.errors import ConfigError, StepError, UnsupportedError

_TOOL = "ai-edge-quantizer"
_CAN = "convolutions, fully connected layers, embeddings and products with constants"
_ATTENTION = "BATCH_MATMUL"
_NO_BLOCKS = 32
_INTEGERS = ("int32", "int64", "bool")
_SYMMETRY = {Precision.INT8: (None, True, False), Precision.W8A16: (None, True)}
_OPS = "op_types are those of the file, such as CONV_2D; `edgekit inspect` lists them"


def optimize(job: OptimizeJob) -> Artifact:
    """Write `model.tflite` with each layer in its precision, read it back and count what changed.

    A layer that the tool cannot give its precision gets the nearest with the same bits, else stays
    float; notes name it. Raises UnsupportedError where that leaves most weights in float.
    """
    model = open_model(Path(job.artifact.path))
    layers = located_layers(model)
    settings, notes = _for_architecture(_checked(job.settings, model), model, layers)
    wanted = _wanted(settings, [layer.precision for layer in layers])
    given = {layer: reachable(layer, wanted[layer.precision.name], settings) for layer in layers}
    if not _is_static(settings) and set(given.values()) <= {Precision.FP32}:
        check_changed([layer.precision for layer in layers], settings, tool=_TOOL, can=_CAN)
    data = _quantized(job, model, given, settings)
    path = Path(job.folder) / f"model{Format.TFLITE.suffix}"
    path.write_bytes(data)
    check_runs(path, settings.precision)
    written = open_model(path)
    found = _same_layers(layers, layers_of(written))
    check_changed(found, settings, tool=_TOOL, can=_CAN)
    signature = requantized_signature(job.artifact, written)
    _check_io(signature, settings)
    return changed(
        artifact_of(
            path,
            format=Format.TFLITE,
            signature=signature,
            writer=f"ai-edge-quantizer {version('ai-edge-quantizer')}",
            notes=(*job.artifact.notes, *notes, *shortfall(found, wanted.__getitem__, tool=_TOOL)),
        ),
        layers=found,
    )


def _checked(settings: Pass, model: Any) -> Quantize:
    """The settings; raises for those that the tool, or this file, cannot follow."""
    if not isinstance(settings, Quantize):
        raise UnsupportedError(
            "a .tflite file cannot be trained", fix="give the .keras or .h5 file it came from"
        )
    is_static = _is_static(settings)
    refused = {
        "int8 activations may be symmetric or not, 16-bit ones are, others are not quantized": (
            settings.symmetric not in _SYMMETRY.get(settings.precision, (None,))
        ),
        f"ranges by {settings.ranges} need activations that are measured": not is_static
        and settings.ranges is not RangeMethod.MINMAX,
        f"inputs and outputs in {settings.io} need int8 arithmetic": settings.io is not IoType.FLOAT
        and settings.precision is not Precision.INT8,
        "4-bit weights have one scale per channel in TFLite, not per block": settings.precision
        is Precision.W4
        and settings.block_size != _NO_BLOCKS,
        "a file with several signatures cannot be calibrated": is_static
        and model.SignatureDefsLength() > 1,
    }
    for reason, holds in refused.items():
        if holds:
            raise UnsupportedError(reason, fix="leave that setting out, or choose dynamic or fp16")
    _check_op_types(settings, model)
    done = sorted({layer.precision for layer in layers_of(model)} - {Precision.FP32})
    if done:
        raise UnsupportedError(
            f"the file is quantized already ({', '.join(done)})",
            fix="start from the float model; what is lost cannot be had back",
        )
    return settings


def _for_architecture(
    settings: Quantize, model: Any, layers: Sequence[Layer]
) -> tuple[Quantize, tuple[str, ...]]:
    """Of a model with attention only the products are made static, and a note says so.

    Measured on a ViT-Tiny: 8 bits for every op give 7.7 dB, for the products alone 25.6; 16-bit
    activations 19.5 and 33.2.
    """
    if settings.op_types or not _is_static(settings) or not has_attention(model):
        return settings, ()
    ops = tuple(sorted({_ATTENTION, *(layer.precision.op for layer in layers)}))
    note = f"attention: softmax, normalization and sums stay in float; quantized: {', '.join(ops)}"
    return changed(settings, op_types=ops), (note,)


def _is_static(settings: Quantize) -> bool:
    asked = [settings.precision, *(rule.precision for rule in settings.rules)]
    return any(precision.needs_calibration for precision in asked)


def _check_op_types(settings: Quantize, model: Any) -> None:
    known = set(op_names(model))
    if strange := [op for op in settings.op_types if op not in known]:
        raise ConfigError(f"the file has no op {', '.join(strange)}", fix=_OPS)
    wanted = settings.precision
    if lost := [op for op in settings.op_types if nearest(op, wanted, settings) is Precision.FP32]:
        raise UnsupportedError(
            f"ai-edge-quantizer has no {wanted} for {', '.join(lost)}",
            fix="leave them out of op_types; they stay in float",
        )


def _wanted(settings: Quantize, layers: Sequence[LayerPrecision]) -> dict[str, Precision]:
    """What each layer is to be stored in: by name, and by op where only some ops are asked for."""
    by_name = chosen(settings, [layer.name for layer in layers])
    if not settings.op_types:
        return by_name
    others = [layer.name for layer in layers if layer.op not in settings.op_types]
    return {**by_name, **dict.fromkeys(others, Precision.FP32)}


def _quantized(
    job: OptimizeJob, model: Any, given: Mapping[Layer, Precision], settings: Quantize
) -> bytes:
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(Path(job.artifact.path).read_bytes())
    tell(quantizer, model, given, settings)
    ranges = None
    if quantizer.need_calibration:
        if job.calibration is None:
            raise ConfigError(
                f"{settings.precision} needs samples to measure the ranges of activations",
                fix="give them with --calibration-data",
            )
        ranges = _statistics(model, ranges_of(job.artifact, model, job.calibration, settings))
    try:
        result = quantizer.quantize(ranges, enable_progress_report=False)
    except (ValueError, RuntimeError, KeyError) as error:
        raise UnsupportedError(
            f"ai-edge-quantizer cannot quantize this model: {str(error)[:400]}",
            fix="exclude the layer it names (--exclude LAYER), or choose dynamic or fp16",
        ) from error
    return bytes(result.quantized_model)


def _statistics(model: Any, ranges: Mapping[str, Range]) -> dict[str, dict[str, Array]]:
    """The ranges as the tool keeps them: arrays with as many axes as the tensor, all of size 1."""
    axes = {text(t.Name()): t.ShapeLength() for t in items(model.Subgraphs(0), "Tensors")}
    return {
        name: {
            "min": np.full((1,) * axes[name], low, np.float32),
            "max": np.full((1,) * axes[name], high, np.float32),
        }
        for name, (low, high) in ranges.items()
    }


def _check_io(signature: Signature, settings: Quantize) -> None:
    """Raise UnsupportedError where the tool gave an input or output another type than asked."""
    allowed = {"float32" if settings.io is IoType.FLOAT else settings.io.value, *_INTEGERS}
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype not in allowed:
            raise UnsupportedError(
                f"ai-edge-quantizer gave {spec.name!r} the type {spec.dtype}, not {settings.io}",
                fix="choose inputs and outputs in int8 or float",
            )


def _same_layers(
    before: Sequence[Layer], after: Sequence[LayerPrecision]
) -> tuple[LayerPrecision, ...]:
    """The layers as written, under the names they had; raises StepError where one was lost."""
    ops = [layer.precision.op for layer in before]
    if ops != [layer.op for layer in after]:
        raise StepError(f"the file had layers {ops}, and has {[layer.op for layer in after]} now")
    return tuple(
        changed(now, name=layer.precision.name) for layer, now in zip(before, after, strict=True)
    )
