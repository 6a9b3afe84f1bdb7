"""What a `.tflite` file says about itself, read from its flatbuffer alone: no TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.noun import changed
from edgekit.core.signature import Quantization, Shape, Signature, TensorSpec
from edgekit.errors import ConfigError, MalformedError

IDENTIFIER = b"TFL3"
_DEFAULT_KEY = "serving_default"
_BROKEN = (struct.error, IndexError, TypeError, UnicodeDecodeError, OverflowError)


def open_model(path: Path) -> Any:
    """The flatbuffer's root table; raises MalformedError where the file is not a whole one.

    LiteRT's own verifier goes over every offset first, so that walking the tables afterwards cannot
    leave the file.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    data = path.read_bytes()
    if data[4:8] != IDENTIFIER:
        raise MalformedError(
            f"{path.name} is not a TFLite file: it has {data[4:8]!r} for {IDENTIFIER!r} at byte 4"
        )
    try:
        Interpreter(model_path=str(path))
        model = schema.Model.GetRootAs(data)
        if model.SubgraphsLength() == 0:
            raise ValueError("it holds no graph")
    except (ValueError, RuntimeError, *_BROKEN) as error:
        raise MalformedError(f"{path.name} is not a whole TFLite file: {error}") from error
    return model


def signature_of(model: Any, key: str | None) -> Signature:
    """Inputs and outputs of signature def `key`, or of the graph where the file has none.

    Raises ConfigError where `key` is missing or has to be chosen.
    """
    chosen = _signature_def(model, key)
    if chosen is None:
        graph = model.Subgraphs(0)
        return Signature(
            inputs=_unnamed(graph, _indices(graph.InputsAsNumpy()), "input"),
            outputs=_unnamed(graph, _indices(graph.OutputsAsNumpy()), "output"),
        )
    graph = model.Subgraphs(chosen.SubgraphIndex())
    return Signature(
        inputs=tuple(_named(graph, m) for m in items(chosen, "Inputs")),
        outputs=tuple(_named(graph, m) for m in items(chosen, "Outputs")),
    )


def requantized_signature(before: Artifact, model: Any) -> Signature:
    """The signature of `before` in the dtypes that `model`, made from it, now takes and gives."""
    key = before.source.signature_key if before.source else None
    found = signature_of(model, key)
    return Signature(
        inputs=_restored(before.signature.inputs, found.inputs),
        outputs=_restored(before.signature.outputs, found.outputs),
    )


def _restored(known: Sequence[TensorSpec], found: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Pairs by name; a file without a signature def has its order, and may have got other names."""
    by_name = {spec.name: spec for spec in found}
    if any(spec.name not in by_name for spec in known):
        by_name = {spec.name: now for spec, now in zip(known, found, strict=True)}
    return tuple(
        changed(spec, dtype=by_name[spec.name].dtype, quantization=by_name[spec.name].quantization)
        for spec in known
    )


def writer_of(model: Any) -> str:
    """The file's description, the TensorFlow that converted it, the oldest runtime it runs on."""
    found = {
        text(entry.Name()): model.Buffers(entry.Buffer()).DataAsNumpy()
        for entry in items(model, "Metadata")
    }
    parts = [text(model.Description()) or "unknown writer"]
    if version := _tensorflow_version(found.get("CONVERSION_METADATA")):
        parts.append(f"TensorFlow {version}")
    minimum = found.get("min_runtime_version")
    if minimum is not None and not isinstance(minimum, int):
        parts.append(f"needs runtime {minimum.tobytes().rstrip(bytes(1)).decode(errors='replace')}")
    return ", ".join(parts)


def op_names(model: Any) -> list[str]:
    """The name of each op code; a custom op goes by its own name."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    builtin = {number: name for name, number in vars(BuiltinOperator).items() if name.isupper()}
    return [
        text(code.CustomCode())
        or builtin.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "UNKNOWN")
        for code in items(model, "OperatorCodes")
    ]


def custom_ops(model: Any) -> list[str]:
    """The ops that no runtime has by itself: Flex ops of TensorFlow, and other custom ones."""
    return sorted(text(c.CustomCode()) for c in items(model, "OperatorCodes") if c.CustomCode())


def items(table: Any, field: str) -> Iterator[Any]:
    """The elements of a vector field of a flatbuffer table."""
    return (getattr(table, field)(i) for i in range(getattr(table, f"{field}Length")()))


def text(value: bytes | None) -> str:
    """A flatbuffer string; empty where there is none."""
    return value.decode("utf-8", "replace") if value else ""


def dtype_of(tensor: Any) -> str:
    """The numpy name of a tensor's dtype (`int4`, `bfloat16`, `string` are not numpy's)."""
    from ai_edge_litert.schema_py_generated import TensorType

    names = {number: name for name, number in vars(TensorType).items() if name.isupper()}
    return names.get(tensor.Type(), f"type-{tensor.Type()}").lower()


def shape_of(tensor: Any) -> Shape:
    """The tensor's shape with `None` for the axes its shape signature leaves free."""
    written = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else None
    stored = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
    return tuple(
        None if axis < 0 else int(axis) for axis in (stored if written is None else written)
    )


def is_stored(model: Any, tensor: Any) -> bool:
    """Whether the tensor is a constant: the file holds its values."""
    buffer = model.Buffers(tensor.Buffer())
    return bool(buffer.DataLength() or buffer.Size())


def elements_of(tensor: Any) -> int:
    """How many elements the stored shape has; a free axis is stored as 1."""
    return prod(max(int(axis), 1) for axis in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else 1


def quantization_of(tensor: Any) -> Quantization | None:
    """Scale and zero point, per axis or whole; None where the tensor is not quantized."""
    found = tensor.Quantization()
    if found is None or found.ScaleLength() == 0:
        return None
    return Quantization(
        scale=tuple(float(v) for v in found.ScaleAsNumpy()),
        zero_point=tuple(int(v) for v in found.ZeroPointAsNumpy())
        if found.ZeroPointLength()
        else (),
        axis=int(found.QuantizedDimension()) if found.ScaleLength() > 1 else None,
    )


def _signature_def(model: Any, key: str | None) -> Any | None:
    found = {text(s.SignatureKey()) or _DEFAULT_KEY: s for s in items(model, "SignatureDefs")}
    if key is None and len(found) > 1:
        key = _DEFAULT_KEY
    if key is None:
        return next(iter(found.values()), None)
    if key not in found:
        raise ConfigError(
            f"the file has no signature {key!r}",
            fix=f"choose one with --signature: {', '.join(found) or 'it has none, leave it out'}",
        )
    return found[key]


def _indices(found: Any) -> Iterable[int]:
    """A vector of tensor indices; flatbuffers gives 0 for an absent one."""
    return () if isinstance(found, int) else (int(index) for index in found)


def _named(graph: Any, entry: Any) -> TensorSpec:
    return _spec(graph.Tensors(entry.TensorIndex()), text(entry.Name()))


def _unnamed(graph: Any, indices: Iterable[int], kind: str) -> tuple[TensorSpec, ...]:
    """Specs called by their tensors' names, or by position where these are empty or not unique."""
    tensors = [graph.Tensors(index) for index in indices]
    names = [text(tensor.Name()) for tensor in tensors]
    if not all(names) or len(set(names)) < len(names):
        names = [f"{kind}_{i}" for i in range(len(tensors))]
    return tuple(_spec(t, name) for t, name in zip(tensors, names, strict=True))


def _spec(tensor: Any, name: str) -> TensorSpec:
    return TensorSpec(
        name=name,
        dtype=dtype_of(tensor),
        shape=shape_of(tensor),
        quantization=quantization_of(tensor),
    )


def _tensorflow_version(buffer: Any) -> str:
    """ConversionMetadata.environment.tensorflow_version (tensorflow/compiler/mlir/lite/schema)."""
    import flatbuffers
    from flatbuffers.table import Table

    if buffer is None or isinstance(buffer, int):
        return ""
    try:
        data = buffer.tobytes()
        root = Table(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))
        environment = Table(data, root.Indirect(root.Pos + root.Offset(4)))
        return text(environment.String(environment.Pos + environment.Offset(4)))
    except _BROKEN:
        return ""
