"""How every pass over an ONNX file begins and ends: read it whole, tidy it, write it and look again."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnx import TensorProto

from edgekit.backends.layer_choice import check_changed
from edgekit.backends.onnx_files import graphs, onnx_signature, read_onnx, tensors
from edgekit.backends.onnx_folding import fold_channels
from edgekit.backends.onnx_layers import layers_of, name_layers
from edgekit.backends.written import artifact_of
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import OptimizeJob
from edgekit.core.noun import changed
from edgekit.core.recipe import IoType, LayerPrecision, Precision, Quantize
from edgekit.core.signature import Signature
from edgekit.errors import StepError, UnsupportedError

LIMIT_BYTES = (2 << 30) - (1 << 20)  # of one protobuf message
_SHOWN = 5


def opened(job: OptimizeJob) -> Any:
    """The model with all its weights in memory and its layers named; the file stays as it is.

    Raises UnsupportedError where it has no layers, or more weights than one file can hold.
    """
    path = Path(job.artifact.path)
    model = read_onnx(path)
    held = sum(_external_bytes(tensor) for tensor in tensors(model))
    if held > LIMIT_BYTES:
        raise UnsupportedError(
            f"{path.name} has {held / 2**30:.1f} GiB of weights, and what quantizes it has to hold it "
            f"in one message of less than 2 GiB",
            fix="quantize while converting, to tflite or executorch",
        )
    if held:
        onnx.load_external_data_for_model(model, str(path.parent))
    name_layers(model)
    if not layers_of(model):
        _refuse_without_layers(model, job)
    return model


def quantize_settings(job: OptimizeJob) -> Quantize:
    """The job's pass; raises UnsupportedError where it is fine-tuning or prepares other weights."""
    settings = job.settings
    if not isinstance(settings, Quantize):
        raise UnsupportedError("ONNX files cannot be fine-tuned", fix="fine-tune the Keras model")
    return settings


def prepared(model: Any, folder: str) -> Any:
    """The model as onnxruntime simplifies it: batch norms folded, constants stored, shapes known.

    Layers keep their names, also where a product and its sum were made one.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    names = {layer.name for layer in layers_of(model)}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        given, path = Path(place) / "given.onnx", Path(place) / "prepared.onnx"
        onnx.save(model, given)  # given the model itself, it takes the weights out of it
        # Symbolic shape inference needs sympy; only the dtypes of tensors matter here.
        quant_pre_process(str(given), str(path), skip_symbolic_shape=True)
        simple = onnx.load(path)
    restore_names(simple, names)
    fold_channels(simple)
    return simple


def restore_names(model: Any, names: Iterable[str]) -> None:
    """Take the endings off that onnxruntime adds to the names of the layers `names`."""
    ends = ("/MatMulAddFusion", "_quant", "_Q4")
    own = {f"{name}{end}": name for name in names for end in ends}
    for graph in graphs(model):
        for node in graph.node:
            node.name = own.get(node.name, node.name)


def finished(
    job: OptimizeJob, model: Any, *, tool: str, can: str, notes: Iterable[str] = ()
) -> Artifact:
    """Write `model` and describe it by what the file says.

    Raises UnsupportedError where no layer was changed, StepError where inputs or outputs were.
    """
    settings = quantize_settings(job)
    # Whether a product of two activations is in float16 can be seen from their types alone.
    _tidy(model, keep_types=settings.precision is Precision.FP16)
    layers = layers_of(model)
    check_changed(layers, settings, tool=tool, can=can)
    path = Path(job.folder) / f"model{Format.ONNX.suffix}"
    path.write_bytes(model.SerializeToString(deterministic=True))
    artifact = artifact_of(
        path,
        format=Format.ONNX,
        signature=_same(job.artifact.signature, onnx_signature(read_onnx(path))),
        writer=f"{tool} {onnxruntime.__version__}",
        notes=(*job.artifact.notes, *notes, *_kept(layers, settings)),
    )
    return changed(artifact, layers=layers)


def check_mix(wanted: dict[str, Precision], able: tuple[Precision, ...]) -> None:
    """Raise UnsupportedError where a layer is to have a precision that is not `able` nor fp32."""
    for layer, precision in wanted.items():
        if precision not in (*able, Precision.FP32):
            raise UnsupportedError(
                f"{layer} is to be {precision}, and this pass mixes {', '.join(able)} with fp32 only",
                fix=f"give it {able[0]} or fp32",
            )


def known_ops(asked: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """The op types asked for; raises UnsupportedError for one that is not among those `known`."""
    for op in asked:
        if op not in known:
            near = difflib.get_close_matches(op, known, n=3, cutoff=0.3)
            raise UnsupportedError(
                f"onnxruntime cannot quantize op type {op!r} this way",
                fix=f"such as {', '.join(near or known[:3])}; it can do {', '.join(known)}",
            )
    return asked


def check_float_io(settings: Quantize) -> None:
    """Raise UnsupportedError where inputs and outputs are to be integers."""
    if settings.io is not IoType.FLOAT:
        raise UnsupportedError(
            f"inputs and outputs of quantized ONNX files stay float; {settings.io} was asked for",
            fix="leave --io out, or convert to tflite",
        )


def _external_bytes(tensor: Any) -> int:
    if tensor.data_location != TensorProto.EXTERNAL:
        return 0
    return int(next((entry.value for entry in tensor.external_data if entry.key == "length"), 0))


def _refuse_without_layers(model: Any, job: OptimizeJob) -> None:
    names = {(node.domain or "ai.onnx", node.op_type) for g in graphs(model) for node in g.node}
    ops = ", ".join(sorted(op if domain == "ai.onnx" else f"{domain}.{op}" for domain, op in names))
    raise UnsupportedError(
        f"{job.settings.precision if isinstance(job.settings, Quantize) else 'this pass'} cannot "
        f"change this model: no op multiplies with weights. Its ops are {ops}; trees and other ops of "
        f"ai.onnx.ml hold float numbers in attributes, which nothing quantizes",
        fix="convert it with --precision fp32",
    )


def _tidy(model: Any, *, keep_types: bool) -> None:
    """Leave out what a runtime does not need: names of tools, shapes of inner tensors, unused domains."""
    del model.metadata_props[:]
    used = {"", "ai.onnx", *(node.domain for graph in graphs(model) for node in graph.node)}
    kept = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for graph in graphs(model):
        if not keep_types:
            del graph.value_info[:]
        graph.doc_string = ""
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""


def _same(wanted: Signature, found: Signature) -> Signature:
    """`wanted`, with the dtypes and quantization of the file; raises where names differ."""
    for old, new in ((wanted.inputs, found.inputs), (wanted.outputs, found.outputs)):
        if [spec.name for spec in old] != [spec.name for spec in new]:
            raise StepError(
                f"quantizing changed {[s.name for s in old]} to {[s.name for s in new]}"
            )
    pairs = [
        tuple(
            changed(a, dtype=b.dtype, quantization=b.quantization)
            for a, b in zip(old, new, strict=True)
        )
        for old, new in ((wanted.inputs, found.inputs), (wanted.outputs, found.outputs))
    ]
    return Signature(inputs=pairs[0], outputs=pairs[1])


def _kept(layers: tuple[LayerPrecision, ...], settings: Quantize) -> tuple[str, ...]:
    """Say which layers stayed float although nobody asked for it."""
    left = [
        layer
        for layer in layers
        if layer.precision is Precision.FP32
        and layer.parameters
        and settings.precision_of(layer.name) is not Precision.FP32
    ]
    if not left:
        return ()
    shown = ", ".join(f"{layer.name} ({layer.op})" for layer in left[:_SHOWN])
    more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
    share = sum(layer.parameters for layer in left) / max(sum(n.parameters for n in layers), 1)
    return (
        f"{len(left)} of {len(layers)} layers stay float32, {share:.1%} of the weights: {shown}{more}",
    )
