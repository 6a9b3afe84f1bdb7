"""Keras to a torch program, with Keras on its torch backend: no TensorFlow is needed."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import keras
import torch

from edgekit.backends.graph_passes import fold_constants, make_contiguous
from edgekit.backends.keras_files import open_keras, source_of
from edgekit.backends.keras_model import KerasModel
from edgekit.backends.programs import examples, export_program, save_program, shape_of
from edgekit.core.artifact import Artifact
from edgekit.core.jobs import ConvertJob
from edgekit.core.noun import changed
from edgekit.core.signature import Signature
from edgekit.errors import StepError, UnsupportedError


def convert(job: ConvertJob) -> Artifact:
    """Write `model.pt2`: flat tensors in the order of the signature, a tuple out, free axes free.

    The graph is made plain for what comes next: Keras computes with channels last, and transposes
    its kernels at each call, which no delegate takes. Raises UnsupportedError for a model that only
    tf_keras can open, and for control flow that torch.export cannot follow.
    """
    model = open_keras(source_of(job.artifact))
    tensors, signature = examples(job), job.signature
    notes: tuple[str, ...] = ()
    try:
        program = export_program(_Positional(model, signature), tensors, signature)
    except UnsupportedError:
        free = [spec.name for spec in signature.inputs if spec.shape and spec.shape[0] is None]
        if not free:
            raise
        tensors, signature = _one_row(tensors, signature, free)
        program = export_program(_Positional(model, signature), tensors, signature)
        notes = (f"batch axis of {', '.join(free)} fixed to 1: torch.export cannot keep it free",)
    program = export_program(_plain(program, model), tensors, signature)
    return save_program(
        program,
        job.folder,
        _as_given(program, signature),
        writer=f"Keras {keras.__version__} on torch {torch.__version__}",
        notes=notes,
    )


def _plain(program: Any, model: KerasModel) -> Any:
    """The program's module without memory formats, dtype assertions and work on weights alone."""
    module = program.run_decompositions({}).module(check_guards=False)
    _name_weights(module, model)
    for node in list(module.graph.nodes):
        # Keras asks for the dtype of each weight, which would keep weights that are folded away.
        if node.target is torch.ops.aten._assert_tensor_metadata.default:  # noqa: SLF001
            module.graph.erase_node(node)
    make_contiguous(module)
    fold_constants(module)
    return module


def _name_weights(module: Any, model: KerasModel) -> None:
    """Call each weight as Keras does, `conv2d.kernel` for `conv2d/kernel`; torch.export numbers them.

    So the layers of whatever is made of the program have names that the user knows.
    """
    paths = {v.value.data_ptr(): v.path.replace(".", "_") for v in model.model.variables}
    own = set(dir(module))
    named: dict[str, Any] = {}
    for node in module.graph.nodes:
        value = attrgetter(str(node.target))(module) if node.op == "get_attr" else None
        if not isinstance(value, torch.Tensor) or value.data_ptr() not in paths:
            continue
        target = paths[value.data_ptr()].replace("/", ".")
        first, _, rest = target.partition(".")
        known = named.setdefault(target, value.detach())
        if rest and first not in own and known.data_ptr() == value.data_ptr():
            node.target = target
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"} & set(named)
    for owner in sorted({target.rpartition(".")[0] for target in used}):
        module.add_submodule(owner, torch.nn.Module())
    for target in sorted(used):
        owner, _, last = target.rpartition(".")
        module.get_submodule(owner).register_buffer(last, named[target])


def _one_row(
    tensors: tuple[Any, ...], signature: Signature, free: Sequence[str]
) -> tuple[tuple[Any, ...], Signature]:
    """Examples and signature with the free first axes at 1."""
    one = tuple(
        tensor[:1].contiguous() if spec.name in free else tensor
        for spec, tensor in zip(signature.inputs, tensors, strict=True)
    )
    inputs = tuple(
        changed(spec, shape=(1, *(spec.shape or ())[1:])) if spec.name in free else spec
        for spec in signature.inputs
    )
    return one, changed(signature, inputs=inputs)


class _Positional(torch.nn.Module):
    """A Keras model that takes and gives tensors by position."""

    def __init__(self, model: KerasModel, signature: Signature) -> None:
        super().__init__()
        self.keras_model = model.model
        self._call = model.call
        self._inputs = [spec.origin for spec in signature.inputs]
        self._outputs = [spec.origin for spec in signature.outputs]
        self.eval()

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        results = self._call(dict(zip(self._inputs, tensors, strict=True)))
        return tuple(results[name] for name in self._outputs)


def _as_given(program: Any, signature: Signature) -> Signature:
    """The signature with the outputs' shapes as the program has them.

    Raises StepError where an axis that every input leaves free is fixed in an output.
    """
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    shapes = [shape_of(values[name]) for name in program.graph_signature.user_outputs]
    if len(shapes) != len(signature.outputs):
        raise StepError(f"the program gives {len(shapes)} outputs, not {len(signature.outputs)}")
    batch_is_free = any(spec.shape and spec.shape[0] is None for spec in signature.inputs)
    for spec, shape in zip(signature.outputs, shapes, strict=True):
        if batch_is_free and spec.shape and spec.shape[0] is None and shape[:1] != (None,):
            raise StepError(f"output {spec.name!r} became {shape} while the batch axis was free")
    outputs = zip(signature.outputs, shapes, strict=True)
    return changed(signature, outputs=tuple(changed(spec, shape=shape) for spec, shape in outputs))
