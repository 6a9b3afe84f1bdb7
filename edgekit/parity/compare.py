"""Compare what an artifact gave with what its source gave, output by output."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.core.arrays import Array
from edgekit.core.measured import Evidence, Parity, TensorParity
from edgekit.parity.metrics import (
    cosine_similarity,
    looks_like_probabilities,
    max_rel_diff,
    sqnr_db,
)
from edgekit.parity.tolerance import Tolerances

Mask = NDArray[np.bool_]
Arrays = Mapping[str, Array]
_NEAR_TIE = 1e-5


def compare(
    expected: Arrays, actual: Arrays, *, tolerances: Tolerances, evidence: Evidence, samples: int
) -> Parity:
    """Compare arrays of equal names, in float64.

    An output fails that is missing, of another shape or kind, not finite, constant where the
    expected one is not, or further off than its tolerance. Integers must be equal, but for rows in
    which a float output of the source is within 1e-5 of a tie.
    """
    return Parity(
        evidence=evidence,
        samples=samples,
        outputs=tuple(
            _output(name, wanted, actual.get(name), tolerances, _near_ties(expected, len(wanted)))
            for name, wanted in expected.items()
        ),
        top1_agreement=_top1_agreement(expected, actual),
    )


def _output(
    name: str, expected: Array, actual: Array | None, tolerances: Tolerances, near_ties: Mask
) -> TensorParity:
    if actual is None:
        return _broken(name, "the artifact has no such output")
    if actual.shape != expected.shape:
        return _broken(name, f"shape {actual.shape}, expected {expected.shape}")
    if _kind(actual) != _kind(expected):
        return _broken(name, f"dtype {actual.dtype}, expected {expected.dtype}")
    if _kind(expected) != "float":
        return _exact(name, expected, actual, near_ties)
    return _close(name, expected.astype(np.float64), actual.astype(np.float64), tolerances)


def _kind(array: Array) -> str:
    return {"f": "float", "i": "integer", "u": "integer", "b": "integer"}.get(
        array.dtype.kind, "text"
    )


def _broken(name: str, reason: str, *, nan_count: int = 0) -> TensorParity:
    return TensorParity(
        name=name,
        ok=False,
        atol=0.0,
        rtol=0.0,
        nan_count=nan_count,
        reason=reason,
    )


def _exact(name: str, expected: Array, actual: Array, near_ties: Mask) -> TensorParity:
    wrong: Mask = np.asarray(expected != actual)
    excused = (
        near_ties if wrong.ndim == 1 and near_ties.shape == wrong.shape else np.zeros_like(wrong)
    )
    bad = wrong & ~excused
    worst = tuple(int(i) for i in np.argwhere(bad)[0]) if bad.any() else ()
    distance = np.zeros(1)
    if _kind(expected) == "integer":
        distance = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
    reason = f"{int(bad.sum())} of {bad.size} values differ" if bad.any() else ""
    if wrong.any() and not bad.any():
        reason = f"{int(wrong.sum())} of {wrong.size} values differ where the source is within 1e-5 of a tie"
    return TensorParity(
        name=name,
        ok=not bad.any(),
        max_abs_diff=float(distance.max(initial=0.0)),
        mean_abs_diff=float(distance.mean()) if distance.size else 0.0,
        atol=0.0,
        rtol=0.0,
        min_required_atol=float(distance.max(initial=0.0)),
        mismatches=int(wrong.sum()),
        worst_index=worst,
        reason=reason,
    )


def _close(
    name: str, expected: NDArray[np.float64], actual: NDArray[np.float64], tolerances: Tolerances
) -> TensorParity:
    bad = int((~np.isfinite(actual)).sum())
    if bad or not np.isfinite(expected).all():
        whose = "artifact" if np.isfinite(expected).all() else "source"
        return _broken(name, f"NaN or infinity in the output of the {whose}", nan_count=bad)
    if not expected.size:
        return _broken(name, "the output is empty")
    difference = np.abs(expected - actual)
    atol, rtol = tolerances.of(name, expected)
    needed = float(np.maximum(difference - rtol * np.abs(expected), 0.0).max())
    worst = np.unravel_index(int((difference - rtol * np.abs(expected)).argmax()), expected.shape)
    reason = ""
    if needed > atol:
        reason = f"off by {difference[worst]:.3g}; --atol {name}:{_above(needed)} would pass"
    if _is_constant(actual) and not _is_constant(expected) and float(np.ptp(expected)) > atol:
        reason = "the output is the same for every sample, and the source's is not"
    return TensorParity(
        name=name,
        ok=not reason,
        max_abs_diff=float(difference.max()),
        mean_abs_diff=float(difference.mean()),
        atol=atol,
        rtol=rtol,
        min_required_atol=needed,
        max_rel_diff=max_rel_diff(expected, actual),
        cosine_similarity=cosine_similarity(expected, actual),
        sqnr_db=sqnr_db(expected, actual),
        worst_index=tuple(int(i) for i in worst),
        worst_expected=float(expected[worst]),
        worst_actual=float(actual[worst]),
        reason=reason,
    )


def _is_constant(array: NDArray[np.float64]) -> bool:
    """Every row equal to the first, over two rows or more; or one row of one repeated value."""
    rows = array if array.ndim and len(array) > 1 else array.reshape(-1)
    return len(rows) > 1 and bool((rows == rows[0]).all())


def _above(value: float) -> str:
    """`value` rounded up to two digits, so that the printed tolerance really passes."""
    text = f"{value * 1.05:.1e}"
    return text if float(text) >= value else f"{value * 1.2:.1e}"


def _near_ties(expected: Arrays, rows: int) -> Mask:
    """Rows in which two best scores, or a lone score and 0 or 0.5, are within 1e-5 of each other."""
    ties = np.zeros(rows, bool)
    for array in expected.values():
        if array.dtype.kind != "f" or array.shape[:1] != (rows,):
            continue
        values = array.astype(np.float64)
        if values.ndim == 2 and values.shape[1] > 1:
            best = np.sort(values, axis=1)[:, -2:]
            ties |= best[:, 1] - best[:, 0] <= _NEAR_TIE
        elif values.size == rows:
            flat = values.reshape(rows)
            ties |= (np.abs(flat) <= _NEAR_TIE) | (np.abs(flat - 0.5) <= _NEAR_TIE)
    return ties


def _top1_agreement(expected: Arrays, actual: Arrays) -> float | None:
    """Share of rows with the same best class, of the one output that looks like probabilities."""
    names = [name for name, array in expected.items() if looks_like_probabilities(array)]
    if len(names) != 1 or names[0] not in actual:
        return None
    wanted, got = expected[names[0]], actual[names[0]]
    if wanted.shape != got.shape:
        return None
    return float((wanted.argmax(axis=1) == got.argmax(axis=1)).mean())
