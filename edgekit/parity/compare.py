"""Compare what an artifact gave with what its source gave, output by output."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.core.arrays import Array
from edgekit.core.measured import Evidence, Parity, TensorParity
from edgekit.core.noun import changed
from edgekit.parity.metrics import (
    classes_of,
    cosine_similarity,
    kl_divergence,
    looks_like_probabilities,
    max_rel_diff,
    sqnr_db,
)
from edgekit.parity.tolerance import Tolerances, range_of

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Arrays = Mapping[str, Array]
_NEAR_TIE = 1e-5
_FEWEST_ROWS = 20
_ROUNDED_SUM = 0.1
_BARELY_CHANGES = 0.01


def compare(
    expected: Arrays,
    actual: Arrays,
    *,
    tolerances: Tolerances,
    evidence: Evidence,
    samples: int,
    classified: str | None = None,
) -> Parity:
    """Compare arrays of equal names, in float64.

    An output fails that is missing, of another shape or kind, not finite, constant where the
    expected one is not, or misses a rule of `tolerances`. Integers must be equal, but for rows in
    which a float output of the source is within 1e-5 of a tie; where the precision has a least
    agreement, that share of rows must be. `classified` names an output whose highest value is the
    class; outputs that look like probabilities are such without being named.
    """
    outputs = []
    for name, wanted in expected.items():
        near_ties = _near_ties(expected, len(wanted))
        output = _output(name, wanted, actual.get(name), tolerances, near_ties)
        if not output.broken and _kind(wanted) == "float":
            output = _by_class(output, wanted, actual[name], tolerances, named=name == classified)
        outputs.append(output)
    agreements = {
        o.name: o.agreement
        for o in outputs
        if o.agreement is not None and _kind(expected[o.name]) == "float"
    }
    sole = next(iter(agreements.values())) if len(agreements) == 1 else None
    return Parity(
        evidence=evidence,
        samples=samples,
        outputs=tuple(outputs),
        top1_agreement=agreements.get(classified or "", sole),
    )


def left_to_the_task(parity: Parity, tolerances: Tolerances) -> Parity:
    """The parity where the task metric decides: what only a rule of the precision misses is ok.

    Broken outputs are not, nor what misses a limit that the user gave.
    """
    return changed(
        parity,
        outputs=tuple(
            output
            if output.ok or output.broken or tolerances.misses_given(output)
            else changed(output, ok=True, reason=f"{output.reason}, but the task metric decides")
            for output in parity.outputs
        ),
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
        least = tolerances.least_agreement
        if least is not None:
            return _agreeing(name, expected, actual, least)
        return _exact(name, expected, actual, near_ties)
    return _close(name, expected.astype(np.float64), actual.astype(np.float64), tolerances)


def _kind(array: Array) -> str:
    return {"f": "float", "i": "integer", "u": "integer", "b": "integer"}.get(
        array.dtype.kind, "text"
    )


def _broken(name: str, reason: str, *, nan_count: int = 0) -> TensorParity:
    return TensorParity(name=name, ok=False, broken=True, nan_count=nan_count, reason=reason)


def _exact(name: str, expected: Array, actual: Array, near_ties: Mask) -> TensorParity:
    wrong: Mask = np.asarray(expected != actual)
    excused = (
        near_ties if wrong.ndim == 1 and near_ties.shape == wrong.shape else np.zeros_like(wrong)
    )
    bad = wrong & ~excused
    reason = f"{int(bad.sum())} of {bad.size} values differ" if bad.any() else ""
    if wrong.any() and not bad.any():
        reason = f"{int(wrong.sum())} of {wrong.size} values differ where the source is within 1e-5 of a tie"
    return _counted(name, expected, actual, bad=bad, rule="equal", reason=reason)


def _agreeing(name: str, expected: Array, actual: Array, least: float) -> TensorParity:
    wrong: Mask = np.asarray(expected != actual)
    share = float((~wrong.reshape(len(wrong), -1).any(axis=1)).mean()) if wrong.size else 1.0
    reason = f"only {share:.4g} of the rows are equal" if share < least else ""
    rule = f"agreement >= {least:g}"
    output = _counted(name, expected, actual, bad=wrong, rule=rule, reason=reason)
    return changed(output, ok=not reason, agreement=share)


def _counted(
    name: str, expected: Array, actual: Array, *, bad: Mask, rule: str, reason: str
) -> TensorParity:
    distance = np.zeros(1)
    if _kind(expected) == "integer":
        distance = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
    return TensorParity(
        name=name,
        ok=not bad.any(),
        rule=rule,
        max_abs_diff=float(distance.max(initial=0.0)),
        mean_abs_diff=float(distance.mean()) if distance.size else 0.0,
        min_required_atol=float(distance.max(initial=0.0)),
        mismatches=int((expected != actual).sum()),
        worst_index=tuple(int(i) for i in np.argwhere(bad)[0]) if bad.any() else (),
        reason=reason,
    )


def _close(name: str, expected: Floats, actual: Floats, tolerances: Tolerances) -> TensorParity:
    bad = int((~np.isfinite(actual)).sum())
    if bad or not np.isfinite(expected).all():
        whose = "artifact" if np.isfinite(expected).all() else "source"
        return _broken(name, f"NaN or infinity in the output of the {whose}", nan_count=bad)
    if not expected.size:
        return _broken(name, "the output is empty")
    held_to = tolerances.of(name, expected)
    atol, rtol = held_to or (None, None)
    difference = np.abs(expected - actual)
    beyond = difference - (rtol or 0.0) * np.abs(expected)
    worst = np.unravel_index(int(beyond.argmax()), expected.shape)
    barely = _BARELY_CHANGES * range_of(expected) if atol is None else atol
    constant = _is_constant(actual) and not _is_constant(expected) and _change(expected) > barely
    output = TensorParity(
        name=name,
        ok=True,
        broken=constant,
        reason="the output is the same for every sample, and the source's is not"
        if constant
        else "",
        atol=atol,
        rtol=rtol,
        max_abs_diff=float(difference.max()),
        mean_abs_diff=float(difference.mean()),
        min_required_atol=float(max(beyond.max(), 0.0)),
        max_rel_diff=max_rel_diff(expected, actual),
        cosine_similarity=cosine_similarity(expected, actual),
        sqnr_db=sqnr_db(expected, actual),
        worst_index=tuple(int(i) for i in worst),
        worst_expected=float(expected[worst]),
        worst_actual=float(actual[worst]),
    )
    return changed(output, ok=False) if constant else _held(output, tolerances)


def _held(output: TensorParity, tolerances: Tolerances) -> TensorParity:
    """Held to the tolerance of its elements and to the least SQNR."""
    rules, misses = [], []
    if output.atol is not None and output.rtol is not None:
        rules.append(f"|difference| <= {output.atol:.3g} + {output.rtol:g} |expected|")
        if output.min_required_atol > output.atol:
            worst = abs((output.worst_expected or 0.0) - (output.worst_actual or 0.0))
            enough = _above(output.min_required_atol)
            misses.append(f"off by {worst:.3g}; --atol {output.name}:{enough} would pass")
    least = tolerances.least_sqnr_db
    if least is not None:
        rules.append(f"sqnr >= {least:g} dB")
        if output.sqnr_db is None and output.max_abs_diff > 0:
            misses.append("the source's output is all zero, and the artifact's is not")
        elif output.sqnr_db is not None and output.sqnr_db < least:
            misses.append(f"sqnr {output.sqnr_db:.1f} dB is below {least:g} dB")
    return changed(output, ok=not misses, rule=" and ".join(rules), reason="; ".join(misses))


def _by_class(
    output: TensorParity, expected: Array, actual: Array, tolerances: Tolerances, *, named: bool
) -> TensorParity:
    """With the agreement of an output that answers classes, held to the least one."""
    chances = looks_like_probabilities(expected)
    wanted, got = classes_of(expected), classes_of(actual)
    if not (chances or named) or wanted is None or got is None:
        return output
    agreement = float((wanted == got).mean())
    output = changed(output, agreement=agreement)
    if chances and looks_like_probabilities(actual, within=_ROUNDED_SUM):
        divergence = kl_divergence(expected.astype(np.float64), actual.astype(np.float64))
        output = changed(output, kl_divergence=divergence)
    least = tolerances.least_agreement
    if least is None:
        return output
    is_low = agreement < least and not _is_one_of_few(wanted != got, least)
    missed = f"agreement {agreement:.4g} is below {least:g}" if is_low else ""
    return changed(
        output,
        ok=output.ok and not missed,
        rule=" and ".join(filter(None, (output.rule, f"agreement >= {least:g}"))),
        reason="; ".join(filter(None, (output.reason, missed))),
    )


def _is_one_of_few(differs: Mask, least: float) -> bool:
    """One sample out of so few that one alone misses the share: 1 of 20 is as near as 20 can tell."""
    return int(differs.sum()) == 1 and len(differs) >= _FEWEST_ROWS and 1 / len(differs) > 1 - least


def _is_constant(array: Floats) -> bool:
    """Every row equal to the first, over two rows or more; or one row of one repeated value."""
    return len(_rows(array)) > 1 and _change(array) == 0


def _change(array: Floats) -> float:
    """The most by which a row differs from the first."""
    rows = _rows(array)
    return float(np.abs(rows - rows[0]).max())


def _rows(array: Floats) -> Floats:
    return array if array.ndim and len(array) > 1 else array.reshape(-1)


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
