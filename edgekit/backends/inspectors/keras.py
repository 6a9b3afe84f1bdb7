"""The inside of a Keras model or a SavedModel."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

from edgekit.backends.keras_files import open_keras, source_of
from edgekit.backends.keras_graphs import graph_of
from edgekit.backends.keras_model import KerasModel, Library
from edgekit.backends.written import size_bytes
from edgekit.core.inspection import Inspection, QuantizedTensors
from edgekit.core.jobs import InspectJob

_PER_POSITION = {
    "Dense": ("kernel",),
    "Conv1D": ("kernel",),
    "Conv2D": ("kernel",),
    "Conv3D": ("kernel",),
    "DepthwiseConv1D": ("kernel", "depthwise_kernel"),
    "DepthwiseConv2D": ("kernel", "depthwise_kernel"),
    "SeparableConv1D": ("depthwise_kernel", "pointwise_kernel"),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel"),
}
_PER_STEP = ("LSTM", "GRU", "SimpleRNN", "Bidirectional")
_SCALES = ("Embedding", "BatchNormalization", "LayerNormalization", "GroupNormalization", "PReLU")


def inspect(job: InspectJob) -> Inspection:
    """Layers by class (TensorFlow ops for a SavedModel), parameters, MACs of one row, sizes.

    MACs are those of dense, convolution and recurrent layers. They are absent, with a note, where
    a layer has other weights or a size is free.
    """
    artifact = job.artifact
    model = open_keras(source_of(artifact))
    if model.library is Library.TENSORFLOW:
        ops, weights, macs, notes = _savedmodel(model)
    else:
        ops, weights, macs, notes = _layers(model)
    dtypes = Counter(
        weight.dtype.name if _is_tf(weight) else str(weight.dtype) for weight in weights
    )
    return Inspection(
        format=artifact.format,
        writer=artifact.writer,
        signature=artifact.signature,
        ops=dict(ops.most_common()),
        size_bytes=size_bytes(Path(artifact.path)),
        size_compressed_bytes=_compressed(Path(artifact.path)),
        parameters=sum(prod(weight.shape) for weight in weights),
        macs=macs,
        tensors=QuantizedTensors(dtypes=dict(dtypes.most_common())),
        notes=notes,
    )


def _is_tf(weight: Any) -> bool:
    return not isinstance(weight.dtype, str)


def _layers(model: KerasModel) -> tuple[Counter[str], list[Any], int | None, tuple[str, ...]]:
    layers = list(_leaves(model.model))
    macs = {layer.name: _macs(layer) for layer in layers}
    unknown = sorted({type(layer).__name__ for layer in layers if macs[layer.name] is None})
    notes = (f"MACs are not known for: {', '.join(unknown)}",) if unknown else ()
    total = None if unknown else sum(count or 0 for count in macs.values())
    weights = [weight for weight in model.model.weights if "seed_generator" not in _path(weight)]
    return Counter(type(layer).__name__ for layer in layers), weights, total, notes


def _leaves(model: Any) -> Iterator[Any]:
    """The layers, those of nested models in place of the models; wrappers stay whole."""
    for layer in model.layers:
        if any(kind.__name__ == "Model" for kind in type(layer).__mro__):
            yield from _leaves(layer)
        else:
            yield layer


def _path(weight: Any) -> str:
    return str(getattr(weight, "path", weight.name))


def _macs(layer: Any) -> int | None:
    """Multiply-accumulates of one row; None where they cannot be told."""
    kind = type(layer).__name__
    weights: Counter[str] = Counter()
    for weight in layer.weights:
        weights[_path(weight).rpartition("/")[2].partition(":")[0]] += prod(weight.shape)
    if not weights or kind in _SCALES:
        return 0
    if kind in _PER_POSITION:
        shape = _shape(layer, "output")
        per_position = sum(weights[name] for name in _PER_POSITION[kind])
        return None if shape is None else per_position * prod(_positions(layer, shape))
    if kind in _PER_STEP:
        shape = _shape(layer, "input")
        per_step = weights["kernel"] + weights["recurrent_kernel"]
        return None if shape is None else per_step * shape[0]
    return None


def _shape(layer: Any, side: str) -> tuple[int, ...] | None:
    """The layer's shape without the rows; None where it has several, or a free size."""
    try:
        shape = getattr(layer, side).shape[1:]
    except (AttributeError, ValueError):  # called more than once, or inside a wrapper
        return None
    return None if any(size is None for size in shape) else tuple(int(size) for size in shape)


def _positions(layer: Any, shape: Sequence[int]) -> Sequence[int]:
    first = getattr(layer, "data_format", None) == "channels_first"
    return shape[1:] if first else shape[:-1]


def _savedmodel(model: KerasModel) -> tuple[Counter[str], list[Any], None, tuple[str, ...]]:
    concrete = graph_of(model, model.signature).concrete
    definition = concrete.graph.as_graph_def()
    functions = {function.signature.name for function in definition.library.function}
    nodes = [
        *definition.node,
        *(node for function in definition.library.function for node in function.node_def),
    ]
    ops = Counter(node.op for node in nodes if node.op not in functions)
    return ops, list(model.owner.variables), None, ()


def _compressed(path: Path) -> int:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return sum(len(zlib.compress(file.read_bytes(), 9)) for file in files)
