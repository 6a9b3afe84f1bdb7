"""Ranges of activations from calibration samples: streaming, numpy only, the same for every toolchain."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgekit.core.arrays import Array
from edgekit.core.recipe import RangeMethod

Range = tuple[float, float]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_NUM_BINS = 2048
_NUM_THRESHOLDS = 256
_NUM_BOUNDS = 160
_SMOOTHING = 1e-4
_OUTLIERS = 1e-4  # the share of values that entropy may cut whatever it costs
_WORSE = 2.0  # how far the squared error may rise over that of minmax where it cuts more


class RangeCollector:
    """Collects values of named tensors and gives each a range, without keeping the values.

    `minmax` is exact. The others work on a histogram of 2048 bins that grows with the data, so that
    memory does not depend on how many values come; their error is one bin, at most 1/1024 of the span
    (zero included).
    Ranges never exceed the smallest and largest value seen. Values that are not finite are ignored.

    `percentile` keeps that share (0..100) of the values and cuts the rest, half at each end.
    `entropy` is the threshold T of |x| with the least Kullback-Leibler divergence between the values
    and their quantized distribution (Migacz, "8-bit Inference with TensorRT", GTC 2017). `mse` is the
    pair of bounds with the least expected squared error: step^2 / 12 for each value inside (Bennett
    1948), (x - bound)^2 outside (the clipping term of Banner et al. 2018, "ACIQ"). Zeros count in
    neither: quantization keeps them exactly. `bits` is the width of the quantized activations.

    Divergence alone would cut half of an image whose blank border is one value in each channel: such
    a spike, spread over its level, diverges more than all that clipping loses. So `entropy` cuts no
    more than one value in 10 000, unless the squared error stays below twice that of `minmax`.
    """

    def __init__(self, method: RangeMethod, percentile: float = 99.99, *, bits: int = 8) -> None:
        self._method = method
        self._percentile = percentile
        self._bits = bits
        self._bounds: dict[str, Range] = {}
        self._histograms: dict[str, _Histogram] = {}

    def add(self, name: str, array: Array) -> None:
        """Take in all values of `array` as values of the tensor `name`."""
        values = np.ravel(array)
        values = values[np.isfinite(values)]
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        known = self._bounds.get(name, (low, high))
        self._bounds[name] = (min(known[0], low), max(known[1], high))
        if self._method is not RangeMethod.MINMAX:
            histogram = self._histograms.setdefault(name, _Histogram())
            histogram.add(values.astype(np.float64), low, high)

    def ranges(self) -> dict[str, Range]:
        """(min, max) of every tensor that had a finite value."""
        return {name: self._range(name) for name in self._bounds}

    def _range(self, name: str) -> Range:
        low, high = self._bounds[name]
        if low == high:
            return low, high
        match self._method:
            case RangeMethod.MINMAX:
                return low, high
            case RangeMethod.PERCENTILE:
                found = _percentile_range(self._histograms[name], self._percentile)
            case RangeMethod.ENTROPY:
                found = _entropy_range(self._histograms[name], 2 ** (self._bits - 1))
            case RangeMethod.MSE:
                found = _mse_range(self._histograms[name], 2**self._bits)
        return max(low, found[0]), min(high, found[1])


class _Histogram:
    """Counts per bin of width 2^exponent on a grid anchored at zero, and of exact zeros apart.

    Bins double in width when the values outgrow them: two neighbours become one, and nothing moves
    across zero. Bin `i` of `counts` covers `(first + i) * width` to `(first + i + 1) * width`.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_NUM_BINS, np.int64)
        self.zeros = 0
        self._exponent: int | None = None
        self._first = 0

    @property
    def edges(self) -> Floats:
        """The lower edge of every bin, and the upper edge of the last."""
        return np.ldexp(
            np.arange(self._first, self._first + _NUM_BINS + 1, dtype=float), self._exponent or 0
        )

    @property
    def centers(self) -> Floats:
        """The middle of every bin."""
        edges = self.edges
        return (edges[:-1] + edges[1:]) / 2

    def add(self, values: Floats, low: float, high: float) -> None:
        """Count `values`, which lie between `low` and `high`."""
        nonzero = values[values != 0]
        self.zeros += values.size - nonzero.size
        if not nonzero.size:
            return
        self._cover(min(low, 0.0), max(high, 0.0))
        bins = np.floor(np.ldexp(nonzero, -(self._exponent or 0))).astype(np.int64) - self._first
        self.counts += np.bincount(bins, minlength=_NUM_BINS)

    def magnitudes(self) -> tuple[Counts, float]:
        """Counts of |x| from zero upwards, and the width of their bins."""
        bins = np.arange(self._first, self._first + _NUM_BINS)
        folded = np.zeros(max(int(-bins[0]), int(bins[-1]) + 1), np.int64)
        np.add.at(folded, np.where(bins < 0, -bins - 1, bins), self.counts)
        return folded, math.ldexp(1.0, self._exponent or 0)

    def _cover(self, low: float, high: float) -> None:
        """Widen the bins until `low` and `high` fit among them, and what is counted already."""
        if self._exponent is None:
            self._exponent = math.frexp(max(abs(low), abs(high)))[1] - 11
        used = np.flatnonzero(self.counts)
        bins, counts = self._first + used, self.counts[used]
        while True:
            ends = [math.floor(math.ldexp(value, -self._exponent)) for value in (low, high)]
            first, last = min([*ends, *bins[:1]]), max([*ends, *bins[-1:]])
            if last - first < _NUM_BINS:
                break
            self._exponent += 1
            bins = bins // 2
        self._first = int(first)
        self.counts = np.zeros(_NUM_BINS, np.int64)
        np.add.at(self.counts, bins - self._first, counts)


def _percentile_range(histogram: _Histogram, percentile: float) -> Range:
    """The outermost bins that are left after cutting half of (100 - percentile) % at each end."""
    edges = histogram.edges
    counts = histogram.counts + histogram.zeros * (edges[:-1] == 0)
    total = np.cumsum(counts)
    cut = total[-1] * (100 - percentile) / 200
    low = int(np.searchsorted(total, cut, side="right"))
    high = int(np.searchsorted(total, total[-1] - cut, side="left"))
    return float(edges[low]), float(edges[high + 1])


def _entropy_range(histogram: _Histogram, levels: int) -> Range:
    """The symmetric range whose quantized distribution says most about the values."""
    counts, width = histogram.magnitudes()
    num_used = int(np.flatnonzero(counts)[-1]) + 1
    if num_used <= levels:
        return -num_used * width, num_used * width
    stops = np.unique(np.linspace(levels, num_used, _NUM_THRESHOLDS).astype(int))
    stops = stops[_spares(histogram, stops * width, 2 * levels)]
    best = min(stops[::-1], key=lambda stop: _divergence(counts, int(stop), levels))
    return -float(best * width), float(best * width)


def _spares(histogram: _Histogram, bounds: Floats, levels: int) -> npt.NDArray[np.bool_]:
    """Which of the symmetric `bounds`, in rising order, cut outliers only or cost little."""
    centers, counts, edges = histogram.centers, histogram.counts, histogram.edges
    used = np.flatnonzero(counts)
    low, high = min(edges[used[0]], 0.0), max(edges[used[-1] + 1], 0.0)
    below, cut_low = _clipped(-centers[::-1], counts[::-1], bounds)
    above, cut_high = _clipped(centers, counts, bounds)
    cut = below + above
    steps = (np.minimum(high, bounds) - np.maximum(low, -bounds)) / (levels - 1)
    error = cut_low + cut_high + (counts.sum() - cut) * steps**2 / 12
    spared: npt.NDArray[np.bool_] = (cut <= _OUTLIERS * counts.sum()) | (
        error <= _WORSE * error[-1]
    )
    return spared


def _divergence(counts: Counts, stop: int, levels: int) -> float:
    """KL(P || Q): P has what lies beyond `stop` in its last bin, Q spreads each level over its bins.

    An empty bin of Q counts as 1e-4 of a value, or one outlier would outweigh everything.
    """
    inside = counts[:stop]
    if not inside.any():
        return math.inf
    level = np.arange(stop) * levels // stop
    share = np.bincount(level, weights=inside) / np.maximum(np.bincount(level, inside > 0), 1)
    expected, actual = inside.astype(float), np.where(inside > 0, share[level], 0.0)
    expected[-1] += counts[stop:].sum()
    seen = expected > 0
    p = expected[seen] / expected.sum()
    q = np.maximum(actual[seen], _SMOOTHING) / max(actual.sum(), _SMOOTHING)
    return float(np.sum(p * np.log(p / q)))


def _mse_range(histogram: _Histogram, levels: int) -> Range:
    """The bounds, each on a geometric scale from the end it had, with the least squared error."""
    centers, counts = histogram.centers, histogram.counts
    used = np.flatnonzero(counts)
    shrink = np.geomspace(1 / _NUM_BINS, 1, _NUM_BOUNDS)
    lows = np.unique(shrink * min(histogram.edges[used[0]], 0.0))
    highs = np.unique(shrink * max(histogram.edges[used[-1] + 1], 0.0))
    below, cut_low = _clipped(-centers[::-1], counts[::-1], -lows)
    above, cut_high = _clipped(centers, counts, highs)
    inside = counts.sum() - below[:, None] - above[None, :]
    steps = (highs[None, :] - lows[:, None]) / (levels - 1)
    error = cut_low[:, None] + cut_high[None, :] + inside * steps**2 / 12
    row, column = np.unravel_index(int(np.argmin(error)), error.shape)
    return float(lows[row]), float(highs[column])


def _clipped(centers: Floats, counts: Counts, bounds: Floats) -> tuple[Floats, Floats]:
    """For each bound: how many values lie above it, and their squared distances to it, summed."""
    sums = [np.append(np.cumsum((counts * centers**power)[::-1])[::-1], 0) for power in range(3)]
    first = np.searchsorted(centers, bounds, side="right")
    number, total, squares = (found[first] for found in sums)
    return number, squares - 2 * bounds * total + bounds**2 * number
