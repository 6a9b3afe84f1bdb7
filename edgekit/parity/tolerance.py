"""What outputs are held to, by precision: how far they may be from the expected ones, and why."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.core.measured import TensorParity
from edgekit.core.noun import Noun
from edgekit.core.recipe import LayerPrecision, Precision

FP32_RTOL = 1e-3
FP32_ATOL_OF_RANGE = 1e-4
FP16_ATOL_OF_RANGE = 1e-2
PROBABILITY_ATOL = 1e-5
EVERY_OUTPUT = ""

# Least signal to noise ratio in dB and share of equal classes. bf16 keeps 8 bits of a number, like
# 8-bit weights. 4-bit weights in blocks of 32 alone cost all but about 20 dB.
_LEAST: dict[Precision, tuple[float | None, float | None]] = {
    Precision.FP32: (None, None),
    Precision.FP16: (None, None),
    Precision.BF16: (30.0, None),
    Precision.W8: (30.0, None),
    Precision.DYNAMIC: (20.0, 0.98),
    Precision.INT8: (20.0, 0.98),
    Precision.W8A16: (20.0, 0.98),
    Precision.W4: (15.0, 0.95),
}
_COARSEST_FIRST = (
    Precision.W4,
    Precision.INT8,
    Precision.DYNAMIC,
    Precision.W8A16,
    Precision.W8,
    Precision.BF16,
    Precision.FP16,
)


class Tolerances(Noun):
    """What float outputs of one precision are held to; what the user gives holds too.

    float32 and float16: `|actual - expected| <= atol + rtol * |expected|`, per output name; `""` is
    every output. An output without an entry gets rtol 1e-3 and atol 1e-4 (float16: 1e-2) of the
    expected output's range. Where the source is scikit-learn (`strict`): rtol 1e-5, and atol 1e-5
    for probabilities, 1e-5 of the range for numbers that range further than 1: float32 has seven
    digits of the largest term of a sum, not of its result.

    Other precisions: a least SQNR, and for classes a least share of equal ones. An entry in `atol`
    or `rtol` is held to beside them, the one not given being 0.
    """

    atol: dict[str, float] = {}
    rtol: dict[str, float] = {}
    strict: bool = False
    precision: Precision = Precision.FP32
    min_sqnr_db: float | None = None
    min_agreement: float | None = None

    @property
    def least_sqnr_db(self) -> float | None:
        """The least SQNR, if the precision or the user asks for one."""
        return _LEAST[self.precision][0] if self.min_sqnr_db is None else self.min_sqnr_db

    @property
    def least_agreement(self) -> float | None:
        """The least share of equal classes, 0..1, if the precision or the user asks for one."""
        return _LEAST[self.precision][1] if self.min_agreement is None else self.min_agreement

    @property
    def compares_elements(self) -> bool:
        """Whether each element is held to a tolerance of its own by default."""
        return self.precision in (Precision.FP32, Precision.FP16)

    def of(self, name: str, expected: NDArray[np.float64]) -> tuple[float, float] | None:
        """`(atol, rtol)` for one output, if elements are compared.

        The range of an output without one counts as its size.
        """
        if not self.compares_elements:
            given = any(key in d for d in (self.atol, self.rtol) for key in (name, EVERY_OUTPUT))
            return (_given(self.atol, name, 0), _given(self.rtol, name, 0)) if given else None
        spread = range_of(expected)
        if self.strict and self.precision is Precision.FP32:
            atol, rtol = PROBABILITY_ATOL * max(1.0, spread), PROBABILITY_ATOL
        else:
            share = FP32_ATOL_OF_RANGE if self.precision is Precision.FP32 else FP16_ATOL_OF_RANGE
            atol, rtol = share * spread, FP32_RTOL
        return _given(self.atol, name, atol), _given(self.rtol, name, rtol)

    def misses_given(self, output: TensorParity) -> bool:
        """Whether an output misses a limit that the user gave, beside those of the precision."""
        sqnr, agreement = self.min_sqnr_db, self.min_agreement
        elements = output.atol is not None and output.min_required_atol > output.atol
        return (
            elements
            or (sqnr is not None and output.sqnr_db is not None and output.sqnr_db < sqnr)
            or (
                agreement is not None
                and output.agreement is not None
                and output.agreement < agreement
            )
        )


def stored_precision(layers: tuple[LayerPrecision, ...]) -> Precision:
    """The coarsest precision that a layer is stored in, as its artifact's; fp32 without layers."""
    found = {layer.precision for layer in layers}
    return next((precision for precision in _COARSEST_FIRST if precision in found), Precision.FP32)


def range_of(expected: NDArray[np.float64]) -> float:
    """The largest less the smallest value; where all are equal their size, and 1 at least."""
    low, high = (float(expected.min()), float(expected.max())) if expected.size else (0.0, 0.0)
    return high - low or max(abs(high), 1.0)


def _given(values: Mapping[str, float], name: str, default: float) -> float:
    return values.get(name, values.get(EVERY_OUTPUT, default))
