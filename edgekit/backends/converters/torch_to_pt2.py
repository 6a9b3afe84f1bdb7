"""PyTorch weights, pickled modules and TorchScript to a flat exported program."""

from __future__ import annotations

from typing import Any

import torch

from edgekit.backends.pickles import first_line
from edgekit.backends.programs import Tensors, examples, export_program, flattened, save_program
from edgekit.backends.torch_files import open_flat, open_torchscript
from edgekit.backends.torch_training import refuse_training_mode
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import ConvertJob
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import UnsupportedError

_FIX = "give the .pt2, or the weights with --factory, that the TorchScript was made from"


def convert(job: ConvertJob) -> Artifact:
    """Export with torch.export; free axes stay free or the refusal names them.

    TorchScript goes through torch's TS2EPConverter, which traces at fixed sizes: its program is
    exported once more for the free axes and held against the ScriptModule, to the bit.
    """
    tensors = examples(job)
    module = open_flat(job.artifact)
    if job.artifact.format is Format.TORCHSCRIPT:
        module = _from_torchscript(job, module, tensors)
    _make_contiguous(module)
    program = export_program(module, tensors, job.signature)
    refuse_training_mode(program)
    writer = f"torch.export {torch.__version__}"
    return save_program(program, job.folder, _written(job.signature), writer=writer)


def _from_torchscript(job: ConvertJob, flat: Any, tensors: Tensors) -> Any:
    from torch._export.converter import TS2EPConverter

    script = open_torchscript(job.artifact.path, job.artifact.sha256)
    with torch.no_grad():
        try:
            program = TS2EPConverter(script, tensors).convert()
        except (RuntimeError, ValueError, TypeError, KeyError, NotImplementedError) as error:
            raise UnsupportedError(
                f"torch cannot turn this TorchScript into an exported program: {first_line(error)}",
                fix=_FIX,
            ) from error
        module = flattened(
            program.module(check_guards=False), [spec.name for spec in job.signature.inputs]
        )
        pairs = zip(flat(*tensors), module(*tensors), strict=True)
        if not all(torch.equal(one, other) for one, other in pairs):
            raise UnsupportedError(
                "the program torch made from this TorchScript gives other answers",
                fix=_FIX,
            )
    return module


def _make_contiguous(module: Any) -> None:
    """Weights in channels-last order make some exporters permute data that is not permuted."""
    for tensor in (*module.parameters(), *module.buffers()):
        if not tensor.is_contiguous():
            tensor.data = tensor.data.contiguous()


def _written(signature: Signature) -> Signature:
    """The same tensors under the same names, with the names of the source beside them."""
    return Signature(
        inputs=tuple(_mapped(spec) for spec in signature.inputs),
        outputs=tuple(_mapped(spec) for spec in signature.outputs),
    )


def _mapped(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(name=spec.name, dtype=spec.dtype, shape=spec.shape, source_name=spec.origin)
