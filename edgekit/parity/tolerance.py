"""How far an output may be from the expected one, and why that far."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.core.noun import Noun

FP32_RTOL = 1e-3
FP32_ATOL_OF_RANGE = 1e-4
PROBABILITY_ATOL = 1e-5
EVERY_OUTPUT = ""


class Tolerances(Noun):
    """`|actual - expected| <= atol + rtol * |expected|`, per output name; `""` is every output.

    An output without an entry gets the default of its format: rtol 1e-3 and atol 1e-4 of the
    expected output's range for float32. Where the source is scikit-learn (`strict`): rtol 1e-5, and
    atol 1e-5 for probabilities, 1e-5 of the range for numbers that range further than 1: float32
    has seven digits of the largest term of a sum, not of its result.
    """

    atol: dict[str, float] = {}
    rtol: dict[str, float] = {}
    strict: bool = False

    def of(self, name: str, expected: NDArray[np.float64]) -> tuple[float, float]:
        """`(atol, rtol)` for one output; the range of an output without one counts as its size."""
        low, high = (float(expected.min()), float(expected.max())) if expected.size else (0.0, 0.0)
        spread = high - low or max(abs(high), 1.0)
        strict_atol = PROBABILITY_ATOL * max(1.0, spread)
        atol = strict_atol if self.strict else FP32_ATOL_OF_RANGE * spread
        rtol = PROBABILITY_ATOL if self.strict else FP32_RTOL
        return _given(self.atol, name, atol), _given(self.rtol, name, rtol)


def _given(values: Mapping[str, float], name: str, default: float) -> float:
    return values.get(name, values.get(EVERY_OUTPUT, default))
