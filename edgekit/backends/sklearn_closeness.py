"""The last look before a scikit-learn conversion is written: does it answer as the estimator does?

Not the verdict (parity judges the finished file on the user's data): a guard that turns a formula
or a precision that cannot work into a refusal that names the estimator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.backends.sklearn_answers import answer
from edgekit.core.arrays import Array, Arrays
from edgekit.errors import UnsupportedError

TOLERANCE = 1e-5
_PROBES = 32
_NEAR_TIE = 1e-4


def probed(estimator: Any, rows: Array) -> tuple[Array, Arrays]:
    """`rows` and 32 more, each value within half of one in `rows`; and the answers to all of them.

    Only `rows` where the estimator takes no others, such as encoders with their known categories.
    """
    random = np.random.default_rng(0)
    chosen = rows[random.integers(len(rows), size=_PROBES)]
    near = np.asarray(chosen, np.float64) * random.uniform(0.5, 1.5, size=chosen.shape)
    more = np.concatenate([rows, near.astype(np.float32)])
    try:
        return more, answer(estimator, more)
    except (ValueError, IndexError):
        return rows, answer(estimator, rows)


def check_close(estimator: Any, expected: Arrays, actual: Mapping[str, Array], *, fix: str) -> None:
    """Raise UnsupportedError where numbers are off by more than 1e-5 of their range, or of 1.

    Whole numbers must be equal but where the estimator's own scores nearly tie.
    """
    ties = _near_ties(expected)
    for name, wanted in expected.items():
        found = actual[name]
        if wanted.dtype.kind != "f":
            same_shape = wanted.shape == found.shape
            wrong = np.asarray(wanted != found) if same_shape else np.ones(len(wanted), bool)
            count = int((wrong.reshape(len(wrong), -1).any(axis=1) & ~ties).sum())
            why = f"{name} would be wrong in {count} of {len(wanted)} rows" if count else ""
        else:
            off = _difference(wanted, found)
            why = f"{name} would be off by {off:.1e} of its range (limit {TOLERANCE:.0e})"
            why = "" if off <= TOLERANCE else why
        if why:
            raise UnsupportedError(f"{type(estimator).__name__}: {why}", fix=fix)


def _near_ties(expected: Arrays) -> NDArray[np.bool_]:
    """Rows in which two best scores, or a lone score and its middle, are within 1e-4."""
    count = len(next(iter(expected.values())))
    ties = np.zeros(count, bool)
    for output in expected.values():
        if output.dtype.kind != "f":
            continue
        value = output.astype(np.float64)
        if value.ndim == 2 and value.shape[1] > 1:
            edges = np.sort(value, axis=1)
            ties |= edges[:, -1] - edges[:, -2] <= _NEAR_TIE
            ties |= edges[:, 1] - edges[:, 0] <= _NEAR_TIE  # distances: the smallest wins
        elif value.ndim == 1:
            ties |= (np.abs(value) <= _NEAR_TIE) | (np.abs(value - 0.5) <= _NEAR_TIE)
    return ties


def _difference(expected: Array, actual: Array) -> float:
    """The largest difference over the largest value, or over 1 where all are smaller."""
    if expected.shape != actual.shape:
        return float("inf")
    wanted, found = expected.astype(np.float64), actual.astype(np.float64)
    if not np.array_equal(np.isnan(wanted), np.isnan(found)):
        return float("inf")
    gap = float(np.nanmax(np.abs(wanted - found), initial=0.0))
    return gap / max(1.0, float(np.nanmax(np.abs(wanted), initial=0.0)))
