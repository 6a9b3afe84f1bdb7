"""The task metric of both sides on the user's samples, and its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.core.arrays import Array, Arrays, write_npz
from edgekit.core.artifact import Artifact
from edgekit.core.cell import Outcome, Reason
from edgekit.core.jobs import ScoreJob
from edgekit.core.measured import Accuracy, Task, Verdict
from edgekit.core.request import Proof
from edgekit.errors import ConfigError
from edgekit.parity.accuracy import Asked, classified_output, graded
from edgekit.parity.tasks import CLASSIFYING, WITHOUT_LABELS, chosen_metric
from edgekit.parity.verdict import AccuracyLimit, Compared, compared, from_draws, judge
from edgekit.pipeline.cell import Cell

_OWN_RESAMPLES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What both sides answered to the same inputs, by the source's names; `real` if not made up."""

    real: bool
    inputs: Arrays
    labels: Mapping[str, Array]
    expected: Arrays
    actual: Arrays


def accuracy_of(cell: Cell, artifact: Artifact, sides: Sides, proof: Proof) -> Accuracy | None:
    """The verdict on the task metric; None where nothing is to be judged.

    Raises ConfigError where a limit lacks its labels, or the outputs do not look like the task.
    """
    limit = AccuracyLimit(
        min_accuracy=proof.min_accuracy, max_drop=proof.max_drop, drop_type=proof.drop_type
    )
    asks = limit.min_accuracy is not None or limit.max_drop is not None
    if not sides.real or (not sides.labels and not (proof.task or proof.metric)):
        if not asks and (sides.real or proof.metric is None):
            return None
        raise ConfigError(
            "--metric, --min-accuracy and --max-drop need real samples, and labels but for some tasks",
            fix="give --eval-data with `y`, or say what the model is for: --task",
        )
    if proof.metric and ":" in proof.metric:
        return judge(proof.metric, _own_metric(cell, proof.metric, sides, proof), limit, sides=None)
    if _labels_are_absent(sides, proof):
        return None
    metric = chosen_metric(proof.task, proof.metric, sides.labels)
    asked = Asked(labels=sides.labels, signature=artifact.signature, inputs=sides.inputs)
    both = graded(metric, expected=sides.expected, actual=sides.actual, asked=asked)
    rows = len(next(iter(sides.inputs.values())))
    return judge(metric, compared(metric, both, samples=rows, seed=proof.seed), limit, sides=both)


def classified(artifact: Artifact, labels: Mapping[str, Array], proof: Proof) -> str | None:
    """The output whose highest score is a class, as far as labels, task or metric say so."""
    integers = bool(labels) and next(iter(labels.values())).dtype.kind in "iuU"
    if proof.task is Task.CLASSIFICATION or proof.metric in CLASSIFYING:
        return classified_output(labels, artifact.signature)
    if proof.task is None and proof.metric is None and integers:
        return classified_output(labels, artifact.signature)
    return None


def missed(accuracy: Accuracy) -> tuple[Outcome, Reason] | None:
    """Why the task metric keeps the cell from passing, if it does.

    A verdict is never a pass by luck: where the samples do not decide and the measured value misses
    the limit, that counts.
    """
    if accuracy.verdict is Verdict.FAILED:
        return Outcome.ACCURACY_FAILED, Reason(
            message=f"{_measured(accuracy)}, required: {accuracy.limit}{_worst(accuracy)}"
        )
    if accuracy.verdict is not Verdict.INCONCLUSIVE:
        return None
    if not accuracy.within_limit:
        return Outcome.ACCURACY_FAILED, Reason(
            message=f"{_measured(accuracy)}: the measured value misses the limit {accuracy.limit}, "
            f"though {accuracy.samples} samples do not decide{_worst(accuracy)}",
            fix=_more_samples(accuracy),
        )
    return Outcome.INCONCLUSIVE, Reason(
        message=f"{_measured(accuracy)}: {accuracy.samples} samples do not decide whether "
        f"{accuracy.limit}",
        fix=_more_samples(accuracy),
    )


def _measured(accuracy: Accuracy) -> str:
    text = f"{accuracy.metric} {accuracy.artifact:.4g} (source {accuracy.source:.4g})"
    if accuracy.drop_ci95:
        low, high = accuracy.drop_ci95
        text += f", drop {accuracy.drop:.4g} (95 %: {low:.4g} to {high:.4g})"
    return text


def _worst(accuracy: Accuracy) -> str:
    named = [f"{c.label} ({c.source:.3g} -> {c.artifact:.3g})" for c in accuracy.per_class[:3]]
    return f"; classes that lost most: {', '.join(named)}" if named else ""


def _more_samples(accuracy: Accuracy) -> str:
    if accuracy.samples_needed is None:
        return "no number of samples would decide at these rates: choose a limit further off"
    return (
        f"give more samples: about {accuracy.samples_needed:,} would decide if the rates seen here "
        "hold"
    )


def _labels_are_absent(sides: Sides, proof: Proof) -> bool:
    """A task that needs labels, none given, and nothing that would hold the artifact to it."""
    if sides.labels or proof.metric or proof.min_accuracy is not None or proof.max_drop is not None:
        return False
    metric = chosen_metric(proof.task, None, {"": np.zeros(1, np.int64)})
    return metric not in WITHOUT_LABELS


def _own_metric(cell: Cell, metric: str, sides: Sides, proof: Proof) -> Compared:
    if not sides.labels:
        raise ConfigError(f"--metric {metric} needs labels", fix="add `y` to the --eval-data")
    paths = (cell.folder / "expected.npz", cell.folder / "actual.npz")
    for path, arrays in zip(paths, (sides.expected, sides.actual), strict=True):
        write_npz(path, arrays)
    truth = cell.folder / "labels.npz"
    write_npz(truth, {name or "y": array for name, array in sides.labels.items()})
    answers = cell.score(
        ScoreJob(
            metric=metric,
            outputs=tuple(map(str, paths)),
            labels=str(truth),
            folder=str(cell.folder / "score"),
            metric_path=str(Path(proof.metric_path or ".").resolve()),
            resamples=_OWN_RESAMPLES,
            seed=proof.seed,
        )
    )
    source, own = (np.array(values, np.float64) for values in answers)  # None becomes NaN
    return from_draws(
        (float(source[0]), float(own[0])),
        (source[1:], own[1:]),
        samples=len(next(iter(sides.labels.values()))),
        lower_is_better=False,
        of_classes=bool(min(source[0], own[0]) >= 0 and max(source[0], own[0]) <= 1),
    )
