"""The last look before a scikit-learn conversion is written: does it answer as the estimator does?

Not the verdict (parity judges the finished file on the user's data): a guard that turns a formula
or a precision that cannot work into a refusal that names the estimator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.core.arrays import Array
from edgekit.errors import UnsupportedError

TOLERANCE = 1e-5


def check_close(
    estimator: Any, expected: Mapping[str, Array], actual: Mapping[str, Array], *, fix: str
) -> None:
    """Raise UnsupportedError where an output is off by more than 1e-5 of its range, or of 1.

    Where scores agree and a label does not, two classes tie within rounding: parity judges that.
    """
    off = {name: _difference(value, actual[name]) for name, value in expected.items()}
    floats = {name: gap for name, gap in off.items() if expected[name].dtype.kind == "f"}
    for name, gap in (floats or off).items():
        if not gap <= TOLERANCE:
            raise UnsupportedError(
                f"{type(estimator).__name__}: {name} would be off by {gap:.1e} of its range on the "
                f"samples (limit {TOLERANCE:.0e})",
                fix=fix,
            )


def _difference(expected: Array, actual: Array) -> float:
    """The largest difference over the largest value, or over 1 where all are smaller."""
    if expected.shape != actual.shape:
        return float("inf")
    wanted, found = expected.astype(np.float64), actual.astype(np.float64)
    if not np.array_equal(np.isnan(wanted), np.isnan(found)):
        return float("inf")
    gap = float(np.nanmax(np.abs(wanted - found), initial=0.0))
    return gap / max(1.0, float(np.nanmax(np.abs(wanted), initial=0.0)))
