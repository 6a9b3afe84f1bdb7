"""Distances between two arrays and task metrics over labels. All in float64."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgekit.core.arrays import Array

Floats = NDArray[np.float64]


def sqnr_db(expected: Floats, actual: Floats) -> float | None:
    """Signal to quantization noise, 10 log10(sum e^2 / sum (e - a)^2) in dB; None without noise."""
    noise = float(np.square(expected - actual).sum())
    signal = float(np.square(expected).sum())
    if noise == 0 or signal == 0:
        return None
    return 10 * math.log10(signal / noise)


def cosine_similarity(expected: Floats, actual: Floats) -> float | None:
    """e.a / (|e| |a|) over all elements, -1..1; None where one of them is all zero."""
    norms = float(np.linalg.norm(expected)) * float(np.linalg.norm(actual))
    return float(np.vdot(expected, actual)) / norms if norms else None


def max_rel_diff(expected: Floats, actual: Floats) -> float | None:
    """The largest |e - a| / |e| where e is not 0; None where e is 0 everywhere."""
    mask = expected != 0
    return (
        float((np.abs(expected - actual)[mask] / np.abs(expected[mask])).max())
        if mask.any()
        else None
    )


def looks_like_probabilities(array: Array) -> bool:
    """`(N, C >= 2)`, nothing negative, every row adding up to 1 within 1e-3."""
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind != "f":
        return False
    values = array.astype(np.float64)
    return bool((values >= -1e-6).all() and np.allclose(values.sum(axis=1), 1.0, atol=1e-3))


def top_k(scores: Array, labels: Array, k: int) -> float:
    """Share of rows `(N, C)` whose label is among the k highest scores, 0..1."""
    best = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())


def f1_macro(predicted: Array, labels: Array) -> float:
    """Mean over the classes in `labels` of 2 TP / (2 TP + FP + FN), 0..1."""
    scores = []
    for cls in np.unique(labels):
        hits = int(((predicted == cls) & (labels == cls)).sum())
        wrong = int(((predicted == cls) ^ (labels == cls)).sum())
        scores.append(2 * hits / (2 * hits + wrong))
    return float(np.mean(scores))


def auroc(scores: Array, labels: Array) -> float:
    """Area under the ROC curve, 0..1; of several classes, the mean of one against the rest.

    `(N,)` scores are for label 1, `(N, C)` for each class. Rank form (Mann-Whitney U / (P * N)),
    ties count half.
    """
    if scores.ndim == 2 and scores.shape[1] > 2:
        present = [c for c in range(scores.shape[1]) if 0 < (labels == c).sum() < len(labels)]
        return float(np.mean([_auroc_binary(scores[:, c], labels == c) for c in present]))
    column = scores[:, -1] if scores.ndim == 2 else scores
    return _auroc_binary(column, labels == 1)


def _auroc_binary(scores: Array, positive: Array) -> float:
    values, inverse, counts = np.unique(
        scores.astype(np.float64), return_inverse=True, return_counts=True
    )
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    p, n = int(positive.sum()), int((~positive.astype(bool)).sum())
    if not p or not n or not len(values):
        return math.nan
    return float((mean_rank[inverse][positive.astype(bool)].sum() - p * (p + 1) / 2) / (p * n))


def rmse(predicted: Array, target: Array) -> float:
    """Square root of the mean squared difference, in the target's unit."""
    return math.sqrt(float(np.square(_paired(predicted, target)).mean()))


def mae(predicted: Array, target: Array) -> float:
    """Mean absolute difference, in the target's unit."""
    return float(np.abs(_paired(predicted, target)).mean())


def r2(predicted: Array, target: Array) -> float:
    """1 - sum of squared residuals / sum of squares about the mean of the target."""
    residuals = np.square(_paired(predicted, target)).sum()
    wanted = target.astype(np.float64)
    return float(1 - residuals / np.square(wanted - wanted.mean(axis=0)).sum())


def _paired(predicted: Array, target: Array) -> Floats:
    shaped = predicted.astype(np.float64).reshape(target.shape)
    return np.asarray(shaped - target.astype(np.float64))
