"""Exported program to ONNX with torch's own exporter."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx
import torch

from edgekit.backends.onnx_files import graphs, onnx_signature, read_onnx
from edgekit.backends.onnx_padding import keep_padding
from edgekit.backends.pickles import first_line
from edgekit.backends.programs import Program, examples, flat_program
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import ConvertJob
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError, StepError, UnsupportedError

_LIMIT_BYTES = (2 << 30) - (1 << 20)  # of one protobuf message


def convert(job: ConvertJob) -> Artifact:
    """Export with the names of the signature, then read back that names, dtypes and axes hold.

    The option `opset` sets the version of the operators.
    """
    program = flat_program(job)
    _check_size(program)
    model = _exported(program, job)
    _strip_paths(model)
    keep_padding(model)
    path = Path(job.folder) / f"model{Format.ONNX.suffix}"
    path.write_bytes(model.SerializeToString(deterministic=True))
    signature = _checked(job.signature, onnx_signature(read_onnx(path)))
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return artifact_of(
        path,
        format=Format.ONNX,
        signature=signature,
        writer=f"torch.onnx {torch.__version__}, opset {opset}",
    )


def _exported(program: Program, job: ConvertJob) -> Any:
    from torch.onnx.errors import OnnxExporterError

    try:
        # The program, not the module: given a module, the exporter tries strategies of its own, and
        # takes models that torch.export has refused.
        result = torch.onnx.export(
            program,
            examples(job),
            dynamo=True,
            verbose=False,
            input_names=[spec.name for spec in job.signature.inputs],
            output_names=[spec.name for spec in job.signature.outputs],
            opset_version=_opset(job),
            external_data=False,
        )
    except (OnnxExporterError, NotImplementedError) as error:
        raise _refused(error) from error
    return result.model_proto


def _refused(error: Exception) -> UnsupportedError:
    causes = [error, *_causes(error)]
    operator = re.search(r"(?:for|of) ?<?OpOverload\(op='([^']+)'", " ".join(map(str, causes)))
    what = f"operator {operator[1]}" if operator else first_line(causes[-1])
    return UnsupportedError(
        f"torch.onnx cannot express this model: {what}", fix="convert to torchscript or executorch"
    )


def _causes(error: BaseException) -> list[Exception]:
    cause = error.__cause__
    return [cause, *_causes(cause)] if isinstance(cause, Exception) else []


def _opset(job: ConvertJob) -> int | None:
    asked = job.options.get("opset")
    if asked is None:
        return None
    if not asked.isdigit():
        raise ConfigError(f"opset {asked!r} is not a number", fix="give one such as --opset 18")
    newest = onnx.defs.onnx_opset_version()
    if not 18 <= int(asked) <= newest:
        raise UnsupportedError(
            f"torch.onnx cannot write opset {asked}", fix=f"choose an opset from 18 to {newest}"
        )
    return int(asked)


def _check_size(program: Program) -> None:
    size = sum(tensor.nbytes for tensor in program.state_dict.values())
    if size > _LIMIT_BYTES:
        raise UnsupportedError(
            f"the weights are {size / 2**30:.1f} GiB, and one ONNX file holds less than 2 GiB",
            fix="convert to torchscript or executorch",
        )


def _strip_paths(model: Any) -> None:
    """The exporter writes the stack trace of every node, with absolute paths of this machine."""
    del model.metadata_props[:]
    for graph in graphs(model):
        del graph.metadata_props[:]
        for part in ("node", "value_info", "initializer", "input", "output"):
            for entry in getattr(graph, part):
                if not isinstance(entry, str):  # a function's inputs are plain names
                    del entry.metadata_props[:]
                    entry.doc_string = ""


def _checked(wanted: Signature, found: Signature) -> Signature:
    """What the file says, with the names of the source; raises where it is not what was asked."""
    return Signature(
        inputs=_pairs(wanted.inputs, found.inputs), outputs=_pairs(wanted.outputs, found.outputs)
    )


def _pairs(wanted: tuple[TensorSpec, ...], found: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    if [(s.name, s.dtype) for s in wanted] != [(s.name, s.dtype) for s in found]:
        raise StepError(f"torch.onnx wrote {_shown(found)}, asked were {_shown(wanted)}")
    for asked, written in zip(wanted, found, strict=True):
        for axis, (one, other) in enumerate(
            zip(asked.shape or (), written.shape or (), strict=False)
        ):
            if one is None and other is not None:
                raise StepError(f"torch.onnx fixed axis {axis} of {asked.name!r} to {other}")
    return tuple(
        TensorSpec(name=f.name, dtype=f.dtype, shape=f.shape, source_name=w.origin)
        for w, f in zip(wanted, found, strict=True)
    )


def _shown(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{spec.name}:{spec.dtype}" for spec in specs)
