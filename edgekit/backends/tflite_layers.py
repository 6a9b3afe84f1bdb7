"""The layers of a `.tflite` file: the ops that hold weights, their names, and what they are stored in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.backends.tflite_files import dtype_of, elements_of, is_stored, items, op_names, text
from edgekit.core.recipe import LayerPrecision, Precision
from edgekit.errors import UnsupportedError

_WEIGHT_OPERANDS: dict[str, tuple[int, ...]] = {
    "CONV_2D": (1,),
    "CONV_3D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "TRANSPOSE_CONV": (1,),
    "FULLY_CONNECTED": (1,),
    "BATCH_MATMUL": (0, 1),
    "EMBEDDING_LOOKUP": (1,),
    "GATHER": (0,),
    "SVDF": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16),
    "LSTM": (*range(1, 9), 16),
}
_LOOKUPS = frozenset({"EMBEDDING_LOOKUP", "GATHER"})
_DATA_OPERAND = {"TRANSPOSE_CONV": 2, "BATCH_MATMUL": 0}
_WEIGHT_DTYPES = {
    "float32": Precision.FP32,
    "float16": Precision.FP16,
    "bfloat16": Precision.BF16,
    "int4": Precision.W4,
    "int2": Precision.W4,
}
_OP_SCOPES = frozenset({"batchnorm", "separable_conv2d", "BiasAdd"})
_BYTES = frozenset({"int8", "uint8"})
_QUANTIZED = frozenset({"int16", *_BYTES})


@dataclass(frozen=True)
class Layer:
    """An op with weights.

    `scope` is what ai-edge-quantizer knows it by. `in_loop`: it is not in a graph with a signature,
    but in one that a loop or a branch calls.
    """

    precision: LayerPrecision
    scope: str
    in_loop: bool = False


def layers_of(model: Any) -> tuple[LayerPrecision, ...]:
    """Every op that holds weights, in order of execution.

    Names are the scopes of the op's tensors (`conv2d_1;activation_1`): a user's name for a layer is a
    part of them. Where the file has no such names the op and its number stand in (`conv_2d_3`).
    """
    return tuple(layer.precision for layer in located_layers(model))


def located_layers(model: Any) -> tuple[Layer, ...]:
    """`layers_of`, each with where it is."""
    names = op_names(model)
    signed = {entry.SubgraphIndex() for entry in items(model, "SignatureDefs")} or {0}
    found = [
        (graph, operator, names[operator.OpcodeIndex()], at not in signed)
        for at, graph in enumerate(items(model, "Subgraphs"))
        for operator in items(graph, "Operators")
    ]
    weights = [_weights(model, graph, operator, op) for graph, operator, op, _ in found]
    kept = [(*place, held) for place, held in zip(found, weights, strict=True) if held]
    scopes = [_scopes(graph, operator, held) for graph, operator, _, _, held in kept]
    layer_names = _unique(_without_root(scopes), [op for _, _, op, _, _ in kept])
    return tuple(
        Layer(
            LayerPrecision(
                name=name,
                op=op,
                precision=_precision(graph, operator, op, held),
                parameters=sum(elements_of(stored) for stored in own),
            ),
            scope="".join(
                f"{text(tensor.Name())};" for tensor in _tensors(graph, operator, "Outputs")
            ),
            in_loop=in_loop,
        )
        for name, own, (graph, operator, op, in_loop, held) in zip(
            layer_names, _counted_once(held for *_, held in kept), kept, strict=True
        )
    )


def _counted_once(layers: Iterable[list[tuple[Any, Any]]]) -> list[list[Any]]:
    """The constants of each layer that no layer before it has: shared weights are stored once."""
    seen: set[int] = set()
    result = []
    for held in layers:
        result.append([stored for _, stored in held if stored.Buffer() not in seen])
        seen |= {stored.Buffer() for _, stored in held}
    return result


def has_attention(model: Any) -> bool:
    """Whether tensors that are both computed are multiplied, in a graph with a softmax."""
    names = op_names(model)
    return "SOFTMAX" in names and any(
        names[operator.OpcodeIndex()] == "BATCH_MATMUL"
        and not _weights(model, graph, operator, "BATCH_MATMUL")
        for graph in items(model, "Subgraphs")
        for operator in items(graph, "Operators")
    )


def shortfall(
    found: Sequence[LayerPrecision], wanted: Callable[[str], Precision], *, tool: str
) -> tuple[str, ...]:
    """Notes on the layers that are not stored as asked, by what they are in.

    Raises UnsupportedError where most of the weights that were to be quantized are still float: a
    figure of such a file would say nothing about the precision.
    """
    other = [layer for layer in found if layer.precision is not wanted(layer.name)]
    asked = [layer for layer in found if wanted(layer.name) is not Precision.FP32]
    floats = [layer for layer in other if layer.precision is Precision.FP32]
    if sum(la.parameters for la in floats) * 2 > sum(la.parameters for la in asked):
        raise UnsupportedError(
            f"{tool} leaves most of the weights in float: {_named(floats)}",
            fix=f"choose another precision, or keep them in float: --exclude '{floats[0].name}'",
        )
    notes = []
    for kind in sorted({layer.precision for layer in other}):
        here = [layer for layer in other if layer.precision is kind]
        instead = " or ".join(sorted({wanted(layer.name) for layer in here}))
        notes.append(f"in {kind}, not {instead}: {_named(here)}")
    return tuple(notes)


def _named(layers: Sequence[LayerPrecision]) -> str:
    shown = ", ".join(f"{layer.name} ({layer.op})" for layer in layers[:5])
    return shown if len(layers) <= 5 else f"{shown} and {len(layers) - 5} more"


def _weights(model: Any, graph: Any, operator: Any, op: str) -> list[tuple[Any, Any]]:
    """(the tensor an op reads, the constant it comes from): two where DEQUANTIZE is between them."""
    operands = _WEIGHT_OPERANDS.get(op, ())
    found = []
    for index in (int(operator.Inputs(at)) for at in operands if at < operator.InputsLength()):
        tensor = graph.Tensors(index) if index >= 0 else None
        stored = _constant(model, graph, index) if tensor is not None else None
        if stored is not None and dtype_of(stored) in {*_WEIGHT_DTYPES, *_QUANTIZED}:
            found.append((tensor, stored))
    return found


def _constant(model: Any, graph: Any, index: int) -> Any | None:
    tensor = graph.Tensors(index)
    if is_stored(model, tensor):
        return tensor
    names = op_names(model)
    for operator in items(graph, "Operators"):
        if index in operator.OutputsAsNumpy() and names[operator.OpcodeIndex()] == "DEQUANTIZE":
            source = graph.Tensors(int(operator.Inputs(0)))
            return source if is_stored(model, source) else None
    return None


def _precision(graph: Any, operator: Any, op: str, held: list[tuple[Any, Any]]) -> Precision:
    read, stored = held[0]
    dtype = dtype_of(stored)
    if dtype in _WEIGHT_DTYPES:
        return _WEIGHT_DTYPES[dtype]
    data = graph.Tensors(int(operator.Inputs(_DATA_OPERAND.get(op, 0))))
    computed = dtype_of(graph.Tensors(int(operator.Outputs(0))) if op in _LOOKUPS else data)
    if computed in _BYTES:
        return Precision.INT8
    if computed == "int16":
        return Precision.W8A16
    is_weight_only = dtype_of(read) == "float32" or op in _LOOKUPS
    return Precision.W8 if is_weight_only else Precision.DYNAMIC


def _scopes(graph: Any, operator: Any, held: list[tuple[Any, Any]]) -> list[str]:
    """The scopes in the names of an op's weights and results, each once: `model/conv2d`."""
    tensors = [*(stored for _, stored in held), *_tensors(graph, operator, "Outputs")]
    parts = [part for tensor in tensors for part in text(tensor.Name()).split(";")]
    scopes = [_layer_scope(part.rpartition("/")[0]) for part in parts]
    return list(dict.fromkeys(s for s in scopes if s and not s.startswith("edgekit.")))


def _layer_scope(scope: str) -> str:
    """Without the scope that TensorFlow opens for an op of several parts, which is no layer's name."""
    outer, _, last = scope.rpartition("/")
    return outer if last in _OP_SCOPES and "/" in outer else scope


def _tensors(graph: Any, operator: Any, side: str) -> list[Any]:
    indices = [
        int(getattr(operator, side)(at)) for at in range(getattr(operator, f"{side}Length")())
    ]
    return [graph.Tensors(index) for index in indices if index >= 0]


def _without_root(scopes: list[list[str]]) -> list[str]:
    """Each layer's scopes joined, without the model's own name where all begin with it."""
    roots = {scope.partition("/")[0] for each in scopes for scope in each}
    cut = len(roots) == 1 and all("/" in scope for each in scopes for scope in each)
    return [";".join(s.partition("/")[2] if cut else s for s in each) for each in scopes]


def _unique(names: list[str], ops: list[str]) -> list[str]:
    """Names that are there once; layers without one are called by their op and its number."""
    count = Counter(names)
    seen: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    result = []
    for name, op in zip(names, ops, strict=True):
        number = numbers[op]
        numbers[op] += 1
        seen[name] += 1
        if not name:
            result.append(f"{op.lower()}_{number}")
        else:
            result.append(f"{name}:{seen[name]}" if count[name] > 1 else name)
    return result
