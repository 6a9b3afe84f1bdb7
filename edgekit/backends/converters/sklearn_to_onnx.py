"""scikit-learn to ONNX with skl2onnx, and the corrections it needs.

What skl2onnx writes is run at once and compared with the estimator on the job's samples: it has
written wrong graphs without an error before (HistGradientBoosting with categorical features).
"""

from __future__ import annotations

import copy
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edgekit.backends.calls import fitted
from edgekit.backends.onnx_files import onnx_signature, read_onnx
from edgekit.backends.sklearn_answers import INPUT
from edgekit.backends.sklearn_closeness import check_close, probed
from edgekit.backends.sklearn_contents import parts
from edgekit.backends.sklearn_files import open_estimator
from edgekit.backends.sklearn_folding import folded
from edgekit.backends.sklearn_onnx import fix_batch, reshape_outputs
from edgekit.backends.sklearn_routes import torch_instead
from edgekit.backends.written import artifact_of
from edgekit.core.arrays import Array
from edgekit.core.artifact import Artifact, Format
from edgekit.core.jobs import ConvertJob
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import (
    ConfigError,
    MalformedError,
    StepError,
    UnavailableError,
    UnsupportedError,
)

# skl2onnx writes trees as ai.onnx.ml version 3; left alone it stamps IsolationForest with 4, which
# onnxruntime refuses. The default domain is what it was tested with.
_OPSETS = {"": 18, "ai.onnx.ml": 3}
# Found by the coverage table: graphs that run and answer something else.
_WRONG = {
    "KMeans": "computes distances as expanded squares, which cancel in float32",
    "KNNImputer": "writes a graph that fills in other values",
    "KernelCenterer": "subtracts sums that cancel in float32",
    "LocalOutlierFactor": "writes a graph with other scores",
    "MiniBatchKMeans": "computes distances as expanded squares, which cancel in float32",
    "QuadraticDiscriminantAnalysis": "writes a graph that gives other labels",
}
# skl2onnx raises whatever its converters run into, for what they do not know.
_CANNOT = (AttributeError, IndexError, KeyError, NameError, NotImplementedError, RuntimeError,
           TypeError, ValueError)  # fmt: skip


def convert(job: ConvertJob) -> Artifact:
    """Write `model.onnx` with the names, shapes and dtypes of the signature.

    The option `opset` sets the version of the operators. Raises UnsupportedError naming the
    estimator that skl2onnx cannot express, or expresses wrongly.
    """
    if job.artifact.source is None:
        raise MalformedError(f"{job.artifact.path} has no source to convert")
    estimator = open_estimator(job.artifact.source)
    _refuse_known_wrong(estimator)
    with np.load(job.samples, allow_pickle=False) as samples:
        rows = fitted(samples[INPUT], job.signature.inputs[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows, expected = probed(estimator, rows)
        opsets = {**_OPSETS, "": _opset(job)}
        model = _written(estimator, rows.shape[1], opsets=opsets)
        found = _run(model, rows, estimator)
        if len(found) < len(expected):
            why = f"skl2onnx writes {len(found)} of its outputs ({', '.join(expected)})"
            raise _refused(estimator, why)
        reshape_outputs(model, job.signature, found)
        actual = dict(zip(expected, _run(model, rows, estimator), strict=True))
        check_close(estimator, expected, actual, fix=torch_instead(type(estimator).__name__))
        fix_batch(model, job.signature)
    path = Path(job.folder) / f"model{Format.ONNX.suffix}"
    path.write_bytes(model.SerializeToString(deterministic=True))
    return artifact_of(
        path,
        format=Format.ONNX,
        signature=_read_back(path, job.signature),
        writer=f"skl2onnx {version('skl2onnx')}, opset {opsets['']}",
    )


def _refuse_known_wrong(estimator: Any) -> None:
    for part, _ in parts(estimator):
        name = type(part).__name__
        if name in _WRONG:
            raise _refused(part, f"skl2onnx {_WRONG[name]}")
        if not name.startswith("HistGradientBoosting"):
            continue
        if np.any(getattr(part, "is_categorical_", None)):
            raise UnsupportedError(
                f"{name} with categorical features: skl2onnx writes splits that answer differently",
                fix="fit it without categorical_features, on one-hot encoded columns",
            )
        if int(version("protobuf").partition(".")[0]) >= 7:
            # protobuf 7 no longer takes a bool for an int, which is what skl2onnx gives it.
            raise UnavailableError(
                f"{name}: skl2onnx cannot write it with protobuf {version('protobuf')}",
                fix="pip install 'protobuf<7'",
            )


def _opset(job: ConvertJob) -> int:
    asked = job.options.get("opset", str(_OPSETS[""]))
    if not asked.isdigit():
        raise ConfigError(f"opset {asked!r} is not a number", fix="give one such as --opset 18")
    return int(asked)


def _written(estimator: Any, features: int, *, opsets: dict[str, int]) -> Any:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    prepared = _prepared(estimator)
    try:
        return to_onnx(
            prepared,
            initial_types=[(INPUT, FloatTensorType([None, features]))],
            options=_options(prepared),
            target_opset=opsets,
        )
    except (MissingShapeCalculator, MissingConverter) as error:
        name = _named(error, estimator)
        raise UnsupportedError(
            f"{name}: skl2onnx has no converter for it", fix=torch_instead(name)
        ) from error
    except _CANNOT as error:
        raise _refused(estimator, f"skl2onnx cannot express it: {_first_line(error)}") from error


def _options(prepared: Any) -> dict[int, dict[str, bool]]:
    """Tensors instead of dictionaries, told to every classifier: skl2onnx forgets those in a pipeline.

    A classifier that lacks the option is told something harmless, or its pipeline asks for zipmap.
    """
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common._registration import _converter_pool
    from sklearn.base import is_classifier

    options: dict[int, dict[str, bool]] = {}
    for part, _ in parts(prepared):
        alias = sklearn_operator_name_map.get(type(part))
        if alias is None or not is_classifier(part) or hasattr(part, "steps"):
            continue
        allowed = _converter_pool[alias].get_allowed_options() or ()
        if "zipmap" in allowed:
            options[id(part)] = {"zipmap": False}
        elif "nocl" in allowed:
            options[id(part)] = {"nocl": False}
    return options


def _refused(estimator: Any, why: str) -> UnsupportedError:
    name = type(estimator).__name__
    return UnsupportedError(f"{name}: {why}", fix=torch_instead(name))


def _prepared(estimator: Any) -> Any:
    """A copy in the shape that skl2onnx knows; the answers are the same."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    prepared = copy.deepcopy(folded(estimator))
    for part, _ in parts(prepared):
        if type(part).__name__ == "VotingClassifier":
            part.flatten_transform = False  # of `transform`, which nobody asks of it here
    return prepared


def _named(error: Exception, estimator: Any) -> str:
    """The class in the message of skl2onnx, which may be a step inside a pipeline."""
    text = str(error)
    start = text.find("<class '")
    if start < 0:
        return type(estimator).__name__
    return text[start + len("<class '") : text.index("'", start + 8)].rpartition(".")[2]


def _run(model: Any, rows: Array, estimator: Any) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return [np.asarray(value) for value in session.run(None, {INPUT: rows})]
    except Exception as error:  # onnxruntime's errors share no base but Exception
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        why = f"onnxruntime refuses what skl2onnx wrote: {_first_line(error)}"
        raise _refused(estimator, why) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:240]


def _read_back(path: Path, wanted: Signature) -> Signature:
    """What the file says, mapped to the source; raises StepError where that is not what was asked."""
    model = read_onnx(path)
    onnx.checker.check_model(model)
    found = onnx_signature(model)
    return Signature(
        inputs=_paired(wanted.inputs, found.inputs), outputs=_paired(wanted.outputs, found.outputs)
    )


def _paired(
    wanted: tuple[TensorSpec, ...], found: tuple[TensorSpec, ...]
) -> tuple[TensorSpec, ...]:
    given = [(spec.name, spec.dtype, len(spec.shape or ())) for spec in found]
    asked = [(spec.name, spec.dtype, len(spec.shape or ())) for spec in wanted]
    if given != asked:
        raise StepError(f"skl2onnx wrote {given}, asked were {asked}")
    return tuple(
        TensorSpec(
            name=one.name,
            dtype=one.dtype,
            shape=one.shape,
            source_name=other.origin,
            categories=other.categories,
        )
        for one, other in zip(found, wanted, strict=True)
    )
