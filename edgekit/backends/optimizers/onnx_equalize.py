"""Equalize neighbouring layers of a float ONNX model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from edgekit.backends.equalization import Neighbours, Side, Weights, equalize_or_refuse
from edgekit.backends.onnx_layers import layers_of
from edgekit.backends.onnx_passes import opened
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import OptimizeJob
from edgekit.core.noun import changed

_PASSES = frozenset(
    {"Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity"}
)


def optimize(job: OptimizeJob) -> Artifact:
    """Write `model.onnx` with the same function and ranges that suit few bits.

    Raises UnsupportedError where no two layers are neighbours, or all range alike already.
    """
    model = opened(job)
    graph = _Graph(model.graph)
    note = equalize_or_refuse(graph.neighbours())
    graph.store()
    path = Path(job.folder) / f"model{Format.ONNX.suffix}"
    path.write_bytes(model.SerializeToString(deterministic=True))
    written = artifact_of(
        path,
        format=Format.ONNX,
        signature=job.artifact.signature,
        writer=job.artifact.writer,
        notes=(*job.artifact.notes, note),
    )
    return changed(written, layers=layers_of(model))


class _Graph:
    """The main graph, with writable copies of the weights that `store` puts back."""

    def __init__(self, graph: Any) -> None:
        self._held = {tensor.name: tensor for tensor in graph.initializer}
        read = [name for node in graph.node for name in node.input]
        self._readers = Counter([*read, *(output.name for output in graph.output)])
        self._after = {name: node for node in graph.node for name in node.input if name}
        self._nodes = list(graph.node)
        self._open: dict[str, Weights] = {}

    def neighbours(self) -> list[Neighbours]:
        """Every pair of layers between which scale can be moved."""
        found = []
        for node in self._nodes:
            first, bias = self._side(node, reads=False), self._bias(node)
            reader = self._only_layer_after(node)
            second = self._side(reader, reads=True) if reader is not None else None
            if first is None or second is None or bias is None:
                continue
            if len(first.ranges()) == len(second.ranges()):
                found.append(Neighbours(first=first, bias=bias, second=second))
        return found

    def store(self) -> None:
        """Put the changed weights into the model."""
        for name, array in self._open.items():
            self._held[name].CopyFrom(numpy_helper.from_array(array, name))

    def _only_layer_after(self, node: Any) -> Any | None:
        """The layer that alone reads what `node` writes, through ops that let a factor pass."""
        while self._readers[node.output[0]] == 1 and node.output[0] in self._after:
            name, node = node.output[0], self._after[node.output[0]]
            if node.input[0] != name:
                return None
            if node.op_type in ("Conv", "Gemm"):
                return node
            if node.op_type not in _PASSES:
                return None
        return None

    def _side(self, node: Any, *, reads: bool) -> Side | None:
        """The weights with the axis of the channels that the node `reads`, or else writes."""
        if node.op_type not in ("Conv", "Gemm"):
            return None
        weights = self._floats(node.input[1])
        if weights is None:
            return None
        given = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Gemm":
            is_plain = not (given["transA"].i if "transA" in given else 0)
            is_turned = bool(given["transB"].i) if "transB" in given else False
            return Side(weights, int(reads == is_turned)) if is_plain else None
        groups = given["group"].i if "group" in given else 1
        if groups == 1:
            return Side(weights, 1 if reads else 0)
        is_depthwise = weights.shape[1] == 1 and weights.shape[0] == groups
        return Side(weights, 0) if is_depthwise or not reads else None

    def _bias(self, node: Any) -> tuple[Weights, ...] | None:
        """The bias; empty where there is none, None where it cannot be changed."""
        if len(node.input) < 3 or not node.input[2]:
            return ()
        found = self._floats(node.input[2])
        return None if found is None or found.ndim != 1 else (found,)

    def _floats(self, name: str) -> Weights | None:
        """A writable copy of a stored float32 tensor that one node alone reads."""
        tensor = self._held.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT or self._readers[name] != 1:
            return None
        if name not in self._open:
            self._open[name] = np.array(numpy_helper.to_array(tensor))
        return self._open[name]
