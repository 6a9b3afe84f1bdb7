"""Reads the signature of a PyTorch model: `.pt2`, TorchScript, weights with a factory, pickles.

A `.pt2` tells everything. The others tell nothing of shapes, so the inputs are the user's, and the
model is called on synthetic tensors to learn its outputs. TorchScript files made by edgekit carry
their signature inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from edgekit.backends.programs import input_nodes, open_program, shape_of
from edgekit.backends.torch_calls import (
    call_by_name,
    forward_parameters,
    learned_signature,
    numpy_dtype,
    output_names,
)
from edgekit.backends.torch_files import (
    LAYERS_FILE,
    NAMES_FILE,
    open_module,
    open_torchscript,
    written_in_torchscript,
)
from edgekit.backends.torch_training import refuse_training_mode
from edgekit.backends.written import size_bytes
from edgekit.core.artifact import Artifact, Format, ModelSource
from edgekit.core.jobs import LoadJob
from edgekit.core.noun import changed, from_json
from edgekit.core.recipe import LayerPrecision
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError, MalformedError, UnsupportedError

_EMPTY = Signature(inputs=(), outputs=())


def load(job: LoadJob) -> Artifact:
    """The user's file with its full signature; raises before anything unsafe is opened."""
    source = job.source
    artifact = _artifact(source, _EMPTY, "")
    if source.format is Format.EXPORTED:
        program = open_program(artifact)
        refuse_training_mode(program)
        return _artifact(source, program_signature(program), "torch.export")
    if source.format is Format.TORCHSCRIPT:
        return _torchscript(source)
    module = open_module(source)
    _need_inputs(source)
    signature = _learned(module, source.inputs)
    return _artifact(source, signature, "torch")


def program_signature(program: Any) -> Signature:
    """Inputs by the names of `forward`'s arguments, outputs by their keys or `output_N`."""
    inputs = [
        _spec(node.name, node.meta["val"], at) for at, node in enumerate(input_nodes(program))
    ]
    specs, results = program.graph_signature.output_specs, program.graph.output_node().args[0]
    user = [(spec, node) for spec, node in zip(specs, results, strict=True) if _is_result(spec)]
    tree = pytree.tree_unflatten(range(len(user)), program.call_spec.out_spec)
    outputs = [
        _spec(name, node.meta["val"], at)
        for at, (name, (spec, node)) in enumerate(zip(output_names(tree), user, strict=True))
        if type(spec.arg).__name__ == "TensorArgument"
    ]
    if not outputs:
        raise UnsupportedError("the program gives no tensor")
    return Signature(inputs=tuple(inputs), outputs=tuple(outputs))


def _is_result(spec: Any) -> bool:
    """Whether this output is the caller's; raises where the program changes its own state."""
    kind = spec.kind.name
    if kind in ("BUFFER_MUTATION", "PARAMETER_MUTATION", "USER_INPUT_MUTATION"):
        raise UnsupportedError(
            f"the program changes {spec.target!r} at every call",
            fix="call model.eval() before torch.export.export, and return the state as an output",
        )
    return bool(kind == "USER_OUTPUT")


def _spec(name: str, value: Any, at: int) -> TensorSpec:
    dtype = numpy_dtype(value, name or str(at))
    return TensorSpec(name=name, dtype=dtype, shape=shape_of(value))


def _torchscript(source: ModelSource) -> Artifact:
    module = open_torchscript(source.path, source.sha256)
    written = written_in_torchscript(source.path, NAMES_FILE)
    if written is None:
        _need_inputs(source)
        return _artifact(source, _learned(module, source.inputs), "torch.jit")
    signature = from_json(written, Signature, origin=f"{Path(source.path).name}: extra file")
    parameters = forward_parameters(module)
    if len(parameters) != len(signature.inputs):
        raise MalformedError(
            f"the signature inside {Path(source.path).name} has {len(signature.inputs)} inputs, "
            f"forward() takes {len(parameters)}"
        )
    artifact = _artifact(source, signature, "edgekit, torch.jit")
    layers = written_in_torchscript(source.path, LAYERS_FILE) or b"[]"
    kind = tuple[LayerPrecision, ...]
    return changed(artifact, layers=from_json(layers, kind, origin=f"{source.path}: extra file"))


def _learned(module: Any, inputs: tuple[TensorSpec, ...]) -> Signature:
    parameters = forward_parameters(module)
    call = call_by_name(parameters, inputs)
    if call is not None:  # in the order of forward(), as formats without names take them
        inputs = tuple(sorted(inputs, key=lambda spec: parameters.index(spec.name)))
        call = call_by_name(parameters, inputs)

    def run(tensors: tuple[Any, ...]) -> Any:
        args, kwargs = call.arguments(tensors) if call else (tensors, {})
        return module(*args, **kwargs)

    return learned_signature(run, inputs)


def _need_inputs(source: ModelSource) -> None:
    if not source.inputs:
        raise ConfigError(
            f"{Path(source.path).name} does not say what goes into the model",
            fix="give --input NAME:SHAPE:DTYPE, such as --input x:?,3,32,32:float32, or data",
        )


def _artifact(source: ModelSource, signature: Signature, writer: str) -> Artifact:
    return Artifact(
        path=source.path,
        format=source.format,
        signature=signature,
        sha256=source.sha256,
        size_bytes=size_bytes(Path(source.path)),
        writer=writer and f"{writer} (read with torch {torch.__version__})",
        source=source,
    )
