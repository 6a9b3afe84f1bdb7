"""Samples as named arrays that are read a block of rows at a time, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.core.arrays import Array, Arrays
from edgekit.core.signature import Shape
from edgekit.errors import ConfigError

LABEL = "y"

Cut = NDArray[np.int64]
"""Row numbers, rising, that make up one block."""

ShapeFix = Callable[[tuple[int, ...], Shape], str]
"""(shape of the data, shape of the model's input) -> what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """`count` of `available` rows, evenly spaced and beginning with the first, `rows` to a block.

    Evenly spaced, because files are often sorted by class or by time.
    """

    available: int
    count: int
    rows: int

    def __iter__(self) -> Iterator[Cut]:
        for start in range(0, self.count, self.rows):
            numbers = np.arange(start, min(start + self.rows, self.count), dtype=np.int64)
            yield numbers * self.available // self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One array of `count` rows of `shape`; `blocks` reads the selected rows from front to back."""

    count: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    blocks: Callable[[Selection], Iterator[Array]]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Arrays of equal length by name; `y` and `y_OUTPUT` are labels.

    `files` are the names of single samples where each is a file, `classes` the names of the labels
    0, 1, ... where folders gave them.
    """

    origin: str
    series: dict[str, Series]
    blocks: Callable[[Selection], Iterator[Arrays]]
    files: Sequence[str] = ()
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shape_fix: ShapeFix | None = None

    @property
    def count(self) -> int:
        """Rows of every array."""
        return next(iter(self.series.values())).count

    def sample(self, row: int) -> str:
        """How to name a row to the user, who counts from 0."""
        return f"sample {row}" + (f" ({self.files[row]})" if self.files else "")


def is_label(name: str) -> bool:
    """Whether an array of this name holds labels: `y` or `y_OUTPUT`."""
    return name == LABEL or name.startswith(f"{LABEL}_")


def joined(
    series: Mapping[str, Series],
    origin: str,
    *,
    blocks: Callable[[Selection], Iterator[Arrays]] | None = None,
) -> Table:
    """A table of `series`, read side by side, or by `blocks` where one pass reads them all."""
    _check_counts(series, origin)

    def side_by_side(selection: Selection) -> Iterator[Arrays]:
        readers = [one.blocks(selection) for one in series.values()]
        for parts in zip(*readers, strict=True):
            yield dict(zip(series, parts, strict=True))

    return Table(origin=origin, series=dict(series), blocks=blocks or side_by_side)


def whole(table: Table) -> Arrays:
    """All rows of all arrays, in memory."""
    count = table.count
    return next(table.blocks(Selection(available=count, count=count, rows=count)))


def in_memory(array: Array) -> Series:
    """A small array, such as labels, as a series."""
    return Series(
        count=len(array),
        shape=array.shape[1:],
        dtype=array.dtype,
        blocks=lambda selection: (array[cut] for cut in selection),
    )


def picked(chunks: Iterator[Arrays], selection: Selection) -> Iterator[Arrays]:
    """The selected rows out of consecutive chunks of rows, for files that are read from the front."""
    chunk: Arrays = {}
    start = rows = 0
    for cut in selection:
        pieces: list[Arrays] = []
        rest = cut
        while len(rest):
            while rest[0] >= start + rows:
                start += rows
                chunk = next(chunks)
                rows = len(next(iter(chunk.values())))
            inside = rest[rest < start + rows]
            pieces.append({name: array[inside - start] for name, array in chunk.items()})
            rest = rest[len(inside) :]
        yield {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _check_counts(series: Mapping[str, Series], origin: str) -> None:
    if all(is_label(name) for name in series):
        raise ConfigError(
            f"{origin} holds no inputs (arrays: {', '.join(series) or 'none'})",
            fix="name one array per model input, or `x` where there is one; `y` holds labels",
        )
    counts = {name: one.count for name, one in series.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise ConfigError(
            f"{origin}: arrays must have the same number of rows, 1 or more; found {counts}",
            fix="the first axis of every array counts the samples",
        )
