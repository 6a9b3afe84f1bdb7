"""Task metrics as functions of how often each sample counts, so that samples can be drawn anew.

A `Value` takes counts `(R, N)`, one row for each draw of samples, and gives the metric `(R,)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgekit.core.arrays import Array
from edgekit.parity.bootstrap import Floats, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One side's answers judged.

    Where the metric has them: right or wrong per sample `(N,)`, `(samples, value)` per class.
    """

    value: Value
    right: Array | None = None
    by_class: dict[int, tuple[int, float]] = field(default_factory=dict)

    def of_all(self, samples: int) -> float:
        """The metric where every sample counts once."""
        return float(self.value(np.ones((1, samples)))[0])


def mean_of(terms: Array) -> Value:
    """The mean of one number per sample."""
    numbers = terms.astype(np.float64)
    return lambda counts: counts @ numbers / counts.sum(axis=1)


def right_or_wrong(right: Array, labels: Array) -> Scored:
    """The share of samples that are right, 0..1."""
    return Scored(value=mean_of(right), right=right, by_class=share_by_class(right, labels))


def share_by_class(right: Array, labels: Array) -> dict[int, tuple[int, float]]:
    """Of each class in `labels`: its samples, and the share of them that is right."""
    return {
        int(label): (int((labels == label).sum()), float(right[labels == label].mean()))
        for label in np.unique(labels)
    }


def among_best(scores: Array, labels: Array, k: int) -> Array:
    """Whether each label is among the k highest scores of its row `(N, C)`."""
    best = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :k]
    return np.asarray((best == labels[:, None]).any(axis=1))


def f1_macro(predicted: Array, labels: Array) -> Value:
    """Mean over the classes drawn of 2 TP / (2 TP + FP + FN), 0..1."""
    classes = np.unique(labels)
    said, true = predicted[:, None] == classes, labels[:, None] == classes
    sums = [part.astype(np.float64) for part in (said & true, said ^ true, true)]

    def value(counts: Floats) -> Floats:
        hits, wrong, present = (counts @ part for part in sums)
        return _mean_where(2 * hits / np.maximum(2 * hits + wrong, 1), present > 0)

    return value


def auroc(scores: Array, labels: Array) -> Value:
    """Area under the ROC curve, 0..1; of several classes, the mean of one against the rest.

    `(N,)` scores are for label 1, `(N, C)` for each class. Rank form (Mann-Whitney U / (P * N)),
    ties count half. NaN where no class was drawn that has rows both in it and out of it.
    """
    columns = scores.reshape(len(scores), -1)
    if columns.shape[1] > 2:
        parts = [_auroc_binary(columns[:, c], labels == c) for c in range(columns.shape[1])]
    else:
        parts = [_auroc_binary(columns[:, -1], labels == 1)]

    def value(counts: Floats) -> Floats:
        areas = np.stack([part(counts) for part in parts], axis=1)
        return _mean_where(areas, np.isfinite(areas))

    return value


def _auroc_binary(scores: Array, positive: Array) -> Value:
    order = np.argsort(scores.astype(np.float64), kind="stable")
    groups = np.flatnonzero(np.diff(scores[order].astype(np.float64), prepend=np.nan) != 0)
    drawn = positive[order].astype(np.float64)

    def value(counts: Floats) -> Floats:
        ordered = counts[:, order]
        hits = np.add.reduceat(ordered * drawn, groups, axis=1)
        rest = np.add.reduceat(ordered * (1 - drawn), groups, axis=1)
        below = rest.cumsum(axis=1) - rest / 2
        pairs = hits.sum(axis=1) * rest.sum(axis=1)
        return np.where(pairs > 0, (hits * below).sum(axis=1) / np.maximum(pairs, 1), np.nan)

    return value


def rmse(predicted: Array, target: Array) -> Value:
    """Square root of the mean squared difference, in the target's unit."""
    mean = mean_of(squared_error(predicted, target))
    return lambda counts: np.sqrt(mean(counts))


def mae(predicted: Array, target: Array) -> Value:
    """Mean absolute difference, in the target's unit."""
    return mean_of(_per_sample(np.abs(_difference(predicted, target))).mean(axis=1))


def squared_error(predicted: Array, target: Array) -> Floats:
    """Mean squared difference of each sample `(N,)`, in the target's unit squared."""
    return np.asarray(_per_sample(np.square(_difference(predicted, target))).mean(axis=1))


def r2(predicted: Array, target: Array) -> Value:
    """1 - sum of squared residuals / sum of squares about the mean of the target."""
    wanted = _per_sample(target.astype(np.float64))
    wanted = wanted - wanted.mean(axis=0)  # the spread is the same, and cancels fewer digits
    residuals = _per_sample(np.square(_difference(predicted, target))).sum(axis=1)
    squares = np.square(wanted).sum(axis=1)

    def value(counts: Floats) -> Floats:
        means = counts @ wanted / counts.sum(axis=1, keepdims=True)
        about = counts @ squares - counts.sum(axis=1) * np.square(means).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(1 - counts @ residuals / about)

    return value


def snr_db(predicted: Array, target: Array) -> Value:
    """10 log10(sum target^2 / sum (target - predicted)^2) over all samples, in dB."""
    noise = _per_sample(np.square(_difference(predicted, target))).sum(axis=1)
    signal = _per_sample(np.square(target.astype(np.float64))).sum(axis=1)

    def value(counts: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(10 * np.log10((counts @ signal) / (counts @ noise)))

    return value


def mean_iou(classes: Array, truth: Array, number: int) -> Scored:
    """Mean over the classes that were drawn of intersection / union of all their pixels, 0..1.

    `classes` and `truth` are maps `(N, H, W)` of class indices below `number`; other values of
    `truth` (255, by custom) do not count.
    """
    inside = np.isin(truth, np.arange(number))
    both, said, true = (
        np.stack([(part & inside).sum(axis=(1, 2)) for part in parts], axis=1).astype(np.float64)
        for parts in (
            [(classes == c) & (truth == c) for c in range(number)],
            [classes == c for c in range(number)],
            [truth == c for c in range(number)],
        )
    )

    def value(counts: Floats) -> Floats:
        hits = counts @ both
        union = counts @ (said + true) - hits
        return _mean_where(hits / np.maximum(union, 1), counts @ true > 0)

    shares = both.sum(axis=0) / np.maximum((said + true - both).sum(axis=0), 1)
    by_class = {
        c: (int((true[:, c] > 0).sum()), float(shares[c]))
        for c in range(number)
        if true[:, c].any()
    }
    return Scored(value=value, by_class=by_class)


def _mean_where(values: Floats, counted: Array) -> Floats:
    """The mean of each row over what is counted; NaN where nothing is."""
    number = counted.sum(axis=1)
    total = np.where(counted, values, 0.0).sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _difference(predicted: Array, target: Array) -> Floats:
    shaped = predicted.astype(np.float64).reshape(target.shape)
    return np.asarray(shaped - target.astype(np.float64))


def _per_sample(array: Floats) -> Floats:
    return array.reshape(len(array), -1)
