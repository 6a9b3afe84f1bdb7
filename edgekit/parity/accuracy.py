"""A task metric of both sides on the same labels, and the verdict against the user's limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np

from edgekit.core.arrays import Array
from edgekit.core.measured import Accuracy
from edgekit.core.noun import Noun
from edgekit.core.signature import Signature, TensorSpec
from edgekit.errors import ConfigError
from edgekit.parity import metrics

Arrays = Mapping[str, Array]
Score = Callable[[Arrays], float]


class Metric(StrEnum):
    """The built-in task metrics; `module:function` names one of the user's own."""

    TOP1 = "top1"
    TOP5 = "top5"
    AUROC = "auroc"
    F1 = "f1"
    RMSE = "rmse"
    MAE = "mae"
    R2 = "r2"


LOWER_IS_BETTER = frozenset({Metric.RMSE, Metric.MAE})
_CLASSIFICATION = frozenset({Metric.TOP1, Metric.TOP5, Metric.AUROC, Metric.F1})


class AccuracyLimit(Noun):
    """What the user allows: a least value of the artifact's metric, a largest drop, or nothing."""

    min_accuracy: float | None = None
    max_drop: float | None = None


def default_metric(labels: Array) -> Metric:
    """top1 for class labels (integers, text), rmse for targets (floats)."""
    return Metric.RMSE if labels.dtype.kind == "f" else Metric.TOP1


def built_in_score(metric: Metric, labels: Arrays, signature: Signature) -> Score:
    """The function from outputs to the metric's value, on the output that the labels belong to.

    `labels` has one entry: its key names the output, `""` leaves the choice to the signature.
    Raises ConfigError where the choice is not clear or the output does not look like the task.
    """
    if len(labels) != 1:
        raise ConfigError(
            f"labels for several outputs ({', '.join(labels)}) need a metric of your own",
            fix="give --metric module:function, or labels for one output only",
        )
    [(name, truth)] = labels.items()
    spec = _chosen(name, metric, signature)
    truth = _as_indices(truth, spec)

    def score(outputs: Arrays) -> float:
        return _value(metric, outputs[spec.origin], truth, spec)

    return score


def judge(
    metric: str, *, samples: int, source: float, artifact: float, limit: AccuracyLimit
) -> Accuracy:
    """The pair of values, the drop (positive is worse) and `pass`, `fail` or `not judged`."""
    if not (math.isfinite(source) and math.isfinite(artifact)):
        raise ConfigError(
            f"{metric} is not a number: {source} of the source, {artifact} of the artifact",
            fix="look at the labels; AUROC, say, needs rows of both classes",
        )
    worse = artifact - source if metric in LOWER_IS_BETTER else source - artifact
    if limit.min_accuracy is not None and metric in LOWER_IS_BETTER:
        raise ConfigError(
            f"--min-accuracy has no meaning for {metric}, of which less is better",
            fix="use --max-drop",
        )
    checks = []
    if limit.min_accuracy is not None:
        checks.append((f"{metric} >= {limit.min_accuracy:g}", artifact >= limit.min_accuracy))
    if limit.max_drop is not None:
        checks.append((f"drop <= {limit.max_drop:g}", worse <= limit.max_drop))
    verdict = "not judged" if not checks else "pass" if all(ok for _, ok in checks) else "fail"
    return Accuracy(
        metric=metric,
        samples=samples,
        source=source,
        artifact=artifact,
        drop=worse,
        verdict=verdict,
        limit=" and ".join(text for text, _ in checks),
    )


def _chosen(name: str, metric: Metric, signature: Signature) -> TensorSpec:
    outputs = {spec.origin: spec for spec in signature.outputs}
    if name:
        if name not in outputs:
            raise ConfigError(
                f"labels y_{name} belong to no output", fix=f"the outputs are: {', '.join(outputs)}"
            )
        return outputs[name]
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    if metric in (Metric.TOP1, Metric.F1) and "label" in outputs:
        return outputs["label"]
    scores = [
        s for s in outputs.values() if s.shape and len(s.shape) == 2 and s.dtype.startswith("f")
    ]
    if metric in _CLASSIFICATION and len(scores) == 1:
        return scores[0]
    raise ConfigError(
        f"the model has several outputs, and `y` does not say which it labels: {', '.join(outputs)}",
        fix=f"name the labels y_OUTPUT, such as y_{next(iter(outputs))}",
    )


def _as_indices(truth: Array, spec: TensorSpec) -> Array:
    """Class labels as the class indices that the model answers with, where it has `categories`."""
    if spec.categories is None:
        return truth.reshape(-1) if truth.ndim == 2 and truth.shape[1] == 1 else truth
    places = {label: i for i, label in enumerate(spec.categories)}
    return np.array([places.get(str(label), -1) for label in truth.reshape(-1).tolist()])


def _value(metric: Metric, output: Array, truth: Array, spec: TensorSpec) -> float:
    if metric in _CLASSIFICATION and truth.dtype.kind not in "iub":
        raise ConfigError(
            f"{metric} needs class indices as labels, these are {truth.dtype}", fix="give integers"
        )
    match metric:
        case Metric.TOP1:
            return float((_classes(output) == truth).mean())
        case Metric.TOP5:
            return metrics.top_k(_scores(output, metric), truth, 5)
        case Metric.F1:
            return metrics.f1_macro(_classes(output), truth)
        case Metric.AUROC:
            return metrics.auroc(output if output.ndim == 1 else _scores(output, metric), truth)
        case Metric.RMSE | Metric.MAE | Metric.R2:
            if output.size != truth.size:
                raise ConfigError(
                    f"{metric}: output {spec.origin} has shape {output.shape}, the targets {truth.shape}",
                    fix="give one target per value of the output",
                )
            return {Metric.RMSE: metrics.rmse, Metric.MAE: metrics.mae, Metric.R2: metrics.r2}[
                metric
            ](output, truth)


def _classes(output: Array) -> Array:
    if output.dtype.kind in "iub":
        return output.reshape(-1)
    if output.size == output.shape[0]:
        flat = output.reshape(-1).astype(np.float64)
        if ((flat >= 0) & (flat <= 1)).all():
            return np.asarray(flat > 0.5, np.int64)
        return np.asarray(flat > 0, np.int64)
    return np.asarray(np.argmax(_scores(output, Metric.TOP1), axis=1))


def _scores(output: Array, metric: Metric) -> Array:
    squeezed: Array = output.reshape(output.shape[0], -1) if output.ndim > 2 else output
    if squeezed.ndim != 2 or (output.ndim > 2 and squeezed.shape[1] != max(output.shape[1:])):
        raise ConfigError(
            f"{metric} needs scores of shape (N, classes), the output has shape {output.shape}",
            fix="choose a metric that fits the task",
        )
    return squeezed
