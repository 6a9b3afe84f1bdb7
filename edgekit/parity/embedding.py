"""Vectors whose directions count: how far they turned, and whether neighbours stayed neighbours."""

from __future__ import annotations

import numpy as np

from edgekit.core.arrays import Array
from edgekit.parity.bootstrap import Floats

_ROWS_AT_ONCE = 1024


def turned(expected: Array, actual: Array) -> Floats:
    """Cosine of the angle between the two vectors of each sample `(N,)`, -1..1.

    A zero vector has no direction, and counts as 0.
    """
    return np.asarray((_unit(expected) * _unit(actual)).sum(axis=1))


def same_neighbour(expected: Array, actual: Array) -> float | None:
    """The share of samples whose nearest other sample, by cosine, is the same on both sides.

    That is recall at 1 with the source's answers as truth. None of fewer than three samples.
    """
    if len(expected) < 3:
        return None
    return float((_nearest(expected) == _nearest(actual)).mean())


def _nearest(vectors: Array) -> Array:
    unit = _unit(vectors)
    found = []
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        near = unit[start : start + _ROWS_AT_ONCE] @ unit.T
        near[np.arange(len(near)), start + np.arange(len(near))] = -np.inf
        found.append(near.argmax(axis=1))
    return np.concatenate(found)


def _unit(vectors: Array) -> Floats:
    rows = vectors.reshape(len(vectors), -1).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1))
