"""Find samples of the evaluation data again in other data, though their last bits may differ."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.core.arrays import Array, Arrays

_SAME = 1e-5
"""Values are the same within this share of their row's largest: / 255 and * (1 / 255) are not equal."""

_DEVIATIONS = 6.0
_BLOCK_BYTES = 1 << 20
_NAMED = 5


class Overlap:
    """Counts rows that are rows of `evaluation` too, and keeps the first pairs.

    Every row is projected onto one random direction; rows whose projections are close are compared
    value by value. The cost per row is that of a dot product, and nothing of it is kept.
    """

    def __init__(self, evaluation: Mapping[str, Array]) -> None:
        rng = np.random.default_rng(0)
        self.count = 0
        self.pairs: list[tuple[int, int]] = []
        self._rows = dict(evaluation)
        self._weights = {
            name: rng.standard_normal(int(np.prod(a.shape[1:]))) for name, a in evaluation.items()
        }
        known = self._projected(self._rows)
        self._order = np.argsort(known)
        self._known = known[self._order]

    def add(self, block: Arrays, numbers: NDArray[np.int64]) -> None:
        """Look for the rows of `block`, which the user knows by `numbers`."""
        if any(block[name].shape[1:] != a.shape[1:] for name, a in self._rows.items()):
            return
        close = {name: _SAME * _largest(block[name]) for name in self._rows}
        variance = sum(close[name] ** 2 * (w @ w) for name, w in self._weights.items())
        window = _DEVIATIONS * np.sqrt(variance)
        projections = self._projected(block)
        first = np.searchsorted(self._known, projections - window, side="left")
        last = np.searchsorted(self._known, projections + window, side="right")
        for at in np.flatnonzero(last > first).tolist():
            row = {name: (block[name][at], close[name][at]) for name in self._rows}
            candidates = self._order[first[at] : last[at]].tolist()
            twin = next((c for c in candidates if self._is_same(row, c)), None)
            if twin is not None:
                self.count += 1
                if len(self.pairs) < _NAMED:
                    self.pairs.append((int(numbers[at]), twin))

    def _is_same(self, row: Mapping[str, tuple[Array, float]], candidate: int) -> bool:
        return all(
            bool(np.all(np.abs(values - known[candidate].astype(np.float64)) <= close))
            for known, (values, close) in ((self._rows[name], row[name]) for name in row)
        )

    def _projected(self, arrays: Arrays) -> NDArray[np.float64]:
        """One number for each row; a few rows at a time, for they are made float64 on the way."""
        count = len(next(iter(arrays.values())))
        total = np.zeros(count)
        for name, weights in self._weights.items():
            step = max(1, _BLOCK_BYTES // (8 * len(weights)))
            for start in range(0, count, step):
                rows = arrays[name][start : start + step]
                with np.errstate(invalid="ignore"):
                    total[start : start + step] += (
                        rows.reshape(len(rows), -1).astype(np.float64) @ weights
                    )
        return total


def _largest(rows: Array) -> NDArray[np.float64]:
    """The largest magnitude of each row."""
    flat = rows.reshape(len(rows), -1)
    ends = np.stack([flat.min(axis=1), flat.max(axis=1)]).astype(np.float64)
    largest: NDArray[np.float64] = np.abs(ends).max(axis=0)
    return largest
