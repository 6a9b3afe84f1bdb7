"""What a `.pte` file says about itself, read from its flatbuffer alone.

Layout: executorch/schema/program.fbs and exir/_serialize/_program.py (the extended header).
`executorch.exir` reads the same, and takes seven seconds to import.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from edgekit.backends.calls import placed
from edgekit.backends.flatbuffer_tables import BROKEN, Table
from edgekit.backends.xnnpack_graphs import BACKEND, read_graph
from edgekit.core.measured import Placement
from edgekit.core.noun import from_json
from edgekit.core.recipe import LayerPrecision
from edgekit.core.signature import Shape, Signature, TensorSpec
from edgekit.errors import MalformedError, UnsupportedError

IDENTIFIER = b"ET12"
METHOD = "forward"
SIGNATURE_METHOD = "edgekit_signature"
LAYERS_METHOD = "edgekit_layers"

_DTYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32",
    7: "float64", 11: "bool", 15: "bfloat16", 27: "uint16", 28: "uint32", 29: "uint64",
}  # fmt: skip
_HEADER = struct.Struct("<8x4sIQQ")
_TENSOR, _STRING = 5, 6
_KERNEL_CALL, _DELEGATE_CALL = 1, 2
_IN_SEGMENT = 1
_SIZES = ("executorch_prim::", "aten::sym_")


@dataclass(frozen=True)
class TensorValue:
    """One tensor of a program: dtype as torch's ScalarType number, shape at its upper bound."""

    scalar_type: int
    sizes: tuple[int, ...]
    is_dynamic: bool
    is_constant: bool


@dataclass(frozen=True)
class Delegate:
    """One part of a program that a backend runs: the nodes inside where the backend is known."""

    backend: str
    nodes: Counter[str]
    weights: int
    dtypes: Counter[str]


@dataclass(frozen=True)
class Program:
    """The method `forward`: the kernels it calls itself, what it delegates, its inputs and outputs.

    `signature` and `layers` are what edgekit wrote into the file; empty in files of others, and in
    programs that are float32 throughout.
    """

    kernels: Counter[str]
    delegates: tuple[Delegate, ...]
    inputs: tuple[TensorValue, ...]
    outputs: tuple[TensorValue, ...]
    weights: int
    signature: str
    layers: str
    dtypes: Counter[str]


def read_program(path: Path) -> Program:
    """Read a `.pte`; raises MalformedError where it is not a whole one."""
    data = path.read_bytes()
    if data[4:8] != IDENTIFIER:
        raise MalformedError(
            f"{path.name} is not an ExecuTorch file: byte 4 has {data[4:8]!r}, not {IDENTIFIER!r}"
        )
    try:
        return _read(data)
    except BROKEN as error:
        raise MalformedError(f"{path.name} is not a whole ExecuTorch file: {error}") from error


def placement(program: Program) -> Placement:
    """How many of the program's nodes run on XNNPACK; a delegate of another kind is one node.

    Views and the arithmetic of sizes compute nothing on tensors and are not nodes.
    """
    kernels = {name: n for name, n in program.kernels.items() if not name.startswith(_SIZES)}
    delegated = sum(delegate.nodes.total() or 1 for delegate in program.delegates)
    names = sorted({delegate.backend for delegate in program.delegates}) or [BACKEND]
    return placed(
        "+".join(names),
        nodes=delegated + sum(kernels.values()),
        delegated=delegated,
        left=kernels,
    )


def _read(data: bytes) -> Program:
    root = Table.root(data)
    segments = _segments(root, data)
    plans = {plan.text(0): plan for plan in root.tables(1)}
    if METHOD not in plans:
        raise UnsupportedError(
            f"the program has no method {METHOD!r}, only: {', '.join(plans)}",
            fix="export the model with its computation in `forward`",
        )
    plan = plans[METHOD]
    values = [value.union(0) for value in plan.tables(2)]
    tensors = {
        i: _tensor(table) for i, (kind, table) in enumerate(values) if kind == _TENSOR and table
    }
    kernels, delegates = _calls(plan, _payloads(root, plan, segments))
    constant = [tensor for tensor in tensors.values() if tensor.is_constant]
    constants = sum(prod(tensor.sizes) for tensor in constant)
    constant_dtypes = Counter(_dtype(tensor) for tensor in constant)
    return Program(
        kernels=kernels,
        delegates=delegates,
        inputs=tuple(tensors[i] for i in plan.numbers(3)),
        outputs=tuple(tensors[i] for i in plan.numbers(4)),
        weights=constants + sum(delegate.weights for delegate in delegates),
        signature=_written(plans.get(SIGNATURE_METHOD)),
        layers=_written(plans.get(LAYERS_METHOD)),
        dtypes=sum((delegate.dtypes for delegate in delegates), constant_dtypes),
    )


def _segments(root: Table, data: bytes) -> list[bytes]:
    """The data behind the flatbuffer; ValueError where the file ends before they do."""
    magic, _, program_size, base = _HEADER.unpack_from(data)
    spans = [(s.number(0, "Uint64"), s.number(1, "Uint64")) for s in root.tables(4)]
    if magic != b"eh00":  # written where no segment holds anything, as in a program without weights
        if any(size for _, size in spans):
            raise ValueError("it has data behind the program, and no header that says where")
        return [b""] * len(spans)
    end = max((base + at + size for at, size in spans), default=0)
    if max(end, program_size) > len(data):
        raise ValueError(f"its data end at byte {end} and the file at {len(data)}")
    return [data[base + at : base + at + size] for at, size in spans]


def _tensor(table: Table) -> TensorValue:
    return TensorValue(
        scalar_type=table.number(0, "Int8"),
        sizes=table.numbers(2),
        is_dynamic=table.number(8, "Int8") != 0,
        is_constant=table.number(5, "Uint32") > 0 and table.table(6) is None,
    )


def _payloads(root: Table, plan: Table, segments: list[bytes]) -> list[tuple[str, bytes]]:
    """Backend and data of each delegate of a plan."""
    inline = [item.data(0) for item in root.tables(3)]
    found = []
    for delegate in plan.tables(7):
        where = delegate.table(1)
        index = where.number(1, "Uint32") if where else 0
        in_segment = where is not None and where.number(0, "Int8") == _IN_SEGMENT
        found.append((delegate.text(0), (segments if in_segment else inline)[index]))
    return found


def _calls(
    plan: Table, payloads: list[tuple[str, bytes]]
) -> tuple[Counter[str], tuple[Delegate, ...]]:
    operators = [f"{op.text(0)}.{op.text(1)}".rstrip(".") for op in plan.tables(6)]
    kernels: Counter[str] = Counter()
    delegates: list[Delegate] = []
    for chain in plan.tables(5):
        for instruction in chain.tables(2):
            kind, call = instruction.union(0)
            if kind == _KERNEL_CALL and call is not None:
                kernels[operators[call.number(0)]] += 1
            elif kind == _DELEGATE_CALL and call is not None:
                delegates.append(_delegate(*payloads[call.number(0)]))
    return kernels, tuple(delegates)


def _delegate(backend: str, payload: bytes) -> Delegate:
    if backend != BACKEND:
        return Delegate(backend=backend, nodes=Counter(), weights=0, dtypes=Counter())
    nodes, weights, dtypes = read_graph(payload)
    return Delegate(backend=backend, nodes=nodes, weights=weights, dtypes=dtypes)


def _written(plan: Table | None) -> str:
    """The text that the constant method holds: its first string value."""
    values = (value.union(0) for value in plan.tables(2)) if plan else ()
    return next((table.text(0) for kind, table in values if kind == _STRING and table), "")


def signature_of(program: Program) -> tuple[Signature, tuple[str, ...]]:
    """Names, dtypes, shapes, and notes: how large a free axis may get.

    A file of others has no names, and does not say which axis of a dynamic tensor is free: the
    first one is taken. Raises MalformedError where the signature inside contradicts the program.
    """
    if program.signature:
        signature = from_json(program.signature, Signature, origin="the signature in the file")
        _check(signature.inputs, program.inputs)
        _check(signature.outputs, program.outputs)
    else:
        signature = Signature(
            inputs=_by_position("input", program.inputs),
            outputs=_by_position("output", program.outputs),
        )
    return signature, tuple(_bounds(signature.inputs, program.inputs))


def layers_of(program: Program) -> tuple[LayerPrecision, ...]:
    """What each layer is stored in, where edgekit quantized the program."""
    if not program.layers:
        return ()
    return from_json(program.layers, tuple[LayerPrecision, ...], origin="the layers in the file")


def _check(specs: Sequence[TensorSpec], values: Sequence[TensorValue]) -> None:
    written = [(spec.dtype, spec.shape) for spec in specs]
    if len(specs) != len(values) or not all(
        spec.dtype == _dtype(value) and _fits(spec.shape, value)
        for spec, value in zip(specs, values, strict=True)
    ):
        raise MalformedError(
            f"the signature written into the file does not fit its program: {written} against "
            f"{[(_dtype(value), value.sizes) for value in values]}"
        )


def _fits(shape: Shape | None, value: TensorValue) -> bool:
    return (
        shape is not None
        and len(shape) == len(value.sizes)
        and all(
            size == most or (size is None and value.is_dynamic)
            for size, most in zip(shape, value.sizes, strict=True)
        )
    )


def _by_position(kind: str, values: Sequence[TensorValue]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=f"{kind}_{at}",
            dtype=_dtype(value),
            shape=(None, *value.sizes[1:]) if value.is_dynamic and value.sizes else value.sizes,
        )
        for at, value in enumerate(values)
    )


def _bounds(specs: Sequence[TensorSpec], values: Sequence[TensorValue]) -> Iterator[str]:
    for spec, value in zip(specs, values, strict=True):
        for axis, (size, most) in enumerate(zip(spec.shape or (), value.sizes, strict=True)):
            if size is None:
                yield f"axis {axis} of {spec.name} takes at most {most}: memory is planned for it"


def _dtype(value: TensorValue) -> str:
    return _DTYPES.get(value.scalar_type, f"scalar-type-{value.scalar_type}")
