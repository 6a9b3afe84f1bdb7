"""Reads ONNX files: checked, with their signature, and with external data only from beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from edgekit.core.signature import Shape, Signature, TensorSpec
from edgekit.errors import MalformedError, UnsupportedError


def read_onnx(path: Path) -> Any:
    """The `ModelProto` in `path`, without the weights that lie in other files.

    Raises MalformedError where it is no ONNX model, or names external data outside its folder.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise MalformedError(f"{path.name} is not a readable ONNX model: {error}") from error
    if not model.graph.output:
        raise MalformedError(f"{path.name} is not an ONNX model: it has no outputs")
    _check_external_data(model, path)
    return model


def onnx_signature(model: Any) -> Signature:
    """Inputs that are not initializers, and outputs; a dim without a number is free."""
    held = {initializer.name for initializer in model.graph.initializer}
    return Signature(
        inputs=tuple(_spec(value) for value in model.graph.input if value.name not in held),
        outputs=tuple(_spec(value) for value in model.graph.output),
    )


def graphs(model: Any) -> list[Any]:
    """The main graph, the bodies of loops and branches in it, and local functions."""
    found = [model.graph, *model.functions]
    for graph in found:
        for node in graph.node:
            for attribute in node.attribute:
                found += [attribute.g] if attribute.HasField("g") else []
                found += attribute.graphs
    return found


def tensors(model: Any) -> list[Any]:
    """Every weight: initializers, and tensors held in attributes."""
    found: list[Any] = []
    for graph in graphs(model):
        found += getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            found += [sparse.values, sparse.indices]
        for node in graph.node:
            for attribute in node.attribute:
                found += [attribute.t] if attribute.HasField("t") else []
                found += attribute.tensors
    return found


def writer(model: Any) -> str:
    """Who wrote the file, as it says."""
    return " ".join(filter(None, (model.producer_name, model.producer_version))) or "unknown"


def _check_external_data(model: Any, path: Path) -> None:
    folder = path.resolve().parent
    for tensor in tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        place = (folder / location).resolve()
        if not location or Path(location).is_absolute() or not place.is_relative_to(folder):
            raise MalformedError(
                f"{path.name} wants the weight {tensor.name!r} from {location!r}, outside its folder"
            )
        if not place.is_file():
            raise MalformedError(
                f"{path.name} wants the weight {tensor.name!r} from {location!r}, which is not there",
                fix=f"put {location} beside {path.name}",
            )


def _spec(value: Any) -> TensorSpec:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedError(
            f"{value.name!r} is a {(kind or 'value of unknown type').removesuffix('_type')}",
            fix="export the model with tensors as inputs and outputs (skl2onnx: zipmap=False)",
        )
    return TensorSpec(name=value.name, dtype=_dtype(value), shape=_shape(value.type.tensor_type))


def _dtype(value: Any) -> str:
    code = value.type.tensor_type.elem_type
    if code == TensorProto.STRING:
        return "str"
    if code in (TensorProto.UNDEFINED, TensorProto.BFLOAT16):
        raise UnsupportedError(f"{value.name!r} is {TensorProto.DataType.Name(code).lower()}")
    return str(helper.tensor_dtype_to_np_dtype(code))


def _shape(tensor: Any) -> Shape | None:
    if not tensor.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
