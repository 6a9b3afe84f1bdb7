"""Keras to a torch program, with Keras on its torch backend: no TensorFlow is needed."""

from __future__ import annotations

from typing import Any

import keras
import torch

from edgekit.backends.graph_passes import fold_constants, make_contiguous
from edgekit.backends.keras_files import open_keras, source_of
from edgekit.backends.keras_model import KerasModel
from edgekit.backends.programs import examples, export_program, save_program
from edgekit.core.artifact import Artifact
from edgekit.core.jobs import ConvertJob
from edgekit.core.signature import Signature
from edgekit.errors import UnsupportedError


def convert(job: ConvertJob) -> Artifact:
    """Write `model.pt2`: flat tensors in the order of the signature, a tuple out, free axes free.

    The graph is made plain for what comes next: Keras computes with channels last, and transposes
    its kernels at each call, which no delegate takes. Raises UnsupportedError for a model that only
    tf_keras can open, and for control flow that torch.export cannot follow.
    """
    model = open_keras(source_of(job.artifact))
    tensors = examples(job)
    program = export_program(_Positional(model, job.signature), tensors, job.signature)
    module = program.run_decompositions({}).module(check_guards=False)
    make_contiguous(module)
    fold_constants(module)
    program = export_program(module, tensors, job.signature)
    writer = f"Keras {keras.__version__} on torch {torch.__version__}"
    return save_program(
        program, job.folder, _outputs_checked(program, job.signature), writer=writer
    )


class _Positional(torch.nn.Module):
    """A Keras model that takes and gives tensors by position."""

    def __init__(self, model: KerasModel, signature: Signature) -> None:
        super().__init__()
        self.inner = model.model
        self._call = model.call
        self._inputs = [spec.origin for spec in signature.inputs]
        self._outputs = [spec.origin for spec in signature.outputs]
        self.eval()

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        results = self._call(dict(zip(self._inputs, tensors, strict=True)))
        return tuple(results[name] for name in self._outputs)


def _outputs_checked(program: Any, signature: Signature) -> Signature:
    """The signature; raises UnsupportedError where the program gives another number of tensors."""
    outputs = [
        spec for spec in program.graph_signature.output_specs if spec.kind.name == "USER_OUTPUT"
    ]
    if len(outputs) != len(signature.outputs):
        raise UnsupportedError(
            f"the exported program gives {len(outputs)} outputs, not {len(signature.outputs)}",
            fix="give every output of the model a layer of its own",
        )
    return signature
