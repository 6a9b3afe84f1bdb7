"""The beta and the t distribution, of which intervals are made; numpy has neither."""

from __future__ import annotations

import math
from collections.abc import Callable

Z95 = 1.959963984540054  # 97.5 % of the normal distribution
_TINY = 1e-300
_CLOSE = 1e-15
_MAX_TERMS = 20_000


def beta_cdf(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b), 0..1, by Lentz's continued fraction.

    Formula: DLMF 8.17.22 (https://dlmf.nist.gov/8.17#E22).
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(b, a, 1 - x)
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    return math.exp(log_front) / a / _fraction(a, b, x)


def beta_quantile(a: float, b: float, share: float) -> float:
    """The x with I_x(a, b) = `share`, both 0..1."""
    return _bisected(lambda x: beta_cdf(a, b, x) < share, 0.0, 1.0)


def t_quantile_95(freedom: float) -> float:
    """97.5 % of Student's t distribution with `freedom` degrees of freedom, 1 or more."""

    def below(t: float) -> bool:
        return beta_cdf(freedom / 2, 0.5, freedom / (freedom + t * t)) > 0.05

    return _bisected(below, 0.0, 13.0)


def _fraction(a: float, b: float, x: float) -> float:
    """1 + d1/(1 + d2/(1 + ...)), by the modified Lentz method."""
    value, c, d = 1.0, 1.0, 0.0
    for i in range(1, _MAX_TERMS):
        m = i // 2
        top = (
            m * (b - m) * x / ((a + i - 1) * (a + i))
            if i % 2 == 0
            else -(a + m) * (a + b + m) * x / ((a + i - 1) * (a + i))
        )
        d = 1 / ((1 + top * d) or _TINY)
        c = (1 + top / c) or _TINY
        value *= c * d
        if abs(c * d - 1) < _CLOSE:
            break
    return value


def _bisected(below: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return high
