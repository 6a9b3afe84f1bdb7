"""The paired bootstrap: the same samples drawn anew for both sides, and how far the drop moves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from edgekit.parity.paired import Interval
from edgekit.parity.quantiles import Z95, t_quantile_95

Floats = NDArray[np.float64]
Value = Callable[[Floats], Floats]
RESAMPLES = 2000
_TIME_LIMIT_S = 30.0
_COUNTS_AT_ONCE = 4_000_000
_FEWEST = 40


def resampled(
    source: Value, artifact: Value, *, samples: int, seed: int = 0
) -> tuple[Floats, Floats]:
    """The metric of both sides on 2,000 resamples (fewer where they take over 30 s).

    `source` and `artifact` turn how often each sample was drawn, `(R, samples)`, into `(R,)` values.
    """
    end = time.monotonic() + _TIME_LIMIT_S
    pairs = []
    for counts in _draws(samples, np.random.default_rng(seed)):
        pairs.append((source(counts), artifact(counts)))
        if time.monotonic() > end:
            break
    return np.concatenate([s for s, _ in pairs]), np.concatenate([a for _, a in pairs])


def _draws(samples: int, rng: np.random.Generator) -> Iterator[Floats]:
    rows = max(1, min(RESAMPLES, _COUNTS_AT_ONCE // samples))
    for start in range(0, RESAMPLES, rows):
        size = min(rows, RESAMPLES - start)
        drawn = rng.integers(0, samples, (size, samples)) + samples * np.arange(size)[:, None]
        counts = np.bincount(drawn.reshape(-1), minlength=size * samples)
        yield counts.reshape(size, samples).astype(np.float64)


def spread(estimate: float, values: Floats, samples: int) -> Callable[[float], Interval]:
    """The 95 % interval about `estimate` as a function of the number of samples.

    On `samples` of them it reaches from the 2.5th to the 97.5th percentile of the resampled
    `values`, widened by t sqrt(n / (n - 1)) / z: the plain percentiles are too narrow on few samples
    (Hesterberg, The American Statistician 69 (2015) 371-386). On n' samples it is sqrt(n / n')
    times that. With one sample, or without values, nothing is known.
    """
    known = values[np.isfinite(values)]
    if samples < 2 or len(known) < _FEWEST:
        return lambda _: (-math.inf, math.inf)
    low, high = (float(p) - estimate for p in np.percentile(known, (2.5, 97.5)))

    def interval(count: float) -> Interval:
        wider = t_quantile_95(count - 1) * math.sqrt(samples / (count - 1)) / Z95
        return estimate + min(low * wider, 0.0), estimate + max(high * wider, 0.0)

    return interval


def floored(interval: Callable[[float], Interval], estimate: float) -> Callable[[float], Interval]:
    """`interval`, but on either side no narrower than z^2 / (n + z^2).

    That is what n samples leave open of a share where all of them agreed; the bootstrap would say
    that nothing is.
    """

    def wide(count: float) -> Interval:
        low, high = interval(count)
        least = Z95**2 / (count + Z95**2)
        return min(low, estimate - least), max(high, estimate + least)

    return wide
