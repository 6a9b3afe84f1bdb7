"""Two sides that answer the same questions right or wrong: what is known of their difference."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgekit.parity.quantiles import Z95, beta_quantile

Interval = tuple[float, float]
Floats = NDArray[np.float64]
_HALVINGS = 50


def tango_interval(lost: float, gained: float, samples: float) -> Interval:
    """95 % interval of (lost - gained) / samples, the drop in the share of right answers.

    `lost` samples are right on the source's side only, `gained` on the artifact's. It is the score
    interval of Tango, Statistics in Medicine 17 (1998) 891-908: all drops that the score test does
    not reject. It stays wide where nothing differed: with lost = gained = 0 its upper end is
    z^2 / (n + z^2), about 3.84 / (n + 3.84).
    """
    count = np.array(float(samples))
    upper = tango_upper(np.array(float(lost)), np.array(float(gained)), count)
    lower = -tango_upper(np.array(float(gained)), np.array(float(lost)), count)
    return float(lower), float(upper)


def tango_upper(lost: Floats, gained: Floats, samples: Floats) -> Floats:
    """The upper end of Tango's interval, elementwise, by bisection: the score falls with the drop."""
    inside, outside = (lost - gained) / samples, np.ones(np.broadcast(lost, gained, samples).shape)
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        distance = lost - gained - samples * middle
        kept = distance**2 < Z95**2 * _variance(middle, lost, gained, samples)
        inside, outside = np.where(kept, middle, inside), np.where(kept, outside, middle)
    return np.asarray(outside, np.float64)


def _variance(drop: Floats, lost: Floats, gained: Floats, samples: Floats) -> Floats:
    """With q the likeliest share of gained samples if the drop is d: n (2 q + d (1 - d))."""
    b = -lost - gained + (2 * samples - lost + gained) * drop
    c = -gained * drop * (1 - drop)
    q = (np.sqrt(np.maximum(b * b - 8 * samples * c, 0)) - b) / (4 * samples)
    return np.asarray(samples * (2 * q + drop * (1 - drop)), np.float64)


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p-value: losses and gains as heads and tails of a fair coin."""
    flips = lost + gained
    tail = _coin_tail(min(lost, gained), flips)
    return min(1.0, 2 * tail)


def clopper_pearson(right: float, samples: float) -> Interval:
    """Exact 95 % interval of a share, from the quantiles of the beta distribution."""
    low = beta_quantile(right, samples - right + 1, 0.025) if right > 0 else 0.0
    high = beta_quantile(right + 1, samples - right, 0.975) if right < samples else 1.0
    return low, high


def _coin_tail(heads: int, flips: int) -> float:
    """The chance of at most `heads` heads."""
    logs = [
        math.lgamma(flips + 1) - math.lgamma(k + 1) - math.lgamma(flips - k + 1)
        for k in range(heads + 1)
    ]
    return math.fsum(math.exp(log - flips * math.log(2)) for log in logs)
