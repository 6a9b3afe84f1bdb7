"""What samples are worth to learn ranges from, found out while they stream by."""

from __future__ import annotations

import hashlib
from array import array as numbers_array
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.core.arrays import Array, Arrays

_DIGEST_BYTES = 8
_MOST_CLASSES = 1000
_LONG = 4096
_BLOCK_BYTES = 1 << 20
_PIXEL_CHANNELS = (1, 3, 4)
_ENOUGH_PAIRS = 10_000
_PAIRED_VALUES = 1 << 16
"""Of every block: neighbours are alike or not, it does not take all of them to see it."""


class Hygiene:
    """Digests, labels and the spread of every input. Keeps 16 bytes a sample.

    `known` are the ranges of evaluation inputs, to count the values that lie beyond them.
    """

    def __init__(
        self, names: Sequence[str], *, count: int, known: Mapping[str, tuple[float, float]]
    ) -> None:
        self.count = count
        self._known = known
        self._beyond = self._values = 0
        self.spreads = {name: Spread(half=count // 2) for name in names}
        self._labels: Counter[str] | None = Counter()
        self._digests = bytearray()

    def add(self, block: Arrays) -> None:
        """Take in rows of all inputs, in the model's dtypes, finite."""
        for name, spread in self.spreads.items():
            spread.add(block[name])
        for name, (low, high) in self._known.items():
            self._beyond += _outside(block[name], low, high)
            self._values += block[name].size
        for row in zip(*(block[name] for name in self.spreads), strict=True):
            digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
            for values in row:
                digest.update(np.ascontiguousarray(values).data)
            self._digests += digest.digest()

    def add_labels(self, labels: Array) -> None:
        """Count classes; labels that are no classes (fractions, boxes, too many) are not counted."""
        if self._labels is None:
            return
        flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if flat.ndim != 1 or (flat.dtype.kind == "f" and not np.array_equal(flat, np.rint(flat))):
            self._labels = None
            return
        whole = flat.astype(np.int64) if flat.dtype.kind == "f" else flat
        self._labels.update(map(str, whole.tolist()))
        if len(self._labels) > _MOST_CLASSES:
            self._labels = None

    @property
    def duplicates(self) -> int:
        """Samples that are bit for bit an earlier one."""
        digests = np.frombuffer(self._digests, np.uint64)
        return len(digests) - len(np.unique(digests))

    @property
    def beyond_share(self) -> float | None:
        """The share of values outside the range of the evaluation data; None without such data."""
        return self._beyond / self._values if self._values else None

    def classes(self, names: Sequence[str] = ()) -> dict[str, int] | None:
        """Samples of each class, under its name where folders gave one; None without labels."""
        if not self._labels:
            return None
        if names:
            return {name: self._labels[str(label)] for label, name in enumerate(names)}
        return dict(sorted(self._labels.items(), key=lambda item: (len(item[0]), item[0])))

    def half_range_ratio(self) -> float | None:
        """The worst input's share of range that both halves have in common; None for one sample."""
        return (
            min((s.common_share() for s in self.spreads.values()), default=None)
            if self.count > 1
            else None
        )


class Spread:
    """Ranges of one input by channel and by half, magnitudes of its rows, likeness of neighbours."""

    def __init__(self, *, half: int) -> None:
        self._half = half
        self._seen = 0
        self._low: list[NDArray[np.float64]] = []
        self._high: list[NDArray[np.float64]] = []
        self._magnitudes = numbers_array("d")
        self._pairs = np.zeros(6)
        self._axis: int | None = None
        self.counts_ids = False

    def add(self, rows: Array) -> None:
        """Take in some rows of the input."""
        if not self._low:
            self._begin(rows)
        cut = min(max(self._half - self._seen, 0), len(rows))
        for half, part in enumerate((rows[:cut], rows[cut:])):
            if len(part):
                low, high = (_by_channel(a[np.newaxis]) for a in (part.min(0), part.max(0)))
                self._low[half] = np.minimum(self._low[half], low.min(axis=0))
                self._high[half] = np.maximum(self._high[half], high.max(axis=0))
        flat = np.abs(rows.reshape(len(rows), -1).astype(np.float64))
        self._magnitudes.extend(flat.mean(axis=1))
        self._add_pairs(rows[: 1 + _PAIRED_VALUES // max(1, rows[0].size)])
        self._seen += len(rows)

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest value."""
        return float(np.min(self._low)), float(np.max(self._high))

    @property
    def reach(self) -> float:
        """The largest magnitude."""
        return max(map(abs, self.range))

    @property
    def magnitude(self) -> float:
        """The median of the rows' mean magnitudes, which a few odd samples do not move."""
        return float(np.median(np.frombuffer(self._magnitudes, np.float64)))

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return len(self._low[0])

    @property
    def constant_channels(self) -> tuple[int, ...]:
        """Channels that have one value in all samples."""
        low, high = np.minimum(*self._low), np.maximum(*self._high)
        return tuple(np.flatnonzero(low == high).tolist())

    @property
    def neighbours(self) -> float | None:
        """Correlation of values that lie side by side; None where there is no such thing."""
        n, x, y, xx, yy, xy = self._pairs
        if n < _ENOUGH_PAIRS:
            return None
        spread = (n * xx - x * x) * (n * yy - y * y)
        return float((n * xy - x * y) / np.sqrt(spread)) if spread > 0 else None

    def common_share(self) -> float:
        """What the ranges of the two halves have in common, as a share of both together."""
        low, high = [float(a.min()) for a in self._low], [float(a.max()) for a in self._high]
        union = max(high) - min(low)
        return max(min(high) - max(low), 0.0) / union if union > 0 else 1.0

    def _begin(self, rows: Array) -> None:
        channels = _by_channel(rows[:1]).shape[1]
        self._low = [np.full(channels, np.inf) for _ in range(2)]
        self._high = [np.full(channels, -np.inf) for _ in range(2)]
        shape = rows.shape[1:]
        self.counts_ids = not is_magnitude(rows)
        if len(shape) > 1 or (shape and shape[0] >= _LONG):
            self._axis = int(np.argmax(shape)) + 1

    def _add_pairs(self, rows: Array) -> None:
        if self._axis is None:
            return
        moved = np.moveaxis(rows, self._axis, -1).astype(np.float64)
        left, right = moved[..., :-1].ravel(), moved[..., 1:].ravel()
        sums = [left.sum(), right.sum(), left @ left, right @ right, left @ right]
        self._pairs += np.array([left.size, *sums])


def evaluated(array: Array) -> Spread:
    """The spread of a whole array, taken in a few rows at a time."""
    spread = Spread(half=0)
    step = max(1, _BLOCK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        spread.add(array[start : start + step])
    return spread


def is_magnitude(array: Array) -> bool:
    """Whether values of this dtype are amounts: floats and bytes; wider integers are ids."""
    return array.dtype.kind == "f" or (array.dtype.kind in "iu" and array.dtype.itemsize == 1)


def outside_share(
    evaluation: Mapping[str, Array], ranges: Mapping[str, tuple[float, float]]
) -> float:
    """The share of evaluation values that lie outside the range of their input."""
    outside = total = 0
    for name, (low, high) in ranges.items():
        for row in evaluation[name]:
            outside += _outside(row, low, high)
            total += row.size
    return outside / total if total else 0.0


def _outside(values: Array, low: float, high: float) -> int:
    return int(np.count_nonzero(np.less(values, low) | np.greater(values, high)))


def _by_channel(rows: Array) -> Array:
    """Rows as `(values, channels)`: the last axis, or the first of a sample where it is the colors."""
    if rows.ndim == 1:
        return rows.reshape(-1, 1)
    first = (
        rows.ndim > 2 and rows.shape[1] in _PIXEL_CHANNELS and rows.shape[-1] not in _PIXEL_CHANNELS
    )
    moved = np.moveaxis(rows, 1, -1) if first else rows
    return moved.reshape(-1, moved.shape[-1])
