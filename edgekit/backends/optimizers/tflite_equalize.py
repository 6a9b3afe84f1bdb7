"""Equalize neighbouring layers of a float `.tflite`: its weights are changed where they lie."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.backends.equalization import Neighbours, Side, Weights, equalize_or_refuse
from edgekit.backends.tflite_files import dtype_of, items, op_names, open_model
from edgekit.backends.tflite_layers import layers_of
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import OptimizeJob
from edgekit.core.noun import changed

# Where the channels lie in a layer's filter: those it writes, those it reads.
_AXES = {"CONV_2D": (0, 3), "FULLY_CONNECTED": (0, 1), "DEPTHWISE_CONV_2D": (3, 3)}
_OPTIONS = {
    "CONV_2D": schema.Conv2DOptions,
    "FULLY_CONNECTED": schema.FullyConnectedOptions,
    "DEPTHWISE_CONV_2D": schema.DepthwiseConv2DOptions,
}
_POSITIVE = (schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU)
_PASSES = frozenset({"MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "RELU", "LEAKY_RELU"})


def optimize(job: OptimizeJob) -> Artifact:
    """Write `model.tflite` with the same function and ranges that suit few bits.

    Raises UnsupportedError where no two layers are neighbours, or all range alike already.
    """
    source = Path(job.artifact.path)
    open_model(source)
    data = bytearray(source.read_bytes())
    note = equalize_or_refuse(_Graph(data).neighbours())
    path = Path(job.folder) / f"model{Format.TFLITE.suffix}"
    path.write_bytes(data)
    written = artifact_of(
        path,
        format=Format.TFLITE,
        signature=job.artifact.signature,
        writer=job.artifact.writer,
        notes=(*job.artifact.notes, note),
    )
    return changed(written, layers=layers_of(open_model(path)))


class _Graph:
    """The main graph of a file in memory; arrays are views of the file's own bytes."""

    def __init__(self, data: bytearray) -> None:
        self._data = data
        self._model = schema.Model.GetRootAs(data)
        self._graph = self._model.Subgraphs(0)
        self._ops = list(items(self._graph, "Operators"))
        codes = op_names(self._model)
        self._names = [codes[op.OpcodeIndex()] for op in self._ops]
        read = [int(i) for op in self._ops for i in op.InputsAsNumpy() if i >= 0]
        self._readers = Counter([*read, *map(int, self._graph.OutputsAsNumpy())])
        tensors = [t for graph in items(self._model, "Subgraphs") for t in items(graph, "Tensors")]
        self._holders = Counter(int(tensor.Buffer()) for tensor in tensors)

    def neighbours(self) -> list[Neighbours]:
        """Every pair of layers between which scale can be moved."""
        found = []
        for at, name in enumerate(self._names):
            if name not in _AXES or self._activation(at) not in _POSITIVE:
                continue
            reader = self._only_layer_after(at)
            first = self._side(at, 0)
            second = self._side(reader, 1) if reader is not None else None
            if reader is None or first is None or second is None:
                continue
            if len(first.ranges()) != len(second.ranges()):
                continue
            bias = self._bias(at)
            if bias is not None:
                found.append(Neighbours(first=first, bias=bias, second=second))
        return found

    def _only_layer_after(self, at: int) -> int | None:
        """The layer that alone reads what op `at` writes, through ops that let a factor pass."""
        while True:
            tensor = int(self._ops[at].Outputs(0))
            if self._readers[tensor] != 1:
                return None
            after = [i for i, op in enumerate(self._ops) if tensor in op.InputsAsNumpy()]
            if not after or int(self._ops[after[0]].Inputs(0)) != tensor:
                return None
            at = after[0]
            if self._names[at] in _AXES:
                return at
            if self._names[at] not in _PASSES:
                return None

    def _activation(self, at: int) -> int:
        options = _OPTIONS[self._names[at]]()
        table = self._ops[at].BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        return int(options.FusedActivationFunction())

    def _side(self, at: int, end: int) -> Side | None:
        weights = self._floats(int(self._ops[at].Inputs(1)))
        return None if weights is None else Side(weights, _AXES[self._names[at]][end])

    def _bias(self, at: int) -> tuple[Weights, ...] | None:
        """The bias; empty where there is none, None where it cannot be changed."""
        if self._ops[at].InputsLength() < 3 or int(self._ops[at].Inputs(2)) < 0:
            return ()
        found = self._floats(int(self._ops[at].Inputs(2)))
        return None if found is None else (found,)

    def _floats(self, index: int) -> Weights | None:
        """The stored float32 numbers of a tensor that nothing else shares, as a writable view."""
        tensor: Any = self._graph.Tensors(index)
        buffer = self._model.Buffers(tensor.Buffer())
        if dtype_of(tensor) != "float32" or not buffer.DataLength():
            return None
        if self._holders[int(tensor.Buffer())] != 1 or self._readers[index] != 1:
            return None
        stored = buffer.DataAsNumpy()
        start = stored.__array_interface__["data"][0] - _address(self._data)
        flat = np.frombuffer(self._data, np.float32, len(stored) // 4, offset=start)
        return flat.reshape(tuple(int(n) for n in tensor.ShapeAsNumpy()))


def _address(data: bytearray) -> int:
    return int(np.frombuffer(data, np.uint8).__array_interface__["data"][0])
