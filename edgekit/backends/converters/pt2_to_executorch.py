"""A torch program to ExecuTorch, lowered to XNNPACK or left to the portable kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from torch._export.verifier import SpecViolationError

from edgekit.backends.calibration_rows import calibration_rows
from edgekit.backends.executorch_runtime import Runner
from edgekit.backends.graph_passes import fold_constants, make_contiguous
from edgekit.backends.half_graphs import in_half
from edgekit.backends.programs import (
    Program,
    Tensors,
    examples,
    export_program,
    flat_module,
    shape_of,
    with_shape,
    without_batch_guards,
)
from edgekit.backends.pte_files import LAYERS_METHOD, SIGNATURE_METHOD, read_program, signature_of
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import ConvertJob
from edgekit.core.noun import changed, to_json
from edgekit.core.recipe import LayerPrecision, Precision, Quantize
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError, MalformedError, UnsupportedError

DELEGATES = ("xnnpack", "portable")
MAX_ROWS = 64
MAX_SIZE = 256


def convert(job: ConvertJob) -> Artifact:
    """Write `model.pte`; `options["delegate"]` is `xnnpack` (default) or `portable`.

    Free axes get an upper bound, for ExecuTorch plans memory: 64 rows where only the first axis is
    free, else 256, or `options["max_size"]`. A free first axis that cannot be lowered is fixed to 1
    with a note. Raises UnsupportedError naming the op that ExecuTorch lacks.
    """
    delegate = _delegate(job.options)
    module = flat_module(job.artifact)
    make_contiguous(module.inner[0])
    fold_constants(module.inner[0])
    given = examples(job)
    try:
        return _lowered(job, module, given, job.signature, delegate=delegate)
    except (RuntimeError, ValueError) as error:
        names = [s.name for s in job.signature.inputs if s.shape and s.shape[0] is None]
        if not names:
            raise
        signature, one = _one_row(job.signature, given, names)
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        note = f"batch axis of {', '.join(names)} fixed to 1: ExecuTorch cannot keep it free ({reason})"
        return _lowered(job, module, one, signature, delegate=delegate, notes=(note,))


def _delegate(options: dict[str, str]) -> str:
    delegate = options.get("delegate", DELEGATES[0])
    if delegate not in DELEGATES:
        raise ConfigError(
            f"ExecuTorch delegate {delegate!r} is unknown",
            fix=f"choose one of: {', '.join(DELEGATES)}",
        )
    return delegate


def _one_row(
    signature: Signature, given: Tensors, names: Sequence[str]
) -> tuple[Signature, Tensors]:
    """The signature and examples with the free first axes at 1; other free axes stay."""
    one = tuple(
        tensor[:1].contiguous() if spec.name in names else tensor
        for spec, tensor in zip(signature.inputs, given, strict=True)
    )
    inputs = tuple(
        with_shape(spec, (1, *(spec.shape or ())[1:])) if spec.name in names else spec
        for spec in signature.inputs
    )
    return Signature(inputs=inputs, outputs=signature.outputs), one


def _lowered(
    job: ConvertJob,
    module: Any,
    given: Tensors,
    wanted: Signature,
    *,
    delegate: str,
    notes: tuple[str, ...] = (),
) -> Artifact:
    program = export_program(module, given, wanted, most=_most(wanted, job.options))
    program, layers, told = _passed(job, program, given, wanted)
    signature = Signature(
        inputs=tuple(_named(spec, spec.shape) for spec in wanted.inputs),
        outputs=_outputs(program, wanted.outputs),
    )
    path = Path(job.folder) / f"model{Format.EXECUTORCH.suffix}"
    texts = {SIGNATURE_METHOD: to_json(signature, indent=0)}
    if layers:
        texts[LAYERS_METHOD] = to_json(layers, indent=0)
    path.write_bytes(_lower(program, signature, delegate, texts))
    written = read_program(path)
    try:
        checked, bounds = signature_of(written)
    except MalformedError as error:
        raise ValueError("lowering made a constant of the axis") from error
    names = [spec.name for spec in checked.inputs]
    Runner(path, written, num_threads=1).run([tensor.numpy() for tensor in given], names)
    artifact = artifact_of(
        path,
        format=Format.EXECUTORCH,
        signature=checked,
        writer=f"executorch {metadata.version('executorch')}",
        notes=(*job.artifact.notes, *notes, *told, *bounds),
    )
    return changed(artifact, layers=layers)


def _passed(
    job: ConvertJob, program: Program, given: Tensors, wanted: Signature
) -> tuple[Program, tuple[LayerPrecision, ...], tuple[str, ...]]:
    """The program after the pass that is fused, the layers it has now, and notes about them."""
    if job.fused is None:
        return program, (), ()
    if not isinstance(job.fused, Quantize):
        raise UnsupportedError(
            "ExecuTorch programs are not fine-tuned here", fix="quantize with --precision int8"
        )
    if job.options.get("delegate", DELEGATES[0]) != DELEGATES[0]:
        raise UnsupportedError(
            f"{job.fused.precision} is computed by the xnnpack delegate, and portable was asked for",
            fix="leave out delegate = portable, or convert with --precision fp32",
        )
    if job.fused.precision is Precision.FP16:
        module, layers = in_half(program, job.fused)
        layers, told = _as_stored(layers, job.fused)
    else:
        from edgekit.backends.pt2e import quantized  # three seconds that float32 does not need

        made = quantized(program, job.fused, given, _calibration(job, wanted))
        module, layers, told = made.module, made.layers, made.notes
    again = export_program(module, given, wanted, most=_most(wanted, job.options))
    return again, layers, told


def _as_stored(
    layers: Sequence[LayerPrecision], settings: Quantize
) -> tuple[tuple[LayerPrecision, ...], tuple[str, ...]]:
    """The layers of an fp16 program as they are in the file; backends/xnnpack/operators/op_conv2d.py."""
    stored = tuple(
        changed(layer, precision=Precision.FP32) if "conv" in layer.op else layer
        for layer in layers
    )
    if all(layer.precision is Precision.FP32 for layer in stored):
        raise UnsupportedError(
            f"{settings.precision} would change nothing: XNNPACK's files hold the weights of "
            "convolutions in float32, and this model has no others",
            fix="choose --precision int8 or dynamic, or convert to another format",
        )
    if stored == tuple(layers):
        return stored, ()
    return stored, (
        "XNNPACK keeps the weights of convolutions in float32, and computes in float16",
    )


def _calibration(job: ConvertJob, wanted: Signature) -> Iterator[Tensors]:
    if job.calibration is None:
        raise UnsupportedError(
            "int8 takes the ranges of activations from samples, and there are none",
            fix="give --calibration-data",
        )
    for row in calibration_rows(job.calibration, wanted):
        yield tuple(torch.from_numpy(row[spec.name]) for spec in wanted.inputs)


def _most(signature: Signature, options: dict[str, str]) -> int:
    asked = options.get("max_size", "")
    if asked:
        if not asked.isdecimal() or int(asked) < 2:
            raise ConfigError(f"max_size is {asked!r}", fix="give a whole number of 2 or more")
        return int(asked)
    others = [size for spec in signature.inputs for size in (spec.shape or ())[1:]]
    return MAX_SIZE if None in others else MAX_ROWS


def _named(spec: TensorSpec, shape: tuple[int | None, ...] | None) -> TensorSpec:
    return TensorSpec(
        name=spec.name,
        dtype=spec.dtype,
        shape=shape,
        source_name=spec.origin,
        categories=spec.categories,
    )


def _outputs(program: Any, wanted: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The specs of the outputs as the program gives them: true dtypes, fixed axes with their size."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    outputs = [values[name] for name in program.graph_signature.user_outputs]
    return tuple(
        TensorSpec(
            name=spec.name,
            dtype=str(value.dtype).removeprefix("torch."),
            shape=shape_of(value),
            source_name=spec.origin,
            categories=spec.categories,
        )
        for spec, value in zip(wanted, outputs, strict=True)
    )


def _lower(program: Any, signature: Signature, delegate: str, texts: dict[str, str]) -> bytes:
    # exir/verification/arg_validator.py turns the batch of `zeros(batch, n)` into a constant.
    is_free = any(None in (spec.shape or ()) for spec in signature.inputs)
    try:
        with without_batch_guards(), torch.no_grad():
            lowered = to_edge_transform_and_lower(
                program,
                partitioner=_partitioners(delegate),
                compile_config=EdgeCompileConfig(_check_ir_validity=not is_free),
                constant_methods=dict(texts),
            )
            return bytes(lowered.to_executorch().buffer)
    except (SpecViolationError, RuntimeError) as error:
        lines = str(error).strip().splitlines()
        named = [line for line in lines if line.startswith("Operator: ")] or lines
        if not isinstance(error, SpecViolationError) and "Missing out variant" not in str(error):
            raise
        raise UnsupportedError(
            f"ExecuTorch has no form of an op of this model: {named[0][:300]}",
            fix="write the model without that op, or convert to torchscript",
        ) from error


def _partitioners(delegate: str) -> list[Any]:
    if delegate == "portable":
        return []
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    return [XnnpackPartitioner()]
