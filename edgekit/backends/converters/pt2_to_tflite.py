"""A torch program to TFLite with litert-torch: no TensorFlow, built-in ops only."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from litert_converter.mlir.ir import MLIRError

from edgekit.backends.calls import fitted
from edgekit.backends.graph_passes import fold_constants, make_contiguous
from edgekit.backends.programs import Tensors, examples, flat_module, free_axes, with_shape
from edgekit.backends.tflite_files import custom_ops, open_model, signature_of
from edgekit.backends.written import artifact_of
from edgekit.core.arrays import Array, Arrays
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import ConvertJob
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import EdgekitError, StepError, UnsupportedError

# litert-torch has no exceptions of its own: a free axis it cannot carry ends in any of these.
_GIVES_UP = (AssertionError, TypeError, ValueError, RuntimeError, LookupError, MLIRError)
_RELATIVE, _ABSOLUTE = 1e-2, 1e-4


def convert(job: ConvertJob) -> Artifact:
    """Write `model.tflite` with the names of the signature, 64-bit inputs and outputs as 32-bit.

    Free axes are kept where litert-torch can and the file answers like the module at several batch
    sizes; else they are fixed (batch to 1, others as in the samples) with a note. Raises
    UnsupportedError naming the op that has no lowering.
    """
    module = flat_module(job.artifact)
    make_contiguous(module.inner[0])
    fold_constants(module.inner[0])
    given = examples(job)
    path = Path(job.folder) / f"model{Format.TFLITE.suffix}"
    *attempts, last = _attempts(job.signature, given)
    for wanted, tensors in attempts:
        try:
            return _written(job, module, wanted, tensors, path=path)
        except (UnsupportedError, *_GIVES_UP):
            continue
    try:
        return _written(job, module, *last, path=path)
    except EdgekitError:
        raise
    except _GIVES_UP as error:
        raise _refused(error) from error


def _attempts(signature: Signature, given: Tensors) -> list[tuple[Signature, Tensors]]:
    """What to try: all axes as wanted, then only the batch free, then none."""
    found = [(signature, given)]
    shapes = [(None, *tensor.shape[1:]) for tensor in given]
    for rows in (None, 1):
        inputs = tuple(
            with_shape(spec, (rows, *shape[1:]))
            if spec.shape and spec.shape[0] is None
            else with_shape(spec, tuple(tensor.shape))
            for spec, shape, tensor in zip(signature.inputs, shapes, given, strict=True)
        )
        tensors = tuple(
            tensor[:1].clone() if rows and spec.shape and spec.shape[0] is None else tensor
            for spec, tensor in zip(signature.inputs, given, strict=True)
        )
        if inputs != found[-1][0].inputs:
            found.append((Signature(inputs=inputs, outputs=signature.outputs), tensors))
    return found


def _written(
    job: ConvertJob, module: Any, wanted: Signature, given: Tensors, *, path: Path
) -> Artifact:
    inputs, outputs = _file_names(wanted.inputs), _file_names(wanted.outputs)
    free = dict(zip(inputs, free_axes(wanted), strict=True))
    converted = litert_torch.convert(
        _Named(module, inputs, outputs),
        sample_kwargs=dict(zip(inputs, given, strict=True)),
        dynamic_shapes=free if any(free.values()) else None,
    )
    path.write_bytes(converted.model_content())
    signature = _read_back(path, wanted, inputs, outputs)
    _prove(path, signature, module, given)
    return artifact_of(
        path,
        format=Format.TFLITE,
        signature=signature,
        writer=f"litert-torch {metadata.version('litert-torch')}",
        notes=(*job.artifact.notes, *_notes(job.signature, signature)),
    )


class _Named(torch.nn.Module):
    """Takes keywords and gives a dict: litert-torch takes the names of a file from both."""

    def __init__(self, module: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.training = False

        def forward(**tensors: Any) -> dict[str, Any]:
            return dict(zip(outputs, module(*(tensors[name] for name in inputs)), strict=True))

        kind = inspect.Parameter.KEYWORD_ONLY
        shown = [inspect.Parameter(name, kind) for name in inputs]
        forward.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        self.forward = forward


def _file_names(specs: Sequence[TensorSpec]) -> list[str]:
    """The names as Python identifiers, for they become arguments; still different from each other."""
    names: list[str] = []
    for spec in specs:
        name = re.sub(r"\W", "_", spec.name)
        name = name if name.isidentifier() else f"tensor_{name}"
        while name in names:
            name += "_"
        names.append(name)
    return names


def _read_back(
    path: Path, wanted: Signature, inputs: Sequence[str], outputs: Sequence[str]
) -> Signature:
    """What the file really holds, in the order of `wanted`: it sorts its inputs by name.

    Raises UnsupportedError where an axis did not stay free or the file needs custom ops.
    """
    model = open_model(path)
    if custom := custom_ops(model):
        raise UnsupportedError(
            f"the TFLite file would need custom ops: {', '.join(custom)}",
            fix="convert to onnx or torchscript, or write the model without these ops",
        )
    found = signature_of(model, None)
    made = Signature(
        inputs=_matched(found.inputs, wanted.inputs, inputs),
        outputs=_matched(found.outputs, wanted.outputs, outputs),
    )
    for spec, asked in zip(made.inputs, wanted.inputs, strict=True):
        if spec.shape != asked.shape:
            raise UnsupportedError(
                f"litert-torch gave {spec.name} the shape {spec.shape}, asked for {asked.shape}"
            )
    return made


def _matched(
    found: Sequence[TensorSpec], wanted: Sequence[TensorSpec], names: Sequence[str]
) -> tuple[TensorSpec, ...]:
    known = {spec.name: spec for spec in found}
    if set(known) != set(names):
        raise StepError(f"litert-torch wrote tensors {sorted(known)}, asked for {sorted(names)}")
    return tuple(
        TensorSpec(
            name=name,
            dtype=known[name].dtype,
            shape=known[name].shape,
            source_name=spec.origin,
            quantization=known[name].quantization,
            categories=spec.categories,
        )
        for name, spec in zip(names, wanted, strict=True)
    )


def _prove(path: Path, signature: Signature, module: Any, given: Tensors) -> None:
    """Run the file next to the module: at other batch sizes too where the batch is free.

    Raises UnsupportedError where a free axis is wrong, StepError where outputs are mixed up.
    """
    is_free = any(None in (spec.shape or ()) for spec in signature.inputs)
    run = Interpreter(model_path=str(path), num_threads=1).get_signature_runner()
    for tensors in _batches(signature, given) if is_free else iter([given]):
        feed = {
            s.name: fitted(t.numpy(), s) for s, t in zip(signature.inputs, tensors, strict=True)
        }
        with torch.no_grad():
            results = [result.numpy() for result in module(*tensors)]
        actual: Arrays = run(**feed)
        right = [_agree(actual[s.name], r) for s, r in zip(signature.outputs, results, strict=True)]
        if is_free and not all(right):
            raise UnsupportedError("the file answers wrong at another size of a free axis")
        for spec, ok in zip(signature.outputs, right, strict=True):
            if not ok and any(_agree(actual[spec.name], other) for other in results):
                raise StepError(f"litert-torch mixed up the outputs: {spec.name} holds another one")


def _batches(signature: Signature, given: Tensors) -> Iterator[Tensors]:
    """The samples, one row of them, and one row more."""
    yield given
    for change in (lambda t: t[:1], lambda t: torch.cat([t, t[:1]])):
        yield tuple(
            change(tensor).contiguous() if spec.shape and spec.shape[0] is None else tensor
            for spec, tensor in zip(signature.inputs, given, strict=True)
        )


def _agree(actual: Array, expected: Array) -> bool:
    """Whether these are the same output; how exactly is for parity to judge."""
    if actual.shape != expected.shape:
        return False
    wide = expected.astype(np.float64)
    limit = _RELATIVE * float(np.max(np.abs(wide[np.isfinite(wide)]), initial=0.0)) + _ABSOLUTE
    return bool(np.allclose(actual.astype(np.float64), wide, rtol=0, atol=limit, equal_nan=True))


def _notes(source: Signature, made: Signature) -> Iterator[str]:
    pairs = zip((*source.inputs, *source.outputs), (*made.inputs, *made.outputs), strict=True)
    for old, new in pairs:
        if old.dtype != new.dtype:
            yield f"{old.name} is {old.dtype} in the source and {new.dtype} in the file"
    for old, new in zip(source.inputs, made.inputs, strict=True):
        for axis, (wanted, size) in enumerate(zip(old.shape or (), new.shape or (), strict=True)):
            if wanted is None and size is not None:
                name = "batch axis" if axis == 0 else f"axis {axis}"
                yield f"{name} of {old.name} fixed to {size}: litert-torch cannot keep it free here"


def _refused(error: Exception) -> Exception:
    """UnsupportedError where an op has no lowering; else the error itself."""
    missing = re.search(r"Lowering not found: (\S+)", str(error))
    if missing is None:
        return error
    return UnsupportedError(
        f"litert-torch has no lowering for {missing[1]}",
        fix="convert to onnx or torchscript, or write the model without that op",
    )
