"""Distances between two arrays, and what an array looks like. All in float64."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgekit.core.arrays import Array

Floats = NDArray[np.float64]
_LEAST_CHANCE = 1e-12


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


def kl_divergence(expected: Floats, actual: Floats) -> float:
    """Mean over rows of sum e ln(e / a), in nats, 0 or more.

    Chances below 1e-12 count as 1e-12, and rows as if they added up to 1.
    """
    e, a = (np.maximum(side, _LEAST_CHANCE) for side in (expected, actual))
    e, a = (side / side.sum(axis=1, keepdims=True) for side in (e, a))
    return max(float((e * np.log(e / a)).sum(axis=1).mean()), 0.0)


def looks_like_probabilities(array: Array, *, within: float = 1e-3) -> bool:
    """`(N, C >= 2)`, nothing negative, every row adding up to 1 within `within`."""
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind != "f":
        return False
    values = array.astype(np.float64)
    return bool((values >= -1e-6).all() and np.allclose(values.sum(axis=1), 1.0, atol=within))


def classes_of(output: Array) -> Array | None:
    """The class `(N,)` that each row answers; None where the shape is not that of a classifier.

    Integers are class indices; of `(N, C)` scores, axes of size 1 aside, the highest counts; a lone
    score says yes above 0.5 where all lie in 0..1, else above 0.
    """
    rows = len(output) if output.ndim else 0
    if not rows or output.dtype.kind not in "fiub":
        return None
    if output.dtype.kind in "iub":
        return output.reshape(-1) if output.size == rows else None
    if output.size == rows:
        flat = output.reshape(-1).astype(np.float64)
        chances = bool(((flat >= 0) & (flat <= 1)).all())
        return np.asarray(flat > (0.5 if chances else 0.0), np.int64)
    scores = scores_of(output)
    return None if scores is None else np.asarray(np.argmax(scores, axis=1))


def scores_of(output: Array) -> Array | None:
    """Class scores as `(N, C)`, axes of size 1 left out; None where there is more than one axis."""
    if output.ndim < 2 or output.size != len(output) * max(output.shape[1:]):
        return None
    return output.reshape(len(output), -1)
