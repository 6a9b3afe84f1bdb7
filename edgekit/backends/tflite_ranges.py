"""Ranges of a TFLite graph's float tensors, measured on calibration samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends.activation_ranges import Range, RangeCollector
from edgekit.backends.calibration_rows import calibration_rows
from edgekit.backends.tflite_files import dtype_of, is_stored, items, text
from edgekit.backends.tflite_graph import MainGraph, allocate
from edgekit.core.arrays import Array
from edgekit.core.artifact import Artifact
from edgekit.core.calibration import Calibration
from edgekit.core.recipe import Precision, Quantize

# Paddings stand for minus infinity with the lowest number of bfloat16; they are no activations.
_LARGEST = 3e38


def ranges_of(
    artifact: Artifact, model: Any, calibration: Calibration, settings: Quantize
) -> dict[str, Range]:
    """(min, max) of every float tensor that the main graph computes, by the tensor's own name.

    One sample is in memory at a time. XNNPACK stays off: it does not write the tensors between the
    ops that it takes over.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=Path(artifact.path).read_bytes(),
        num_threads=2,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    allocate(interpreter)
    graph = MainGraph(interpreter, artifact)
    tensors = _computed(model)
    bits = 16 if settings.precision is Precision.W8A16 else 8
    collector = RangeCollector(settings.ranges, settings.percentile, bits=bits)
    for row in calibration_rows(calibration, artifact.signature):
        graph.call(row)
        for index, name in tensors.items():
            values = _values(interpreter, index)
            collector.add(name, values[np.abs(values) < _LARGEST])
    return collector.ranges()


def _values(interpreter: Any, index: int) -> Array:
    """What a tensor holds; nothing where no op has written it, such as an unused result of a loop."""
    try:
        return interpreter.get_tensor(index)
    except ValueError:
        return np.zeros(0, np.float32)


def _computed(model: Any) -> dict[int, str]:
    """The float tensors of the main graph that are not constants: these have ranges of their own."""
    return {
        index: text(tensor.Name())
        for index, tensor in enumerate(items(model.Subgraphs(0), "Tensors"))
        if dtype_of(tensor) == "float32" and not is_stored(model, tensor)
    }
