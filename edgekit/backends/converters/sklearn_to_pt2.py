"""scikit-learn to a torch program, through edgekit's own modules.

On the way to TFLite, ExecuTorch and TorchScript. The modules are compared with the estimator on the
job's samples before anything is written: what float32 cannot hold is refused, not shipped.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch

from edgekit.backends.programs import examples, export_program, save_program, shape_of, with_shape
from edgekit.backends.sklearn_closeness import check_close, probed
from edgekit.backends.sklearn_files import open_estimator
from edgekit.backends.sklearn_folding import folded
from edgekit.backends.sklearn_modules.table import Model
from edgekit.core.artifact import Artifact
from edgekit.core.jobs import ConvertJob
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import MalformedError


def convert(job: ConvertJob) -> Artifact:
    """Write `model.pt2`: float32 `x` in, int64 `label` and float32 scores out, as scikit-learn's.

    Raises UnsupportedError naming the estimator (a step of a pipeline, a member of an ensemble) for
    which no module is written, or whose answers need more than float32.
    """
    if job.artifact.source is None:
        raise MalformedError(f"{job.artifact.path} has no source to convert")
    estimator = open_estimator(job.artifact.source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Model(folded(estimator), job.signature).eval()
        inputs = examples(job)
        _check_answers(estimator, model, inputs[0])
        program = export_program(model, inputs, job.signature)
    return save_program(
        program,
        job.folder,
        _written_signature(program, job.signature),
        writer=f"edgekit modules, torch {torch.__version__}",
    )


def _check_answers(estimator: Any, model: Model, x: Any) -> None:
    rows, expected = probed(estimator, x.numpy())
    with torch.no_grad():
        actual = [value.numpy() for value in model(torch.from_numpy(rows))]
    check_close(
        estimator,
        expected,
        dict(zip(expected, actual, strict=True)),
        fix="its answers need more than float32: scale its inputs (StandardScaler in a Pipeline) "
        "and fit again",
    )


def _written_signature(program: Any, wanted: Signature) -> Signature:
    """`wanted` with the output shapes the program really has."""
    last = next(iter(reversed(program.graph.nodes)))
    values = [node.meta["val"] for node in last.args[0]][-len(wanted.outputs) :]
    return Signature(
        inputs=tuple(_kept(spec) for spec in wanted.inputs),
        outputs=tuple(
            with_shape(_kept(spec), shape_of(value))
            for spec, value in zip(wanted.outputs, values, strict=True)
        ),
    )


def _kept(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(
        name=spec.name,
        dtype=spec.dtype,
        shape=spec.shape,
        source_name=spec.origin,
        categories=spec.categories,
    )
