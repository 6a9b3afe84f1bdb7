"""What is asked of a model: the metric that follows from its task, and what truth it needs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from edgekit.core.arrays import Array
from edgekit.core.measured import Task
from edgekit.errors import ConfigError


class Metric(StrEnum):
    """The built-in task metrics; `module:function` names one of the user's own."""

    TOP1 = "top1"
    TOP5 = "top5"
    AUROC = "auroc"
    F1 = "f1"
    RMSE = "rmse"
    MAE = "mae"
    R2 = "r2"
    MSE = "mse"
    SNR = "snr"
    COSINE = "cosine"
    MIOU = "miou"
    MAP = "map"


CLASSIFYING = frozenset({Metric.TOP1, Metric.TOP5, Metric.AUROC, Metric.F1})
NUMERIC = frozenset({Metric.RMSE, Metric.MAE, Metric.R2, Metric.MSE, Metric.SNR})
LOWER_IS_BETTER = frozenset({Metric.RMSE, Metric.MAE, Metric.MSE})
OF_CLASSES = CLASSIFYING | {Metric.MIOU, Metric.MAP}  # shares, in 0..1, of right and wrong
WITHOUT_LABELS = frozenset({Metric.MSE, Metric.COSINE, Metric.MAP})

_METRICS: dict[Task, tuple[Metric, ...]] = {
    Task.CLASSIFICATION: (Metric.TOP1, *sorted(CLASSIFYING)),
    Task.REGRESSION: (Metric.RMSE, *sorted(NUMERIC)),
    Task.DETECTION: (Metric.MAP,),
    Task.SEGMENTATION: (Metric.MIOU,),
    Task.EMBEDDING: (Metric.COSINE,),
    Task.RECONSTRUCTION: (Metric.MSE, Metric.RMSE, Metric.MAE, Metric.SNR),
    Task.AUDIO: (Metric.TOP1, *sorted(CLASSIFYING | NUMERIC)),
}


def chosen_metric(task: Task | None, metric: str | None, labels: Mapping[str, Array]) -> Metric:
    """The metric asked for, or the one that follows from the task, or from the labels.

    Without a task that is `top1` for integers and text, `rmse` for floats. Raises ConfigError where
    the metric is unknown, is not one of the task's, or lacks its labels.
    """
    if metric is not None:
        chosen = _known(metric)
        if task is not None and chosen not in _METRICS[task]:
            raise ConfigError(
                f"{chosen} is no metric of {task}",
                fix=f"one of {', '.join(dict.fromkeys(_METRICS[task]))}, or module:function",
            )
    else:
        chosen = _default(task, labels)
    if not labels and chosen not in WITHOUT_LABELS and task is not Task.RECONSTRUCTION:
        raise ConfigError(f"{chosen} needs labels", fix="add `y` to the --eval-data")
    return chosen


def task_of(metric: Metric) -> Task:
    """The task a metric is usually of."""
    return next(task for task, metrics in _METRICS.items() if metric in metrics)


def _default(task: Task | None, labels: Mapping[str, Array]) -> Metric:
    truth = next(iter(labels.values()), None)
    of_floats = truth is not None and truth.dtype.kind == "f"
    if task is None:
        return Metric.RMSE if of_floats else Metric.TOP1
    if task is Task.AUDIO and truth is not None and of_floats:
        return Metric.SNR if truth.size > len(truth) else Metric.RMSE
    return _METRICS[task][0]


def _known(metric: str) -> Metric:
    try:
        return Metric(metric)
    except ValueError:
        raise ConfigError(
            f"unknown metric {metric!r}", fix=f"one of {', '.join(Metric)}, or module:function"
        ) from None
